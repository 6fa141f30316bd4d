# SPDX-License-Identifier: Apache-2.0
"""Everything the engine remembers, in its two forms: the snapshot and the durable rows."""

from base64 import b64decode, b64encode
from typing import Annotated, Any, Final, Literal

import msgspec
import numpy as np

from gateway.domain.beliefs import Beliefs
from gateway.domain.carts import Lines, UsedProduct
from gateway.domain.devices import Device
from gateway.domain.events import Act, Candidate, PlateDelta
from gateway.domain.explanations import LYING_MAX
from gateway.domain.goods import Lying
from gateway.domain.inputs import EngineSettings, GatewayStarted, StateRow
from gateway.domain.layout import Layout
from gateway.domain.learning import Learned, Trust
from gateway.domain.people import JOIN_NS_MAX, People, Person
from gateway.domain.stock import Grams, Stock
from gateway.domain.store import Facing, Product, Store
from gateway.domain.weighing import ShelfChange, ShelfState


class Session(msgspec.Struct):
    """A visit that goes on."""

    id: str
    scanner: str
    started_ns: int
    boot: str
    """The kernel's boot that ``started_ns`` counts in."""
    seen_ns: int
    persons: list[str] = []
    guessed: bool = False
    """Its person came into view after the scan, and might be somebody else."""
    lines: Lines = {}
    leaving_ns: int | None = None
    """When the last person left; the cart closes when no change is open any more."""
    reason: Literal["exit", "unseen", "too-long", "no-person"] = "exit"
    restored: bool = False
    """Nobody has seen its persons since the gateway started."""


class SavedPerson(msgspec.Struct, frozen=True):
    """A person of an open session, as the durable state keeps it."""

    id: str
    tracks: list[str]
    floor_mm: tuple[float, float]
    mixed: list[str] = []


class SavedSession(msgspec.Struct, frozen=True):
    """A row of kind ``session``."""

    session: Session
    persons: list[SavedPerson]


class ClosedCart(msgspec.Struct):
    """A receipt that later evidence or open reviews may still change; a row of kind ``closed``."""

    session: str
    revision: int
    lines: Lines
    confirmed: Literal["online", "offline"]
    closed_ns: int | None = None
    """When, in this start of the daemon; None: in an earlier one."""


class Review(msgspec.Struct, frozen=True):
    """A question to a person; a row of kind ``review``."""

    id: str
    change: str
    candidates: list[Candidate]
    sessions: list[str]
    weights: list[PlateDelta]
    started: str
    ended: str


class Holding(msgspec.Struct):
    """What a plate holds and weighed; a row of kind ``holding``."""

    weighed_g: Grams | None
    """None: not since its calibration or its zero changed."""
    calibration: str | msgspec.UnsetType | None = msgspec.UNSET
    """By which it was weighed; grams of another compare with nothing."""
    scale: tuple[float, float] | None = None
    """Numbers of that calibration; None: of a version that did not write them down, or none."""
    misplaced: dict[str, int] = {}
    """Units of products that do not belong here, by GTIN."""
    usual_g: Annotated[float, msgspec.Meta(gt=0.0, le=100.0)] | None = None
    """How much it usually trembles: standard deviation of a sample."""
    usual_saved_g: Grams | None = None
    """The same as it was last written down."""
    restless: bool = False
    """It was told to tremble more than usual."""
    unweighed: bool = False
    """It was told to give no stable weight."""
    empty_g: Grams | None = None
    """What it weighs empty; None: without a calibration that cannot be known."""
    stock: Stock | None = None
    """Units of the facing that begins with it, where they are counted."""


class Overrides(msgspec.Struct, frozen=True):
    """Planogram and prices that came by command; the row ``store``/``overrides``.

    They hold for the store file that they were made for: a newer file wins.
    """

    base: str
    """Version of the store file."""
    facings: tuple[Facing, ...]
    products: dict[str, Product]
    prices_version: str | None


class Decided(msgspec.Struct, frozen=True):
    """Acts told so far of a change that is under review; a row of kind ``decided``."""

    acts: list[Act]
    revision: int
    """Of the latest event about it; -1: none was made."""


class Doubt(msgspec.Struct, frozen=True):
    """A question that waits whether later changes answer it; a row of kind ``doubt``.

    A start asks it at once: what was believed before it is gone.
    """

    change: str
    subject: str
    reason: str
    candidates: list[Candidate]
    weights: list[PlateDelta]
    started: str
    ended: str
    told: Decided
    near: dict[str, float] = {}


class OpenChange(msgspec.Struct):
    """A settled change that waits for what cameras saw."""

    id: str
    shelf: str
    change: ShelfChange
    due_ns: int
    reason: Literal["attended", "gateway-down", "device-down"] = "attended"
    looks: list[str] | None = None
    """Looks that it waits for; None: no camera was asked to look again."""


