# SPDX-License-Identifier: Apache-2.0
"""One MQTT connection against brokers that behave, and brokers that do not."""

import asyncio
import socket
import tracemalloc
from contextlib import asynccontextmanager

import pytest

from drivers.errors import DeviceGoneError, DeviceSilentError
from drivers.mqtt import client as client_module
from drivers.mqtt.client import MqttConfig, TooLargeError, Will, connect
from tests.brokers import free_port, run


def config(port, **changes):
    return MqttConfig(
        **{"host": "127.0.0.1", "port": port, "client_id": "test", "protocol": 5} | changes
    )


def ignore(_message):
    pass


class Misbehaving:
    """A server that answers each packet type with the bytes of a script."""

    def __init__(self, answers):
        self.answers = answers
        self.received = []
        self.port = None
        self.heard = asyncio.Event()

    async def serve(self, reader, writer):
        try:
            while True:
                kind = (await reader.readexactly(1))[0] >> 4
                length, shift = 0, 0
                while True:
                    byte = (await reader.readexactly(1))[0]
                    length |= (byte & 127) << shift
                    shift += 7
                    if byte < 128:
                        break
                body = await reader.readexactly(length)
                self.received.append((kind, body))
                self.heard.set()
                answer = self.answers.get(kind, b"")
                if answer is None:
                    break
                writer.write(answer(body) if callable(answer) else answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    @classmethod
    @asynccontextmanager
    async def running(cls, answers):
        self = cls(answers)
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            await server.wait_closed()
            await asyncio.sleep(0)


CONNECT, PUBLISH, SUBSCRIBE, DISCONNECT = 1, 3, 8, 14
ACCEPTED = b"\x20\x03\x00\x00\x00"


def puback(code):
    def answer(body):
        start = 2 + int.from_bytes(body[:2], "big")
        return b"\x40\x03" + body[start : start + 2] + bytes([code])

    return answer


def suback(code):
    return lambda body: b"\x90\x04" + body[:2] + b"\x00" + bytes([code])


@asynccontextmanager
async def linked(answers, on_puback=None):
    """Connect to a server that answers as told."""
    async with (
        Misbehaving.running({CONNECT: ACCEPTED} | answers) as server,
        connect(config(server.port), on_message=ignore, on_puback=on_puback) as connection,
    ):
        yield connection


def test_the_password_is_never_shown():
    shown = repr(config(1883, username="gw", password="hunter2"))
    assert "hunter2" not in shown
    assert "'gw'" in shown


def test_nothing_listening_is_said_with_a_remedy():
    async def main():
        async with connect(config(free_port()), on_message=ignore):
            pass

    with pytest.raises(DeviceGoneError, match=r"nothing listens there\. Start the broker"):
        run(main())


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"\x20\x03\x00\x86\x00", "Bad user name or password.*Check user name and password"),
        (b"\x20\x03\x00\x84\x00", "Set `protocol = 4`"),
        (b"\x20\x03\x00\x87\x00", "access rules"),
        (None, "closed the connection before accepting it"),
        (b"\xf5\xff\xff\xff\xff\xff", "Check protocol"),
        (b"\x20\x01\x00", "protocol"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "Check protocol|broke the protocol|no answer"),
    ],
)
def test_a_refusal_says_why_and_what_to_do(answer, words):
    async def main():
        async with Misbehaving.running({CONNECT: answer}) as server:
            with pytest.raises(DeviceGoneError, match=words):
                async with connect(config(server.port, connect_timeout_s=1), on_message=ignore):
                    pass

    run(main())


def test_a_server_that_never_answers_is_given_up():
    async def main():
        async with Misbehaving.running({}) as server:
            with pytest.raises(
                DeviceGoneError, match=r"no answer within 0.2 s. Set `protocol = 4`"
            ):
                async with connect(config(server.port, connect_timeout_s=0.2), on_message=ignore):
                    pass

    run(main())


