# SPDX-License-Identifier: Apache-2.0
"""Emulated shelves of every firmware and their drivers, over real brokers and one connection."""

import asyncio
from decimal import Decimal
from functools import partial
from random import Random

import pytest

from drivers.instore.driver import InstoreDriver
from drivers.mqtt.config import MqttConfig
from drivers.mqtt.topics import Topics
from drivers.mqtt_shelf.driver import MqttShelfDriver
from gateway.clock import OsClock
from gateway.domain.inputs import DeviceStatus, Samples
from gateway.intake import Intake
from gateway.simulator.mqtt_device import Plug
from gateway.simulator.mqtt_shelves import FIRMWARES, Shelf
from gateway.supervise import status_reporter, supervise
from tests.brokers import broker_of, on, run
from tests.drivers.mqtt_shelf.test_driver import CONFIGS
from tests.small_store import small_store


class Store:
    """Drivers of a shelf of each firmware on one in-store connection, and what they say."""

    def __init__(self, broker):
        self._clock = OsClock()
        self._intake = Intake(self._clock)
        self._topics = Topics()
        self._drivers = {
            firmware: MqttShelfDriver(config, clock=self._clock, topics=self._topics)
            for firmware, config in CONFIGS.items()
        }
        self._instore = InstoreDriver(
            broker, small_store(), clock=self._clock, judge=None, topics=self._topics
        )
        self._heard = []
        self.up = asyncio.Event()

    def start(self, group):
        """Return the tasks of the connection and of the drivers."""

        def task(name, run, on_change=None):
            return group.create_task(supervise(name, run, random=Random(1), on_change=on_change))

        tasks = [task("instore", lambda _: self._instore.run(self._intake, self.up.set))]
        for firmware, driver in self._drivers.items():
            run = partial(driver.run, self._intake)
            report = status_reporter(firmware, self._intake, self._clock)
            tasks.append(task(firmware, run, report))
        return tasks

    async def hear(self, key, *expected):
        """Read on until a key of the inputs has had every expected value."""
        missing = set(expected)
        while missing:
            self._heard += await self._intake.drain(9_999)
            missing -= {key(item) for item in self._heard}

    def forget(self):
        """Return what was heard so far, and begin anew."""
        heard, self._heard = self._heard, []
        return heard


def device_of_full_weight(item):
    return item.boot if isinstance(item, Samples) and item.w[-1][0] == 412.0 else None


def status_of(item):
    return (item.device, item.state, item.reason) if isinstance(item, DeviceStatus) else None


def switched_on(group, broker):
    """Return the plugs of a shelf of each firmware, and the tasks that make them publish."""
    loop = asyncio.get_running_loop()
    shelves = [Shelf(firmware, loop.time) for firmware in FIRMWARES]
    plugs = [Plug(shelf, broker, f"shelf-{number}") for number, shelf in enumerate(shelves)]
    for plug, shelf in zip(plugs, shelves, strict=True):
        shelf.publish, shelf.grams = plug.publish, Decimal(412)

    async def play():
        while True:
            await asyncio.sleep(0.05)
            for shelf in shelves:
                shelf.tell()

    pairs = zip(plugs, shelves, strict=True)
    tasks = [group.create_task(plug.run(shelf.started)) for plug, shelf in pairs]
    return plugs, [*tasks, group.create_task(play())]


@pytest.mark.parametrize(("kind", "protocol"), [on("embedded"), on("mosquitto-5")])
def test_weights_of_every_firmware_arrive_and_a_will_is_a_lost_shelf(kind, protocol, tmp_path):
    online = [(firmware, "online", None) for firmware in FIRMWARES]

    async def main():
        async with broker_of(kind, tmp_path) as at, asyncio.TaskGroup() as group:
            broker = MqttConfig(
                host="127.0.0.1", port=at.port, client_id="gw", protocol=protocol, clean=True
            )
            store = Store(broker)
            tasks = store.start(group)
            await store.up.wait()
            plugs, more = switched_on(group, broker)
            await store.hear(status_of, *online)
            await store.hear(lambda item: device_of_full_weight(item) is not None, True)
            assert all(item.state == "online" for item in store.forget() if status_of(item))
            for plug in plugs:
                plug.switch_off()
            gone = [(firmware, "offline", "says that it is offline") for firmware in FIRMWARES]
            await store.hear(status_of, *gone)
            await store.hear(status_of, *online)
            for task in tasks + more:
                task.cancel()

    run(main(), limit_s=80)