class ToldClock(msgspec.Struct, frozen=True):
    """How UTC stood against the monotonic clock when it was last told; the row ``clock``/``told``.

    A reader knows it from the labels of the events, or from ``clock.stepped``.
    """

    boot: str
    utc_minus_mono_ns: int
    utc_trusted: bool


class EngineState(msgspec.Struct):
    """A snapshot is this, encoded."""

    gateway: str
    version: str
    epoch: str
    settings: EngineSettings
    store: Store
    file_version: str
    """Version of the store file, before overrides."""
    started_ns: int
    number: int = 0
    link_online: bool = False
    told_clock: ToldClock | None = None
    utc_trusted: bool | None = None
    """With the last input; None before the first."""
    utc_steady_ns: int = 0
    """Since when UTC has been trusted without a step, or when it was last in doubt."""
    devices: dict[str, Device] = {}
    shelves: dict[str, ShelfState] = {}
    people: People = msgspec.field(default_factory=People)
    sessions: dict[str, Session] = {}
    closed: dict[str, ClosedCart] = {}
    reviews: dict[str, Review] = {}
    decided: dict[str, Decided] = {}
    doubts: dict[str, Doubt] = {}
    beliefs: Beliefs = msgspec.field(default_factory=Beliefs)
    holdings: dict[str, Holding] = {}
    drift_saved_ns: int = 0
    tokens: dict[str, int] = {}
    """Hash of each entry token seen, and when (UTC ns) it can be forgotten."""
    tokens_gone_utc_ns: int = 0
    """The latest expiry of a token whose mark was forgotten."""
    arrivals: dict[str, list[int]] = {}
    """When (ns) each shopper came in during the last minute, by a hash of the pseudonym."""
    products: dict[str, UsedProduct] = {}
    """Products that carts, reviews or shelves name, by GTIN."""
    learned: dict[str, Learned] = {}
    """What products weigh, by GTIN, of those that were taken."""
    trust: Trust | None = None
    """What that tells of the catalogue; None: to be worked out."""
    unsaved: dict[str, None] = {}
    """Products of which something was learned that no durable row has."""
    learned_saved_ns: int = 0
    unseen: dict[str, int] = {}
    """Products that a person decided to have been taken by nobody known, and when that was."""
    uncounted: dict[str, None] = {}
    """Facings whose count has changed since it was written down, by their first plate."""
    trembling: dict[str, int] = {}
    """Plates whose trembling may have changed: at so many looks in a row."""
    unweighed: dict[str, int] = {}
    """Plates that gave no stable weight at so many looks in a row."""
    plates_looked_ns: int = 0
    """When all plates were last looked at."""
    overrides: Overrides | None = None
    commands: dict[str, str] = {}
    """Answer to each command carried out; the oldest are forgotten."""
    changes: list[OpenChange] = []
    drops: dict[str, int] = {}
    """Inputs dropped since last told, by ``device reason``."""
    drops_told_ns: int = 0
    gap_since_ns: int | None = None
    """While shelves settle after a gap: when the gateway went down."""


DTYPES = frozenset({"<f8", "<i8", "|b1"})
"""What a snapshot's arrays hold."""


def encode_snapshot(state: EngineState) -> bytes:
    """Return a snapshot as JSON."""
    return msgspec.json.encode(state, enc_hook=_encode_array)


def decode_snapshot(data: bytes) -> EngineState:
    """Return the state that a snapshot holds.

    Raises:
        msgspec.ValidationError: The snapshot is of another version of the engine.
    """
    return msgspec.json.decode(data, type=EngineState, dec_hook=_decode_array)


def _encode_array(value: object) -> dict[str, object]:
    if not isinstance(value, np.ndarray):
        raise NotImplementedError
    content = b64encode(np.ascontiguousarray(value).tobytes()).decode("ascii")
    return {"dtype": value.dtype.str, "shape": list(value.shape), "base64": content}


def _decode_array(_type: type, value: Any) -> np.ndarray:  # noqa: ANN401  msgspec's signature.
    if value["dtype"] not in DTYPES:  # numpy reads some others as Python.
        raise ValueError(f"an array of {value['dtype']}")
    flat = np.frombuffer(b64decode(value["base64"]), dtype=value["dtype"])
    return flat.reshape(value["shape"]).copy()


ROW_TYPES: dict[str, Any] = {
    "session": SavedSession,
    "closed": ClosedCart,
    "review": Review,
    "decided": Decided,
    "doubt": Doubt,
    "holding": Holding,
    "token": int,
    "command": str,
    "marks": Device,
    "store": Overrides,
    "clock": ToldClock,
    "horizon": int,
    "product": UsedProduct,
    "learned": Learned,
}
"""What the durable state holds, by kind. Changing one of these needs a migration."""


UNREAD: Final = "gateway/state"
"""Whose inputs are told as dropped where durable rows could not be read."""


