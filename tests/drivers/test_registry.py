# SPDX-License-Identifier: Apache-2.0
"""Settings of devices: parsed by tag, checked against the store, made into drivers."""

import subprocess
import sys

import msgspec
import pytest

from drivers.bridge.config import BridgeConfig
from drivers.bridge.driver import BridgeDriver
from drivers.door.config import MqttDoorConfig, RelayConfig
from drivers.door.driver import DoorDriver
from drivers.keyboard.config import KeyboardConfig
from drivers.modbus.config import ModbusConfig
from drivers.modbus.driver import ModbusDriver
from drivers.mqtt.config import MqttConfig
from drivers.mqtt.topics import Instore
from drivers.mqtt_shelf.config import EsphomeConfig, JsonConfig, NumberConfig, TasmotaConfig
from drivers.mqtt_shelf.driver import MqttShelfDriver
from drivers.registry import AnyDriverConfig, build, problems, topics
from drivers.scale.config import ScaleConfig
from drivers.scale.driver import ScaleDriver
from drivers.scanner.config import ScannerConfig
from drivers.scanner.driver import ScannerDriver
from drivers.ssi.config import SsiConfig
from tests.small_store import small_store

BRIDGE = {"driver": "bridge", "name": "g2.s1", "url": "/dev/ttyUSB0", "channels": [0, 1]}
SCALE = {"driver": "scale", "name": "g3.s1", "url": "/dev/ttyUSB0", "protocol": "sma"}
MODBUS = {
    "driver": "modbus",
    "name": "g3.s1",
    "url": "/dev/ttyUSB0",
    "map": "eagle-ei",
    "unit": "kg",
}
SCANNER = {"driver": "scanner", "name": "gate", "url": "/dev/ttyACM0", "aim": True}

NETWORK = {"driver": "scanner", "name": "gate", "url": "socket://[fd00::7]:9000"}
SSI = {"driver": "ssi", "name": "gate", "url": "listen://0.0.0.0:9000"}
KEYBOARD = {"driver": "keyboard", "name": "gate", "url": "/dev/input/by-id/usb-x-event-kbd"}
ESPHOME = {"driver": "esphome", "name": "g2.s1", "prefix": "node", "sensors": ["a", "b"]}
TASMOTA = {"driver": "tasmota", "name": "g3.s1", "topic": "hx"}
NUMBER = {"driver": "number", "name": "g2.s1", "topics": ["w"], "cells": 2}
JSON = {"driver": "json", "name": "g2.s1", "topic": "w", "values_at": ["/0", "/1"]}
RELAY = {"driver": "relay", "name": "front", "url": "/dev/ttyUSB0", "when_dead": "locked"}
MQTT_DOOR = {"driver": "mqtt-door", "name": "front", "topic": "t", "unlock": "ON"}
MQTT_DOOR |= {"when_dead": "locked"}
LINES = SCALE | {"protocol": "lines"}
GOOD = r"(?P<weight>[\d.]+) (?P<unit>kg)"


def with_scale():
    """Return the small store with a shelf of one plate more."""
    store = small_store()
    shelf = store.shelves[0]
    plates = (msgspec.structs.replace(shelf.plates[0], name="g3.s1.p0"),)
    one = msgspec.structs.replace(shelf, name="g3.s1", gondola="g3", plates=plates)
    return msgspec.structs.replace(store, shelves=(*store.shelves, one))


STORE = with_scale()


def parse(table):
    return msgspec.convert(table, AnyDriverConfig)


@pytest.mark.parametrize(
    ("table", "config", "driver", "device"),
    [
        (BRIDGE, BridgeConfig, BridgeDriver, "shelf/g2.s1"),
        (SCALE, ScaleConfig, ScaleDriver, "shelf/g3.s1"),
        (MODBUS, ModbusConfig, ModbusDriver, "shelf/g3.s1"),
        (SCANNER, ScannerConfig, ScannerDriver, "scanner/gate"),
        (NETWORK, ScannerConfig, ScannerDriver, "scanner/gate"),
        (SSI, SsiConfig, ScannerDriver, "scanner/gate"),
        (KEYBOARD, KeyboardConfig, ScannerDriver, "scanner/gate"),
        (ESPHOME, EsphomeConfig, MqttShelfDriver, "shelf/g2.s1"),
        (TASMOTA, TasmotaConfig, MqttShelfDriver, "shelf/g3.s1"),
        (NUMBER, NumberConfig, MqttShelfDriver, "shelf/g2.s1"),
        (JSON, JsonConfig, MqttShelfDriver, "shelf/g2.s1"),
        (RELAY, RelayConfig, DoorDriver, "door/front"),
        (MQTT_DOOR, MqttDoorConfig, DoorDriver, "door/front"),
    ],
)
def test_each_kind_of_device_has_its_driver(table, config, driver, device):
    parsed = parse(table)
    assert type(parsed) is config
    assert parsed.device == device
    assert problems(parsed, STORE) == []
    instore = Instore(MqttConfig(host="h", client_id="c"))
    built = build(parsed, clock=None, open_stream=None, judge=None, instore=instore)
    assert type(built) is driver
    heard = [topic for topic, _ in instore.topics.subscriptions]
    assert set(topics(parsed)) == {*heard} - {"node/status", "tele/hx/LWT"} or driver is DoorDriver


