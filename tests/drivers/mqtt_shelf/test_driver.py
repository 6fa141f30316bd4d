# SPDX-License-Identifier: Apache-2.0
"""Shelves on MQTT of other firmware: even rows, silence, presence, and every emulated fault."""

import asyncio
from decimal import Decimal

import pytest

from drivers.errors import DeviceGoneError
from drivers.mqtt_shelf.config import EsphomeConfig, JsonConfig, NumberConfig, TasmotaConfig
from drivers.mqtt_shelf.driver import MqttShelfDriver
from gateway.domain.inputs import DeviceStatus, Samples
from gateway.simulator.mqtt_shelves import FAULTS, FLOOD
from tests.drivers.mqtt_shelf.rig import drops, play, rows, states

CONFIGS = {
    "esphome": EsphomeConfig(name="g1.s1", prefix="simulated-esphome", sensors=("weight",)),
    "tasmota": TasmotaConfig(name="g1.s1", topic="simulated-tasmota", sends="always"),
    "number": NumberConfig(
        name="g1.s1",
        topics=("simulated-number/weights",),
        cells=2,
        availability="simulated-number/status",
    ),
    "json": JsonConfig(
        name="g1.s1",
        topic="simulated-json/state",
        values_at=("/plates/0/w", "/plates/1/w"),
        unit_at="/unit",
        time_at="/ms",
        sequence_at="/n",
        status_at="/state",
        availability="simulated-json/status",
    ),
}
every_firmware = pytest.mark.parametrize("firmware", CONFIGS)


def on_plates(firmware, grams):
    return [grams, grams + 1] if firmware in ("number", "json") else [grams]


@every_firmware
def test_weights_become_rows_at_equal_distances(firmware):
    async def body(rig):
        rig.shelf.grams = Decimal(412)
        await rig.play(3)
        rig.shelf.grams = Decimal(247)
        await rig.play(2)
        items = rig.heard()
        found = rows(items)
        assert found[:15] == [on_plates(firmware, 412)] * 15
        assert found[-10:] == [on_plates(firmware, 247)] * 10
        samples = [item for item in items if isinstance(item, Samples)]
        assert {item.period_us for item in samples} == {100_000}
        assert [item.seq for item in samples] == list(range(len(samples)))
        assert states(items) == [("online", None)]
        assert drops(items) == {}

    play(CONFIGS[firmware], firmware, body)


@every_firmware
def test_silence_is_a_lost_device_until_it_speaks_again_however_long_that_takes(firmware, caplog):
    async def body(rig):
        await rig.play(2)
        rig.shelf.order("silence")
        await rig.play(2_000, every_s=1)
        [(before, _), (lost, reason)] = states(rig.heard())
        assert (before, lost) == ("online", "offline")
        assert reason.endswith("for 5 s")
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        rig.shelf.order("silence")
        await rig.play(0.3)
        assert states(rig.heard()) == [("online", None)]

    play(CONFIGS[firmware], firmware, body)


@every_firmware
def test_a_will_is_believed_at_once_and_the_next_weight_as_well(firmware):
    async def body(rig):
        rig.present(online=True, retain=True)
        await rig.play(2)
        rig.present(online=False)
        await asyncio.sleep(0.01)
        assert states(rig.heard()) == [("online", None), ("offline", "says that it is offline")]
        await asyncio.sleep(60)
        assert rows(rig.heard()) == []
        rig.present(online=True)
        await rig.play(0.2)
        assert states(rig.heard()) == [("online", None)]

    play(CONFIGS[firmware], firmware, body)


@every_firmware
def test_a_broker_that_goes_takes_its_shelves_with_it(firmware):
    async def body(rig):
        await rig.play(2)
        rig.topics.connected(up=False)
        await asyncio.sleep(30)
        assert states(rig.heard()) == [("online", None), ("offline", "the in-store broker is gone")]
        rig.topics.connected(up=True)
        await rig.play(0.2)
        assert states(rig.heard()) == [("online", None)]

    play(CONFIGS[firmware], firmware, body)


FAULT_COSTS = {
    "silence": {},
    "flood": {},
    "garbage": {"malformed": 1},
    "nan": {},
    "unit": {},
    "repeat": {"repeat": 1},
    "offline": {},
}
"""What each fault is counted as, where the firmware can say it."""


