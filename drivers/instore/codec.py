# SPDX-License-Identifier: Apache-2.0
"""The in-store contract, version 1, without I/O: a topic and its payload in, one value out.

Total: whatever bytes arrive, the answer is an input, a scan still to be verified, or a rejection
that says why. A rejected message harms nothing else. Repeats, gaps and device clocks are not
judged here: they are the engine's, from the fields that every input carries.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Final, Literal, NamedTuple, TypedDict

import msgspec
from msgspec import Meta

from gateway.domain.inputs import (
    DeviceStatus,
    DoorState,
    Looked,
    LookedFrame,
    People,
    PersonSeen,
    Samples,
    Stamp,
    Wrist,
)
from gateway.domain.store import Store

PAYLOAD_BYTES_MAX: Final = 64 * 1024
SAMPLES_MAX: Final = 600
PEOPLE_MAX: Final = 64
LOOKED_FRAMES_MAX: Final = 64
WRISTS_MAX: Final = 4
APPEARANCE_MAX: Final = 512
TEXT_MAX: Final = 1024
"""Longest text of a scan, in characters."""
DEVICE_NAME_MAX: Final = 128
"""Longer names of unknown devices are cut to this in rejections."""

Name = Annotated[str, Meta(min_length=1, max_length=64)]
Count = Annotated[int, Meta(ge=0, le=2**53)]
Milliseconds = Annotated[float, Meta(ge=0, le=2**53)]
Unit = Annotated[float, Meta(ge=0, le=1)]
Mm = Annotated[float, Meta(ge=-1e6, le=1e6)]
SigmaMm = Annotated[float, Meta(gt=0, le=1e5)]
Point = tuple[Mm, Mm, Mm]


class Numbered(msgspec.Struct, kw_only=True):
    """What every message but ``status`` carries."""

    v: Literal[1]
    boot: Name
    """64 random bits in hex, drawn when the device starts."""
    seq: Count
    """Counts from 0 within a boot."""
    t_ms: Count | None = None
    """Milliseconds since the device's boot; may wrap at 2^32. Left out by a device without a
    clock."""
    host_boot: Name | None = None
    """Kernel boot id of a sender on the gateway's own host."""
    host_mono_ms: Milliseconds | None = None
    """CLOCK_BOOTTIME of that sender, in milliseconds; goes with ``host_boot``."""


class Heading(TypedDict):
    """What every input of a numbered message begins with."""

    at: Stamp
    device: str
    boot: str
    seq: int
    t_ms: int | None
    host_boot: str | None
    host_mono_ms: float | None


def heading(message: Numbered, device: str, stamp: Stamp) -> Heading:
    """Return the fields that an input takes over from its message.

    Args:
        message: As it came.
        device: ``<kind>/<name>`` that sent it.
        stamp: When it arrived.
    """
    return Heading(
        at=stamp,
        device=device,
        boot=message.boot,
        seq=message.seq,
        t_ms=message.t_ms,
        host_boot=message.host_boot,
        host_mono_ms=message.host_mono_ms,
    )


class SamplesPayload(Numbered, kw_only=True):
    """``shelf/<shelf>/samples``: weights of a shelf's plates."""

    period_us: Annotated[int, Meta(ge=1, le=10_000_000)]
    """Between two samples, in microseconds."""
    unit: Literal["g", "raw"]
    """``raw``: ADC counts, to which the gateway applies the plate's calibration."""
    w: Annotated[list[list[float | None]], Meta(min_length=1, max_length=SAMPLES_MAX)]
    """``samples x plates`` in the shelf's plate order; null: not ready or saturated."""


class WristPayload(msgspec.Struct, kw_only=True):
    """A wrist in store coordinates."""

    mm: Point
    score: Unit = 1.0
    sigma_mm: SigmaMm = 60.0
    ray_mm: tuple[Point, Point] | None = None
    """The line of sight: the camera and a point."""


class PersonPayload(msgspec.Struct, kw_only=True):
    """One track in one camera's view."""

    track: Name
    score: Unit = 1.0
    floor_mm: tuple[Mm, Mm] | None = None
    floor_sigma_mm: SigmaMm = 150.0
    wrists: Annotated[list[WristPayload], Meta(max_length=WRISTS_MAX)] = []
    appearance: Annotated[list[Mm], Meta(max_length=APPEARANCE_MAX)] | None = None


class PeoplePayload(Numbered, kw_only=True):
    """``camera/<camera>/people``: everybody in one frame."""

    people: Annotated[list[PersonPayload], Meta(max_length=PEOPLE_MAX)]


