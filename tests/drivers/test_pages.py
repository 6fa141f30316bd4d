# SPDX-License-Identifier: Apache-2.0
"""The page on devices has a row for each driver of shelves on MQTT and of doors."""

import re
from typing import get_args

import pytest

from drivers.door.codec import lcus
from drivers.door.config import DoorConfig
from drivers.mqtt_shelf.config import MqttShelfConfig
from gateway.simulator import doors, mqtt_shelves
from tests.test_tidy import ROOT

PAGE = (ROOT / "docs" / "devices.md").read_text("utf-8")


def section(title):
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def tags(union):
    return {config.__struct_config__.tag for config in get_args(union)}


@pytest.mark.parametrize(
    ("title", "column", "union", "emulated"),
    [
        ("Shelves on MQTT", 0, MqttShelfConfig, mqtt_shelves.FIRMWARES),
        ("Doors", 1, DoorConfig, doors.DOORS),
    ],
)
def test_each_driver_has_its_row_and_its_emulator(title, column, union, emulated):
    table = [line.split("|")[1:-1] for line in section(title).splitlines() if "; hardware" in line]
    told = {re.search(r"`([\w-]+)`", row[column])[1] for row in table}
    assert told == tags(union) == {*emulated}


def test_the_bytes_of_a_relay_are_those_that_are_sent():
    for on in (True, False):
        assert f"`{lcus(1, on=on).hex(' ').upper()}`" in section("Doors")


def test_the_faults_to_order_are_told():
    for fault in mqtt_shelves.FAULTS:
        assert f"`{fault}`" in section("Shelves on MQTT")
