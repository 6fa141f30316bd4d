# SPDX-License-Identifier: Apache-2.0
"""Entry scanners on a serial line. The protocol lives in ``codec``; this moves bytes.

Serial scanners have neither boot nor sequence: both are the driver's, new with each connection.
"""

import asyncio
import secrets
from collections.abc import Callable
from typing import Final, NoReturn

from drivers.entry.tokens import Verified
from drivers.errors import DeviceGoneError
from drivers.ports import ByteStream, Clock, Intake, OpenStream
from drivers.scanner.codec import Decoder, Scan, TooLong, split_aim
from drivers.scanner.config import ScannerConfig
from gateway.domain.inputs import EntryScanned, Stamp

HALF_LINE_S: Final = 1.0
"""A scan that began and never ended is given up after this long: the next one starts clean."""
RECENT_MAX: Final = 16
"""Codes remembered, to tell a repeat from a new scan."""


class ScannerDriver:
    """Reads one scanner; what it reads is verified as an entry token."""

    def __init__(
        self,
        config: ScannerConfig,
        *,
        clock: Clock,
        open_stream: OpenStream,
        verify: Callable[[str, Stamp], Verified],
        draw: Callable[[], str] = lambda: secrets.token_hex(8),
    ) -> None:
        """Prepare; ``run`` opens the port.

        Args:
            config: Which port, and how scans end.
            clock: Stamps each scan at its end.
            open_stream: Opens the port.
            verify: Judges a token.
            draw: Draws a connection's boot.
        """
        self._config = config
        self._clock = clock
        self._open = open_stream
        self._verify = verify
        self._draw = draw

    async def run(self, intake: Intake, came_up: Callable[[], None]) -> NoReturn:
        """Open the port and hand on what is scanned.

        A scanner that nobody uses is silent, so an open port counts as a good reading.

        Raises:
            DeviceGoneError: The port cannot be opened, or was lost.
        """
        config = self._config
        decoder, repeats = Decoder(), Repeats(config.repeat_ms * 1_000_000)
        boot, seq = self._draw(), 0
        try:
            async with self._open(config.url, config.baud) as stream:
                came_up()
                while True:
                    for result in await self._receive(stream, decoder, intake):
                        stamp = self._clock.stamp()
                        if isinstance(result, TooLong):
                            intake.drop(config.device, "too-long")
                        elif not repeats.is_one(result.data, stamp.mono_ns):
                            await intake.put(self._judged(result.data, boot, seq, stamp))
                            seq += 1
        except OSError as error:
            raise DeviceGoneError(
                config.device,
                f"{config.url}: {error.strerror or error}",
                "Check the cable, and who may open the port",
            ) from error

    async def _receive(
        self, stream: ByteStream, decoder: Decoder, intake: Intake
    ) -> list[Scan | TooLong]:
        """Wait for bytes, or for the pause that ends a scan; return the scans that ended."""
        by_pause = self._config.terminator == "idle"
        pause_s = self._config.idle_ms / 1_000 if by_pause else HALF_LINE_S
        try:
            async with asyncio.timeout(pause_s if decoder.pending else None):
                data = await stream.receive()
        except TimeoutError:
            ended = decoder.end()
            if by_pause:
                return ended
            intake.drop(self._config.device, "malformed")
            return []
        return decoder.feed(data)

    def _judged(self, data: bytes, boot: str, seq: int, stamp: Stamp) -> EntryScanned:
        token = split_aim(data)[1] if self._config.aim else data
        # Bytes beyond ASCII become marks that no token has.
        verified = self._verify(token.decode("ascii", errors="replace"), stamp)
        return EntryScanned(
            at=stamp,
            device=self._config.device,
            boot=boot,
            seq=seq,
            verdict=verified.verdict,
            shopper=verified.shopper,
            token_hash=verified.token_hash,
            expires_utc_ns=verified.expires_utc_ns,
        )


class Repeats:
    """Tells a code that is still before the scanner from one that is shown anew."""

    def __init__(self, window_ns: int) -> None:
        """Begin with nothing seen.

        Args:
            window_ns: A code again within this long of its last reading is a repeat.
        """
        self._window_ns = window_ns
        self._seen_ns: dict[bytes, int] = {}

    def is_one(self, data: bytes, now_ns: int) -> bool:
        """Mark a code as read now; tell whether it is a repeat."""
        before_ns = self._seen_ns.pop(data, None)
        self._seen_ns[data] = now_ns
        if len(self._seen_ns) > RECENT_MAX:
            del self._seen_ns[next(iter(self._seen_ns))]
        return before_ns is not None and now_ns - before_ns < self._window_ns