def test_a_refused_subscription_is_an_error():
    async def main():
        async with Misbehaving.running({CONNECT: ACCEPTED, SUBSCRIBE: suback(0x87)}) as server:
            with pytest.raises(DeviceGoneError, match="refused the subscription to a/#"):
                async with connect(
                    config(server.port), subscriptions=[("a/#", 1)], on_message=ignore
                ):
                    pass

    run(main())


@pytest.mark.parametrize(("code", "failure"), [(0x00, False), (0x10, False), (0x87, True)])
def test_a_puback_carries_its_reason(code, failure):
    async def main():
        heard = asyncio.get_running_loop().create_future()

        def on_puback(mid, reason_code, failure):
            heard.set_result((mid, reason_code, failure))

        async with linked({PUBLISH: puback(code)}, on_puback) as connection:
            mid = connection.publish("a/b", b"x")
            assert await heard == (mid, code, failure)

    run(main())


def test_a_callback_that_fails_ends_the_connection_with_its_own_error():
    async def main():
        def on_puback(**_):
            raise ZeroDivisionError

        async with linked({PUBLISH: puback(0)}, on_puback) as connection:
            connection.publish("a/b", b"x")
            await connection.closed()

    with pytest.raises(ZeroDivisionError):
        run(main())


def test_a_publish_without_a_link_is_refused_and_not_kept():
    async def main():
        async with Misbehaving.running({CONNECT: ACCEPTED, PUBLISH: None}) as server:
            async with connect(config(server.port), on_message=ignore) as connection:
                connection.publish("a/b", b"first")
                with pytest.raises(DeviceGoneError):
                    await connection.closed()
                with pytest.raises(DeviceGoneError):
                    connection.publish("a/b", b"second")
            async with connect(config(server.port), on_message=ignore):
                pass
            published = [body for kind, body in server.received if kind == PUBLISH]
            assert len(published) == 1
            assert published[0].endswith(b"first")

    run(main())


def test_what_is_sent_without_end_is_bounded(monkeypatch):
    monkeypatch.setattr(client_module, "OUTGOING_MAX", 4)

    async def main():
        async with linked({}) as connection:
            for _ in range(4):
                connection.publish("a/b", b"x")
            with pytest.raises(DeviceSilentError, match="does not take what is sent"):
                connection.publish("a/b", b"x")

    run(main())


def test_room_comes_back_with_the_pubacks(monkeypatch):
    monkeypatch.setattr(client_module, "OUTGOING_MAX", 4)
    monkeypatch.setattr(client_module, "OUTGOING_BYTES_MAX", 1_000)

    async def main():
        async with linked({PUBLISH: puback(0)}) as connection:
            for _ in range(20):
                await connection.room()
                connection.publish("a/b", b"x")
            await connection.room()

    run(main())


def test_limits_of_the_server_are_known_and_held():
    properties = b"\x21\x00\x05" + b"\x27\x00\x00\x01\x00"
    accepted = b"\x20" + bytes([3 + len(properties)]) + b"\x00\x00" + bytes([len(properties)])

    async def main():
        async with linked({CONNECT: accepted + properties}) as connection:
            assert connection.receive_maximum == 5
            assert connection.maximum_packet_size == 256
            with pytest.raises(TooLargeError, match="256 bytes"):
                connection.publish("a/b", bytes(300))

    run(main())


def test_a_body_that_fails_leaves_the_will_and_a_body_that_ends_does_not():
    async def main():
        async with Misbehaving.running({CONNECT: ACCEPTED}) as server:
            will = Will(topic="w", payload=b"gone")
            with pytest.raises(KeyError):
                async with connect(config(server.port), will=will, on_message=ignore):
                    raise KeyError
            assert [kind for kind, _ in server.received] == [CONNECT]
            async with connect(config(server.port), will=will, on_message=ignore):
                pass
            server.heard.clear()
            while DISCONNECT not in [kind for kind, _ in server.received]:
                await server.heard.wait()
                server.heard.clear()

    run(main())


def test_a_body_that_is_cancelled_leaves_no_will():
    async def main():
        async with Misbehaving.running({CONNECT: ACCEPTED}) as server:
            inside = asyncio.Event()

            async def body():
                async with connect(config(server.port), on_message=ignore) as connection:
                    inside.set()
                    await connection.closed()

            task = asyncio.create_task(body())
            await inside.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            while DISCONNECT not in [kind for kind, _ in server.received]:
                server.heard.clear()
                await server.heard.wait()

    run(main())