class LookedFramePayload(msgspec.Struct, kw_only=True):
    """What a second look found in one frame."""

    after_ms: Annotated[int, Meta(ge=0, le=60_000)]
    """Since the first frame."""
    people: Annotated[list[PersonPayload], Meta(max_length=PEOPLE_MAX)]


class LookedPayload(Numbered, kw_only=True):
    """``camera/<camera>/looked``: the answer to a ``look``; ``t_ms`` is of its first frame."""

    look: Name
    frames: Annotated[list[LookedFramePayload], Meta(max_length=LOOKED_FRAMES_MAX)]


class ScanPayload(Numbered, kw_only=True):
    """``scanner/<scanner>/scan``: what a scanner read."""

    text: Annotated[str, Meta(max_length=TEXT_MAX)]
    aim: Annotated[str, Meta(min_length=3, max_length=3)] | None = None
    """AIM identifier of the symbology, for example ``]Q3``."""


class DoorPayload(Numbered, kw_only=True):
    """``door/<door>/state``: whether a door is open."""

    open: bool


class StatusPayload(msgspec.Struct, kw_only=True):
    """``<kind>/<name>/status``: birth and will of a device. Retained."""

    v: Literal[1]
    state: Literal["online", "offline"]
    boot: Name
    fw: Annotated[str, Meta(max_length=64)] | None = None
    looks: bool = False
    """A camera that answers ``look``."""
    reason: Annotated[str, Meta(max_length=200)] | None = None
    """Why it is offline."""


@dataclass(frozen=True, slots=True)
class Scanned:
    """A scan as it came; it may hold an entry token, so it is verified before the intake."""

    at: Stamp
    device: str
    message: ScanPayload

    def __repr__(self) -> str:
        """Hide the text: it may be a token."""
        return f"Scanned(device={self.device!r}, seq={self.message.seq})"


class Rejected(NamedTuple):
    """A message that was refused."""

    device: str
    reason: str
    """``malformed``, ``too-long``, ``retained``, ``unknown-device`` or ``unknown-topic``."""
    detail: str


Decoded = Samples | People | Looked | DoorState | DeviceStatus | Scanned | Rejected

_SAMPLES: Final = msgspec.json.Decoder(SamplesPayload)
_PEOPLE: Final = msgspec.json.Decoder(PeoplePayload)
_LOOKED: Final = msgspec.json.Decoder(LookedPayload)
_SCAN: Final = msgspec.json.Decoder(ScanPayload)
_DOOR: Final = msgspec.json.Decoder(DoorPayload)
_STATUS: Final = msgspec.json.Decoder(StatusPayload)


class Known(msgspec.Struct, frozen=True):
    """The devices of a store: from whom messages are taken."""

    root: str
    """Start of every topic, for example ``shelfgate/v1/store-12/``."""
    plates: dict[str, int]
    """Number of plates by shelf."""
    devices: frozenset[str]
    """``<kind>/<name>`` of all of them."""

    @classmethod
    def of(cls, store: Store) -> "Known":
        """Collect the devices of a store."""
        names = {
            "shelf": [shelf.name for shelf in store.shelves],
            "camera": [camera.name for camera in store.cameras],
            "scanner": [scanner.name for scanner in store.scanners],
            "door": list(store.doors),
        }
        return cls(
            root=f"shelfgate/v1/{store.name}/",
            plates={shelf.name: len(shelf.plates) for shelf in store.shelves},
            devices=frozenset(f"{kind}/{name}" for kind in names for name in names[kind]),
        )


