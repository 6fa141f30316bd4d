# SPDX-License-Identifier: Apache-2.0
"""One connection to a scale. Codecs read, ``talk`` asks, ``grid`` evens out; this moves bytes."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NoReturn

from drivers.errors import OtherDeviceError
from drivers.gathering import GATHER_S
from drivers.ports import ByteStream, Clock, Intake
from drivers.scale.config import ScaleConfig
from drivers.scale.frames import sent
from drivers.scale.grid import Block, Grid
from drivers.scale.keys import WORDS, KeyPress
from drivers.scale.protocols import PROTOCOLS, decoder_of, line_of, poll_of
from drivers.scale.reading import Noise, Reading, Result
from drivers.scale.talk import Talk
from gateway.domain.inputs import Rezeroed

log = logging.getLogger(__name__)

FRAME_BYTES: Final = 32
"""About as long as a frame gets."""
HALF_FRAME_S_MIN: Final = 0.25
"""A busy gateway may pause for so long in the middle of one."""
CHANGE_S: Final = 1.0
"""No hand changes what a scale shows more often."""


@dataclass(slots=True)
class Memory:
    """What a driver remembers from one connection to the next."""

    serial: str | None
    """Of the scale that belongs on this line; None while nothing is known."""
    unit: str | None = None
    """What the scale showed last."""
    net: bool | None = None
    changed_s: float | None = None
    """When that changed last, by the loop's clock."""


