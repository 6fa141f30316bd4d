# SPDX-License-Identifier: Apache-2.0
"""The simulated devices against a real broker, read by the product's own codec."""

import asyncio
import os
import socket
import sys
import tomllib
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from drivers.instore.codec import Known, Rejected, Scanned, decode
from drivers.mqtt.client import connect
from drivers.mqtt.config import MqttConfig
from drivers.mqtt.embedded import embedded_broker
from gateway.clock import OsClock
from gateway.config import load_store
from gateway.domain.inputs import DeviceStatus, DoorState, People, Samples
from gateway.simulator.devices import SimulateConfig, Simulation
from gateway.simulator.processes import free_ports
from gateway.simulator.simulate import run_simulate
from gateway.simulator.wire import Device
from gateway.simulator.witness import read_witness
from gateway.simulator.world import Traffic

DEMO = Path(__file__).parents[3] / "fixtures" / "stores" / "demo.toml"


@pytest.fixture(scope="module")
def store():
    return load_store(DEMO)


def broker_at(port, name="test"):
    return MqttConfig(host="127.0.0.1", port=port, client_id=name, protocol=4, clean=True)


def config(store, port, tmp_path, **more):
    return SimulateConfig(
        store=store,
        store_path=DEMO,
        broker=broker_at(port),
        seed=3,
        traffic=Traffic(shoppers=1, first_s=0.1),
        keys=tmp_path / "keys",
        truth=tmp_path / "truth.json",
        **more,
    )


async def heard(store, port):
    """Collect what the codec makes of everything on the broker until a scan; then open the door."""
    known, clock, found = Known.of(store), OsClock(), []
    scanned, opened = asyncio.Event(), asyncio.Event()

    def take(message):
        if message.topic.endswith("/open"):
            return
        stamp = clock.stamp()
        one = decode(known, message.topic, message.payload, retained=message.retain, stamp=stamp)
        found.append(one)
        if isinstance(one, Scanned):
            scanned.set()
        if isinstance(one, DoorState) and one.open:
            opened.set()

    everything = [("shelfgate/v1/demo/#", 1)]
    async with connect(broker_at(port), subscriptions=everything, on_message=take) as connection:
        await scanned.wait()
        assert not opened.is_set()
        connection.publish("shelfgate/v1/demo/door/front/open", b'{"v":1,"effect":"e"}')
        await opened.wait()
    return found


def test_every_message_is_of_the_contract_and_the_door_opens_when_asked(store, tmp_path):
    [port] = free_ports(1)

    async def main():
        stop = asyncio.Event()
        async with embedded_broker(port), asyncio.TaskGroup() as group:
            simulation = Simulation(config(store, port, tmp_path))
            group.create_task(simulation.run(stop))
            found = await heard(store, port)
            assert simulation.world.let_in("shopper-1")
            stop.set()
        return found

    found = asyncio.run(main())
    assert not [one for one in found if isinstance(one, Rejected)]
    kinds = Counter(type(one) for one in found)
    assert kinds[Samples] >= 4
    assert kinds[People] >= 1
    devices = {one.device for one in found if isinstance(one, DeviceStatus)}
    assert devices == {
        *(f"shelf/{shelf.name}" for shelf in store.shelves),
        "camera/ceiling",
        "scanner/entry",
        "door/front",
    }
    units = {one.device: one.unit for one in found if isinstance(one, Samples)}
    assert units["shelf/g2.s1"] == "raw"
    assert units["shelf/g1.s1"] == "g"
    assert read_witness(tmp_path / "truth.json") is not None


def test_on_lines_only_shelves_and_doors_use_mqtt(store, tmp_path):
    [port] = free_ports(1)
    (tmp_path / "lines").mkdir()
    simulation = Simulation(
        config(store, port, tmp_path, lines=tmp_path / "lines", bridges=("g2.s1",))
    )
    assert {path.name for path in (tmp_path / "lines").iterdir()} == {
        "bridge-g2.s1",
        "scanner-entry",
    }
    stop = asyncio.Event()
    stop.set()
    asyncio.run(simulation.run(stop))
    assert not list((tmp_path / "lines").iterdir()), "unplugged at the end"


def test_a_device_numbers_what_it_could_not_send():
    [port] = free_ports(1)

    async def main():
        seqs = []
        got = asyncio.Event()

        def take(message):
            seqs.append(msgspec.json.decode(message.payload)["seq"])
            got.set()

        device = Device("demo", "shelf/s")
        device.send("samples", {"w": []}, qos=1)
        async with embedded_broker(port), asyncio.TaskGroup() as group:
            topics = [("shelfgate/v1/demo/shelf/s/samples", 1)]
            async with connect(broker_at(port), subscriptions=topics, on_message=take):
                running = group.create_task(device.run(broker_at(port)))
                while not got.is_set():
                    device.send("samples", {"w": []}, qos=1)
                    await asyncio.sleep(0.05)
                running.cancel()
        return seqs

    seqs = asyncio.run(main())
    assert seqs[0] > 0
    assert seqs == sorted(set(seqs))


