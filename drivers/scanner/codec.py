# SPDX-License-Identifier: Apache-2.0
"""Scans of a serial scanner, without I/O: bytes in, scans out.

A scan ends with CR, LF, CR LF or TAB; empty scans do not count. Bytes stay bytes: a QR code may
hold anything.
"""

import re
from dataclasses import dataclass
from typing import Final

SCAN_BYTES_MAX: Final = 1_024
_TERMINATORS: Final = re.compile(rb"[\r\n\t]")


@dataclass(frozen=True, slots=True)
class Scan:
    """What was read once, without its terminator. Not printed: it may be a token."""

    data: bytes

    def __repr__(self) -> str:
        """Hide the data."""
        return f"Scan({len(self.data)} bytes)"


@dataclass(frozen=True, slots=True)
class TooLong:
    """A scan of more than ``SCAN_BYTES_MAX`` bytes; nothing of it is kept."""


class Decoder:
    """Splits a byte stream into scans. The result never depends on how it was chunked."""

    def __init__(self) -> None:
        self._line = bytearray()
        self._too_long = False

    @property
    def pending(self) -> bool:
        """Whether a scan has begun and not ended."""
        return bool(self._line) or self._too_long

    def feed(self, data: bytes) -> list[Scan | TooLong]:
        """Take bytes as they came; return every scan that they ended, in order."""
        *ended, rest = _TERMINATORS.split(data)
        results: list[Scan | TooLong] = []
        for piece in ended:
            self._keep(piece)
            results += self.end()
        self._keep(rest)
        return results

    def end(self) -> list[Scan | TooLong]:
        """End the scan that has begun, as a terminator does; for a pause on the line."""
        line, too_long = bytes(self._line), self._too_long
        self._line.clear()
        self._too_long = False
        if too_long:
            return [TooLong()]
        return [Scan(line)] if line else []

    def _keep(self, piece: bytes) -> None:
        # Bytes past the limit are dropped, but the scan still ends at its terminator,
        # so one overlong scan is exactly one TooLong.
        room = SCAN_BYTES_MAX - len(self._line)
        self._too_long = self._too_long or len(piece) > room
        self._line += piece[:room]


def split_aim(data: bytes) -> tuple[str | None, bytes]:
    """Split an AIM identifier (ISO/IEC 15424: ``]``, a letter, a character) from the data."""
    if len(data) >= 3 and data[:1] == b"]" and data[1:3].isalnum() and data[1:2].isalpha():
        return data[:3].decode("ascii"), data[3:]
    return None, data
