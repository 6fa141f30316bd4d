# SPDX-License-Identifier: Apache-2.0
"""Frames of a scale out of a byte stream, without I/O. How it was chunked changes nothing.

A frame is found by its end: where the byte comes that ends frames of this protocol, what lies
before it is compared with their patterns, which hold at the end. So garbage and half a frame
before a good one do not spoil it. A frame's checksum may follow its end.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from drivers.scale.reading import (
    FAULT,
    GRAMS,
    GRAMS_MAX,
    Found,
    Noise,
    Reading,
    Result,
    Shown,
    unit_of,
)

BUFFER_BYTES: Final = 256
DAMAGED: Final = 0xFF
"""Stands for a byte whose parity is wrong; no 7-bit protocol has it."""

_BLANK: Final = b" \t\r\n\0"

Line = Literal["8N1", "7E1", "7O1", "7N2"]
"""Bits of a character. Ports are opened with 8 bits and no parity, which is as long on the wire;
the eighth bit is then the parity (or the first stop bit), and is looked at here."""


@dataclass(frozen=True, slots=True)
class Form:
    """One kind of frame."""

    pattern: re.Pattern[bytes]
    """Holds at a frame's end. Where it begins without ``\\A``, bytes before it are garbage."""
    read: Callable[[re.Match[bytes]], Found | None]
    """What the frame says; None: damaged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """What a protocol looks like on the line."""

    forms: tuple[Form, ...]
    ends: bytes = b"\r\n"
    """Any of these bytes ends a frame, and is taken off it; see ``keeps_end``."""
    keeps_end: bool = False
    whole: bytes = b""
    """Instead of ``ends``: these bytes together end a frame, and are taken off it."""
    check: Callable[[bytes, int], bool] | None = None
    """Judges the byte after the frame's end against the frame; None: there is none."""
    eight_bits: bool = False
    """Bytes are taken as they come: the eighth bit means something."""
    weak_start: bool = False
    """A frame cut at its start could pass for a whole one: what came before the first end, and
    before the end after an overlong frame, is not read."""


@dataclass(frozen=True, slots=True)
class Fitting:
    """A frame that has one of a protocol's forms."""

    before: bytes
    """What lay before it."""
    frame: bytes
    found: Found | None


