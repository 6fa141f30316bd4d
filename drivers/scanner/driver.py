# SPDX-License-Identifier: Apache-2.0
"""Scanners, whatever they speak. Protocols live in codecs; this moves bytes.

Such scanners have neither boot nor sequence: both are the driver's, new with each connection.
"""

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, NoReturn

from drivers.errors import DeviceGoneError
from drivers.instore.codec import Heading
from drivers.labels.judging import Judge
from drivers.ports import ByteStream, Clock, Intake, OpenStream
from drivers.scanner.codec import Answer, Decoder, Decoding, Noise, Result, Scan, TooLong, split_aim
from drivers.scanner.config import ScannerConfig
from gateway.domain.rescans import Repeats

HALF_LINE_S: Final = 1.0
"""A scan that began and never ended is given up after this long: the next one starts clean."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """How the scans of one scanner are read."""

    device: str
    url: str
    baud: int
    repeat_ms: int
    decoder: Callable[[], Decoding]
    """Makes the codec of a new connection."""
    pause_s: float
    """How long the rest of a scan is waited for."""
    pause_ends: bool
    """Whether what came before such a pause counts, or is given up."""
    aim: bool = False
    """Whether entry tokens have an AIM identifier before them."""
    greeting: bytes = b""
    """What the scanner is told at first."""


def line_of(config: ScannerConfig) -> Line:
    """Return how scans of a scanner that sends lines are read."""
    by_pause = config.terminator == "idle"
    return Line(
        device=config.device,
        url=config.url,
        baud=config.baud,
        repeat_ms=config.repeat_ms,
        decoder=partial(Decoder, config.prefix.encode()),
        pause_s=config.idle_ms / 1_000 if by_pause else HALF_LINE_S,
        pause_ends=by_pause,
        aim=config.aim,
    )


class ScannerDriver:
    """Reads one scanner; what it reads is judged as an entry token or as a product."""

    def __init__(
        self,
        line: Line,
        *,
        clock: Clock,
        open_stream: OpenStream,
        judge: Judge,
        draw: Callable[[], str] = lambda: secrets.token_hex(8),
    ) -> None:
        """Prepare; ``run`` opens the port.

        Args:
            line: Which port, and how scans are read from it.
            clock: Stamps each scan at its end.
            open_stream: Opens the port.
            judge: Says what was scanned.
            draw: Draws a connection's boot.
        """
        self._line = line
        self._clock = clock
        self._open = open_stream
        self._judge = judge
        self._draw = draw

    async def run(self, intake: Intake, came_up: Callable[[], None]) -> NoReturn:
        """Open the port and hand on what is scanned.

        A scanner that nobody uses is silent, so an open port counts as a good reading.

        Raises:
            DeviceGoneError: The port cannot be opened, or was lost.
        """
        line = self._line
        decoder, repeats = line.decoder(), Repeats(line.repeat_ms * 1_000_000)
        boot, seq = self._draw(), 0
        try:
            async with self._open(line.url, line.baud) as stream:
                if line.greeting:
                    await stream.send(line.greeting)
                came_up()
                while True:
                    for result in await self._receive(stream, decoder, intake):
                        if isinstance(result, Answer):
                            await stream.send(result.data)
                        elif isinstance(result, Scan):
                            seq += await self._scanned(result, boot, seq, repeats, intake)
                        else:
                            intake.drop(line.device, _reason(result))
                    # A line that is never empty leaves room for others all the same.
                    await asyncio.sleep(0)
        except OSError as error:
            raise DeviceGoneError.of_line(line.device, line.url, error) from error

    async def _receive(self, stream: ByteStream, decoder: Decoding, intake: Intake) -> list[Result]:
        """Wait for bytes, or for the pause that ends a scan; return what they ended."""
        line = self._line
        try:
            async with asyncio.timeout(line.pause_s if decoder.pending else None):
                data = await stream.receive()
        except TimeoutError:
            ended = decoder.end()
            if line.pause_ends:
                return ended
            intake.drop(line.device, "malformed")
            return []
        return decoder.feed(data)

    async def _scanned(
        self, scan: Scan, boot: str, seq: int, repeats: Repeats, intake: Intake
    ) -> int:
        """Hand on a scan that is no repeat; return how many inputs it made."""
        stamp = self._clock.stamp()
        if repeats.is_one(scan.data, stamp.mono_ns):
            return 0
        line, data, aim = self._line, scan.data, scan.aim
        if line.aim or self._judge.reads_products(line.device):
            led, data = split_aim(data)
            aim = led or aim
        # Bytes beyond ASCII become marks that neither a token nor a product's code has.
        text = data.decode("ascii", errors="replace")
        heading = Heading(
            at=stamp,
            device=line.device,
            boot=boot,
            seq=seq,
            t_ms=None,
            host_boot=None,
            host_mono_ms=None,
        )
        judged = self._judge.judge(heading, text, aim)
        if judged is None:
            intake.drop(line.device, "rejected")
            return 0
        await intake.put(judged)
        return 1


def _reason(result: Noise | TooLong) -> str:
    return result.reason if isinstance(result, Noise) else "too-long"
