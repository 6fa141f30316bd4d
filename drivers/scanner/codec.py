# SPDX-License-Identifier: Apache-2.0
"""Scans of a serial scanner, without I/O: bytes in, scans out.

A scan ends with CR, LF, CR LF or TAB; empty scans do not count. Bytes stay bytes: a QR code may
hold anything.
"""

import re
from dataclasses import dataclass
from typing import Final, Protocol

SCAN_BYTES_MAX: Final = 1_024
_TERMINATORS: Final = re.compile(rb"[\r\n\t]")


@dataclass(frozen=True, slots=True)
class Scan:
    """What was read once, without its terminator. Not printed: it may be a token."""

    data: bytes
    aim: str | None = None
    """AIM identifier, where the protocol itself tells the symbology; else it may lead the data."""

    def __repr__(self) -> str:
        """Hide the data."""
        return f"Scan({len(self.data)} bytes)"


@dataclass(frozen=True, slots=True)
class TooLong:
    """A scan of more than ``SCAN_BYTES_MAX`` bytes; nothing of it is kept."""


@dataclass(frozen=True, slots=True)
class Noise:
    """Bytes that were no scan; a run of them counts once."""

    reason: str
    """``malformed`` or ``checksum``."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Bytes that the scanner waits for."""

    data: bytes


Result = Scan | TooLong | Noise | Answer


class Decoding(Protocol):
    """What every scanner's codec does. Its results never depend on how bytes were chunked."""

    @property
    def pending(self) -> bool:
        """Whether a scan has begun and not ended."""
        ...

    def feed(self, data: bytes) -> list[Result]:
        """Take bytes as they came; return what they ended, in order."""
        ...

    def end(self) -> list[Result]:
        """End what has begun, for a pause on the line."""
        ...


class Decoder:
    """Splits a byte stream into scans."""

    def __init__(self, prefix: bytes = b"") -> None:
        """Begin with nothing read.

        Args:
            prefix: What the scanner puts before each scan; what stands before it is no part of
                the scan, and a line without it is noise.
        """
        self._prefix = prefix
        self._line = bytearray()
        self._too_long = False
        self._begun = not prefix
        self._noisy = False

    @property
    def pending(self) -> bool:
        """Whether a scan has begun and not ended."""
        begun = self._begun and bool(self._prefix)
        return begun or self._noisy or bool(self._line) or self._too_long

    def feed(self, data: bytes) -> list[Result]:
        """Take bytes as they came; return every scan that they ended, in order."""
        *ended, rest = _TERMINATORS.split(data)
        results: list[Result] = []
        for piece in ended:
            self._keep(piece)
            results += self.end()
        self._keep(rest)
        return results

    def end(self) -> list[Result]:
        """End the scan that has begun, as a terminator does; for a pause on the line."""
        line, too_long = bytes(self._line), self._too_long
        noisy = self._noisy and not self._begun
        self._line.clear()
        self._too_long = self._noisy = False
        self._begun = not self._prefix
        if too_long:
            return [TooLong()]
        if noisy:
            return [Noise("malformed")]
        return [Scan(line)] if line else []

    def _keep(self, piece: bytes) -> None:
        if not self._begun:
            # Of noise before a prefix no more is kept than may be its beginning.
            joined = bytes(self._line) + piece
            self._noisy = self._noisy or bool(joined)
            _, prefix, piece = joined.partition(self._prefix)
            if not prefix:
                self._line[:] = joined[max(0, len(joined) - len(self._prefix) + 1) :]
                return
            self._line.clear()
            self._begun = True
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
