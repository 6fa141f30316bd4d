# SPDX-License-Identifier: Apache-2.0
"""One MQTT connection from CONNECT to its end, on the asyncio loop.

Each connection is a fresh paho client: paho keeps unacknowledged messages of a client and sends
them again by itself after a reconnect, which would repeat what an outbox sends again too. A fresh
client has nothing to repeat, and a publish without a link is an error instead of a promise.
paho's own thread is never started: the loop watches its socket, and only what blocks (name
look-up, TCP, TLS) runs in a thread.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import lru_cache
from typing import Any, Final, Literal, NoReturn, Protocol, TypeVar, cast

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from drivers.daemon_thread import in_daemon_thread
from drivers.errors import DeviceGoneError, DeviceSilentError
from drivers.mqtt.config import Message, MqttConfig, Tls, Will
from drivers.mqtt.dial import dial, new_client, refusal, unanswered
from drivers.mqtt.tls import TlsSocket

__all__ = [
    "Connection",
    "Message",
    "MqttConfig",
    "OnPuback",
    "Tls",
    "TooLargeError",
    "Will",
    "connect",
]

READS_MAX: Final = 100  # Packets taken from the socket before other tasks get their turn.
MISC_S: Final = 1.0  # How often paho looks at its keep-alive.
FLUSH_S: Final = 1.0  # How long a DISCONNECT may take to leave.
OUTGOING_MAX: Final = 10_000  # Messages handed over and neither written nor acknowledged.
OUTGOING_BYTES_MAX: Final = 16 * 2**20
NO_TOPIC: Final = "\N{REPLACEMENT CHARACTER}"  # No contract has it: it is refused and counted.

T = TypeVar("T")

_REMEDIES: Final = {
    132: "Set `protocol = 4` (MQTT 3.1.1)",
    133: "Choose another client id",
    134: "Check user name and password",
    135: "Check user name, password and the broker's access rules",
    138: "The broker has banned this client: ask who runs it",
}


class OnPuback(Protocol):
    """Called with each PUBACK, on the loop."""

    def __call__(self, mid: int, reason_code: int, failure: bool) -> None:  # noqa: D102
        ...


class TooLargeError(ValueError):
    """The broker said beforehand that it takes no packet of this size."""


class Connection:
    """A link that is up until ``closed()`` says otherwise. Made by ``connect``."""

    def __init__(
        self,
        config: MqttConfig,
        on_message: Callable[[Message], None],
        on_puback: OnPuback | None,
    ) -> None:
        self.session_present = False
        """Whether the broker still had this client's session."""
        self.receive_maximum = 65_535
        """How many messages of QoS 1 the broker takes unacknowledged."""
        self.maximum_packet_size: int | None = None
        """Bytes; None: no limit but the protocol's."""
        self.dialled = False
        """Whether something accepted the TCP (and TLS) connection."""
        self.malformed = 0
        """Messages whose topic was no UTF-8; each is handed on with ``NO_TOPIC``."""
        self._config = config
        self._on_message = on_message
        self._on_puback = on_puback
        self._loop = asyncio.get_running_loop()
        self._gone: asyncio.Future[NoReturn] = self._loop.create_future()
        self._gone.add_done_callback(_retrieve)
        self._connack: asyncio.Future[None] = self._loop.create_future()
        self._suback: asyncio.Future[list[ReasonCode]] = self._loop.create_future()
        self._room = asyncio.Event()
        self._room.set()
        self._outgoing: dict[int, tuple[int, int]] = {}
        self._outgoing_bytes = 0
        self._packets = 0
        self._misc: asyncio.TimerHandle | None = None
        self._again: asyncio.Handle | None = None  # There is more to read than one turn takes.
        self._tls: TlsSocket | None = None
        self._client = new_client(config)
        self._client.on_connect = self._connected
        self._client.on_disconnect = self._disconnected
        self._client.on_subscribe = self._subscribed
        self._client.on_message = self._received
        self._client.on_publish = lambda _client, _data, mid, code, _properties: self._published(
            mid, code
        )
        self._client.on_puback = self._published

    # What users call.

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: Literal[0, 1] = 1,
        retain: bool = False,
        content_type: str | None = None,
        expiry_s: int | None = None,
        user_properties: Sequence[tuple[str, str]] = (),
    ) -> int:
        """Hand one message to the socket; its PUBACK comes to ``on_puback``.

        Content type, expiry and user properties travel on MQTT 5 only.

        Returns:
            The packet id that ``on_puback`` names.

        Raises:
            DeviceGoneError: The link is down; the message is not kept.
            DeviceSilentError: The broker has not taken what was sent before, up to the limit.
            TooLargeError: The broker takes no packet this large.
        """
        self.raise_if_gone()
        size = len(payload) + len(topic.encode()) + 64
        limit = self.maximum_packet_size
        if limit is not None and size > limit:
            raise TooLargeError(f"{self._config.name}: takes packets of {limit} bytes, not {size}")
        if len(self._outgoing) >= OUTGOING_MAX or self._outgoing_bytes + size > OUTGOING_BYTES_MAX:
            raise DeviceSilentError(
                self._config.name, "does not take what is sent", "Look at its load and the network"
            )
        properties = None
        if self._config.protocol == 5:
            properties = _publish_properties(content_type, expiry_s, tuple(user_properties))
        if qos:
            mid = self._client.send(topic, payload, retain=retain, properties=properties)
        else:
            mid = self._client.publish(topic, payload, 0, retain, properties).mid
        if self._client.socket() is None:
            self._lost("the connection closed")
            self.raise_if_gone()
        self._outgoing[mid] = (size, qos)
        self._outgoing_bytes += size
        if len(self._outgoing) > OUTGOING_MAX // 2:
            self._room.clear()
        return mid

    async def room(self) -> None:
        """Wait until at most half of the outgoing limit is used, or the link is gone."""
        await self._room.wait()

    def when_gone(self, callback: Callable[[], None]) -> None:
        """Call back on the loop once the link is gone; ``raise_if_gone`` then says why."""
        self._gone.add_done_callback(lambda _: callback())

    async def closed(self) -> NoReturn:
        """Wait for the end of the link.

        Raises:
            DeviceGoneError: The link is gone, and why.
            Exception: A callback raised it: a bug.
        """
        await asyncio.shield(self._gone)
        raise AssertionError("the future of a link's end never has a result")

    # Opening and closing.

    async def open(self, subscriptions: Sequence[tuple[str, int]], will: Will | None) -> None:
        """Connect, wait for CONNACK, subscribe, wait for SUBACK. Called by ``connect``."""
        if will is not None:
            properties = None
            if self._config.protocol == 5 and will.delay_s:
                properties = Properties(PacketTypes.WILLMESSAGE)  # type: ignore[no-untyped-call] # paho leaves it untyped.
                properties.WillDelayInterval = will.delay_s
            self._client.will_set(will.topic, will.payload, will.qos, will.retain, properties)
        await in_daemon_thread(lambda: dial(self._client, self._config), self._abandon)
        self.dialled = True
        self._watch()
        await self._unless_gone(self._connack)
        if not subscriptions:
            return
        status, _ = self._client.subscribe(list(subscriptions))
        if status != MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._lost("the connection closed")
        codes = await self._unless_gone(self._suback)
        for (topic, _), code in zip(subscriptions, codes, strict=True):
            if code.is_failure:
                raise DeviceGoneError(
                    self._config.name,
                    f"refused the subscription to {topic} ({code})",
                    "Check the broker's access rules for this user",
                )

    async def close(self) -> None:
        """Say DISCONNECT, so that the will is not published, and close."""
        if not self._gone.done():
            self._client.disconnect()
            with suppress(DeviceGoneError, TimeoutError):
                async with asyncio.timeout(FLUSH_S):
                    await self.closed()
        self.abort()

    def abort(self) -> None:
        """Close the socket without a word: the broker publishes the will."""
        self._lost("closed")
        self._abandon(None)

    def _watch(self) -> None:
        """Tie the connected socket to the loop; the thread has sent CONNECT already."""
        sock = self._socket()
        if sock is None:
            self._lost("the connection closed")
            return
        self._tls = sock if isinstance(sock, TlsSocket) else None
        client, loop = self._client, self._loop
        client.on_socket_close = lambda _client, _data, sock: self._unwatch(sock)
        client.on_socket_register_write = lambda _client, _data, sock: loop.add_writer(
            sock, self._writable
        )
        client.on_socket_unregister_write = lambda _client, _data, sock: _discard(
            loop.remove_writer(sock)
        )
        # A PUBLISH held back until the one before is acknowledged costs 40 ms.
        with suppress(OSError):  # The peer may have gone already; reading will tell.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        loop.add_reader(sock, self._readable)
        if client.want_write():
            loop.add_writer(sock, self._writable)
        self._misc = loop.call_later(MISC_S, self._every_second)
        self._readable()  # TLS may hold decrypted bytes that the socket does not show.

    def _unwatch(self, sock: Any) -> None:  # noqa: ANN401 - paho's own protocol type is private.
        self._loop.remove_reader(sock)
        self._loop.remove_writer(sock)

    def _abandon(self, _result: None) -> None:
        """Release the socket, whatever state the client is in."""
        sock = self._socket()
        if self._misc is not None:
            self._misc.cancel()
        for name in ("on_socket_close", "on_socket_register_write", "on_socket_unregister_write"):
            setattr(self._client, name, None)
        if sock is not None:
            if not self._loop.is_closed() and sock.fileno() >= 0:
                self._unwatch(sock)
            sock.close()

    def _socket(self) -> ssl.SSLSocket | None:
        """Return paho's socket; a plain one lacks ``pending`` only."""
        return cast("ssl.SSLSocket | None", self._client.socket())

    # What the loop calls.

    def _readable(self) -> None:
        if self._again is not None:
            self._again.cancel()  # The socket's call and this one's own do not both go on.
        for _ in range(READS_MAX):
            before = self._packets
            self._guard(self._client.loop_read)
            if self._gone.done() or (self._packets == before and not self._pending()):
                return
        self._again = self._loop.call_soon(self._readable)

    def _pending(self) -> bool:
        """Tell whether there is more to read that the socket does not show."""
        sock = self._socket()
        return self._client.ahead or (isinstance(sock, ssl.SSLSocket) and sock.pending() > 0)

    def _writable(self) -> None:
        self._guard(self._client.loop_write)

    def _every_second(self) -> None:
        self._misc = self._loop.call_later(MISC_S, self._every_second)
        self._guard(self._client.loop_misc)

    def _guard(self, step: Callable[[], MQTTErrorCode]) -> None:
        """Run one step of paho; whatever it raises was sent by the broker or the network."""
        if self._gone.done():
            return
        try:
            step()
        except Exception as error:  # noqa: BLE001 - callbacks catch their own; this is paho's.
            self._lost(f"broke the protocol ({error!r})")
        if self._client.socket() is None:
            self._lost("the connection closed")

    # What paho calls, from within a step.

    def _connected(
        self,
        _client: Client,
        _data: object,
        flags: ConnectFlags,
        code: ReasonCode,
        properties: Properties | None,
    ) -> None:
        self._packets += 1
        if self._connack.done():
            return
        if code.is_failure:
            remedy = _REMEDIES.get(code.value, "Check the broker's log")
            self._lost(f"refused the connection ({code})", remedy)
            return
        self.session_present = flags.session_present
        self.receive_maximum = getattr(properties, "ReceiveMaximum", 65_535)
        self.maximum_packet_size = getattr(properties, "MaximumPacketSize", None)
        self._connack.set_result(None)

    def _disconnected(
        self,
        _client: Client,
        _data: object,
        flags: DisconnectFlags,
        code: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        self._packets += 1
        if not self._connack.done():
            self._lost(*refusal(self._tls.alert if self._tls else None))
        elif flags.is_disconnect_packet_from_server:
            self._lost(f"ended the connection ({code})", "Check for another client of this id")
        else:
            self._lost(f"the connection closed ({code})")

    def _subscribed(
        self,
        _client: Client,
        _data: object,
        _mid: int,
        codes: list[ReasonCode],
        _properties: Properties | None,
    ) -> None:
        self._packets += 1
        if not self._suback.done():
            self._suback.set_result(codes)

    def _received(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        self._packets += 1
        try:
            topic = message.topic
        except UnicodeDecodeError:
            self.malformed += 1
            topic = NO_TOPIC
        payload = bytes(message.payload)
        self._call(
            lambda: self._on_message(
                Message(topic, payload, bool(message.retain), message.qos, message.mid)
            )
        )

    def _published(self, mid: int, code: ReasonCode) -> None:
        self._packets += 1
        size, qos = self._outgoing.pop(mid, (0, 0))
        self._outgoing_bytes -= size
        if len(self._outgoing) <= OUTGOING_MAX // 2:
            self._room.set()
        on_puback = self._on_puback
        if qos and on_puback is not None:
            self._call(lambda: on_puback(mid=mid, reason_code=code.value, failure=code.is_failure))

    def _call(self, callback: Callable[[], None]) -> None:
        """Run a user's callback; what it raises ends ``closed()`` instead of vanishing in paho."""
        if self._gone.done():
            return
        try:
            callback()
        except Exception as bug:  # noqa: BLE001 - handed on, whole, to whoever awaits closed().
            self._end(bug)

    # Ends.

    def _lost(self, problem: str, remedy: str = "Check the broker and the network") -> None:
        self._end(DeviceGoneError(self._config.name, problem, remedy))

    def _end(self, why: Exception) -> None:
        if self._gone.done():
            return
        self._gone.set_exception(why)
        self._room.set()
        sock = self._socket()
        if sock is not None and sock.fileno() >= 0:
            self._unwatch(sock)

    def raise_if_gone(self) -> None:
        """Raise what ``closed`` would, if the link is gone."""
        if self._gone.done():
            why = self._gone.exception()
            assert why is not None
            raise why

    async def _unless_gone(self, future: "asyncio.Future[T]") -> T:
        either: set[asyncio.Future[Any]] = {future, self._gone}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not future.done():
            future.cancel()
            self.raise_if_gone()
        return future.result()


@asynccontextmanager
async def connect(
    config: MqttConfig,
    *,
    subscriptions: Sequence[tuple[str, int]] = (),
    will: Will | None = None,
    on_message: Callable[[Message], None],
    on_puback: OnPuback | None = None,
) -> AsyncIterator[Connection]:
    """Connect once; subscriptions hold when the body begins.

    Callbacks run on the loop and must not block; what they raise ends ``closed()``. Leaving the
    body normally or by cancellation says DISCONNECT; leaving it by an exception does not, so that
    the will is published.

    Args:
        config: How to reach the broker.
        subscriptions: ``(topic filter, QoS)`` pairs.
        will: What the broker says when this connection breaks.
        on_message: Takes each message.
        on_puback: Takes each PUBACK of a publish with QoS 1; one with a failure code is a refusal.

    Raises:
        DeviceGoneError: No connection, or a subscription was refused; says why and what to do.
    """
    connection = Connection(config, on_message, on_puback)
    try:
        async with asyncio.timeout(config.connect_timeout_s):
            await connection.open(subscriptions, will)
    except TimeoutError as error:
        dialled = connection.dialled
        connection.abort()
        raise DeviceGoneError(
            config.name,
            f"no answer within {config.connect_timeout_s:g} s",
            "Set `protocol = 4` if it speaks MQTT 3.1.1 only, or check what listens there"
            if dialled
            else unanswered(tls=config.tls is not None),
        ) from error
    except BaseException:
        connection.abort()
        raise
    try:
        yield connection
    except asyncio.CancelledError:
        await connection.close()
        raise
    except BaseException:
        connection.abort()
        raise
    else:
        await connection.close()


@lru_cache(maxsize=64)
def _publish_properties(
    content_type: str | None, expiry_s: int | None, user_properties: tuple[tuple[str, str], ...]
) -> Properties | None:
    """Return them as paho wants them, packed: most messages have the same as those before."""
    if content_type is None and expiry_s is None and not user_properties:
        return None
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call] # paho leaves it untyped.
    if content_type is not None:
        properties.ContentType = content_type
    if expiry_s is not None:
        properties.MessageExpiryInterval = expiry_s
    if user_properties:
        properties.UserProperty = list(user_properties)
    packed = properties.pack()  # type: ignore[no-untyped-call] # paho leaves it untyped.
    object.__setattr__(properties, "pack", lambda: packed)
    return properties


def _retrieve(future: "asyncio.Future[NoReturn]") -> None:
    """Mark the end as seen: not everybody who connects also awaits ``closed()``."""
    if not future.cancelled():
        future.exception()


def _discard(_value: object) -> None:
    """Return nothing, as paho's callback types ask."""