class Decoder:
    """Turns bytes into what a scale says. The result never depends on how they were chunked."""

    def __init__(self, wire: Wire, *, line: Line = "8N1", unit: str | None = None) -> None:
        """Begin with an empty buffer.

        Args:
            wire: The protocol.
            line: Bits of a character; with a parity, bytes are checked by it.
            unit: What a weight without a unit is in; None: what the scale last showed.
        """
        self._wire = wire
        self._bits = None if wire.eight_bits else _received(line)
        self._unit = unit
        self._buffer = bytearray()
        self._too_long = False
        self._cut = wire.weak_start
        self._waits: tuple[bytes, Found | None] | None = None
        self._last: tuple[bytes, Fitting | None] = b"", None
        """The frame before, and what it says."""
        self._weighed: Result | None = None
        """What that is in grams, once it was asked for: another unit would take another frame."""
        self._ends = re.compile(
            re.escape(wire.whole) if wire.whole else b"[" + re.escape(wire.ends) + b"]"
        )

    @property
    def pending(self) -> bool:
        """Whether a frame has begun and not ended."""
        return bool(self._buffer.strip(_BLANK)) or self._waits is not None

    def feed(self, data: bytes) -> list[Result]:
        """Take bytes as they came; return what the frames that they ended say, in order."""
        if self._bits is not None:
            data = data.translate(self._bits)
        results: list[Result] = []
        at = 0
        while at < len(data):
            if self._waits is not None:
                at += self._check(data[at], results)
                continue
            end = self._end_in(data, at)
            self._keep(data[at : len(data) if end is None else end])
            if end is None:
                break
            at = end
            self._ended(results)
        return results

    def give_up(self) -> list[Result]:
        """Drop a frame that began and did not end in time."""
        pending, self._waits = self.pending, None
        self._buffer.clear()
        self._too_long = False
        # Its rest may still come.
        self._cut = self._wire.weak_start
        return [Noise("malformed", "a frame did not end in time")] if pending else []

    def _end_in(self, data: bytes, at: int) -> int | None:
        """Return where in ``data`` the frame ends; its end may have begun in the buffer."""
        overlap = max(len(self._wire.whole) - 1, 0)
        if not overlap:
            found = self._ends.search(data, at)
            return None if found is None else found.end()
        before = bytes(self._buffer[-overlap:])
        found = self._ends.search(before + data[at:])
        return None if found is None else at + found.end() - len(before)

    def _keep(self, piece: bytes) -> None:
        # The newest bytes count: garbage without end does not hide the frame that follows it.
        self._buffer += piece
        if len(self._buffer) > BUFFER_BYTES:
            self._too_long = True
            del self._buffer[:-BUFFER_BYTES]

    def _ended(self, results: list[Result]) -> None:
        wire = self._wire
        frame, too_long, cut = bytes(self._buffer), self._too_long, self._cut
        self._buffer.clear()
        self._too_long = self._cut = False
        if too_long:
            results.append(Noise("too-long", f"more than {BUFFER_BYTES} bytes without an end"))
        if cut or (too_long and wire.weak_start):
            return
        if not wire.keeps_end:
            frame = frame[: -(len(wire.whole) or 1)]
        if not frame.strip(_BLANK):
            return
        # A scale at rest repeats itself.
        if frame != self._last[0]:
            self._last, self._weighed = (frame, _fitting(frame, wire.forms)), None
        fitting = self._last[1]
        if fitting is None:
            if not too_long:
                results.append(self._reading(frame, None))
            return
        if fitting.before.strip(_BLANK):
            results.append(Noise("garbage", repr(fitting.before)))
        if wire.check is not None:
            self._waits = fitting.frame, fitting.found
        else:
            results.append(self._reading(frame, fitting.found))

    def _check(self, byte: int, results: list[Result]) -> int:
        """Judge a frame by the byte after it; return how many bytes that took."""
        assert self._waits is not None
        assert self._wire.check is not None
        (frame, found), self._waits = self._waits, None
        if self._wire.check(frame, byte):
            results.append(self._reading(frame, found))
            return 1
        # The byte may begin the next frame.
        results.append(Noise("checksum", repr(frame)))
        return 0

    def _reading(self, frame: bytes, found: Found | None) -> Result:
        if found is None:
            damaged = self._bits is not None and DAMAGED in frame
            return Noise("parity" if damaged else "malformed", repr(frame))
        if not isinstance(found, Shown):
            return found
        if self._weighed is None:
            self._weighed = self._in_grams(frame, found)
        return self._weighed

    def _in_grams(self, frame: bytes, shown: Shown) -> Result:
        """Convert to grams, in the unit that the frame says or, without one, the one before."""
        if shown.unit is not None:
            self._unit = unit_of(shown.unit)
        unit, amount = self._unit, shown.amount
        factor = None if unit is None else GRAMS.get(unit)
        if factor is None:
            if amount is not None and unit is None:
                return Noise("unit", f"{frame!r} names no unit, and none is set")
            # It counts pieces or shows per cent: it is there, and does not weigh.
            flags = shown.flags if amount is None else shown.flags | FAULT
            return Reading(None, shown.stable, shown.net, None, flags, unit, shown.channel)
        grams = None if amount is None else amount * factor
        tare_g = None if shown.tare is None else shown.tare * factor
        if any(abs(weight) > GRAMS_MAX for weight in (grams, tare_g) if weight is not None):
            return Noise("malformed", f"{frame!r} is beyond {GRAMS_MAX} g")
        return Reading(grams, shown.stable, shown.net, tare_g, shown.flags, unit, shown.channel)


def sent(data: bytes, line: Line) -> bytes:
    """Return bytes to send on a port with 8 bits and no parity to a device on another line."""
    return data.translate(_SENT[line])


def _fitting(frame: bytes, forms: tuple[Form, ...]) -> Fitting | None:
    """Return what a frame says by the first form that it has; None: it has none."""
    for form in forms:
        match = form.pattern.search(frame)
        if match is not None:
            return Fitting(frame[: match.start()], match[0], form.read(match))
    return None


def _parity(byte: int) -> int:
    return byte.bit_count() & 1


def _received(line: Line) -> bytes:
    """Return the table from received bytes to 7-bit characters."""
    odd = {"7E1": 0, "7O1": 1}.get(line)
    if odd is None:
        return bytes(byte & 0x7F for byte in range(256))
    return bytes(byte & 0x7F if _parity(byte) == odd else DAMAGED for byte in range(256))


_LOW: Final = bytes(byte & 0x7F for byte in range(256))
_SENT: Final[dict[Line, bytes]] = {
    "8N1": bytes(range(256)),
    "7E1": bytes(byte | _parity(byte) << 7 for byte in _LOW),
    "7O1": bytes(byte | (_parity(byte) ^ 1) << 7 for byte in _LOW),
    "7N2": bytes(byte | 0x80 for byte in _LOW),
}
