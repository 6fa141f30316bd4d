# SPDX-License-Identifier: Apache-2.0
"""A device on MQTT that speaks the in-store contract: birth, will, and numbered messages."""

import asyncio
import random
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from time import monotonic_ns
from typing import Literal, NoReturn

import msgspec

from drivers.errors import DriverError
from drivers.mqtt.client import Connection, connect
from drivers.mqtt.config import Message, MqttConfig, Will
from gateway.simulator.telling import Links

FIRMWARE = "simulated"
BACKOFF_S = (0.2, 1.5)
"""Least and greatest wait before a device tries its broker again."""


class Device:
    """One device with a connection of its own. What it sends while that is down is lost."""

    def __init__(
        self,
        store: str,
        name: str,
        *,
        subscriptions: tuple[str, ...] = (),
        on_message: Callable[[str, bytes], None] = lambda _leaf, _payload: None,
    ) -> None:
        """Switch the device on.

        Args:
            store: Name of the store.
            name: ``<kind>/<name>``.
            subscriptions: What it listens to, below its own topic.
            on_message: Takes the last word of the topic and the payload.
        """
        self.name = name
        self.boot = secrets.token_hex(8)
        self.online = asyncio.Event()
        """Set while it has a connection."""
        self._root = f"shelfgate/v1/{store}/{name}"
        self._subscriptions = subscriptions
        self._on_message = on_message
        self._started_ns = monotonic_ns()
        self._seq = 0
        self._connection: Connection | None = None

    def t_ms(self) -> int:
        """Return milliseconds since the device was switched on."""
        return (monotonic_ns() - self._started_ns) // 1_000_000 % 2**32

    def send(
        self,
        leaf: str,
        fields: Mapping[str, object],
        *,
        qos: Literal[0, 1],
        ago_ms: int = 0,
    ) -> None:
        """Number a message and send it if there is a connection.

        Args:
            leaf: Last word of the topic.
            fields: What the message says beyond its number and time.
            qos: 0 or 1.
            ago_ms: How long ago what it says began.
        """
        numbered = {
            "v": 1,
            "boot": self.boot,
            "seq": self._seq,
            "t_ms": max(0, self.t_ms() - ago_ms),
        }
        self._seq += 1
        self.pass_on(leaf, {**numbered, **fields}, qos=qos)

    def pass_on(self, leaf: str, fields: Mapping[str, object], *, qos: Literal[0, 1]) -> None:
        """Send a message as it is if there is a connection: it was numbered before."""
        if self._connection is None:
            return
        payload = msgspec.json.encode(fields)
        try:
            self._connection.publish(f"{self._root}/{leaf}", payload, qos=qos)
        except DriverError:
            # The link just broke; run() is about to see it.
            self._connection = None

    async def run(self, broker: MqttConfig, links: Links | None = None) -> NoReturn:
        """Stay connected until cancelled.

        Args:
            broker: Where to; the client's name is the device's own.
            links: Hears when the connection fails and when it is there.
        """
        while True:
            try:
                await self._connected(broker, links)
            except DriverError as error:
                if links is not None:
                    links.failed(self.name, error)
                await asyncio.sleep(random.uniform(*BACKOFF_S))

    async def _connected(self, broker: MqttConfig, links: Links | None) -> NoReturn:
        topic = f"{self._root}/status"
        will = Will(topic=topic, payload=self._status("offline"), qos=1, retain=True)
        own = msgspec.structs.replace(
            broker, client_id=f"{self.name.replace('/', '-')}-{self.boot}", clean=True
        )

        def take(message: Message) -> None:
            # A command that waited at the broker is from another time.
            if not message.retain:
                self._on_message(message.topic.rsplit("/", 1)[-1], message.payload)

        async with connect(
            own,
            subscriptions=[(f"{self._root}/{leaf}", 1) for leaf in self._subscriptions],
            will=will,
            on_message=take,
        ) as connection:
            connection.publish(topic, self._status("online"), qos=1, retain=True)
            self._connection = connection
            self.online.set()
            if links is not None:
                links.came_up(self.name)
            try:
                await connection.closed()
            except asyncio.CancelledError:
                with suppress(DriverError):  # The link may break just now; the will tells then.
                    connection.publish(topic, self._status("offline"), qos=1, retain=True)
                raise
            finally:
                self._connection = None
                self.online.clear()

    def _status(self, state: str) -> bytes:
        return msgspec.json.encode({"v": 1, "state": state, "fw": FIRMWARE, "boot": self.boot})
