# SPDX-License-Identifier: Apache-2.0
"""The ways to a lock: a serial line to a relay, or a topic on the in-store broker.

A door on MQTT has a connection of its own, because a connection has one will: the broker itself
makes the door what ``when_dead`` says when the gateway is gone.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, Protocol

import msgspec

from drivers.door.codec import command
from drivers.door.config import DoorConfig, MqttDoorConfig, RelayConfig
from drivers.errors import DeviceGoneError, DeviceSilentError, DriverError
from drivers.instore.driver import OPEN_EXPIRY_S
from drivers.mqtt.client import Connection, connect
from drivers.mqtt.config import Message, MqttConfig, Will
from drivers.ports import ByteStream, OpenStream

PRESENT_S: Final = 10.0
"""A door that says whether it is there says so, retained, right after the connection."""
WORD_BYTES_MAX: Final = 256


class Lock(Protocol):
    """A lock that can be reached."""

    async def put(self, *, unlocked: bool) -> None:
        """Tell it what to be; raise ``OSError`` or ``DriverError`` where it cannot be told."""
        ...

    async def wait(self) -> None:
        """Wait for a word of the lock; raise once it is gone."""
        ...


OpenLock = Callable[[], AbstractAsyncContextManager[Lock]]


class RelayLock:
    """A relay on a serial line."""

    def __init__(self, config: RelayConfig, stream: ByteStream) -> None:
        self._config = config
        self._stream = stream

    async def put(self, *, unlocked: bool) -> None:
        """Switch the relay."""
        await self._stream.send(command(self._config, unlocked=unlocked))

    async def wait(self) -> None:
        """Read and forget what the board says; many say nothing, and none says it in one way."""
        await self._stream.receive()


class MqttLock:
    """A topic that a door hears."""

    def __init__(self, config: MqttDoorConfig, connection: Connection, news: "_News") -> None:
        self._config = config
        self._connection = connection
        self._news = news
        connection.when_gone(news.changed.set)

    async def put(self, *, unlocked: bool) -> None:
        """Publish the word, once, and not retained: a door that hears it later lets others in."""
        word = self._config.unlock if unlocked else self._config.lock
        if word is not None:
            self._connection.publish(self._config.topic, word.encode(), expiry_s=OPEN_EXPIRY_S)

    async def wait(self) -> None:
        """Wait until the door's presence, or the connection's, changes."""
        await self._news.changed.wait()
        self._news.changed.clear()
        self._raise_if_away()

    def _raise_if_away(self) -> None:
        self._connection.raise_if_gone()
        if self._news.online is False:
            raise DeviceGoneError(
                self._config.device, "says that it is offline", "Check its power and network"
            )

    async def present(self) -> None:
        """Wait until the door says that it is there, where it says so at all."""
        if self._config.availability is None:
            return
        try:
            async with asyncio.timeout(PRESENT_S):
                while self._news.online is None:
                    await self.wait()
        except TimeoutError:
            raise DeviceSilentError(
                self._config.device,
                f"nothing retained on {self._config.availability}",
                "Check its power, and availability, online and offline in the settings",
            ) from None
        self._raise_if_away()  # It may have said so before anybody waited.


class _News:
    """What the messages of a door's availability said last."""

    def __init__(self, config: MqttDoorConfig) -> None:
        self._words = {config.online: True, config.offline: False}
        self.online: bool | None = None
        self.changed = asyncio.Event()

    def take(self, message: Message) -> None:
        word = message.payload[:WORD_BYTES_MAX].decode("utf-8", errors="replace").strip()
        self.online = self._words.get(word, self.online)
        self.changed.set()


@asynccontextmanager
async def open_relay(config: RelayConfig, open_stream: OpenStream) -> AsyncIterator[RelayLock]:
    """Open the line to a relay.

    Raises:
        DeviceGoneError: It cannot be opened, or was lost.
    """
    try:
        async with open_stream(config.url, config.baud) as stream:
            yield RelayLock(config, stream)
    except OSError as error:
        raise DeviceGoneError.of_line(config.device, config.url, error) from error


@asynccontextmanager
async def open_topic(config: MqttDoorConfig, broker: MqttConfig) -> AsyncIterator[MqttLock]:
    """Connect for a door.

    Raises:
        DeviceGoneError: The broker or the door is not there, or went.
        DeviceSilentError: The door says nothing of whether it is there.
    """
    news = _News(config)
    dead = config.unlock if config.when_dead == "unlocked" else config.lock
    will = None if dead is None else Will(topic=config.topic, payload=dead.encode(), retain=False)
    client_id = f"{broker.client_id}-{config.name}"
    failed: DriverError | None = None
    async with connect(
        msgspec.structs.replace(broker, client_id=client_id),
        subscriptions=[(config.availability, 1)] if config.availability else [],
        will=will,
        on_message=news.take,
    ) as connection:
        lock = MqttLock(config, connection, news)
        try:
            await lock.present()
            yield lock
        except DriverError as error:
            failed = error  # The will is for a gateway that is dead, not for a door that is.
    if failed is not None:
        raise failed


def opener(config: DoorConfig, *, open_stream: OpenStream, broker: MqttConfig | None) -> OpenLock:
    """Return what opens the way to a door."""
    if isinstance(config, RelayConfig):
        return lambda: open_relay(config, open_stream)
    assert broker is not None, "a door on MQTT comes with the in-store broker"
    return lambda: open_topic(config, broker)
