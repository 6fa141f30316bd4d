# SPDX-License-Identifier: Apache-2.0
"""Doors on MQTT over real brokers: words, wills, and a door that says it is gone."""

import asyncio
from contextlib import asynccontextmanager
from random import Random
from types import SimpleNamespace

import pytest

from drivers.door.config import MqttDoorConfig
from drivers.door.lock import open_topic
from drivers.errors import DeviceGoneError
from drivers.mqtt.config import Message, MqttConfig
from drivers.mqtt.topics import Instore
from drivers.registry import build
from gateway.clock import OsClock
from gateway.domain.effects import OpenDoor
from gateway.domain.inputs import DeviceStatus
from gateway.intake import Intake
from gateway.simulator.doors import TOPIC, MqttDoor
from gateway.simulator.mqtt_device import Plug
from gateway.supervise import status_reporter, supervise
from tests.brokers import broker_of, on, run

EFFECT = OpenDoor(id="e1", door="front", session="s1")


def door(when_dead, **more):
    return MqttDoorConfig(
        name="front",
        topic=f"{TOPIC}/set",
        unlock="unlock",
        lock="lock",
        availability=f"{TOPIC}/status",
        when_dead=when_dead,
        hold_ms=200,
        **more,
    )


class Words:
    """What the emulated door says, to be waited for."""

    def __init__(self):
        self.queue = asyncio.Queue()

    async def are(self, *expected):
        assert [await self.queue.get() for _ in expected] == list(expected)


async def status(intake, state):
    """Read on until the door's line is in a state; return the reason."""
    while True:
        for item in await intake.drain(99):
            if isinstance(item, DeviceStatus) and item.state == state:
                return item.reason


def with_door(kind, protocol, folder, config, body):
    """Run ``await body(broker, driver, intake)`` beside a door's driver on a real broker."""

    async def main():
        async with broker_of(kind, folder) as at, asyncio.TaskGroup() as group:
            broker = MqttConfig(
                host="127.0.0.1", port=at.port, client_id="gw", protocol=protocol, clean=True
            )
            clock = OsClock()
            intake = Intake(clock)
            driver = build(
                config, clock=clock, open_stream=None, judge=None, instore=Instore(broker)
            )
            running = group.create_task(
                supervise(
                    config.device,
                    lambda came_up: driver.run(intake, came_up),
                    random=Random(1),
                    on_change=status_reporter(config.device, intake, clock),
                )
            )
            await body(broker, driver, intake, running)
            running.cancel()

    run(main(), limit_s=80)


@pytest.mark.parametrize("when_dead", ["locked", "unlocked"])
@pytest.mark.parametrize(("kind", "protocol"), [on("embedded"), on("mosquitto-5")])
def test_a_door_hears_each_word_once_and_is_left_as_the_settings_say(
    kind, protocol, when_dead, tmp_path
):
    async def body(broker, driver, intake, running):
        words = Words()
        plug = Plug(MqttDoor(words.queue.put_nowait), broker, "the-door")
        async with asyncio.TaskGroup() as group:
            power = group.create_task(plug.run())
            await status(intake, "online")
            await words.are("locked")
            assert driver.open(EFFECT)
            await words.are("unlocked", "locked")
            plug.switch_off()
            assert await status(intake, "offline") == "says that it is offline"
            assert not driver.open(EFFECT)
            await status(intake, "online")
            await words.are("locked")
            running.cancel()
            await words.are(when_dead)
            power.cancel()

    with_door(kind, protocol, tmp_path, door(when_dead), body)


@pytest.mark.parametrize(("kind", "protocol"), [on("mosquitto-5")])
def test_a_door_of_which_nothing_is_heard_is_not_there(kind, protocol, tmp_path, monkeypatch):
    monkeypatch.setattr("drivers.door.lock.PRESENT_S", 0.1)

    async def body(_broker, _driver, intake, _running):
        assert await status(intake, "offline") == f"nothing retained on {TOPIC}/status"

    with_door(kind, protocol, tmp_path, door("locked"), body)


def test_a_door_that_says_at_once_that_it_is_offline_never_was_there(monkeypatch):
    @asynccontextmanager
    async def with_the_suback(_config, *, on_message, **_how):
        on_message(Message(f"{TOPIC}/status", b"offline", retain=True, qos=1, mid=1))
        yield SimpleNamespace(when_gone=lambda _callback: None, raise_if_gone=lambda: None)

    monkeypatch.setattr("drivers.door.lock.connect", with_the_suback)

    async def main():
        broker = MqttConfig(host="127.0.0.1", port=1883, client_id="gw", protocol=5, clean=True)
        with pytest.raises(DeviceGoneError, match="says that it is offline"):
            async with open_topic(door("locked"), broker):
                pytest.fail("the door was taken for one that is there")

    run(main(), limit_s=20)
