# SPDX-License-Identifier: Apache-2.0
"""A scale and a transmitter on TCP beside the shelves on MQTT: read, commanded, and gone."""

import json

import pytest

from tests.brokers import free_port
from tests.e2e.helpers import Program, accepts, until
from tests.e2e.shop import FILE, open_shop

SHELF = """
[[gondola]]
name = "{gondola}"
[[gondola.shelf]]
name = "{gondola}.s1"
front_mm = [{x_mm}, -900, {end_mm}, -900]
z_mm = 800
depth_mm = 350
[[gondola.shelf.plate]]
name = "{gondola}.s1.p1"
offset_mm = 0
width_mm = 500
"""
SHELVES = SHELF.format(gondola="g3", x_mm=-750, end_mm=-250) + SHELF.format(
    gondola="g4", x_mm=250, end_mm=750
)
DEVICES = """
[[device]]
driver = "scale"
name = "g3.s1"
protocol = "mt-sics"
url = "socket://127.0.0.1:{scale}"
[[device]]
driver = "modbus"
name = "g4.s1"
map = "tuna-id551pn"
unit = "kg"
framing = "tcp"
poll_ms = 100
url = "socket://127.0.0.1:{modbus}"
"""


@pytest.fixture(scope="module")
def at(tmp_path_factory):
    """A shop with both, once each has been weighed."""
    folder, ports = tmp_path_factory.mktemp("scales"), {"scale": free_port(), "modbus": free_port()}
    orders = {
        "scale": ("mt-sics",),
        "modbus": ("modbus", "--map", "tuna-id551pn", "--framing", "tcp"),
    }
    programs = {
        name: Program(
            folder,
            name,
            *("-m", "gateway.simulator.simulate", "--device", *orders[name]),
            *("--tcp", port, "--grams", "900"),
        ).start()
        for name, port in ports.items()
    }
    try:
        for port in ports.values():
            until(lambda port=port: accepts(port), "the emulated device")
        more = DEVICES.format_map(ports)
        with open_shop(folder, store_text=FILE + SHELVES, more=more) as shop:
            shop.programs = programs
            until(lambda: {"g3.s1.p1", "g4.s1.p1"} <= weighed(shop).keys(), "both weights")
            yield shop
    finally:
        for program in programs.values():
            program.kill()


def weighed(at):
    """Return what plates weigh, as it is written down."""
    rows = at.daemon.rows("SELECT key, value FROM state WHERE kind = 'holding'")
    found = {key: json.loads(value)["weighed_g"] for key, value in rows}
    return {plate: grams for plate, grams in found.items() if grams is not None}


def test_both_are_weighed_in_grams(at):
    assert weighed(at)["g3.s1.p1"] == pytest.approx(900.0)
    assert weighed(at)["g4.s1.p1"] == pytest.approx(900.0)


def test_a_scale_is_zeroed_by_command_and_nothing_counts_as_taken(at):
    reply = at.witness.command("zero", "zero-1", shelf="g3.s1")
    assert reply == {"id": "zero-1", "status": "ok", "message": ""}
    until(lambda: weighed(at).get("g3.s1.p1") == pytest.approx(0.0), "the new zero")
    names = {event["type"] for event in at.witness.events.values()}
    assert not names & {
        "org.shelfgate.shelf.changed-unattended.v1",
        "org.shelfgate.item.picked.v1",
        "org.shelfgate.review.requested.v1",
    }


def test_a_transmitter_has_no_keys_to_press_from_here(at):
    reply = at.witness.command("tare", "tare-1", shelf="g4.s1")
    assert reply["status"] == "error"
    assert reply["message"] == "shelf/g4.s1 is no scale on a line. Press the key at the scale"
    reply = at.witness.command("tare", "tare-2", shelf="g9.s1")
    assert (reply["status"], reply["message"]) == ("error", "the store has no shelf 'g9.s1'")


def test_a_transmitter_that_is_gone_is_told(at):
    at.programs["modbus"].kill()
    lost = at.witness.event("device.lost", lambda e: e["data"]["device"] == "shelf/g4.s1")
    assert "socket://127.0.0.1:" in lost["data"]["reason"]
