# SPDX-License-Identifier: Apache-2.0
"""The page on devices says of each register map what holds, and its example of one is right."""

import re
import tomllib

import msgspec
import pytest

from drivers.modbus.maps import RegisterMap, Status, load, load_file, shipped
from drivers.registry import AnyDriverConfig
from gateway.simulator.scales.modbus import FAULTS
from tests.drivers.modbus.vectors import HELD
from tests.drivers.scale.test_pages import PAGE

CHAPTER = PAGE.partition("## Modbus transmitters")[2].partition("\n## ")[0]


def blocks():
    return re.findall(r"```\n(.*?)```", CHAPTER, re.DOTALL)


def test_the_table_of_maps_is_what_is_shipped():
    rows = [line.strip("|").split("|") for line in CHAPTER.splitlines() if line.startswith("| `")]
    table = {row[0].strip(" `"): [cell.strip() for cell in row[1:]] for row in rows[1:]}
    assert list(table) == shipped()
    for name, (title, channels, kind, told, verified) in table.items():
        made = load(name)
        assert title == made.title
        assert int(channels) == made.channels * len(made.blocks)
        assert kind == ("fractions" if made.type == "f32" else "integers")
        assert bool(told) == (made.status is not None)
        assert name in {held for held, *_ in HELD}
        assert verified == "vectors, emulator; hardware: none"


def test_the_example_of_settings_is_right():
    [table] = tomllib.loads(blocks()[0])["device"]
    config = msgspec.convert(table, AnyDriverConfig)
    assert config.plates == ((1, 1), (1, 2), (2, 1))


def test_the_example_of_a_map_is_right_and_every_key_is_told(tmp_path):
    path = tmp_path / "example.toml"
    path.write_text(blocks()[1])
    assert load_file(str(path)).channels == 4
    keys = {field.name for cls in (RegisterMap, Status) for field in msgspec.structs.fields(cls)}
    told = set(re.findall(r"\b\w+\b", blocks()[1] + CHAPTER.rpartition("```")[2]))
    assert keys <= told


@pytest.mark.parametrize("fault", FAULTS)
def test_the_faults_to_order_are_told(fault):
    assert f"`{fault}`" in CHAPTER
