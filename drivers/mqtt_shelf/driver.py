# SPDX-License-Identifier: Apache-2.0
"""Shelves on MQTT of other firmware, over the one connection to the in-store broker.

Messages are read as they come, so nothing waits in a queue; what is left to ``run`` is time: rows
at equal distances, silence, and a device that is gone.
"""

import asyncio
import secrets
from collections.abc import Callable
from typing import Final, Literal, NoReturn

from drivers.errors import DeviceGoneError, DeviceSilentError, DriverError
from drivers.mqtt.config import Message
from drivers.mqtt.topics import Topics
from drivers.mqtt_shelf.codec import Decoder, Presence, Refused
from drivers.mqtt_shelf.config import MqttShelfConfig, topics_of
from drivers.mqtt_shelf.held import BURST_ROWS, PERIOD_MS, Held
from drivers.ports import Clock, Intake
from drivers.scale.grid import Grid
from drivers.scale.reading import Reading
from gateway.domain.inputs import DeviceStatus

BLOCK_NS: Final = 200_000_000
ALIVE_S: Final = 2.0
"""How often it is said that a device is there which seldom says so itself."""


class MqttShelfDriver:
    """Turns the messages of one shelf into samples."""

    def __init__(
        self,
        config: MqttShelfConfig,
        *,
        clock: Clock,
        topics: Topics,
        draw: Callable[[], str] = lambda: secrets.token_hex(8),
    ) -> None:
        """Prepare, and listen to its topics; ``run`` hands on what comes.

        Args:
            config: Which topics, and what their messages say.
            clock: Stamps readings and blocks.
            topics: Of the in-store connection.
            draw: Draws a boot.
        """
        self._config = config
        self._clock = clock
        self._topics = topics
        self._draw = draw
        self._decoder = Decoder(config)
        self._changed = asyncio.Event()
        self._online: bool | None = None
        self._told = False
        """Whether it is known that the device is lost."""
        self._run: _Run | None = None
        topics.add(topics_of(config), self)

    def connected(self, *, up: bool) -> None:
        """Hear that the connection is there, or gone."""
        if not up:
            self._online = None
        self._changed.set()

    def take(self, message: Message) -> None:
        """Take a message."""
        results = self._decoder.take(message, self._clock.stamp().mono_ns)
        for result in results:
            if isinstance(result, Presence):
                self._online = result.online
                self._changed.set()
            elif self._run is not None:
                self._online = None if isinstance(result, Reading) else self._online
                self._run.take(result)
                self._changed.set()

    async def run(self, intake: Intake, came_up: Callable[[], None]) -> NoReturn:
        """Hand on what comes. What is lost already is waited for as long as it takes.

        Raises:
            DeviceGoneError: The device says that it is gone, or the in-store broker went.
            DeviceSilentError: No weight for ``silence_ms_max``.
        """
        while not self._topics.up:
            await self._change(None)
        self._run = _Run(self._config, self._clock, intake, came_up, self._draw)
        try:
            while True:
                due_s = self._run.advance()
                self._told = self._told and not self._run.heard
                if not self._told:
                    self._look(self._run)
                    left_s = self._run.left_s
                    due_s = left_s if due_s is None else min(due_s, left_s)
                await self._change(due_s)
        except DriverError:
            self._told = True
            raise
        finally:
            self._run = None

    def _look(self, run: "_Run") -> None:
        """Raise what is wrong with the device or the way to it."""
        device = self._config.device
        if not self._topics.up:
            raise DeviceGoneError(device, "the in-store broker is gone", "Look at its own message")
        if self._online is False:
            raise DeviceGoneError(device, "says that it is offline", "Check its power and network")
        if run.left_s <= 0:
            topics = ", ".join(self._config.value_topics)
            raise DeviceSilentError(
                device,
                f"no weight on {topics} for {self._config.silence_s:g} s",
                "Check its power, and the topic and what it sends in the settings",
            )

    async def _change(self, due_s: float | None) -> None:
        """Wait until something came, or is due."""
        try:
            async with asyncio.timeout(None if due_s is None else max(due_s, 0.0)):
                await self._changed.wait()
        except TimeoutError:
            return
        self._changed.clear()


class _Run:
    """From the connection, or the last failure, to the next."""

    def __init__(
        self,
        config: MqttShelfConfig,
        clock: Clock,
        intake: Intake,
        came_up: Callable[[], None],
        draw: Callable[[], str],
    ) -> None:
        self._config = config
        self._clock = clock
        self._intake = intake
        self._came_up = came_up
        self._draw = draw
        self._seq = 0
        self._boot = draw()
        self._loop = asyncio.get_running_loop()
        self._heard_s = self._alive_s = self._loop.time()
        self._rows = _rows(config)
        self.heard = False
        """Whether a weight came."""

    @property
    def left_s(self) -> float:
        """Return how long it may still be silent."""
        return self._heard_s + self._config.silence_s - self._loop.time()

    def take(self, result: Reading | Refused) -> None:
        if isinstance(result, Refused):
            self._intake.drop(self._config.device, result.reason, result.times)
            return
        self._heard_s, self.heard = self._loop.time(), True
        self._came_up()
        now_ns = self._clock.stamp().mono_ns
        self._hand_on(now_ns)
        if self._config.sends == "seldom" and self._rows.due_ns is None:
            # Nobody watched since its last word: what is different now is no pick of just now.
            self._boot, self._seq = self._draw(), 0
        self._rows.add(result, now_ns)

    def advance(self) -> float | None:
        """Hand on what is due; return in how many seconds the next is."""
        now_ns = self._clock.stamp().mono_ns
        self._hand_on(now_ns)
        due_ns = self._rows.due_ns
        due_s = None if due_ns is None else (due_ns - now_ns) / 1e9
        if self._config.sends != "seldom" or not self.heard:
            return due_s
        now_s = self._loop.time()
        if now_s - self._alive_s >= ALIVE_S and due_ns is None:
            self._alive_s = now_s
            at, device = self._clock.stamp(), self._config.device
            self._intake.offer(DeviceStatus(at=at, device=device, state="online", boot=self._boot))
        return ALIVE_S if due_s is None else due_s

    def _hand_on(self, now_ns: int) -> None:
        unit: Literal["g", "raw"] = "raw" if self._config.unit == "raw" else "g"
        for block in self._rows.advance(now_ns):
            at, device = self._clock.stamp(), self._config.device
            self._intake.offer(
                block.samples(at, device=device, boot=self._boot, seq=self._seq, unit=unit)
            )
            self._seq += 1


def _rows(config: MqttShelfConfig) -> Grid | Held:
    period_ms = config.period_ms
    if config.sends == "always":
        period_ns = None if period_ms is None else period_ms * 1_000_000
        return Grid(tuple(range(config.plates)), period_ns=period_ns, block_ns=BLOCK_NS)
    period_ns = (period_ms or PERIOD_MS) * 1_000_000
    holds_ns = BURST_ROWS * period_ns if config.sends == "seldom" else None
    return Held(config.plates, period_ns=period_ns, holds_ns=holds_ns)
