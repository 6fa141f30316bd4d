# SPDX-License-Identifier: Apache-2.0
"""The embedded broker's process: loopback only, ready when it says so, never left behind."""

import asyncio
import os
import signal
import socket
import sys

import pytest

from drivers.errors import DeviceGoneError
from drivers.mqtt.client import MqttConfig, Will, connect
from drivers.mqtt.embedded import _Stable, embedded_broker, main, start_broker, stop_broker
from tests.brokers import free_port, run


def config(port, client_id="test", **changes):
    return MqttConfig(
        **{"host": "127.0.0.1", "port": port, "client_id": client_id, "protocol": 4} | changes
    )


def collector():
    queue = asyncio.Queue()
    return queue, queue.put_nowait


def test_messages_of_both_qualities_arrive_in_order():
    async def go():
        port = free_port()
        queue, on_message = collector()
        async with (
            embedded_broker(port),
            connect(config(port), subscriptions=[("a/#", 1)], on_message=on_message) as link,
        ):
            for number in range(200):
                link.publish("a/b", b"%d" % number, qos=number % 2)
            got = [await queue.get() for _ in range(200)]
        assert [int(message.payload) for message in got] == list(range(200))
        assert {message.topic for message in got} == {"a/b"}
        assert not any(message.retain for message in got)

    run(go())


def test_a_retained_message_is_marked_for_who_comes_later_only():
    async def go():
        port = free_port()
        live, on_live = collector()
        late, on_late = collector()
        topics = [("s/+", 1)]
        async with (
            embedded_broker(port),
            connect(config(port, "live"), subscriptions=topics, on_message=on_live) as link,
        ):
            link.publish("s/1", b"up", retain=True)
            assert (await live.get()).retain is False
            async with connect(config(port, "late"), subscriptions=topics, on_message=on_late):
                message = await late.get()
                assert (message.payload, message.retain) == (b"up", True)

    run(go())


def test_the_will_of_a_client_that_vanishes_is_published_and_kept():
    async def go():
        port = free_port()
        queue, on_message = collector()
        will = Will(topic="w/1", payload=b"gone")
        async with (
            embedded_broker(port),
            connect(config(port, "watch"), subscriptions=[("w/#", 1)], on_message=on_message),
        ):
            with pytest.raises(KeyError):
                async with connect(config(port, "dies"), will=will, on_message=on_message):
                    raise KeyError
            assert (await queue.get()).payload == b"gone"

    run(go())


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.1", "example.org", "::"])
def test_other_machines_are_not_served(host, capsys):
    with pytest.raises(SystemExit) as end:
        main(["--host", host, "--port", "1883"])
    assert end.value.code == 2
    assert "not a loopback address" in capsys.readouterr().err


def test_a_port_in_use_is_told_by_the_error_alone(capfd, caplog):
    async def go():
        with (
            socket.create_server(("127.0.0.1", 0)) as taken,
            pytest.raises(DeviceGoneError, match=r"the port is in use\. Stop what listens there"),
        ):
            async with embedded_broker(taken.getsockname()[1]):
                pass

    run(go())
    assert capfd.readouterr().err == ""
    assert not caplog.records


def test_a_port_in_use_is_one_line_for_who_runs_it_by_hand(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["--port", str(port)]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"embedded broker 127.0.0.1:{port}: the port is in use. Stop")
    assert told.count("\n") == 1


def test_a_broker_that_has_just_ended_is_stopped_without_a_warning(caplog):
    async def go():
        process = await start_broker(free_port())
        watch = os.pidfd_open(process.pid)
        ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(watch, ended.set)
        os.kill(process.pid, signal.SIGINT)
        await ended.wait()
        asyncio.get_running_loop().remove_reader(watch)
        os.close(watch)
        await stop_broker(process)
        assert process.returncode == 0

    run(go())
    assert not caplog.records


CROWD = 12
ROUNDS = 4


def test_a_crowd_that_connects_at_once_is_served_whole(capfd):
    """Clients that subscribe while others connect once cut those off."""

    async def client(port, name, joined, heard):
        """Stay until the round was heard: a link that is lost before raises."""
        queue, on_message = collector()
        mine = [(f"o/{name}/{number}", 1) for number in range(3)]
        async with connect(config(port, name), subscriptions=mine, on_message=on_message) as link:
            link.publish(f"t/{name}/status", b"here", retain=True)
            await joined.wait()
            link.publish(f"t/{name}/last", b"bye")
            link.publish(f"o/{name}/0", b"own")
            await queue.get()
            await heard.wait()
            link.raise_if_gone()

    async def go():
        port = free_port()
        queue, on_message = collector()
        topics = [("t/+/status", 1), ("t/+/last", 1)]
        async with (
            embedded_broker(port),
            connect(config(port, "watch"), subscriptions=topics, on_message=on_message),
        ):
            for turn in range(ROUNDS):
                names = [f"r{turn}c{number}" for number in range(CROWD)]
                joined, heard = asyncio.Barrier(CROWD), asyncio.Event()
                async with asyncio.TaskGroup() as group:
                    for name in names:
                        group.create_task(client(port, name, joined, heard))
                    got = [(await queue.get()).topic for _ in range(2 * CROWD)]
                    heard.set()
                assert sorted(got) == sorted(
                    f"t/{name}/{word}" for name in names for word in ("status", "last")
                )

    run(go(), limit_s=20)
    assert capfd.readouterr().err == ""


def test_a_dictionary_may_change_while_it_is_walked():
    one = _Stable({"a": [1, 2], "b": []})
    for key in one:
        one[key + "!"] = []
    for key, numbers in one.items():
        for _ in numbers:
            one[key].pop(0)
        del one[key]
    assert len(one) == 0


PARENT = """
import asyncio, sys
from drivers.mqtt.embedded import start_broker

async def go():
    process = await start_broker(int(sys.argv[1]))
    print(process.pid, flush=True)
    await asyncio.sleep(60)

asyncio.run(go())
"""


def test_the_broker_ends_when_its_parent_is_killed():
    async def go():
        parent = await asyncio.create_subprocess_exec(
            sys.executable, "-c", PARENT, str(free_port()), stdout=asyncio.subprocess.PIPE
        )
        broker = int(await parent.stdout.readline())
        watch = os.pidfd_open(broker)
        ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(watch, ended.set)
        parent.send_signal(signal.SIGKILL)
        await parent.wait()
        await ended.wait()
        asyncio.get_running_loop().remove_reader(watch)
        os.close(watch)

    run(go())


def test_an_end_of_the_body_ends_the_broker():
    async def go():
        port = free_port()
        async with embedded_broker(port) as process:
            pass
        assert process.returncode is not None
        with socket.create_server(("127.0.0.1", port)):
            pass

    run(go())