def test_a_device_that_dies_leaves_its_will():
    [port] = free_ports(1)

    async def main():
        states = asyncio.Queue()

        def take(message):
            states.put_nowait(msgspec.json.decode(message.payload)["state"])

        device = Device("demo", "shelf/s")
        async with embedded_broker(port), asyncio.TaskGroup() as group:
            topics = [("shelfgate/v1/demo/shelf/s/status", 1)]
            async with connect(broker_at(port), subscriptions=topics, on_message=take):
                running = group.create_task(device.run(broker_at(port)))
                assert await states.get() == "online"
                late = asyncio.Event()
                config = broker_at(port, "late")
                async with connect(config, subscriptions=topics, on_message=lambda _: late.set()):
                    await late.wait()  # A birth is retained.
                device._connection.abort()
                assert await states.get() == "offline"
                assert await states.get() == "online", "and it comes back by itself"
                running.cancel()
                assert await states.get() == "offline", "switched off in good order"

    asyncio.run(main())


def test_a_device_that_is_stopped_as_its_link_breaks_stays_stopped():
    [port] = free_ports(1)

    async def main():
        device = Device("demo", "shelf/s")
        async with embedded_broker(port):
            running = asyncio.create_task(device.run(broker_at(port)))
            await device.online.wait()
            device._connection.abort()
            running.cancel()
            done, _ = await asyncio.wait([running], timeout=20)
            running.cancel()
        assert done, "the interrupt was lost"

    asyncio.run(main())


def arguments(*words):
    import argparse

    from gateway.simulator.simulate import add_arguments

    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args([*words])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--camera", "ceiling"], "NAME:PORT"),
        (["--camera", "cellar:8000"], "Known there: ceiling"),
        (["--camera", "ceiling:70000"], "NAME:PORT"),
        (["--broker", "host:mqtt"], "no port"),
        (["--broker", "host:0"], "no port"),
        (["--broker", "host:65536"], "no port"),
        (["--shoppers", "-1"], "negative"),
        (["--at-once", "0"], "nobody could come"),
        (["--bridge", "g2.s1"], "Add --lines"),
        (["--lines", "lines", "--bridge", "cellar"], "Known there: g"),
        (["--lines", "/proc/nowhere"], "cannot be made"),
        (["--password-file", "nowhere"], "cannot be read"),
        (["--truth", "nowhere/truth.json"], "Make it first"),
    ],
)
def test_a_wrong_argument_is_refused_with_a_remedy(words, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status = asyncio.run(run_simulate(arguments("--store", str(DEMO), *words)))
    assert status == 2
    assert said in capsys.readouterr().err


def test_a_file_that_cannot_be_used_is_another_status(capsys):
    assert asyncio.run(run_simulate(arguments("--store", "/nowhere.toml"))) == 1
    assert "nowhere.toml" in capsys.readouterr().err


def test_a_renderer_that_dies_ends_the_run_with_its_port(capfd, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        words = ["--store", str(DEMO), "--lines", str(tmp_path / "lines"), "--bridge", "g2.s1"]
        words += ["--camera", f"ceiling:{port}", "--keys", str(tmp_path / "keys")]
        words += ["--broker", f"127.0.0.1:{free_ports(1)[0]}"]
        assert asyncio.run(run_simulate(arguments(*words))) == 1
    output, errors = capfd.readouterr()
    assert f"camera ceiling: port {port} cannot be opened" in errors
    assert "its renderer ended with status 1" in errors
    assert "Traceback" not in errors
    tables = tomllib.loads(output.partition("\n")[2])
    assert tables["entry"]["issuer"] == "shelfgate-simulator"
    assert Path(tables["entry"]["jwks"]).is_file()
    assert [device["driver"] for device in tables["device"]] == ["bridge", "scanner"]


def test_the_end_of_input_ends_a_held_run(tmp_path):
    async def main():
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "gateway.simulator.simulate", "--store", str(DEMO), "--held"),
            *("--broker", f"127.0.0.1:{free_ports(1)[0]}", "--keys", str(tmp_path)),
            stdin=asyncio.subprocess.PIPE,
            env=dict(os.environ),
        )
        process.stdin.write(b"go\n")
        await process.stdin.drain()
        process.stdin.close()
        assert await process.wait() == 0

    asyncio.run(main())
