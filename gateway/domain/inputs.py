# SPDX-License-Identifier: Apache-2.0
"""What the store tells the gateway. Every value here can be journaled before the engine sees it.

Inputs are stamped at the edge, in one place (the intake); the engine has no other source of time.
"""

from typing import Literal

import msgspec

from gateway.domain.store import Store


class Stamp(msgspec.Struct, frozen=True):
    """When an input was taken in, on the gateway's clocks."""

    mono_ns: int
    """CLOCK_BOOTTIME, nanoseconds: measures."""
    utc_ns: int
    """CLOCK_REALTIME, nanoseconds since 1970: labels."""
    utc_trusted: bool
    """Whether the kernel's clock is synchronised."""
    utc_error_ms: int | None
    """Greatest error of ``utc_ns`` in milliseconds; None when unknown."""
    boot: str
    """The kernel's boot id."""


class Input(msgspec.Struct, frozen=True, kw_only=True, tag=True, tag_field="input"):
    """One observation. Subclasses carry their own name in the field ``input`` of the JSON."""

    at: Stamp


class DeviceInput(Input, frozen=True, kw_only=True):
    """An input that a device numbered: ``(device, boot, seq)`` names it."""

    device: str
    """``<kind>/<name>``, for example ``shelf/g1.s2``."""
    boot: str
    seq: int
    t_ms: int | None = None
    """Milliseconds since the device's boot (of the first sample); may wrap at 2^32."""
    host_boot: str | None = None
    host_mono_ms: float | None = None
    """CLOCK_BOOTTIME of a sender on the gateway's own host; wins over ``t_ms``."""


class Samples(DeviceInput, frozen=True, kw_only=True, tag="samples"):
    """A block of weights of one shelf."""

    period_us: int
    unit: Literal["g", "raw"]
    w: list[list[float | None]]
    """``samples x plates`` in the shelf's plate order; None: not ready or saturated."""


class Wrist(msgspec.Struct, frozen=True):
    """A wrist in store coordinates."""

    mm: tuple[float, float, float]
    score: float = 1.0
    sigma_mm: float = 60.0
    ray_mm: tuple[tuple[float, float, float], tuple[float, float, float]] | None = None


class PersonSeen(msgspec.Struct, frozen=True):
    """One track in one camera's view. All but ``track`` may be absent."""

    track: str
    score: float = 1.0
    floor_mm: tuple[float, float] | None = None
    floor_sigma_mm: float = 150.0
    wrists: list[Wrist] = []
    appearance: list[float] | None = None


class People(DeviceInput, frozen=True, kw_only=True, tag="people"):
    """Everybody that one camera sees in one frame."""

    people: list[PersonSeen]


class LookedFrame(msgspec.Struct, frozen=True):
    """What a second look found in one frame."""

    after_ms: int
    """Since the first frame of the look."""
    people: list[PersonSeen]


class Looked(DeviceInput, frozen=True, kw_only=True, tag="looked"):
    """A camera's answer to ``look``: hands near a place, frame by frame; dated by its first frame.

    Tracks are those that the camera told of before.
    """

    look: str
    """Of the effect that asked."""
    frames: list[LookedFrame]


TokenVerdict = Literal[
    "valid",
    "expired",
    "not-yet-valid",
    "other-store",
    "bad-signature",
    "malformed",
    "keys-too-old",
]
"""What an entry token is found to be."""


class EntryScanned(DeviceInput, frozen=True, kw_only=True, tag="entry-scanned"):
    """An entry token, already verified at the edge; the token itself never comes this far."""

    verdict: TokenVerdict
    shopper: str | None = None
    """Pseudonym; None unless valid."""
    token_hash: str | None = None
    """Hash of the token's id (``jti``); the engine judges replay by it."""
    expires_utc_ns: int | None = None
    """After this (skew included) the token cannot verify any more; marks are purged by it."""


ScanFault = Literal[
    "check-digit", "inner-check-digit", "contradictory", "malformed", "not-a-product"
]
"""Why a code is no product's."""


class ProductScanned(DeviceInput, frozen=True, kw_only=True, tag="product-scanned"):
    """A product's code, read and checked at the edge. Amounts are decimals in text."""

    code: str
    """The number as it is printed: 8, 12, 13 or 14 digits."""
    gtin: str | None
    """14 digits; None for an in-store number with a measure inside."""
    item: str | None = None
    """The retailer's own number in such an in-store number."""
    aim: str | None = None
    quantity: int | None = None
    weight_g: str | None = None
    price: str | None = None
    """In major units, of ``currency`` where that is known."""
    currency: str | None = None
    lot: str | None = None
    serial: str | None = None
    expiry: str | None = None
    """ISO 8601 date, the last day to use it."""
    best_before: str | None = None
    """ISO 8601 date."""


class ScanRejected(DeviceInput, frozen=True, kw_only=True, tag="scan-rejected"):
    """What a scanner of products read and cannot be a product's code."""

    reason: ScanFault
    detail: str
    """In words, without what was read."""
    code: str | None = None
    """The number, where it was 8 to 14 digits. Whatever else was read may be a token."""


class DoorState(DeviceInput, frozen=True, kw_only=True, tag="door-state"):
    """A door says whether it is open."""

    open: bool


