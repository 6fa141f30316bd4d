# SPDX-License-Identifier: Apache-2.0
"""Shelves' drivers and emulated transmitters on one line, in virtual time."""

import asyncio
from contextlib import asynccontextmanager
from random import Random

from drivers.modbus.driver import ModbusDriver
from drivers.modbus.line import Lines
from drivers.modbus.maps import map_of
from gateway.domain.inputs import DeviceStatus, Samples
from gateway.intake import Intake
from gateway.simulator.scales.modbus import Transmitters
from gateway.supervise import status_reporter, supervise
from tests.virtual_time import LoopClock, run_virtual


class Cable:
    """Between transmitters and the gateway; an answer takes a while."""

    def __init__(self):
        self.opened = []
        self.open_now = 0
        self.asked = []
        """When each question was sent, and the unit it was for."""
        self.delay_s = 0.005
        self.peer = None
        self._queue = None

    def write(self, data):
        if self._queue is not None:
            asyncio.get_running_loop().call_later(self.delay_s, self._queue.put_nowait, data)

    def unplug(self):
        self._queue.put_nowait(None)

    async def send(self, data):
        self.asked.append((asyncio.get_running_loop().time(), data[0], data))
        if self.peer is not None:
            self.peer.received(data)

    async def receive(self):
        data = await self._queue.get()
        if data is None:
            raise OSError(5, "Input/output error")
        return data

    @asynccontextmanager
    async def open(self, url, baud, bits):
        self.opened.append((url, baud, bits))
        self.open_now += 1
        self._queue = asyncio.Queue()
        try:
            yield self
        finally:
            self.open_now -= 1


class Rig:
    """What a test sees."""

    def __init__(self, configs, unit_ids):
        self.configs = configs
        self.unit_ids = unit_ids
        self.cable = Cable()
        self.clock = LoopClock()
        self.intake = Intake(self.clock)
        self.blocks = []
        self.states = []

    async def __aenter__(self):
        first = self.configs[0]
        self.peer = Transmitters(
            map_of(first),
            self.cable.write,
            unit_ids=self.unit_ids,
            framing=first.framing,
            unplug=self.cable.unplug,
        )
        self.cable.peer = self.peer
        lines = Lines(self.cable.open)
        self.group = asyncio.TaskGroup()
        await self.group.__aenter__()
        self.tasks = [self.group.create_task(self._watched(one, lines)) for one in self.configs]
        return self

    def _watched(self, config, lines):
        driver = ModbusDriver(config, clock=self.clock, open_line=lines.opener(config))
        return supervise(
            config.device,
            lambda came_up: driver.run(self.intake, came_up),
            random=Random(1),
            on_change=status_reporter(config.device, self.intake, self.clock),
        )

    async def __aexit__(self, *error):
        for task in self.tasks:
            task.cancel()
        await self.group.__aexit__(*error)

    def take(self):
        for item in self.intake.take(10_000):
            if isinstance(item, Samples):
                self.blocks.append(item)
            elif isinstance(item, DeviceStatus):
                self.states.append((item.device, item.state, item.reason))

    async def goes_on(self, seconds, device="shelf/g3.s1"):
        """Let virtual time pass; return the rows of a shelf that came in it."""
        self.take()
        before = len(self.blocks)
        await asyncio.sleep(seconds)
        self.take()
        new = self.blocks[before:]
        return [row for block in new if block.device == device for row in block.w]

    @property
    def drops(self):
        return dict(self.intake.totals)


def with_rig(scene, *configs, unit_ids=(1,)):
    """Run a scene in virtual time; return what it returns."""

    async def main():
        async with Rig(configs, unit_ids) as rig:
            return await scene(rig)

    return run_virtual(main())[0]
