# SPDX-License-Identifier: Apache-2.0
"""The daemon and its doors: once for each entry, whatever is killed, pulled or shown again."""

import json
import subprocess
import sys
from contextlib import ExitStack

import pytest

from tests.e2e.helpers import Peer, closed, outside_broker, until
from tests.e2e.shop import BRIDGE, FILE, ROOT, complete, open_shop

STORE_FILE = FILE.replace(
    '[[door]]\nname = "gate"', '[[door]]\nname = "gate"\n[[door]]\nname = "back"'
)
STORE_FILE += '[[scanner]]\nname = "back"\nzone = "entrance"\ndoor = "back"\n'
STORE_FILE += BRIDGE
DOORS = """
[[device]]
driver = "esphome"
name = "g2.s1"
prefix = "node"
sensors = ["left", "right"]
unit = "raw"
period_ms = 100
[[device]]
driver = "relay"
name = "gate"
url = "lines/relay"
when_dead = "locked"
hold_ms = 300
[[device]]
driver = "mqtt-door"
name = "back"
topic = "doors/back/set"
unlock = "ON"
lock = "OFF"
when_dead = "unlocked"
hold_ms = 300
"""


class Board:
    """``shelfgate simulate --device relay``, and what it says."""

    def __init__(self, folder):
        self._log = folder / "relay.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "gateway.cli", "simulate", "--device", "relay"),
                    *("--lines", str(folder / "lines")),
                ],
                stdin=subprocess.PIPE,
                stdout=log,
            )
        until(lambda: "[[device]]" in self._log.read_text(), "the relay board")

    def said(self, word):
        return self._log.read_text().splitlines().count(word)

    def unplug(self):
        self._process.stdin.write(b"unplug\n")
        self._process.stdin.flush()

    def close(self):
        self._process.stdin.close()
        assert self._process.wait(20) == 0


class Doors(Peer):
    """What the door on MQTT is told."""

    @property
    def words(self):
        return [payload.decode() for _, _, payload, _ in self.messages]

    def wait_for(self, *expected):
        self.wait(lambda: self.words == list(expected), f"{expected}, not {self.words}")


@pytest.fixture(scope="module")
def at(tmp_path_factory):
    folder = tmp_path_factory.mktemp("doors")
    more = DOORS.replace("lines/relay", str(folder / "lines" / "relay"))
    with ExitStack() as stack:
        instore = stack.enter_context(outside_broker(folder, "instore"))
        board = stack.enter_context(closed(Board(folder)))
        doors = stack.enter_context(closed(Doors(instore.port, "doors/#", name="doors")))
        options = {"instore": instore.port, "more": more, "journal": False}
        shop = stack.enter_context(open_shop(folder, store_text=STORE_FILE, **options))
        shop.board, shop.doors = board, doors
        yield shop


def scan(at, scanner, token, seq):
    message = {"v": 1, "boot": f"{scanner}-boot", "seq": seq, "text": token}
    at.shop.send(f"{ROOT}/scanner/{scanner}/scan", message)


def heard(at):
    """Wait until the daemon hears the in-store broker: what comes before that is lost to it."""
    query = "SELECT key FROM state WHERE key = 'door/gate' AND value LIKE '%probe%'"

    def look():
        at.shop.send(f"{ROOT}/door/gate/state", {"v": 1, "boot": "probe", "seq": 0, "open": False})
        return at.daemon.rows(query)

    until(look, "an input from the in-store broker")


def test_each_entry_opens_its_door_once_whatever_happens(at):
    energised, started = "relay 1 energised", "session.started"
    token, other, third = (at.shop.tokens.token(f"shopper-{number}") for number in range(3))
    at.doors.wait_for("OFF")
    scan(at, "entrance", token, 0)
    scan(at, "back", other, 0)
    at.witness.event(started, count=2)
    until(lambda: at.board.said("relay 1 released"), "the relay's rest")
    at.doors.wait_for("OFF", "ON", "OFF")

    at.daemon.program.kill()
    at.doors.wait_for("OFF", "ON", "OFF", "ON")  # The broker, for a dead gateway.
    at.daemon.start()
    at.doors.wait_for("OFF", "ON", "OFF", "ON", "OFF")
    heard(at)
    scan(at, "entrance", token, 1)
    scan(at, "back", other, 1)

    at.board.unplug()
    at.witness.event("device.lost", lambda one: one["data"]["device"] == "door/gate")
    scan(at, "entrance", third, 2)
    shut = at.witness.event("door.not-opened")
    session = at.witness.event(started, count=3)["data"]["session"]
    assert (shut["data"]["door"], shut["data"]["session"]) == ("gate", session)
    assert shut["data"]["reason"] == "unreachable"
    at.witness.event("device.recovered", lambda one: one["data"]["device"] == "door/gate")
    assert at.board.said(energised) == 1
    assert at.doors.words == ["OFF", "ON", "OFF", "ON", "OFF"]
    status, _ = at.daemon.stop()
    assert status == 0, at.daemon.program.words()
    at.doors.wait_for("OFF", "ON", "OFF", "ON", "OFF", "ON")
    complete(at)
    dropped = [event["data"] for event in at.witness.named("inputs.dropped")]
    replayed = [one["device"] for one in dropped if one["reason"] == "token-replayed"]
    assert sorted(replayed) == ["scanner/back", "scanner/entrance"]
    assert "Traceback" not in at.daemon.program.words()


def test_a_shelf_of_another_firmware_is_weighed_on_the_same_connection(at):
    at.daemon.start()
    heard(at)

    def look():
        for sensor, counts in (("left", 30_000), ("right", 20_000)):
            at.shop.send(f"node/sensor/{sensor}/state", str(counts).encode())
        held = at.daemon.rows("SELECT key, value FROM state WHERE kind = 'holding'")
        return {key: value for key, value in held if key.startswith("g2.s1")} if held else None

    held = until(lambda: len(look() or ()) == 2 and look(), "the weights of both plates")
    assert {key: json.loads(value)["weighed_g"] for key, value in held.items()} == {
        "g2.s1.p1": pytest.approx(200.0),
        "g2.s1.p2": pytest.approx(100.0),
    }
    at.daemon.stop()
