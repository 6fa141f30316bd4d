# SPDX-License-Identifier: Apache-2.0
"""HX711-class bridges on a serial line. The protocol lives in ``codec``; this moves bytes.

Lines are handed on in blocks of about 200 ms, numbered by the driver: a block's ``boot`` is drawn
from the connection and the bridge's own boot, so that a restart of either begins a new count.
"""

import asyncio
import secrets
from collections.abc import Callable
from hashlib import blake2b
from typing import Final, NoReturn

from drivers.bridge.codec import T_MS_WRAP, Decoder, Noise, Reading
from drivers.bridge.config import BridgeConfig
from drivers.errors import DeviceGoneError, DeviceSilentError, OtherDeviceError
from drivers.gathering import gathered
from drivers.ports import Clock, Intake, OpenStream
from gateway.domain.inputs import Samples

ROWS_MAX: Final = 600
STUCK: Final = frozenset({0, -1})
"""What is read of a wire that no converter drives. A weight may pass through, but does not stay:
the last bits of 24 are noise."""
OTHER_PERIOD: Final = 0.05
"""Periods that differ by no more than this part are one: some bridges print what they measured."""
GAP_LINES_MAX: Final = 100_000
"""A jump of the line number by more than this is a new count, not a gap."""


class BridgeDriver:
    """Reads one bridge and hands on blocks of raw counts of one shelf."""

    def __init__(
        self,
        config: BridgeConfig,
        *,
        clock: Clock,
        open_stream: OpenStream,
        draw: Callable[[], str] = lambda: secrets.token_hex(8),
    ) -> None:
        """Prepare; ``run`` opens the port.

        Args:
            config: Which port, and which channel is which plate.
            clock: Stamps each block when its last byte has arrived.
            open_stream: Opens the port.
            draw: Draws the random part of a connection's boot.
        """
        self._config = config
        self._clock = clock
        self._open = open_stream
        self._draw = draw
        self._dev = config.dev
        """What the bridge that belongs here calls itself; None while that is not known."""
        self._stranger: str | None = None
        """Another name, in the line before."""

    async def run(self, intake: Intake, came_up: Callable[[], None]) -> NoReturn:
        """Open the port and hand on what the bridge measures.

        Raises:
            DeviceGoneError: The port cannot be opened, or was lost.
            DeviceSilentError: No good line for ``silence_ms_max``.
            OtherDeviceError: The bridge has another name than it had, or should have.
        """
        config = self._config
        decoder = Decoder(
            form=config.format,
            encoding=config.encoding,
            crc_required=config.crc == "required",
        )
        blocks = Blocks(config, self._draw())
        silence_s = config.silence_ms_max / 1_000
        loop = asyncio.get_running_loop()
        try:
            async with (
                self._open(config.url, config.baud) as stream,
                asyncio.timeout(silence_s) as silence,
            ):
                while True:
                    results = decoder.feed(await stream.receive())
                    good = False
                    for result in results:
                        if isinstance(result, Noise):
                            intake.drop(config.device, result.reason)
                            continue
                        if self._is_strange(result):
                            intake.drop(config.device, "malformed")
                            continue
                        good = True
                        for block in blocks.add(result):
                            intake.offer(block.samples(config.device, self._clock))
                        if blocks.missed:
                            intake.drop(config.device, "gap", blocks.take_missed())
                    if good:
                        came_up()
                        silence.reschedule(loop.time() + silence_s)
                    await gathered()
        except TimeoutError:
            raise DeviceSilentError(
                config.device,
                f"no intelligible line on {config.url} for {config.silence_ms_max} ms",
                "Check the bridge's power, the baud rate and the format",
            ) from None
        except OSError as error:
            raise DeviceGoneError.of_line(config.device, config.url, error) from error

    def _is_strange(self, reading: Reading) -> bool:
        """Tell whether a line is of another bridge: its counts would be other weights.

        Raises:
            OtherDeviceError: It is the second one: no letter was damaged on the way.
        """
        self._dev = self._dev or reading.dev
        strange = reading.dev is not None and reading.dev != self._dev
        if strange and reading.dev == self._stranger:
            problem = f"bridge {reading.dev} is on {self._config.url}, where {self._dev} belongs"
            remedy = (
                "If it was exchanged, calibrate its plates, write "
                f'dev = "{reading.dev}" in its table and restart'
            )
            raise OtherDeviceError(self._config.device, problem, remedy)
        self._stranger = reading.dev if strange else None
        return strange


