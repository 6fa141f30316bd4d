# SPDX-License-Identifier: Apache-2.0
"""A shelf's driver and an emulated shelf, joined without a broker, in virtual time."""

import asyncio
from random import Random

from drivers.mqtt.config import Message
from drivers.mqtt.topics import Topics
from drivers.mqtt_shelf.driver import MqttShelfDriver
from gateway.domain.inputs import DeviceStatus, Dropped, Samples
from gateway.intake import Intake
from gateway.simulator.mqtt_shelves import Shelf
from gateway.supervise import status_reporter, supervise
from tests.virtual_time import LoopClock, run_virtual


class Rig:
    """What a test sees."""

    def __init__(self, config, firmware):
        self.clock = LoopClock()
        self.intake = Intake(self.clock)
        self.topics = Topics()
        self.driver = MqttShelfDriver(config, clock=self.clock, topics=self.topics)
        self.shelf = Shelf(firmware, asyncio.get_running_loop().time)
        self.shelf.publish = self.say
        self.inputs = []

    def say(self, topic, payload, *, retain=False):
        self.topics.deliver(Message(topic, payload, retain, 0, 0))

    def present(self, *, online, retain=False):
        topic, yes, no = self.shelf.presence
        self.say(topic, yes if online else no, retain=retain)

    async def play(self, seconds, every_s=0.1):
        """Let the shelf publish for a while."""
        for _ in range(round(seconds / every_s)):
            await asyncio.sleep(every_s)
            self.shelf.tell()

    def heard(self):
        """Return the inputs since the last time."""
        self.intake.flush()
        items = self.intake.take(99_999)
        self.inputs += items
        return items


def rows(items):
    return [row for item in items if isinstance(item, Samples) for row in item.w]


def states(items):
    return [
        (item.state, item.reason)
        for item in items
        if isinstance(item, DeviceStatus) and not item.boot
    ]


def drops(items):
    return {item.reason: item.count for item in items if isinstance(item, Dropped)}


def play(config, firmware, body):
    """Run ``await body(rig)`` beside the driver, connected from the start."""

    async def main():
        rig = Rig(config, firmware)
        report = status_reporter(config.device, rig.intake, rig.clock)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(
                supervise(
                    config.device,
                    lambda came_up: rig.driver.run(rig.intake, came_up),
                    random=Random(1),
                    on_change=report,
                )
            )
            await asyncio.sleep(0.01)
            rig.topics.connected(up=True)
            await asyncio.sleep(0.01)
            await body(rig)
            running.cancel()

    run_virtual(main())
