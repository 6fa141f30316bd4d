# SPDX-License-Identifier: Apache-2.0
"""What the gateway concludes. Events are facts in the past tense and are never edited.

Each class here is the ``data`` of one event type; its JSON Schema is generated from it.
``NAME`` is the event's name: type ``org.shelfgate.<NAME>.v1``, topic ``…/events/<NAME>``.
"""

from hashlib import blake2b
from typing import ClassVar, Literal

import msgspec

from gateway.domain.event_types import name_of
from gateway.domain.inputs import ScanFault

Direction = Literal["pick", "put-back"]


class Clock(msgspec.Struct, frozen=True):
    """The gateway's clocks when the causing input was taken in."""

    boot: str
    mono_ns: int
    utc_trusted: bool
    utc_error_ms: int | None


class PlateDelta(msgspec.Struct, frozen=True):
    """What one plate felt between two stable states."""

    plate: str
    delta_g: float
    sigma_g: float
    calibration: str | None


class Act(msgspec.Struct, frozen=True):
    """One session, product, quantity and direction in a change."""

    session: str | None
    """None when nobody can be named."""
    gtin: str
    quantity: int
    direction: Direction
    plate: str
    probability: float
    misplaced: bool = False
    """Put back where it does not belong, or taken from there."""


class Line(msgspec.Struct, frozen=True):
    """One product in a cart."""

    gtin: str
    name: str
    quantity: str
    """Decimal, in ``uom``."""
    uom: str
    probability: float
    lot: str | None = None
    unit_price_minor: int | None = None
    currency: str | None = None
    price_version: str | None = None


class Data(msgspec.Struct, frozen=True, kw_only=True):
    """What every event carries."""

    NAME: ClassVar[str]

    store_version: str
    clock: Clock


class SessionStarted(Data, frozen=True, kw_only=True):
    """A visit began. ``shopper`` is stored apart, so that it can be erased."""

    NAME: ClassVar[str] = "session.started"
    session: str
    scanner: str
    person: str | None
    shopper: str | msgspec.UnsetType = msgspec.UNSET
    """Pseudonym from the entry token; put in when it is sent, absent once it was erased."""


class Change(Data, frozen=True, kw_only=True):
    """Base of the events about one change: the highest ``revision`` of a ``change`` wins."""

    change: str
    revision: int
    acts: list[Act]
    """Complete: all acts of the change."""
    weights: list[PlateDelta]
    started: str
    """RFC 3339: the plates began to move."""
    ended: str
    """RFC 3339: they were stable again."""


class ItemPicked(Change, frozen=True, kw_only=True):
    """Units left a plate."""

    NAME: ClassVar[str] = "item.picked"


class ItemPutBack(Change, frozen=True, kw_only=True):
    """Units came back to a plate."""

    NAME: ClassVar[str] = "item.put-back"


class AttributionRevised(Change, frozen=True, kw_only=True):
    """Later evidence, or a person, changed who did what."""

    NAME: ClassVar[str] = "attribution.revised"
    reason: str
    sessions: list[str] = []
    """Whose carts it may change: those of its acts, and of the acts that they replace."""


class Candidate(msgspec.Struct, frozen=True):
    """One explanation of a change and how likely it is."""

    probability: float
    acts: list[Act]


class Hand(msgspec.Struct, frozen=True):
    """What the cameras say of one session."""

    session: str
    probability: float
    """That the largest of what moved was by a hand of theirs, by places and hands alone."""


class ReviewRequested(Data, frozen=True, kw_only=True):
    """Who took what is not certain, or not known: a person decides."""

    NAME: ClassVar[str] = "review.requested"
    review: str
    change: str
    reason: str
    candidates: list[Candidate]
    """What it may have been, the likeliest first; without acts: nothing that the store knows."""
    sessions: list[str]
    """Sessions whose carts the decision may change."""
    weights: list[PlateDelta]
    hands: list[Hand] = []
    """Visits near, the likeliest first; empty: nobody with one was seen. Left out by older ones."""
    started: str
    ended: str


class ReviewResolved(Data, frozen=True, kw_only=True):
    """A review was decided."""

    NAME: ClassVar[str] = "review.resolved"
    review: str
    change: str
    acts: list[Act]
    by: str


class Cart(Data, frozen=True, kw_only=True):
    """The full receipt of a session."""

    session: str
    revision: int
    lines: list[Line]
    open: list[str]
    """Reviews that may still change this cart."""
    confirmed: Literal["online", "offline"]
    """Whether there was a link when the cart was confirmed."""


class CartClosed(Cart, frozen=True, kw_only=True):
    """The receipt."""

    NAME: ClassVar[str] = "cart.closed"


class CartAdjusted(Cart, frozen=True, kw_only=True):
    """The receipt after a review or a late revision."""

    NAME: ClassVar[str] = "cart.adjusted"
    reason: str