class _RefusedError(Exception):
    """Leaves the decoding of one message; never leaves this module."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def decode(known: Known, topic: str, payload: bytes, *, retained: bool, stamp: Stamp) -> Decoded:
    """Turn one MQTT message into an input. Never raises, whatever the bytes are.

    Args:
        known: The store's devices; messages of others are refused.
        topic: Full topic.
        payload: As it arrived, at most 64 KiB.
        retained: Whether the broker delivered it as a retained message.
        stamp: When it arrived.
    """
    parts = topic.removeprefix(known.root).split("/")
    # Names end up in logs and on terminals.
    if len(parts) != 3 or not topic.startswith(known.root) or not topic.isprintable():
        return Rejected("mqtt/other", "unknown-topic", "not a topic of the in-store contract")
    kind, name, leaf = parts
    device = f"{kind}/{name}"
    try:
        _check_envelope(known, device, leaf, payload, retained=retained)
        build = _builder(kind, leaf)
        return build(payload, device, known.plates.get(name, 0), stamp)
    except _RefusedError as refused:
        return Rejected(device[:DEVICE_NAME_MAX], refused.reason, refused.detail)
    except msgspec.DecodeError as error:
        return Rejected(device, "malformed", str(error))
    except UnicodeDecodeError:
        return Rejected(device, "malformed", "invalid UTF-8")
    except RecursionError:
        return Rejected(device, "malformed", "nested too deeply")


_Builder = Callable[[bytes, str, int, Stamp], Decoded]
"""Payload, device, number of plates (0 but for shelves), stamp."""


def _builder(kind: str, leaf: str) -> _Builder:
    builder = _status if leaf == "status" else _BUILDERS.get((kind, leaf))
    if builder is None:
        raise _RefusedError("unknown-topic", f"a {kind} does not send this")
    return builder


def _check_envelope(
    known: Known, device: str, leaf: str, payload: bytes, *, retained: bool
) -> None:
    if device not in known.devices:
        raise _RefusedError("unknown-device", "the store file does not name this device")
    if retained and leaf != "status":
        raise _RefusedError("retained", "only a status may be retained")
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise _RefusedError("too-long", f"{len(payload)} bytes, the limit is {PAYLOAD_BYTES_MAX}")
    if not payload.isascii():
        payload.decode("utf-8")  # msgspec skips unknown fields without looking at their encoding.


def _check_text(field: str, text: str | None) -> None:
    if text is not None and not text.isprintable():
        raise _RefusedError("malformed", f"control characters - at `$.{field}`")


def _samples(payload: bytes, device: str, plates: int, stamp: Stamp) -> Samples:
    message = _SAMPLES.decode(payload)
    if set(map(len, message.w)) != {plates}:
        raise _RefusedError("malformed", f"a row does not hold {plates} weights - at `$.w`")
    _check_text("boot", message.boot)
    return Samples(
        **heading(message, device, stamp),
        period_us=message.period_us,
        unit=message.unit,
        w=message.w,
    )


def _people(payload: bytes, device: str, _plates: int, stamp: Stamp) -> People:
    message = _PEOPLE.decode(payload)
    _check_text("boot", message.boot)
    return People(
        **heading(message, device, stamp),
        people=_persons(message.people),
    )


def _looked(payload: bytes, device: str, _plates: int, stamp: Stamp) -> Looked:
    message = _LOOKED.decode(payload)
    _check_text("boot", message.boot)
    _check_text("look", message.look)
    after_ms = [frame.after_ms for frame in message.frames]
    if after_ms != sorted(set(after_ms)):
        raise _RefusedError("malformed", "frames are not in order of time - at `$.frames`")
    return Looked(
        **heading(message, device, stamp),
        look=message.look,
        frames=[LookedFrame(frame.after_ms, _persons(frame.people)) for frame in message.frames],
    )


def _persons(people: list[PersonPayload]) -> list[PersonSeen]:
    tracks = {person.track for person in people}
    if len(tracks) != len(people):
        raise _RefusedError("malformed", "a track is named twice - at `$.people`")
    for track in tracks:
        _check_text("people[...].track", track)
    return [
        PersonSeen(
            track=person.track,
            score=person.score,
            floor_mm=person.floor_mm,
            floor_sigma_mm=person.floor_sigma_mm,
            wrists=[
                Wrist(wrist.mm, wrist.score, wrist.sigma_mm, wrist.ray_mm)
                for wrist in person.wrists
            ],
            appearance=person.appearance,
        )
        for person in people
    ]


def _scan(payload: bytes, device: str, _plates: int, stamp: Stamp) -> Scanned:
    message = _SCAN.decode(payload)
    _check_text("boot", message.boot)
    return Scanned(stamp, device, message)


def _door(payload: bytes, device: str, _plates: int, stamp: Stamp) -> DoorState:
    message = _DOOR.decode(payload)
    _check_text("boot", message.boot)
    return DoorState(
        **heading(message, device, stamp),
        open=message.open,
    )


def _status(payload: bytes, device: str, _plates: int, stamp: Stamp) -> DeviceStatus:
    message = _STATUS.decode(payload)
    _check_text("boot", message.boot)
    _check_text("fw", message.fw)
    _check_text("reason", message.reason)
    return DeviceStatus(
        at=stamp,
        device=device,
        state=message.state,
        boot=message.boot,
        fw=message.fw,
        looks=message.looks,
        reason=message.reason,
    )


_BUILDERS: Final[dict[tuple[str, str], _Builder]] = {
    ("shelf", "samples"): _samples,
    ("camera", "people"): _people,
    ("camera", "looked"): _looked,
    ("scanner", "scan"): _scan,
    ("door", "state"): _door,
}
