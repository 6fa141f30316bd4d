# SPDX-License-Identifier: Apache-2.0
"""Register maps: those that are shipped against the devices' descriptions, types, and bad ones."""

import math
import struct
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.modbus.maps import (
    REGISTERS_MAX,
    MapError,
    Plan,
    Read,
    RegisterMap,
    Status,
    load,
    load_file,
    map_of,
    problems,
    shipped,
)
from tests.drivers.modbus.vectors import HELD, config

ONE = RegisterMap(title="one", base=0, type="i32", gross=0)


def plan(made, channels=(1,), **more):
    return Plan(made, channels, **({"decimals": 3, "unit": "kg"} | more))


def said(made, registers, **more):
    [reading] = plan(made, **more).readings(registers)
    return reading


def changed(made, **fields):
    return msgspec.structs.replace(made, **fields)


@pytest.mark.parametrize(("name", "channel", "registers", "grams"), HELD)
def test_a_shipped_map_reads_what_the_device_is_said_to_hold(name, channel, registers, grams):
    made = plan(load(name), (channel,))
    [reading] = made.readings(registers)
    assert reading.grams == Decimal(grams)
    assert (reading.channel, reading.unit, reading.net) == (channel, "kg", False)
    first = min(registers)
    assert made.reads == (Read(first, len(registers)),)


def test_every_shipped_map_is_told_of():
    assert {name for name, *_ in HELD} == set(shipped())


def test_channels_that_are_neighbours_are_one_question_and_no_weight_is_cut_by_two():
    assert plan(load("eagle-ei"), (1, 2, 4, 5)).reads == (
        Read(0x1000, 4),
        Read(0x1006, 2),
        Read(0x2000, 2),
    )
    whole = plan(load("dingsong"), range(1, 64)).reads
    assert whole == (Read(1_151, 124), Read(1_275, 2))
    assert all(read.count <= REGISTERS_MAX for read in whole)


TUNA = {
    "zero": (8, True),
    "under": (9, False),
    "over": (10, False),
    "motion": (12, True),
}


@pytest.mark.parametrize("flag", TUNA)
def test_bits_of_the_tuna_are_flags_and_beyond_the_range_is_no_value(flag):
    bit, weighs = TUNA[flag]
    reading = said(load("tuna-id551pn"), {2: 0x3ED2, 3: 0xF1AA, 4: 1 << 15 | 1 << bit})
    assert reading.flags == {flag}
    assert (reading.grams is not None) == weighs
    assert reading.stable == (flag != "motion")
    out_of_order = said(load("tuna-id551pn"), {2: 0x3ED2, 3: 0xF1AA, 4: 0})
    assert (out_of_order.grams, out_of_order.flags) == (None, {"fault"})


@pytest.mark.parametrize(
    ("kind", "words", "value"),
    [
        ("i16", [0xFFDA], -38),
        ("u16", [0xFFDA], 65_498),
        ("i32", [0xFFFF, 0xFFDA], -38),
        ("u32", [0x0001, 0x0000], 65_536),
    ],
)
def test_integers_of_every_type(kind, words, value):
    registers = dict(enumerate(words))
    assert said(changed(ONE, type=kind), registers).grams == value
    assert said(changed(ONE, type=kind), registers, decimals=0, unit="g").grams == value
    low_first = dict(enumerate(reversed(words)))
    assert said(changed(ONE, type=kind, words="low-first"), low_first).grams == value


def floats(value):
    return dict(enumerate(struct.unpack(">2H", struct.pack(">f", value))))


def test_the_published_fraction_in_both_orders():
    made = changed(ONE, type="f32")
    assert said(made, {0: 0x3ED2, 1: 0xF1AA}).grams == 412
    assert said(changed(made, words="low-first"), {0: 0xF1AA, 1: 0x3ED2}).grams == 412


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e30, -3e38])
def test_what_cannot_be_a_weight_is_no_value_and_not_zero(value):
    reading = said(changed(ONE, type="f32"), floats(value))
    assert (reading.grams, reading.flags) == (None, {"fault"})


def test_zero_is_a_weight():
    assert said(ONE, {0: 0, 1: 0}).grams == 0
    assert said(changed(ONE, type="f32"), floats(-0.0)).grams == 0


def test_an_integer_that_stands_for_no_weight_is_none():
    reading = said(changed(ONE, no_value=(-(2**31),)), {0: 0x8000, 1: 0})
    assert (reading.grams, reading.flags) == (None, {"fault"})


