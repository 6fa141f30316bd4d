# SPDX-License-Identifier: Apache-2.0
"""The driver of a shelf on Modbus transmitters: asks each in turn, and hands on blocks of grams."""

import asyncio
import secrets
from collections.abc import Callable
from typing import Final, NoReturn

import msgspec

from drivers.errors import DeviceGoneError, DeviceSilentError
from drivers.modbus import maps
from drivers.modbus.codec import Question, Refused
from drivers.modbus.config import ModbusConfig
from drivers.modbus.line import Line, OpenShared
from drivers.ports import Clock, Intake
from drivers.scale.grid import Grid
from drivers.scale.reading import Reading


class Transmitter:
    """One transmitter of a shelf: what is read of it, and when it was heard."""

    def __init__(self, unit_id: int, plan: maps.Plan, plates: dict[int, int]) -> None:
        self.unit_id = unit_id
        self.plan = plan
        self.plates = plates
        """The shelf's plate of each channel."""
        self.heard_s: float | None = None
        """When it last answered; None: not since the line was opened."""
        self.refusal = ""
        """What it said instead of answering, if that came last."""


class ModbusDriver:
    """Reads the transmitters of one shelf."""

    def __init__(
        self,
        config: ModbusConfig,
        *,
        clock: Clock,
        open_line: OpenShared,
        draw: Callable[[], str] = lambda: secrets.token_hex(8),
    ) -> None:
        """Prepare; ``run`` opens the line.

        Args:
            config: Which line and transmitters; ``maps.problems`` found nothing in it.
            clock: Stamps readings and blocks.
            open_line: Opens its line, or shares it: ``Lines.opener``.
            draw: Draws a connection's boot.
        """
        self._config = config
        self._clock = clock
        self._open = open_line
        self._draw = draw
        self._map = maps.map_of(config)

    async def run(self, intake: Intake, came_up: Callable[[], None]) -> NoReturn:
        """Open the line and hand on what the transmitters measure.

        Raises:
            DeviceGoneError: The line cannot be opened, or was lost.
            DeviceSilentError: One of them gave no answer for ``silence_ms_max``.
            OtherDeviceError: Another USB device is on the port.
        """
        config = self._config
        try:
            async with self._open(config.url, config.baud) as line:
                session = _Session(
                    config,
                    self._map,
                    line=line,
                    intake=intake,
                    clock=self._clock,
                    boot=self._draw(),
                )
                await session.run(came_up)
        except OSError as error:
            raise DeviceGoneError.of_line(config.device, config.url, error) from error


class _Session:
    """From the opening of a line to its end."""

    def __init__(
        self,
        config: ModbusConfig,
        register_map: maps.RegisterMap,
        *,
        line: Line,
        intake: Intake,
        clock: Clock,
        boot: str,
    ) -> None:
        self._config = config
        self._function: Final = register_map.function
        self._line = line
        self._intake = intake
        self._clock = clock
        self._boot = boot
        self._seq = 0
        self._loop = asyncio.get_running_loop()
        self._began_s = self._loop.time()
        self._transmitters = _transmitters(config, register_map)
        self._grid = Grid(
            tuple(range(len(config.plates))),
            period_ns=config.poll_ms * 1_000_000,
            block_ns=config.block_ms * 1_000_000,
        )

    async def run(self, came_up: Callable[[], None]) -> NoReturn:
        """Ask round after round.

        Raises:
            OSError: The line ended.
            DeviceSilentError: A transmitter fell silent.
        """
        poll_s = self._config.poll_ms / 1_000
        due_s = self._loop.time()
        while True:
            asked_ns = self._clock.stamp().mono_ns
            self._hand_on(asked_ns)
            readings = [one for each in self._transmitters for one in await self._ask(each)]
            self._check_silence()
            # Nothing counts before all have been heard: a shelf is there as a whole.
            if all(each.heard_s is not None for each in self._transmitters):
                came_up()
                # One round is one row, whatever the order in it.
                for reading in readings:
                    self._grid.add(reading, asked_ns)
            due_s += poll_s
            behind = int(max(self._loop.time() - due_s, 0.0) // poll_s)
            if behind:
                self._intake.drop(self._config.device, "late", behind)
                due_s += behind * poll_s
            await asyncio.sleep(max(due_s - self._loop.time(), 0.0))

    async def _ask(self, transmitter: Transmitter) -> list[Reading]:
        """Return what a transmitter weighs now, its channels numbered as the shelf's plates."""
        registers: dict[int, int] = {}
        for read in transmitter.plan.reads:
            question = Question(
                transmitter.unit_id,
                self._function,
                read,
                framing=self._config.framing,
                transaction=self._line.next_transaction(),
            )
            answer = await self._line.ask(question)
            if answer == "late":
                break
            if answer is None:
                self._missed(transmitter, question)
                break
            if isinstance(answer, Refused):
                self._intake.drop(self._config.device, "refused")
                transmitter.refusal = answer.words
                continue
            registers.update(enumerate(answer.values, read.address))
        else:
            if len(registers) >= sum(read.count for read in transmitter.plan.reads):
                transmitter.heard_s, transmitter.refusal = self._loop.time(), ""
        return [
            msgspec.structs.replace(reading, channel=transmitter.plates[reading.channel])
            for reading in transmitter.plan.readings(registers)
        ]

    def _missed(self, transmitter: Transmitter, question: Question) -> None:
        transmitter.refusal = ""
        self._intake.drop(self._config.device, "timeout")
        if question.begun:
            self._intake.drop(self._config.device, "checksum")
        elif question.noisy:
            self._intake.drop(self._config.device, "garbage")

    def _check_silence(self) -> None:
        """Give up once a transmitter was not heard for too long.

        Raises:
            DeviceSilentError: One was not.
        """
        config, now_s = self._config, self._loop.time()
        for each in self._transmitters:
            since_s = self._began_s if each.heard_s is None else each.heard_s
            if now_s - since_s < config.silence_ms_max / 1_000:
                continue
            where = f"unit {each.unit_id} on {config.url}"
            if each.refusal:
                raise DeviceSilentError(
                    config.device,
                    f"{where} refuses to be read: {each.refusal}",
                    "Check the register map and channels in the settings",
                )
            raise DeviceSilentError(
                config.device,
                f"no answer from {where} for {config.silence_ms_max} ms",
                "Check its power and wiring, and unit_ids, baud, line and framing in the settings",
            )

    def _hand_on(self, now_ns: int) -> None:
        for block in self._grid.advance(now_ns):
            at, device = self._clock.stamp(), self._config.device
            self._intake.offer(block.samples(at, device=device, boot=self._boot, seq=self._seq))
            self._seq += 1


def _transmitters(config: ModbusConfig, register_map: maps.RegisterMap) -> list[Transmitter]:
    """Return each transmitter of a shelf once, with all its channels."""
    plates: dict[int, dict[int, int]] = {}
    for plate, (unit_id, channel) in enumerate(config.plates):
        plates.setdefault(unit_id, {})[channel] = plate
    decimals = config.decimals or 0
    return [
        Transmitter(
            unit_id,
            maps.Plan(register_map, channels, decimals=decimals, unit=config.unit),
            channels,
        )
        for unit_id, channels in plates.items()
    ]