@pytest.mark.parametrize(
    "wrong",
    [
        {"driver": "toaster"},
        {"colour": "red"},
        {"channels": []},
        {"baud": 0},
        {"format": "xml"},
        {"block_ms": 0},
    ],
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(msgspec.ValidationError):
        parse(BRIDGE | wrong)


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (BRIDGE | {"name": "g9"}, "no shelf of this name"),
        (BRIDGE | {"channels": [0]}, "1 channels for 2 plates"),
        (BRIDGE | {"channels": [0, 0]}, "a channel is given twice"),
        (BRIDGE | {"name": "g1.s1", "channels": [0, 1, 2]}, "no calibration for g1.s1.p0, g1"),
        (SCANNER | {"name": "exit"}, "no scanner of this name"),
        (SCALE | {"name": "g9"}, "no shelf of this name"),
        (SCALE | {"name": "g2.s1"}, "a scale is one plate, and this shelf has 2"),
        (SCALE | {"protocol": "toledo-8217"}, "no unit on the wire. Give unit"),
        (SCALE | {"protocol": "toledo", "talk": "poll"}, "toledo cannot be asked"),
        (
            SCALE | {"protocol": "toledo-8217", "unit": "kg", "talk": "listen"},
            "sends nothing by itself",
        ),
        (SCALE | {"serial": "1"}, "sma tells no serial number"),
        (SCALE | {"checksum": False}, "are for Toledo continuous"),
        (SCALE | {"channels": [1]}, "has one channel, 0"),
        (SCALE | {"format": "qa"}, 'Write protocol = "lines"'),
        (LINES, "Give one of format and [device.lines]"),
        (LINES | {"format": "qa", "lines": {"pattern": GOOD}}, "Give one of format and"),
        (LINES | {"format": "no"}, "format no is not known. Known are jik-6cab, mettler-print"),
        (LINES | {"format": "tfo1"}, "lines: no unit. Give unit"),
        (LINES | {"lines": {"pattern": "(?P<weight>"}}, "lines: pattern has a ( without its )"),
        (LINES | {"lines": {"pattern": "(?P<w>.)"}}, "pattern has no group weight"),
        (LINES | {"lines": {"pattern": GOOD + "(?P<x>.)"}}, "pattern has a group x"),
        (LINES | {"lines": {"pattern": GOOD, "over": ["OL"]}}, "no group for it. Write (?P<state>"),
        (LINES | {"lines": {"pattern": GOOD, "poll": "€"}}, "beyond U+00FF"),
        (LINES | {"lines": {"pattern": GOOD}, "talk": "poll"}, "the description has none"),
        (MODBUS | {"name": "g9"}, "no shelf of this name"),
        (MODBUS | {"name": "g2.s1"}, "1 channels for 2 plates"),
        (MODBUS | {"channels": [1, 2]}, "2 channels for 1 plates"),
        (MODBUS | {"name": "g2.s1", "channels": [1, 1]}, "a channel is given twice"),
        (MODBUS | {"channels": [9]}, "has channels 1 to 8"),
        (MODBUS | {"map": "abacus"}, "map abacus is not known"),
        (SSI | {"name": "exit"}, "no scanner of this name"),
        (KEYBOARD | {"name": "exit"}, "no scanner of this name"),
        (ESPHOME | {"name": "g9"}, "no shelf of this name"),
        (ESPHOME | {"sensors": ["a"]}, "1 weights for 2 plates"),
        (TASMOTA | {"unit": "raw", "name": "g3.s1"}, "no calibration for g3.s1.p0"),
        (JSON | {"availability": "w"}, "availability is a topic of weights"),
        (JSON | {"availability": "a", "online": "offline"}, "online and offline are one word"),
        (RELAY | {"name": "back"}, "no door of this name"),
        (RELAY | {"board": "text"}, "Give energise and release"),
        (MQTT_DOOR | {"when_dead": "unlocked"}, "Give lock"),
    ],
)
def test_settings_that_do_not_fit_the_store_are_told(table, expected):
    [problem] = problems(parse(table), STORE)
    assert expected in problem
    assert ". " in problem


def test_a_daemon_loads_what_few_stores_need_only_where_they_do():
    """Its start and its memory would be everybody's."""
    script = (
        "import sys, gateway.app;"
        "few = {'amqtt', 'biip', 'evdev', 'importlib.metadata', 'pymodbus', 'zxingcpp'};"
        "sys.exit(', '.join(sorted(few & set(sys.modules))) or None)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        check=False,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    assert (done.stderr, done.returncode) == ("", 0)
