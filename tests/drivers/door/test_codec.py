# SPDX-License-Identifier: Apache-2.0
"""What relay boards are told, and which settings of doors contradict themselves."""

import msgspec
import pytest

from drivers.door.codec import command, lcus
from drivers.door.config import MqttDoorConfig, RelayConfig, problems
from drivers.registry import AnyDriverConfig

LOCKED = RelayConfig(name="front", url="/dev/ttyUSB0", when_dead="locked")
UNLOCKED = msgspec.structs.replace(LOCKED, when_dead="unlocked")
TEXT = msgspec.structs.replace(
    LOCKED, board="text", energise="relay on 0\r", release="relay off 0\r"
)
TOPIC = MqttDoorConfig(name="front", topic="door/set", unlock="ON", when_dead="locked")


def test_lcus_commands_are_four_bytes_with_the_sum_of_three():
    assert lcus(1, on=True) == bytes.fromhex("A00101A2")
    assert lcus(1, on=False) == bytes.fromhex("A00100A1")
    assert lcus(4, on=True) == bytes.fromhex("A00401A5")


def test_a_relay_at_rest_leaves_the_door_as_it_is_without_a_gateway():
    on, off = lcus(1, on=True), lcus(1, on=False)
    assert (command(LOCKED, unlocked=False), command(LOCKED, unlocked=True)) == (off, on)
    assert (command(UNLOCKED, unlocked=True), command(UNLOCKED, unlocked=False)) == (off, on)
    assert command(TEXT, unlocked=True) == b"relay on 0\r"


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        (LOCKED, None),
        (TEXT, None),
        (TOPIC, None),
        (msgspec.structs.replace(TOPIC, when_dead="unlocked", lock="OFF"), None),
        (msgspec.structs.replace(TOPIC, when_dead="unlocked"), "has to be locked by it. Give lock"),
        (msgspec.structs.replace(TEXT, release=None), "needs both words. Give energise and"),
        (msgspec.structs.replace(LOCKED, energise="x"), 'Write board = "text"'),
        (msgspec.structs.replace(TOPIC, lock=TOPIC.unlock), "unlock and lock are one word"),
        (msgspec.structs.replace(TEXT, release=TEXT.energise), "energise and release are one word"),
    ],
)
def test_settings_that_contradict_themselves_are_told(config, problem):
    found = problems(config)
    assert (found == []) if problem is None else (problem in found[0])


@pytest.mark.parametrize("config", [LOCKED, TOPIC])
def test_what_a_door_is_without_a_gateway_has_no_default(config):
    table = msgspec.to_builtins(config)
    del table["when_dead"]
    with pytest.raises(msgspec.ValidationError, match="when_dead"):
        msgspec.convert(table, AnyDriverConfig)