class SessionEnded(Data, frozen=True, kw_only=True):
    """A visit ended."""

    NAME: ClassVar[str] = "session.ended"
    session: str
    reason: Literal["exit", "unseen", "too-long", "no-person", "restored"]
    """``restored``: open in an older copy of the database. It has no ``cart.closed`` after it."""


class ShelfChangedUnattended(Data, frozen=True, kw_only=True):
    """Weights changed while nobody could have made it, or while nobody could see who did."""

    NAME: ClassVar[str] = "shelf.changed-unattended"
    change: str
    reason: Literal["gateway-down", "nobody-near", "device-down", "no-camera"]
    """``no-camera``: not every camera of the store looked."""
    weights: list[PlateDelta]
    review: str | None


class ProductScanned(Data, frozen=True, kw_only=True):
    """A scanner of products read a code. It changes no cart. Amounts are decimals in text."""

    NAME: ClassVar[str] = "product.scanned"
    scanner: str
    code: str
    """The number as it is printed: 8, 12, 13 or 14 digits."""
    gtin: str | None
    """14 digits; with an ``item``, of the one product whose ``sku`` that is, if there is one."""
    known: bool
    """Whether the store has this product."""
    item: str | None
    """The retailer's own number in an in-store number that has a measure inside."""
    aim: str | None
    """AIM identifier of the symbology, where the scanner gives it."""
    quantity: int | None
    """Pieces, where the code says how many."""
    weight_g: str | None
    """Net weight, where the code says it."""
    price: str | None
    """For what was scanned, in major units, where the code says it."""
    currency: str | None
    """ISO 4217, three letters from the store file or three digits from the code; null: unknown."""
    lot: str | None
    serial: str | None
    expiry: str | None
    """Last day to use it (AI 17), ISO 8601."""
    best_before: str | None
    """Best before (AI 15), ISO 8601."""


class ScanRejected(Data, frozen=True, kw_only=True):
    """A scanner of products read what cannot be a product's code."""

    NAME: ClassVar[str] = "scan.rejected"
    scanner: str
    reason: ScanFault
    detail: str
    """The same in words."""
    code: str | None
    """The number, where it was 8 to 14 digits; nothing else that is read is told."""


class DoorNotOpened(Data, frozen=True, kw_only=True):
    """Somebody was to be let in, and the door could not be asked to open. It is not asked later."""

    NAME: ClassVar[str] = "door.not-opened"
    door: str
    session: str
    """Whose visit had begun; it ends by itself if nobody comes in."""
    reason: Literal["unreachable", "lost", "late"]
    """``unreachable``: there was no line to it. ``lost``: the line failed at that moment. ``late``:
    writing the entry down took so long that somebody else may stand there."""


class DeviceLost(Data, frozen=True, kw_only=True):
    """A device went away."""

    NAME: ClassVar[str] = "device.lost"
    device: str
    reason: str


class DeviceRecovered(Data, frozen=True, kw_only=True):
    """A device that was lost is back."""

    NAME: ClassVar[str] = "device.recovered"
    device: str
    lost_ms: int | None


class GatewayStartedData(Data, frozen=True, kw_only=True):
    """The daemon started: names the epoch before, so that the chain is checkable."""

    NAME: ClassVar[str] = "gateway.started"
    version: str
    previous_epoch: str | None
    previous_sequence: str | None


class DatabaseRecovered(Data, frozen=True, kw_only=True):
    """The database was mended, or is another copy than the daemon left behind."""

    NAME: ClassVar[str] = "database.recovered"
    reason: Literal["corrupt", "restored", "copied"]
    """``corrupt``: set aside, and what could be read was carried over. ``restored``: an older copy
    of this gateway's own. ``copied``: it comes from another machine."""
    set_aside: str | None
    """Name of the file that was set aside."""
    events_kept: int | None
    """Events carried over; None when nothing had to be."""
    rows_kept: int | None
    """Rows of the durable state carried over; None when nothing had to be."""
    complete: bool
    """Whether everything could be read; false for an older copy too."""
    sessions: list[str]
    """Visits open in the copy: each has its ``session.ended``, and no receipt from now on."""
    reviews: list[str]
    """Reviews open in the copy that this gateway no longer knows. Decide them yourself."""


class GatewayStoppedData(Data, frozen=True, kw_only=True):
    """The daemon stopped well."""

    NAME: ClassVar[str] = "gateway.stopped"
    reason: str


class InputsDropped(Data, frozen=True, kw_only=True):
    """Inputs of a device were refused, lost or missed."""

    NAME: ClassVar[str] = "inputs.dropped"
    device: str
    reason: str
    count: int


class SequenceRange(msgspec.Struct, frozen=True):
    """Sequences ``first`` to ``last``, both included."""

    first: str
    last: str