class Session:
    """From the opening of a line to its end."""

    def __init__(
        self,
        config: ScaleConfig,
        *,
        stream: ByteStream,
        intake: Intake,
        clock: Clock,
        memory: Memory,
        alive: Callable[[], None],
        boot: str,
    ) -> None:
        """Begin.

        Args:
            config: Which protocol.
            stream: The open line.
            intake: Takes blocks and counts.
            clock: Stamps readings and blocks.
            memory: Changed in place.
            alive: Called after good readings.
            boot: Names the connection.
        """
        self._config = config
        self._stream = stream
        self._intake = intake
        self._clock = clock
        self._memory = memory
        self._alive = alive
        self._boot = boot
        self._seq = 0
        self._loop = asyncio.get_running_loop()
        self._line = line_of(config)
        self._decoder = decoder_of(config)
        self._talk = Talk(config, self._loop.time())
        self._grid = Grid(
            config.channels,
            period_ns=None if config.period_ms is None else config.period_ms * 1_000_000,
            block_ns=config.block_ms * 1_000_000,
        )
        baud = config.baud or PROTOCOLS[config.protocol].baud
        # Twice as long as a frame takes, with ten bits a character.
        self._half_frame_s = max(2 * FRAME_BYTES * 10 / baud + 0.05, HALF_FRAME_S_MIN)
        self._heard_s = self._loop.time()
        self._unread = 0
        """Bytes since the last weighing."""
        # The pieces of an answer are taken as they come: the next question waits for it.
        self._gather_s = 0.0 if poll_of(config) else GATHER_S
        self._still = False
        """Whether the last reading was stable."""
        self._key: KeyPress | None = None
        """What is to be pressed, or was and has no answer."""

    def press(self, key: KeyPress) -> None:
        """Press a key at the next turn, or say why not."""
        if self._key is not None:
            key.answer("another key is being pressed. Try again")
        else:
            self._key = key

    @property
    def babbles(self) -> bool:
        """Tell whether more came since the last weighing than the rest of a frame."""
        return self._unread > FRAME_BYTES

    def close(self) -> None:
        """Answer what still waits: the line is gone."""
        if self._key is None:
            return
        if self._talk.pressing:
            self._intake.offer(self._rezeroed())
            self._key.answer(WORDS["unknown"])
        else:
            self._key.answer(f"{self._config.device} is not connected. Try again when it is")

    async def run(self) -> NoReturn:
        """Ask, listen and hand on, until the line ends.

        Raises:
            OSError: It did.
            OtherDeviceError: Another scale is on it.
        """
        while True:
            await self._send(self._talk.due(self._loop.time()))
            await self._tell_outcome()
            missed = self._talk.take_missed()
            if missed:
                self._intake.drop(self._config.device, "timeout", missed)
            self._hand_on(self._clock.stamp().mono_ns)
            await self._press_key()
            data = await self._receive()
            now_s = self._loop.time()
            results: list[Result] = []
            if data:
                self._heard_s = now_s
                self._unread += len(data)
                results = self._decoder.feed(data)
            elif self._decoder.pending and now_s - self._heard_s >= self._half_frame_s:
                results = self._decoder.give_up()
            taken = [await self._take(result) for result in results]
            readings = [reading for reading in taken if reading is not None]
            if readings:
                self._weighed(readings)
            # A line that is never empty leaves room for others all the same.
            await asyncio.sleep(self._gather_s if data else 0)

    async def _take(self, result: Result) -> Reading | None:
        """Take what the scale said; return the weighing that it was, if it counts."""
        if isinstance(result, Noise):
            log.debug("%s: %s: %s", self._config.device, result.reason, result.detail)
            self._intake.drop(self._config.device, result.reason)
        greeted = self._talk.greeted
        pressing = self._talk.pressing
        await self._send(self._talk.heard(result, self._loop.time()))
        await self._tell_outcome()
        # Greeted anew after a silence: the cable may lead to another scale by now.
        if not greeted and self._talk.greeted:
            self._check_serial()
        if not isinstance(result, Reading) or not self._talk.greeted or pressing:
            return None
        self._still = result.stable is True
        self._note(result)
        return result

    def _weighed(self, readings: list[Reading]) -> None:
        """Hand on what came together, as of now."""
        self._unread = 0
        self._alive()
        now_ns = self._clock.stamp().mono_ns
        self._hand_on(now_ns)
        for reading in readings:
            self._grid.add(reading, now_ns)

    async def _tell_outcome(self) -> None:
        """Tell what became of a key before anything is taken that may be by the new zero."""
        if self._key is None:
            return
        outcome = self._talk.take_outcome()
        if outcome is None:
            return
        key, self._key = self._key, None
        if outcome != "refused":
            await self._intake.put(self._rezeroed())
        key.answer(WORDS[outcome])

    async def _press_key(self) -> None:
        """Press the key that waits, if there is one and it has not been."""
        key = self._key
        if key is None or self._talk.pressing:
            return
        # One that has to be greeted again may have been exchanged.
        if not (self._still and self._talk.greeted):
            self._key = None
            key.answer("the scale is not at rest. Try again when nobody is there")
            return
        # What was weighed until here is by the old zero.
        for block in self._grid.pause():
            self._offer(block)
        facts, place = PROTOCOLS[self._config.protocol], ("zero", "tare").index(key.key)
        assert facts.key_answers is not None, "the driver refuses what cannot be answered"
        pressed = (facts.zero, facts.tare)[place]
        command = facts.key_answers[place]
        await self._send(self._talk.press(pressed, command, self._loop.time()))

    def _rezeroed(self) -> Rezeroed:
        return Rezeroed(at=self._clock.stamp(), device=self._config.device)

    async def _receive(self) -> bytes:
        """Wait for bytes, or until something else is due; return what came."""
        now_s = self._loop.time()
        waits_s = []
        if self._talk.due_s is not None:
            waits_s.append(self._talk.due_s - now_s)
        if self._grid.due_ns is not None:
            waits_s.append((self._grid.due_ns - self._clock.stamp().mono_ns) / 1e9)
        if self._decoder.pending:
            waits_s.append(self._heard_s + self._half_frame_s - now_s)
        try:
            async with asyncio.timeout(max(min(waits_s), 0.0) if waits_s else None):
                return await self._stream.receive()
        except TimeoutError:
            return b""

    async def _send(self, data: bytes) -> None:
        if data:
            await self._stream.send(sent(data, self._line))

    def _hand_on(self, now_ns: int) -> None:
        for block in self._grid.advance(now_ns):
            self._offer(block)

    def _offer(self, block: Block) -> None:
        at, device = self._clock.stamp(), self._config.device
        self._intake.offer(block.samples(at, device=device, boot=self._boot, seq=self._seq))
        self._seq += 1

    def _check_serial(self) -> None:
        """Refuse another scale than the one that belongs on this line.

        Raises:
            OtherDeviceError: It is another one.
        """
        device, serial, known = self._config.device, self._talk.serial, self._memory.serial
        if known is not None and serial != known:
            remedy = f'If it was exchanged, write serial = "{serial}" in its table and restart'
            if serial is None:
                remedy = f"Connect {known}, or remove serial from its table and restart"
            where = f"is on {self._config.url}, where {known} belongs"
            raise OtherDeviceError(
                device, f"scale {serial or 'without a serial number'} {where}", remedy
            )
        if self._talk.who and known is None:
            log.info("%s: scale %s", device, ", ".join(filter(None, self._talk.who.values())))
        self._memory.serial = serial or known

    def _note(self, reading: Reading) -> None:
        """Say when somebody changed what the scale shows."""
        memory, changes = self._memory, []
        if reading.unit is not None and reading.unit != memory.unit:
            if memory.unit is not None:
                changes.append(f"{reading.unit} now, not {memory.unit}")
            memory.unit = reading.unit
        if reading.net is not None and reading.net != memory.net:
            if memory.net is not None:
                now, before = ("net", "gross") if reading.net else ("gross", "net")
                changes.append(f"{now} weights now, not {before}")
            memory.net = reading.net
        if not changes:
            return
        now_s = self._loop.time()
        # A scale that sends gross and net by turns is told once.
        if memory.changed_s is None or now_s - memory.changed_s >= CHANGE_S:
            log.warning("%s: shows %s", self._config.device, ", and ".join(changes))
        memory.changed_s = now_s