class DoorNotOpened(Input, frozen=True, kw_only=True, tag="door-not-opened"):
    """A door could not be asked to open; it is not asked later."""

    effect: str
    """Of the effect that asked."""
    door: str
    session: str
    reason: Literal["unreachable", "lost", "late"]
    """``unreachable``: there was no line to it. ``lost``: the line failed at that moment. ``late``:
    writing the entry down took so long that somebody else may stand there."""


class DeviceStatus(Input, frozen=True, kw_only=True, tag="device-status"):
    """A device's birth or will, or what a driver knows of the line to it."""

    device: str
    state: Literal["online", "offline"]
    boot: str
    fw: str | None = None
    reason: str | None = None
    looks: bool = False
    """A camera that answers ``look``."""


class Rezeroed(Input, frozen=True, kw_only=True, tag="rezeroed"):
    """A scale's zero or tare was set by its driver: its weights go on from another zero.

    Samples before it are by the old zero, samples after it by the new one.
    """

    device: str


class Dropped(Input, frozen=True, kw_only=True, tag="dropped"):
    """The edge refused or lost inputs of one device since the last such report."""

    device: str
    reason: str
    """A short word: ``malformed``, ``overflow``, ``rejected``, ``retained``, ``too-long``."""
    count: int


class LinkState(Input, frozen=True, kw_only=True, tag="link-state"):
    """Whether the uplink is connected with no PUBACK overdue."""

    online: bool


class StoreChanged(Input, frozen=True, kw_only=True, tag="store-changed"):
    """The store file was read again and differs."""

    store: Store


class Command(Input, frozen=True, kw_only=True, tag="command"):
    """A command from upstream. ``data`` is checked by the engine against the command's type."""

    id: str
    name: str
    """``planogram``, ``prices``, ``backfill``, ``review``, ``erase``, ``zero`` or ``tare``; others
    get an error."""
    data: msgspec.Raw = msgspec.Raw(b"{}")


class Tick(Input, frozen=True, kw_only=True, tag="tick"):
    """Time passed. Timeouts in the engine fire on ticks, never on a timer."""


class StateRow(msgspec.Struct, frozen=True):
    """One row of the durable state; ``value`` is JSON, and ``null`` deletes the row."""

    kind: str
    key: str
    value: msgspec.Raw  # Not ``Raw | None``: msgspec takes nothing but null for that.

    @property
    def deletes(self) -> bool:
        """Whether the row is to go."""
        return bytes(self.value) == b"null"


EvidencePart = Literal["plate-shares", "wrists", "carts", "look-back", "learning", "stock"]
"""Parts of what the engine judges by."""


class Tuning(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator may tune in the engine."""

    certainty: float = 0.9
    """What is less certain is told by its likeliest explanation, and put up for review as well."""
    exit_after_ms: int = 1_500
    """A person last seen in an exit zone has left after this long unseen."""
    visit_max_s: int = 3_600
    """A session is closed by time after this long."""
    unseen_max_s: int = 120
    """A session whose persons nobody sees is closed by time after this long."""
    entry_wait_ms: int = 10_000
    """How long a valid entry scan waits for a person in the entry zone."""
    doubt_wait_ms: int = 15_000
    """A cart in doubt stays open this long after its shopper left: what comes later may tell."""
    companions: bool = True
    """Whoever comes in without a scan, right beside somebody who scanned, shares that session."""


class EngineSettings(Tuning, frozen=True, kw_only=True):
    """All that the engine is set to; recorded at every start."""

    without: tuple[EvidencePart, ...] = ()
    """Parts of the evidence that are left out, to measure what each is worth; for the exam only."""


class Recovery(msgspec.Struct, frozen=True, kw_only=True):
    """Why the database is not the one that the daemon left behind, and what is left of it."""

    reason: Literal["corrupt", "restored", "copied"]
    """``corrupt``: set aside, and what could be read was carried over. ``restored``: an older copy
    of this gateway's own. ``copied``: it comes from another machine."""
    set_aside: str | None = None
    """Name of the file that was set aside, in the database's directory."""
    events_kept: int | None = None
    """Events carried over, sent or not; None when nothing had to be."""
    rows_kept: int | None = None
    """Rows of the durable state carried over; None when nothing had to be."""
    complete: bool = True
    """Whether everything could be read; false for an older copy too."""


class GatewayStarted(Input, frozen=True, kw_only=True, tag="gateway-started"):
    """The first input of an epoch: everything the engine needs to begin."""

    gateway: str
    version: str
    """Version of the software."""
    epoch: str
    """128 random bits, hex."""
    previous_epoch: str | None
    previous_sequence: int | None
    """Last sequence of the previous epoch; None when it had none."""
    settings: EngineSettings
    store: Store
    state: list[StateRow]
    recovery: Recovery | None = None
    """Set when the database was mended or is another one than the daemon left behind."""


class GatewayGap(Input, frozen=True, kw_only=True, tag="gateway-gap"):
    """The gateway was down since ``since_utc_ns``; effects outstanding are void."""

    since_utc_ns: int
    since_boot: str
    since_mono_ns: int


class GatewayStopping(Input, frozen=True, kw_only=True, tag="gateway-stopping"):
    """The daemon was asked to stop; the last input of an epoch that ends well."""

    reason: str


AnyInput = (
    Samples
    | People
    | Looked
    | EntryScanned
    | ProductScanned
    | ScanRejected
    | DoorState
    | DoorNotOpened
    | DeviceStatus
    | Rezeroed
    | Dropped
    | LinkState
    | StoreChanged
    | Command
    | Tick
    | GatewayStarted
    | GatewayGap
    | GatewayStopping
)