class EventsDropped(Data, frozen=True, kw_only=True):
    """Events were deleted unsent; explains the gap in the sequence."""

    NAME: ClassVar[str] = "events.dropped"
    epoch: str
    ranges: list[SequenceRange]
    count: int
    reason: str


class ClockStepped(Data, frozen=True, kw_only=True):
    """UTC moved against the monotonic clock, or began to be trusted.

    ``clock`` says from when on (``mono_ns``) and how well (``utc_trusted``, ``utc_error_ms``) the
    new offset holds in that boot. A reader re-dates with the two offsets.
    """

    NAME: ClassVar[str] = "clock.stepped"
    step_ms: int
    before_utc_minus_mono_ns: int
    """The offset that labelled the events before."""
    before_utc_trusted: bool
    """Whether UTC was trusted just before."""
    utc_minus_mono_ns: int
    """The offset that labels events from now on."""


class Units(msgspec.Struct, frozen=True):
    """Some units of one product."""

    gtin: str
    quantity: int
    weight_g: float
    """Of all of them, by the catalogue."""


class Alike(msgspec.Struct, frozen=True):
    """Two products that lie side by side and cannot be told apart by weight."""

    one: Units
    """Of the heavier product."""
    other: Units
    plates: list[str]
    """Where they meet: plates of one shelf that hold one beside the other, or both."""
    measurable: bool
    """Whether smaller tolerances could tell them apart; false where plates are too noisy for it."""


class PlanogramAmbiguous(Data, frozen=True, kw_only=True):
    """The planogram has neighbours that weigh alike; complete for its ``store_version``."""

    NAME: ClassVar[str] = "planogram.ambiguous"
    pairs: list[Alike]
    """At most 100, in the store's order."""
    more: int
    """How many further pairs there are."""


class ProductWeightDrifted(Data, frozen=True, kw_only=True):
    """A product's units weigh otherwise than the catalogue says, or again what it says."""

    NAME: ClassVar[str] = "product.weight-drifted"
    gtin: str
    name: str
    drifted: bool
    """False: it was told before, and is over."""
    catalogue_g: float
    """Unit weight in this ``store_version``."""
    learned_g: float
    """Mean unit weight in the picks."""
    error_g: float
    """Standard error of ``learned_g``."""
    spread_g: float
    """Standard deviation from unit to unit."""
    picks: int
    """How many certain picks it was learned from, since the product last changed at once."""
    used: bool
    """Whether the gateway goes by it; false beyond 15 % of the catalogue's weight."""


class PlateNoiseChanged(Data, frozen=True, kw_only=True):
    """For minutes a plate has trembled far more than it used to, or is as usual again."""

    NAME: ClassVar[str] = "plate.noise-changed"
    plate: str
    restless: bool
    """False: it was told before, and is over."""
    noise_g: float
    """Standard deviation of one sample now."""
    usual_g: float
    """What it has been over the last hours."""


class PlateUnweighed(Data, frozen=True, kw_only=True):
    """For minutes a plate has given no stable weight though its shelf is heard, or does again."""

    NAME: ClassVar[str] = "plate.unweighed"
    plate: str
    unweighed: bool
    """False: it was told before, and is over."""


ALL: tuple[type[Data], ...] = (
    SessionStarted,
    ItemPicked,
    ItemPutBack,
    AttributionRevised,
    ReviewRequested,
    ReviewResolved,
    CartClosed,
    CartAdjusted,
    SessionEnded,
    ShelfChangedUnattended,
    ProductScanned,
    ScanRejected,
    DoorNotOpened,
    DeviceLost,
    DeviceRecovered,
    GatewayStartedData,
    DatabaseRecovered,
    GatewayStoppedData,
    InputsDropped,
    EventsDropped,
    ClockStepped,
    PlanogramAmbiguous,
    ProductWeightDrifted,
    PlateNoiseChanged,
    PlateUnweighed,
)


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine makes of an input; the commit adds the rest of the CloudEvent."""

    id: str
    type: str
    subject: str
    time: str
    """RFC 3339, when it happened."""
    data: msgspec.Raw
    """JSON of one of ``ALL``, without ``shopper``."""
    shopper: str | None = None
    """Only in ``session.started``; stored in a column of its own."""

    @property
    def name(self) -> str:
        """Return the event's name, for example ``item.picked``."""
        return name_of(self.type)


def event_id(gateway: str, epoch: str, number: int, index: int) -> str:
    """Name an event by its cause, so that a replay renames nothing.

    Args:
        gateway: Name of the gateway.
        epoch: The daemon's start.
        number: Number of the causing input within the epoch.
        index: Position among the events that this input caused, from 0.
    """
    cause = f"{gateway}/{epoch}/{number}/{index}".encode()
    return blake2b(cause, digest_size=16).hexdigest()