def encode_row(kind: str, key: str, value: object | None) -> StateRow:
    """Return a durable row; None deletes it."""
    assert kind in ROW_TYPES
    return StateRow(kind=kind, key=key, value=msgspec.Raw(msgspec.json.encode(value)))


def begin(started: GatewayStarted) -> EngineState:
    """Return the state that a start's durable rows describe."""
    at = started.at
    state = EngineState(
        gateway=started.gateway,
        version=started.version,
        epoch=started.epoch,
        settings=started.settings,
        store=started.store,
        file_version=started.store.version,
        started_ns=at.mono_ns,
        drops_told_ns=at.mono_ns,
    )
    loaded: dict[str, dict[str, Any]] = {kind: {} for kind in ROW_TYPES}
    for row in started.state:
        reason = _load(row, loaded)
        if reason is not None:
            state.drops[f"{UNREAD} {reason}"] = state.drops.get(f"{UNREAD} {reason}", 0) + 1
    state.closed = loaded["closed"]
    for cart in state.closed.values():
        cart.closed_ns = None  # No explanation holds it any more.
    state.reviews = loaded["review"]
    state.decided = loaded["decided"]
    state.doubts = loaded["doubt"]
    state.holdings = loaded["holding"]
    for holding in state.holdings.values():
        if holding.stock is not None:
            holding.stock = msgspec.structs.replace(holding.stock, at_ns=at.mono_ns)
    state.tokens = loaded["token"]
    state.commands = loaded["command"]
    state.products = loaded["product"]
    state.learned = loaded["learned"]
    state.told_clock = loaded["clock"].get("told")
    state.tokens_gone_utc_ns = loaded["horizon"].get("tokens", 0)
    state.devices = loaded["marks"]
    for saved in loaded["session"].values():
        _restore_session(state, saved, at.mono_ns, at.boot)
    overrides: Overrides | None = loaded["store"].get("overrides")
    if overrides is not None and overrides.base == state.file_version:
        wanted = msgspec.structs.replace(state.store, products=overrides.products, facings=())
        if Layout(wanted).facing_problems(overrides.facings):
            state.drops[f"{UNREAD} undecodable"] = state.drops.get(f"{UNREAD} undecodable", 0) + 1
        else:
            state.overrides = overrides
            state.store = apply_overrides(state.store, overrides)
    _believe(state)
    return state


def _believe(state: EngineState) -> None:
    """Begin with what was written down: carts and what lies about are as they were told."""
    layout = Layout(state.store)
    unit_g = {gtin: used.product.unit_g for gtin, used in state.products.items()}
    unit_g |= {gtin: product.unit_g for gtin, product in state.store.products.items()}
    beliefs = state.beliefs
    for session in state.sessions.values():
        beliefs.join(session.id, session.lines, unit_g)
    beliefs.best.lying = tuple(
        Lying(gtin, unit_g.get(gtin, 1.0), layout.shelf_of[plate], plate, place.middle_mm)
        for plate, holding in sorted(state.holdings.items())
        if (place := layout.plates.get(plate)) is not None
        for gtin, count in sorted(holding.misplaced.items())
        for _ in range(min(count, LYING_MAX))
    )[-LYING_MAX:]


def _load(row: StateRow, loaded: dict[str, dict[str, Any]]) -> str | None:
    """Take in one durable row; return why not, where it cannot be read. It stays as it is."""
    if row.deletes:
        return None
    if row.kind not in loaded:
        return "unknown-kind"
    try:
        value = msgspec.json.decode(row.value, type=ROW_TYPES[row.kind])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "undecodable"
    named = value.session.id if isinstance(value, SavedSession) else getattr(value, "id", row.key)
    if named != row.key:
        return "undecodable"
    loaded[row.kind][row.key] = value
    return None


def apply_overrides(store: Store, overrides: Overrides) -> Store:
    """Return a store with the planogram and prices that came by command."""
    return msgspec.structs.replace(
        store,
        facings=overrides.facings,
        products=overrides.products,
        prices_version=overrides.prices_version,
    )


def _restore_session(state: EngineState, saved: SavedSession, now_ns: int, boot: str) -> None:
    session = saved.session
    if session.boot != boot:
        session.started_ns, session.boot = now_ns, boot
    session.seen_ns = now_ns
    session.leaving_ns = None
    session.restored = True
    state.sessions[session.id] = session
    for person in saved.persons:
        tracks = dict.fromkeys(person.tracks, now_ns)
        # Seen too long ago to be whoever comes in through a door next, also in a frame that was
        # captured before the start; a known track tells.
        seen_ns = now_ns - 2 * JOIN_NS_MAX
        state.people.restore(
            Person(
                id=person.id,
                floor_mm=person.floor_mm,
                seen_ns=seen_ns,
                tracks=tracks,
                mixed=person.mixed,
            )
        )
