# SPDX-License-Identifier: Apache-2.0
"""Devices on serial lines, on pseudo-terminals: the line, an HX711-class bridge, a scanner."""

import binascii
import errno
import os
import pty
import secrets
import tty
from pathlib import Path
from typing import Protocol

import msgspec

PENDING_BYTES_MAX = 4_096
"""What a line keeps while nobody reads; more is lost, as on a wire."""


class Line:
    """The device's end of a serial line."""

    def __init__(self, link: Path) -> None:
        """Make a pseudo-terminal and a link to the end that the gateway opens.

        Args:
            link: Where to put the link; one that is there is replaced.
        """
        self._device, self._gateway = pty.openpty()
        # The gateway's end stays open here, so that it may come and go like on a wire.
        tty.setraw(self._gateway)
        os.set_blocking(self._device, False)
        self._link = link
        self._pending = bytearray()
        link.unlink(missing_ok=True)
        link.symlink_to(os.ttyname(self._gateway))

    @property
    def descriptor(self) -> int:
        """Return what to watch for bytes from the gateway."""
        return self._device

    def read(self) -> bytes:
        """Return what the gateway sent; empty: nothing yet."""
        try:
            return os.read(self._device, PENDING_BYTES_MAX)
        except BlockingIOError:
            return b""

    def write(self, data: bytes) -> None:
        """Send bytes without waiting; what the line cannot hold is lost as a whole."""
        if len(self._pending) + len(data) <= PENDING_BYTES_MAX:
            self._pending += data
        while self._pending:
            try:
                sent = os.write(self._device, self._pending)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                return
            del self._pending[:sent]

    def close(self) -> None:
        """Unplug."""
        self._link.unlink(missing_ok=True)
        os.close(self._device)
        os.close(self._gateway)


class Wire(Protocol):
    """What a device writes to."""

    def write(self, data: bytes) -> None:
        """Send bytes without waiting."""
        ...


class Bridge:
    """A microcontroller with HX711 converters that writes one JSON line a sample."""

    def __init__(self, line: Wire, name: str, sps: float) -> None:
        self._line = line
        self._name = name
        self._sps = sps
        self._boot = secrets.token_hex(8)
        self._seq = 0
        self._encoder = msgspec.json.Encoder()

    def sample(self, counts: list[int | None], t_ms: int) -> None:
        """Send one sample of every channel.

        Args:
            counts: By channel; None: not ready or saturated.
            t_ms: Since the bridge's start.
        """
        body = self._encoder.encode(
            {
                "v": 1,
                "dev": self._name,
                "boot": self._boot,
                "seq": self._seq,
                "t": t_ms % 2**32,
                "sps": self._sps,
                "ch": list(enumerate(counts)),
            }
        )[:-1]
        # CRC-16/CCITT-FALSE, over the text up to and excluding its own comma.
        crc = binascii.crc_hqx(body, 0xFFFF)
        self._line.write(b'%s,"crc":"%04X"}\n' % (body, crc))
        self._seq += 1


class EntryScanner:
    """A scanner that types what it reads and a carriage return."""

    def __init__(self, line: Line) -> None:
        self._line = line

    def read(self, text: str) -> None:
        """Read a code."""
        self._line.write(text.encode() + b"\r")
