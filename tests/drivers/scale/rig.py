# SPDX-License-Identifier: Apache-2.0
"""A scale's driver and an emulated scale on a null modem, in virtual time."""

import asyncio
from contextlib import asynccontextmanager
from random import Random

from drivers.scale.driver import ScaleDriver
from gateway.domain.inputs import DeviceStatus, Samples
from gateway.intake import Intake
from gateway.simulator.scales.player import Player
from gateway.supervise import status_reporter, supervise
from tests.drivers.scale.vectors import config
from tests.virtual_time import LoopClock, run_virtual

EXTRA = {
    "toledo-8217": {"unit": "kg"},
    "lines": {"format": "tscale"},
}
"""What a protocol's settings need beside its name."""


class NullModem:
    """The cable between a player and whoever opens the line."""

    def __init__(self):
        self.player = None
        self.opened = 0
        self.sent = []
        self._queue = None

    def write(self, data):
        if self._queue is not None:
            self._queue.put_nowait(data)

    def unplug(self):
        if self._queue is not None:
            self._queue.put_nowait(None)

    async def send(self, data):
        self.sent.append(data)
        self.player.received(data)

    async def receive(self):
        data = await self._queue.get()
        if data is None:
            raise OSError(5, "Input/output error")
        return data

    @asynccontextmanager
    async def open(self, _url, _baud):
        self.opened += 1
        self._queue = asyncio.Queue()
        yield self


class Rig:
    """What a test sees."""

    def __init__(self, protocol, *, rate, settings):
        self.modem = NullModem()
        self.player = Player(protocol, self.modem.write, unplug=self.modem.unplug, rate=rate)
        self.modem.player = self.player
        self.config = config(protocol, **(EXTRA.get(protocol, {}) | settings))
        self.clock = LoopClock()
        self.intake = Intake(self.clock)
        self.items = []
        """All that came, in order."""
        self.blocks = []
        self.states = []

    async def __aenter__(self):
        device = self.config.device
        self.group = asyncio.TaskGroup()
        await self.group.__aenter__()
        self.driver = ScaleDriver(self.config, clock=self.clock, open_stream=self.modem.open)
        report = status_reporter(device, self.intake, self.clock)
        watched = supervise(
            device,
            lambda came_up: self.driver.run(self.intake, came_up),
            random=Random(1),
            on_change=report,
        )
        self.tasks = [
            self.group.create_task(self.player.play()),
            self.group.create_task(watched),
        ]
        return self

    async def __aexit__(self, *error):
        for task in self.tasks:
            task.cancel()
        await self.group.__aexit__(*error)

    def take(self):
        for item in self.intake.take(10_000):
            self.items.append(item)
            if isinstance(item, Samples):
                self.blocks.append(item)
            elif isinstance(item, DeviceStatus):
                self.states.append((item.state, item.reason))

    async def goes_on(self, seconds):
        """Let virtual time pass; return the samples of the first plate that came in it."""
        self.take()
        before = len(self.blocks)
        await asyncio.sleep(seconds)
        self.take()
        return [row[0] for block in self.blocks[before:] for row in block.w]

    @property
    def drops(self):
        return dict(self.intake.totals)


def with_rig(protocol, scene, *, rate=10.0, **settings):
    """Run a scene in virtual time; return what it returns."""

    async def main():
        async with Rig(protocol, rate=rate, settings=settings) as rig:
            return await scene(rig)

    return run_virtual(main())[0]