class Block:
    """Lines at equal distances, not yet stamped."""

    def __init__(self, boot: str, seq: int, t_ms: int, period_us: int) -> None:
        self.boot = boot
        self.seq = seq
        self.t_ms = t_ms
        self.period_us = period_us
        self.rows: list[list[float | None]] = []

    def samples(self, device: str, clock: Clock) -> Samples:
        """Return the input, stamped now."""
        return Samples(
            at=clock.stamp(),
            device=device,
            boot=self.boot,
            seq=self.seq,
            t_ms=self.t_ms,
            period_us=self.period_us,
            unit="raw",
            w=self.rows,
        )


class Blocks:
    """Groups readings into blocks. No I/O and no clock: the bridge's own ``t`` decides."""

    def __init__(self, config: BridgeConfig, connection: str) -> None:
        """Begin without a block.

        Args:
            config: Channels in plate order and the length of a block.
            connection: What tells this connection from every other.
        """
        self._config = config
        self._connection = connection
        self._bridge_boot: str | None = None
        self._boot = ""
        self._seq = 0
        self._block: Block | None = None
        self._last: Reading | None = None
        self.missed = 0
        """Lines that the bridge numbered and nobody saw, since ``take_missed``."""

    def take_missed(self) -> int:
        """Return and forget the number of missed lines."""
        missed, self.missed = self.missed, 0
        return missed

    def add(self, reading: Reading) -> list[Block]:
        """Take one reading; return the blocks that it completed."""
        done: list[Block] = []
        period_us = max(1, round(1e6 / (reading.sps or self._config.sps)))
        if not self._follows(reading, period_us):
            done += self._finish()
        if not self._boot or reading.boot != self._bridge_boot or self._restarted(reading):
            name = f"{self._connection}/{reading.boot}/{reading.seq}".encode()
            self._boot = blake2b(name, digest_size=8).hexdigest()
            self._bridge_boot, self._seq = reading.boot, 0
        if self._block is None:
            self._block = Block(self._boot, self._seq, reading.t_ms, period_us)
            self._seq += 1
        block = self._block
        block.rows.append(self._row(reading))
        self._last = reading
        rows_wanted = round(self._config.block_ms * 1_000 / block.period_us)
        if len(block.rows) >= min(max(1, rows_wanted), ROWS_MAX):
            done += self._finish()
        return done

    def _row(self, reading: Reading) -> list[float | None]:
        """Return each plate's counts; None also where its converter is not connected."""
        channels, last = self._config.channels, self._last
        row: list[float | None] = [reading.raw.get(channel) for channel in channels]
        if last is None or STUCK.isdisjoint(row):
            return row
        return [
            None if counts in STUCK and counts == last.raw.get(channel) else counts
            for channel, counts in zip(channels, row, strict=True)
        ]

    def _follows(self, reading: Reading, period_us: int) -> bool:
        """Whether a reading is the next row of the block that is open."""
        last, block = self._last, self._block
        if last is None:
            return True
        ahead = reading.seq - last.seq
        if reading.boot == last.boot and 1 < ahead <= GAP_LINES_MAX:
            self.missed += ahead - 1
        if block is None:
            return True
        # A late or early line begins a block of its own, with a time of its own.
        step_us = (reading.t_ms - last.t_ms) % T_MS_WRAP * 1_000
        near = abs(step_us - period_us) <= period_us // 2 + 2_000
        same = abs(block.period_us - period_us) <= OTHER_PERIOD * block.period_us
        return ahead == 1 and near and reading.boot == last.boot and same

    def _restarted(self, reading: Reading) -> bool:
        """Whether a bridge without a boot in its lines counts from the start again."""
        last = self._last
        return last is not None and reading.boot is None and reading.seq < last.seq

    def _finish(self) -> list[Block]:
        block, self._block = self._block, None
        return [] if block is None else [block]
