# SPDX-License-Identifier: Apache-2.0
"""Scanners that type (HID keyboards), without I/O: Linux input events in, scans out.

An event is the kernel's ``struct input_event`` of this machine: two longs of time, then type, code
and value. The scanner has to be set to the US layout: a keyboard sends places of keys, no letters.
A key that is no letter here, an Alt or a caps lock would leave a wrong text, so they spoil a scan.
"""

import struct
from typing import Final

from drivers.scanner.codec import SCAN_BYTES_MAX, Noise, Result, Scan, TooLong

EVENT: Final = struct.Struct("@llHHi")
EV_SYN: Final = 0
EV_KEY: Final = 1
SYN_REPORT: Final = 0
SYN_DROPPED: Final = 3
UP: Final = 0
DOWN: Final = 1
"""2 is a key that is held and repeats; scanners hold none."""
CONTROL: Final = frozenset((29, 97))
SHIFT: Final = frozenset((42, 54))
ENDS: Final = frozenset((15, 28, 96))
"""Tab, Enter, and the number pad's Enter."""
_CONTROL_ENDS: Final = b"\t\n\r"


def _layout() -> dict[int, tuple[int, int]]:
    """Return plain and shifted letter of each key, by code (linux/input-event-codes.h)."""
    rows = (
        (2, "1234567890-=", "!@#$%^&*()_+"),
        (16, "qwertyuiop[]", "QWERTYUIOP{}"),
        (30, "asdfghjkl;'`", 'ASDFGHJKL:"~'),
        (43, "\\zxcvbnm,./", "|ZXCVBNM<>?"),
        (57, " ", " "),
        (71, "789-456+1230.", "789-456+1230."),
        (55, "*", "*"),
        (98, "/", "/"),
    )
    return {
        first + index: (ord(low), ord(high))
        for first, plain, shifted in rows
        for index, (low, high) in enumerate(zip(plain, shifted, strict=True))
    }


LAYOUT: Final = _layout()


class Decoder:
    """Collects what was typed until Enter or Tab. Holds one scan and less than one event."""

    def __init__(self) -> None:
        self._bytes = b""
        self._line = bytearray()
        self._held: set[int] = set()
        """Shifts and controls that are down."""
        self._spoilt = False
        self._too_long = False
        self._skipping = False

    @property
    def pending(self) -> bool:
        """Whether a scan has begun and not ended."""
        return bool(self._line) or self._spoilt or self._too_long

    def feed(self, data: bytes) -> list[Result]:
        """Take bytes as they came; return every scan that they ended, in order."""
        data = self._bytes + data
        whole = len(data) - len(data) % EVENT.size
        self._bytes = data[whole:]
        results: list[Result] = []
        for _, _, kind, code, value in EVENT.iter_unpack(data[:whole]):
            results += self._take(kind, code, value)
        return results

    def end(self) -> list[Result]:
        """End the scan that has begun, as Enter does; for a pause on the line."""
        line, spoilt, too_long = bytes(self._line), self._spoilt, self._too_long
        self._line.clear()
        self._spoilt = self._too_long = False
        if too_long:
            return [TooLong()]
        if spoilt:
            return [Noise("malformed")]
        return [Scan(line)] if line else []

    def _take(self, kind: int, code: int, value: int) -> list[Result]:
        if kind == EV_SYN and code == SYN_DROPPED:
            # The kernel's own buffer was full: keys are missing, and who knows which are down.
            self._skipping = self._spoilt = True
            self._held.clear()
        elif kind == EV_SYN and code == SYN_REPORT:
            self._skipping = False
        elif kind == EV_KEY and not self._skipping:
            return self._key(code, value)
        return []

    def _key(self, code: int, value: int) -> list[Result]:
        if code in CONTROL or code in SHIFT:
            if value == UP:
                self._held.discard(code)
            elif value == DOWN:
                self._held.add(code)
            return []
        if value != DOWN:
            return []
        if code in ENDS:
            return self.end()
        return self._letter(code)

    def _letter(self, code: int) -> list[Result]:
        plain, shifted = LAYOUT.get(code, (0, 0))
        letter = shifted if self._held & SHIFT else plain
        if self._held & CONTROL:
            letter = plain & 0x1F if 0x5B <= (plain & ~0x20) <= 0x5F or chr(plain).isalpha() else 0
            if letter in _CONTROL_ENDS:
                return self.end()
        if not letter:
            self._spoilt = True
        elif len(self._line) < SCAN_BYTES_MAX:
            self._line.append(letter)
        else:
            self._too_long = True
        return []
