# SPDX-License-Identifier: Apache-2.0
"""The page on devices has a row for each driver, with what its settings and its tests say."""

from typing import get_args

import msgspec
import pytest

from drivers import registry
from gateway.simulator.doors import DOORS
from gateway.simulator.mqtt_shelves import FIRMWARES
from gateway.simulator.scales.command import BRIDGE, MODBUS
from gateway.simulator.scales.dialects import DIALECTS
from gateway.simulator.scanners.player import PROTOCOLS as SCANNERS
from tests.drivers.test_recordings import RECORDED
from tests.test_tidy import ROOT

PAGE = (ROOT / "docs" / "devices.md").read_text("utf-8")
CONFIGS = {one.__struct_config__.tag: one for one in get_args(registry.AnyDriverConfig)}
EMULATED = {BRIDGE, MODBUS, *SCANNERS, *FIRMWARES, *DOORS, *(["scale"] if DIALECTS else [])}


def overview():
    """Return the rows of the page's first table, by driver."""
    table = PAGE.partition("\n\n|")[2].partition("\n\n")[0].splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    return {row[0].strip("`"): row[1:] for row in rows}


def test_the_first_table_is_the_registry():
    assert set(overview()) - {"no table"} == set(registry.NAMES)


@pytest.mark.parametrize("driver", registry.NAMES)
def test_a_row_says_what_settings_and_tests_say(driver):
    devices, line, wiring, verified = overview()[driver]
    defaults = {field.name: field.default for field in msgspec.structs.fields(CONFIGS[driver])}
    baud = defaults.get("baud", "none")
    assert line == ("by protocol" if baud is None else f"{baud} 8N1" if baud != "none" else baud)
    assert devices
    assert wiring
    assert ("recording" in verified) == (driver in RECORDED)
    assert ("emulator" in verified) == (driver in EMULATED)
    assert verified.endswith("; hardware: none")
