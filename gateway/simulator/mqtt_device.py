# SPDX-License-Identifier: Apache-2.0
"""An emulated device on MQTT with firmware of another make: its birth, its will, its power."""

import asyncio
from collections.abc import Callable
from typing import Final, NoReturn, Protocol

import msgspec

from drivers.errors import DriverError
from drivers.mqtt.client import Connection, Message, Will, connect
from drivers.mqtt.config import MqttConfig

AWAY_S: Final = 2.0
"""How long a device that was switched off stays away."""
AGAIN_S: Final = 0.5


class Device(Protocol):
    """What a device says and hears."""

    @property
    def presence(self) -> tuple[str, bytes, bytes]:
        """Return the topic of its presence, and the words for yes and no."""
        ...

    @property
    def hears(self) -> tuple[str, ...]:
        """Return the topics that it hears."""
        ...

    def take(self, message: Message) -> None:
        """Hear a message."""
        ...


class Plug:
    """The device's power, and its connection while it has some."""

    def __init__(self, device: Device, broker: MqttConfig, client_id: str) -> None:
        self._device = device
        self._broker = msgspec.structs.replace(broker, client_id=client_id)
        self._connection: Connection | None = None
        self._off = False

    def publish(self, topic: str, payload: bytes) -> None:
        """Send, not retained; without a connection it is lost."""
        if self._connection is not None:
            try:
                self._connection.publish(topic, payload, qos=0)
            except DriverError:
                return  # ``run`` hears of it, too.

    def switch_off(self) -> None:
        """Take its power: the broker publishes the will. It is back soon."""
        self._off = True
        if self._connection is not None:
            self._connection.abort()

    async def run(self, came_up: Callable[[], None] = lambda: None) -> NoReturn:
        """Stay connected until cancelled."""
        topic, yes, no = self._device.presence
        while True:
            try:
                async with connect(
                    self._broker,
                    will=Will(topic=topic, payload=no),
                    subscriptions=[(one, 1) for one in self._device.hears],
                    on_message=self._device.take,
                ) as connection:
                    connection.publish(topic, yes, retain=True)
                    self._connection = connection
                    came_up()
                    await connection.closed()
            except DriverError:
                self._connection = None
            away_s, self._off = AWAY_S if self._off else AGAIN_S, False
            await asyncio.sleep(away_s)