@every_firmware
@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_costs_what_it_must_and_no_more(firmware, fault):
    async def body(rig):
        rig.shelf.grams = Decimal(412)
        rig.shelf.switch_off = lambda: rig.present(online=False)
        await rig.play(2)
        try:
            rig.shelf.order(fault)
        except ValueError:
            return
        await rig.play(1)
        if fault in ("silence", "nan", "unit"):
            rig.shelf.order(fault)
        await rig.play(2)
        items = rig.heard()
        assert rows(items)[-5:] == [on_plates(firmware, 412)] * 5
        counted = FAULT_COSTS[fault]
        if fault == "repeat" and firmware != "json":
            counted = {}  # They have no number: a repeat says the same again.
        if fault == "garbage" and firmware == "json":
            counted = counted | {"missing": 1}
        assert drops(items) == counted
        empty = [row for row in rows(items) if row[0] is None]
        assert len(empty) >= (9 if fault in ("nan", "silence") else 0)
        assert all(row[0] in (None, pytest.approx(412)) for row in rows(items))
        assert len(items) < FLOOD

    play(CONFIGS[firmware], firmware, body)


def test_what_the_broker_kept_is_counted_and_no_weight():
    async def body(rig):
        rig.say("simulated-esphome/sensor/weight/state", b"999", retain=True)
        await rig.play(2)
        items = rig.heard()
        assert drops(items) == {"retained": 1}
        assert [999.0] not in rows(items)

    play(CONFIGS["esphome"], "esphome", body)


def test_what_is_sent_at_changes_holds_until_the_next():
    config = EsphomeConfig(
        name="g1.s1", prefix="simulated-esphome", sensors=("weight",), sends="changes"
    )

    async def body(rig):
        await asyncio.sleep(10)
        assert rows(rig.heard()) == []
        rig.shelf.grams = Decimal(412)
        rig.shelf.tell()
        await asyncio.sleep(59.9)
        rig.shelf.grams = Decimal(247)
        rig.shelf.tell()
        await asyncio.sleep(1)
        found = rows(rig.heard())
        assert found == [[412.0]] * 299 + [[247.0]] * 5
        rig.shelf.order("nan")
        rig.shelf.tell()
        await asyncio.sleep(1)
        assert rows(rig.heard()) == [[None]] * 5
        await asyncio.sleep(900)
        assert states(rig.heard())[-1][0] == "offline"

    play(config, "esphome", body)


def test_a_word_now_and_then_is_a_visit_of_its_own_and_the_shelf_is_there_in_between():
    config = TasmotaConfig(name="g1.s1", topic="simulated-tasmota")
    assert config.sends == "seldom"

    async def body(rig):
        boots = []
        for grams in (412, 247, 247):
            rig.shelf.grams = Decimal(grams)
            rig.shelf.tell()
            await asyncio.sleep(300)
            items = rig.heard()
            assert rows(items) == [[float(grams)]] * 10
            boots += sorted({item.boot for item in items if isinstance(item, Samples)})
            alive = [item for item in items if isinstance(item, DeviceStatus) and item.boot]
            assert 145 <= len(alive) <= 150
            assert {item.state for item in alive} == {"online"}
        assert len(set(boots)) == 3
        await asyncio.sleep(900)
        rig.heard()
        assert [state for state, _ in states(rig.inputs)] == ["online", "offline"]

    play(config, "tasmota", body)


def test_two_shelves_of_one_node_both_hear_that_it_is_gone():
    config = CONFIGS["esphome"]
    other = EsphomeConfig(name="g2.s1", prefix="simulated-esphome", sensors=("other",))

    async def body(rig):
        beside = MqttShelfDriver(other, clock=rig.clock, topics=rig.topics)
        await rig.play(2)
        rig.present(online=False)
        await asyncio.sleep(0.01)
        assert states(rig.heard())[-1] == ("offline", "says that it is offline")
        with pytest.raises(DeviceGoneError, match="says that it is offline"):
            await beside.run(rig.intake, lambda: None)

    play(config, "esphome", body)


def test_a_plate_that_says_nothing_in_a_later_word_has_no_value_in_it():
    config = NumberConfig(name="g2.s1", topics=("w/0", "w/1"), sends="seldom")

    async def body(rig):
        rig.say("w/0", b"100")
        rig.say("w/1", b"200")
        await asyncio.sleep(300)
        assert rows(rig.heard()) == [[100.0, 200.0]] * 10
        rig.say("w/0", b"90")
        await asyncio.sleep(10)
        assert rows(rig.heard()) == [[90.0, None]] * 10

    play(config, "number", body)