def test_units_are_exact():
    assert said(ONE, {0: 0, 1: 1_000}, unit="lb").grams == Decimal("453.59237")


def test_a_channel_that_was_not_read_says_nothing():
    made = plan(changed(ONE, channels=2), (1, 2))
    assert [one.channel for one in made.readings({2: 0, 3: 5})] == [2]


def test_the_tare_is_put_back_or_there_is_no_weight():
    made = changed(ONE, gross=None, net=0, tare=10, no_value=(-1,))
    reading = said(made, {0: 0, 1: 300, 10: 0, 11: 112})
    assert (reading.grams, reading.net, reading.gross_g) == (300, True, 412)
    assert said(made, {0: 0, 1: 300, 10: 0xFFFF, 11: 0xFFFF}).gross_g is None
    state = changed(made, tare=None, status=Status(register=2, net=0))
    assert said(state, {0: 0, 1: 300, 2: 0}).net is False
    assert said(state, {0: 0, 1: 300, 2: 1}).net is True


def test_a_register_of_state_for_each_channel():
    made = changed(ONE, channels=2, step=3, status=Status(register=2, step=3, stable=0, fault=1))
    assert plan(made, (2,)).reads == (Read(3, 3),)
    [reading] = plan(made, (2,)).readings({3: 0, 4: 1, 5: 1})
    assert (reading.grams, reading.stable) == (1, True)
    [reading] = plan(made, (2,)).readings({3: 0, 4: 1, 5: 2})
    assert (reading.grams, reading.stable) == (None, False)


GOOD = 'title = "mine"\nbase = 1\ntype = "i32"\ngross = 1\n'
BAD = {
    GOOD + "[": "Invalid initial character",
    "": "missing required field `title`",
    GOOD.replace("gross = 1", "colour = 1"): "unknown field `colour`",
    GOOD.replace("gross = 1\n", ""): "neither gross nor net",
    GOOD.replace("gross = 1", "gross = 0"): "below base, 1",
    GOOD.replace("gross = 1", "gross = 65536"): "beyond 65536 registers",
    GOOD + "channels = 64\nstep = 1000\nblocks = [0, 50000]\n": "beyond 65536 registers",
    GOOD + "step = 1\n": "step is less than a weight",
    GOOD.replace("base = 1", "base = 2"): "Invalid enum value 2",
    GOOD + "gross = 2\n": "Cannot overwrite",
    GOOD + f"net = {'9' * 5_000}\n": "Exceeds the limit",
    "x" * 70_000: "more than 65536 bytes",
}


@pytest.mark.parametrize("text", BAD, ids=range(len(BAD)))
def test_a_map_that_cannot_be_used_is_refused_with_a_remedy(text, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(MapError) as raised:
        load_file(str(path))
    assert BAD[text] in str(raised.value)
    assert str(raised.value).startswith(f"map_file {path}: ")
    assert ". " in str(raised.value)


def test_a_map_of_ones_own_is_read(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(GOOD)
    settings = config(map_file=str(path), decimals=0)
    assert problems(settings) == []
    assert map_of(settings).title == "mine"
    [told] = problems(config(map_file=str(tmp_path / "none.toml"), decimals=0))
    assert told.endswith("No such file or directory. Check the path and permissions")
    path.write_bytes(b"\xff")
    [told] = problems(settings)
    assert "not UTF-8. Write it" in told


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"map": "abacus"}, "map abacus is not known. Known are cas-ci-600d, dingsong"),
        ({"map": None}, "Give one of map and map_file"),
        ({"map_file": "/x", "map": "dingsong"}, "Give one of map and map_file"),
        ({"decimals": None}, "sends integers. Give decimals"),
        ({"map": "eagle-ei"}, "sends fractions. Remove decimals"),
        ({"channels": (2,)}, "has channels 1 to 1. Correct channels"),
        ({"unit_ids": (1, 2, 3), "channels": (1, 1)}, "not of one length"),
        ({"framing": "tcp"}, 'the line is serial. Write framing = "rtu"'),
    ],
)
def test_settings_that_do_not_fit_their_map_are_told(settings, told):
    [problem] = problems(config(**settings))
    assert told in problem
    assert ". " in problem


@given(st.binary(max_size=300))
def test_any_bytes_are_a_map_or_refused(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(data)
    with pytest.raises(MapError):
        load_file(str(path))