def test_cancellation_during_the_connection_attempt_leaves_nothing_behind():
    async def main():
        async with Misbehaving.running({}) as server:

            async def attempt():
                async with connect(config(server.port), on_message=ignore):
                    pass

            task = asyncio.create_task(attempt())
            await server.heard.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    run(main())


def test_small_messages_are_not_held_back():
    async def main():
        async with linked({}) as connection:
            assert connection._socket().getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    run(main())


def announced(length):
    """Return the head of a PUBLISH packet, and none of its body."""
    head = b""
    while True:
        length, low = divmod(length, 128)
        head += bytes([low | (128 if length else 0)])
        if not length:
            return b"\x30" + head


@pytest.mark.parametrize("protocol", [4, 5])
def test_a_packet_beyond_the_limit_ends_the_link_before_it_takes_memory(protocol):
    async def main():
        accepted = {4: b"\x20\x02\x00\x00", 5: ACCEPTED}[protocol]
        answers = {CONNECT: accepted + announced(200 * 2**20)}
        async with Misbehaving.running(answers) as server:
            tracemalloc.start()
            try:
                with pytest.raises(DeviceGoneError, match="a packet of 209715200 bytes, the limit"):
                    async with connect(
                        config(server.port, protocol=protocol), on_message=ignore
                    ) as connection:
                        await connection.closed()
                assert tracemalloc.get_traced_memory()[1] < 20 * 2**20
            finally:
                tracemalloc.stop()

    run(main())


def test_a_broker_of_mqtt_5_is_told_the_limit():
    async def main():
        async with (
            Misbehaving.running({CONNECT: ACCEPTED}) as server,
            connect(config(server.port), on_message=ignore),
        ):
            [(_, body)] = server.received
            assert b"\x27" + (1 << 20).to_bytes(4, "big") in body

    run(main())


def test_a_topic_that_is_no_text_is_counted_and_handed_on_as_none_that_there_is():
    async def main():
        body = b"\x00\x04a/\xff\xfe" + b"\x00" + b"{}"
        good = b"\x00\x03a/b" + b"\x00" + b"{}"
        packets = b"".join(b"\x30" + bytes([len(one)]) + one for one in (body, good))
        heard = asyncio.Queue()
        async with (
            Misbehaving.running({CONNECT: ACCEPTED + packets}) as server,
            connect(config(server.port), on_message=heard.put_nowait) as connection,
        ):
            assert (await heard.get()).topic == client_module.NO_TOPIC
            assert (await heard.get()).topic == "a/b"
            assert connection.malformed == 1

    run(main())


def test_what_came_in_one_read_behind_a_packet_that_counts_as_none_is_taken_at_once():
    """The socket shows nothing of it any more, and the broker may be silent from then on."""
    message = b"\x30\x06" + b"\x00\x01a" + b"\x00" + b"hi"

    async def main():
        got = asyncio.Event()
        async with (
            Misbehaving.running({CONNECT: ACCEPTED, PUBLISH: b"\xd0\x00" + message}) as server,
            connect(config(server.port), on_message=lambda _of: got.set()) as connection,
            asyncio.timeout(5),
        ):
            connection.publish("up", b"", qos=0)
            await got.wait()

    run(main())


def test_a_flood_takes_no_more_of_each_turn_the_longer_it_goes_on():
    async def main():
        async with linked({}) as connection:
            packets = 0

            def loop_read():
                nonlocal packets
                packets += 1
                connection._packets += 1
                return client_module.MQTTErrorCode.MQTT_ERR_SUCCESS

            real, connection._client.loop_read = connection._client.loop_read, loop_read
            turns = []
            for _ in range(30):
                before = packets
                connection._readable()  # As the loop does for a socket that is never empty.
                await asyncio.sleep(0)
                turns.append(packets - before)
            connection._client.loop_read = real
            return turns

    assert max(run(main())) <= 2 * client_module.READS_MAX
