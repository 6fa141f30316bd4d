# SPDX-License-Identifier: Apache-2.0
"""What the engine makes of a shelf on MQTT: picks where it is watched, and none where it is not."""

import asyncio
from decimal import Decimal

import msgspec

from drivers.mqtt_shelf.config import EsphomeConfig, TasmotaConfig
from gateway.domain.engine import Engine
from gateway.domain.inputs import EngineSettings, GatewayStarted, Tick
from gateway.domain.store import Facing
from tests.drivers.mqtt_shelf.rig import play
from tests.small_store import GTIN, small_store, stamp


def store_of_one_plate():
    store = small_store()
    shelf = store.shelves[0]
    shelf = msgspec.structs.replace(shelf, plates=shelf.plates[:1])
    facings = (Facing(gtin=GTIN, plates=(shelf.plates[0].name,)),)
    return msgspec.structs.replace(
        store, shelves=(shelf,), cameras=(), scanners=(), doors=(), facings=facings
    )


def told(rig):
    """Return the names of the events that the inputs so far make, one tick a second put in."""
    rig.heard()
    engine, names, number = Engine(), [], 1
    engine.step(
        1,
        GatewayStarted(
            at=stamp(),
            gateway="gw",
            version="1",
            epoch="0" * 32,
            previous_epoch=None,
            previous_sequence=None,
            settings=EngineSettings(),
            store=store_of_one_plate(),
            state=[],
        ),
    )
    tick_ns = 0
    for item in rig.inputs:
        while tick_ns + 100_000_000 <= item.at.mono_ns:
            tick_ns += 100_000_000
            number += 1
            tick = Tick(at=stamp(tick_ns))
            names += [event.name for event in engine.step(number, tick).events]
        number += 1
        names += [event.name for event in engine.step(number, item).events]
    return names, engine


def test_a_pick_from_a_shelf_that_tells_its_changes_is_a_change_at_that_time():
    config = EsphomeConfig(
        name="g1.s1", prefix="simulated-esphome", sensors=("weight",), sends="changes"
    )

    async def body(rig):
        rig.shelf.grams = Decimal(1500)
        rig.shelf.tell()
        await asyncio.sleep(60)
        rig.shelf.grams = Decimal(1350)
        rig.shelf.tell()
        await asyncio.sleep(30)
        names, engine = told(rig)
        assert "device.lost" not in names
        assert names.count("shelf.changed-unattended") + names.count("review.requested") >= 1
        [shelf] = engine.state.shelves.values()
        assert abs(shelf.reference_g[0] - 1350) < 1

    play(config, "esphome", body)


def test_a_stock_monitor_is_there_and_what_it_finds_changed_was_seen_by_nobody():
    config = TasmotaConfig(name="g1.s1", topic="simulated-tasmota")

    async def body(rig):
        for grams in (1500, 1500, 1350, 1350):
            rig.shelf.grams = Decimal(grams)
            rig.shelf.tell()
            await asyncio.sleep(300)
            rig.heard()  # As the engine does all the time: one device's words have a limit.
        names, engine = told(rig)
        assert "device.lost" not in names
        assert names.count("shelf.changed-unattended") == 1
        assert not {"item.picked", "item.put-back"} & {*names}
        [shelf] = engine.state.shelves.values()
        assert abs(shelf.reference_g[0] - 1350) < 1

    play(config, "tasmota", body)
