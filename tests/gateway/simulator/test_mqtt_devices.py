# SPDX-License-Identifier: Apache-2.0
"""``shelfgate simulate --device`` for shelves and doors on MQTT, as processes of their own."""

import subprocess
import sys
import tomllib
from contextlib import contextmanager

import msgspec
import pytest

from drivers.registry import AnyDriverConfig
from gateway.simulator.mqtt_shelves import FIRMWARES, SETTINGS
from tests.e2e.helpers import Peer, closed, outside_broker, until


@contextmanager
def emulated(folder, device, port):
    """Run an emulator; yield what gives it lines, and what it says."""
    log = folder / f"{device}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "gateway.cli", "simulate", "--device", device),
                *("--broker", f"127.0.0.1:{port}", "--grams", "412", "--rate", "20"),
            ],
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=out,
        )
    until(lambda: "[[device]]" in log.read_text(), device)

    def order(line):
        process.stdin.write(f"{line}\n".encode())
        process.stdin.flush()

    try:
        yield order, log.read_text
        process.stdin.close()
        assert process.wait(20) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    with outside_broker(tmp_path_factory.mktemp("broker"), "instore") as one:
        yield one


def table_of(words):
    """Return the table that an emulator prints, as the daemon would read it."""
    lines = words.partition("[[device]]\n")[2].partition("\n\n")[0]
    [table] = [tomllib.loads(lines)]
    return msgspec.convert(table | {"name": "g1.s1"}, AnyDriverConfig)


@pytest.mark.parametrize("device", FIRMWARES)
def test_a_shelf_publishes_what_lies_on_it_and_goes_when_it_is_told(device, broker, tmp_path):
    with closed(Peer(broker.port, f"simulated-{device}/#", f"tele/simulated-{device}/#")) as peer:
        with emulated(tmp_path, device, broker.port) as (order, words):
            config = table_of(words())
            topic, yes, no = config.presence

            def told(where, what):
                return any(one[1] == where and what in one[2] for one in peer.messages)

            peer.wait(lambda: told(config.value_topics[0], b"412"), "a weight")
            assert told(topic, yes.encode())
            order("247")
            order("nonsense")
            peer.wait(lambda: told(config.value_topics[0], b"247"), "another weight")
            order("offline")
            peer.wait(lambda: told(topic, no.encode()), "its will")
        assert "nonsense: neither grams nor a fault" in words()


def test_a_door_says_what_it_is_told(broker, tmp_path):
    with (
        closed(Peer(broker.port, "simulated-door/#")) as peer,
        emulated(tmp_path, "mqtt-door", broker.port) as (order, words),
    ):
        config = table_of(words())
        assert config.when_dead == "locked"
        peer.wait(lambda: [one for one in peer.messages if one[2] == b"online"], "its birth")
        peer.send(config.topic, b"unlock")
        until(lambda: "unlocked" in words(), "the word")
        peer.send(config.topic, b"lock")
        until(lambda: "\nlocked" in words(), "the other word")
        order("fire")
        until(lambda: "fire: no fault. Known is offline" in words(), "the remedy")


def test_every_firmware_has_a_table():
    assert set(SETTINGS) == {*FIRMWARES}
