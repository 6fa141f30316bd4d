# SPDX-License-Identifier: Apache-2.0
"""What the simulation tells a person: each thing once, and a shut door or a lost broker plainly."""

import logging
from collections import Counter
from pathlib import Path

import pytest

from drivers.errors import DeviceGoneError
from gateway.config import load_store
from gateway.simulator.telling import Links, Teller
from gateway.simulator.world import Traffic, World

DEMO = Path(__file__).parents[3] / "fixtures" / "stores" / "demo.toml"


@pytest.fixture(scope="module")
def store():
    return load_store(DEMO)


def told(store, world, until_s):
    lines = []
    teller = Teller(store, lines.append)
    while world.now_s < until_s and not world.over:
        world.step(1 / 60)
        while world.scans:
            teller.scanned(*world.scans.popleft())
        teller.tell(world.truth)
    return [line.partition("  ")[2] for line in lines]


def test_each_scan_act_and_departure_is_one_line(store, caplog):
    world = World(store, 1, open_doors=True)
    lines = told(store, world, 200)
    verbs = Counter(line.split()[1] for line in lines)
    acts = world.truth.acts
    assert verbs["scans"] == verbs["comes"] == verbs["leaves"] == 5
    assert verbs["takes"] == sum(act.direction == "pick" for act in acts)
    assert verbs["puts"] == sum(act.direction == "put-back" for act in acts)
    assert sum("a wrong place" in line for line in lines) == 1
    [misplaced] = [act for act in acts if act.misplaced]
    assert any(
        store.products[misplaced.gtin].name in line and misplaced.plates[0] in line
        for line in lines
        if "a wrong place" in line
    )
    assert not caplog.records


def test_a_door_that_stays_shut_is_told_at_the_next_scan(store, caplog):
    world = World(store, 1, Traffic(shoppers=1, first_s=0.1))
    told(store, world, 12.5)
    [record] = caplog.records
    assert record.getMessage().startswith("shopper-1 scanned, no door opened within 7 s")


def test_an_outage_of_the_broker_is_told_when_it_starts_and_when_it_ends(caplog):
    caplog.set_level(logging.INFO)
    links = Links("127.0.0.1:1883", 2)
    error = DeviceGoneError("mqtt 127.0.0.1:1883", "refused", "Start the broker")
    for device in ("door/front", "scanner/entry", "door/front"):
        links.failed(device, error)
    links.came_up("door/front")
    links.came_up("scanner/entry")
    links.failed("scanner/entry", error)
    links.came_up("scanner/entry")
    said = [record.getMessage() for record in caplog.records]
    assert said[0].startswith("Broker is down for door/front: mqtt 127.0.0.1:1883")
    assert said[1] == "2 devices are on the broker 127.0.0.1:1883"
    assert said[2].startswith("Broker is down for scanner/entry")
    assert said[3:] == ["Broker is back for all devices"]
