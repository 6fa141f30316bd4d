# SPDX-License-Identifier: Apache-2.0
"""Emulated transmitters before their driver: calm, several on one line, and with each fault."""

from itertools import pairwise

import pytest

from drivers.errors import DeviceSilentError, OtherDeviceError
from drivers.modbus.line import Lines
from drivers.modbus.maps import shipped
from drivers.registry import build
from gateway.intake import Intake
from tests.drivers.modbus.rig import Cable, with_rig
from tests.drivers.modbus.vectors import URL, config
from tests.virtual_time import LoopClock, run_virtual

PERIOD_S = 0.25


def values(rows):
    return {grams for row in rows for grams in row if grams is not None}


def device_of(name):
    return config(map=name, decimals=None if name in {"eagle-ei", "tuna-id551pn"} else 3)


@pytest.mark.parametrize("name", shipped())
def test_a_calm_transmitter_gives_a_row_a_poll(name):
    async def scene(rig):
        rows = await rig.goes_on(10)
        return rows, rig

    rows, rig = with_rig(scene, device_of(name))
    assert rows.count([412.0]) == len(rows) == pytest.approx(10 / PERIOD_S, abs=2)
    assert rig.drops == {}
    assert rig.states == [("shelf/g3.s1", "online", None)]
    starts = [block.host_mono_ms for block in rig.blocks]
    assert {after - before for before, after in pairwise(starts)} == {PERIOD_S * 1_000}
    assert {(block.unit, block.period_us) for block in rig.blocks} == {("g", PERIOD_S * 1e6)}
    assert [block.seq for block in rig.blocks] == list(range(len(rig.blocks)))
    assert rig.cable.opened == [(URL, 9_600, "8N1")]


def test_plates_hang_on_channels_and_units_in_the_shelfs_order():
    shelf = config(map="eagle-ei", decimals=None, unit_ids=(2, 1, 1), channels=(4, 1, 8))

    async def scene(rig):
        for (unit_id, channel), plate in rig.peer.plates.items():
            plate.grams = unit_id * 100 + channel
        return await rig.goes_on(3)

    rows = with_rig(scene, shelf, unit_ids=(1, 2))
    assert {tuple(row) for row in rows} == {(204.0, 101.0, 108.0)}


def test_modbus_tcp_and_other_lines_are_opened_as_they_are_set():
    async def scene(rig):
        return await rig.goes_on(3), rig.cable.opened

    url = "socket://192.0.2.7:502"
    rows, opened = with_rig(scene, config(url=url, framing="tcp", baud=19_200, line="8E1"))
    assert values(rows) == {412.0}
    assert opened == [(url, 19_200, "8E1")]


def two_shelves(**more):
    return (
        config(unit_ids=(1, 2), **more),
        config(name="g4.s1", unit_ids=(3,), **more),
    )


def test_shelves_share_a_line_that_is_opened_once_and_one_question_is_on_it_at_a_time():
    async def scene(rig):
        rig.peer.plates[3, 1].grams = 999
        rows = await rig.goes_on(5)
        return rows, rig

    rows, rig = with_rig(scene, *two_shelves(), unit_ids=(1, 2, 3))
    assert {tuple(row) for row in rows} == {(412.0, 412.0)}
    others = [block for block in rig.blocks if block.device == "shelf/g4.s1"]
    assert {row[0] for block in others for row in block.w} == {999.0}
    assert len(rig.cable.opened) == 1
    times = [at_s for at_s, _, _ in rig.cable.asked]
    # An answer takes 5 ms, and the line has to be quiet for 3.5 characters before the next.
    apart_s = min(after - before for before, after in pairwise(times))
    assert apart_s == pytest.approx(0.005 + 3.5 * 11 / 9_600)
    assert rig.drops == {}


def test_a_unit_that_falls_silent_costs_its_own_shelf_and_the_others_some_rows():
    async def scene(rig):
        await rig.goes_on(3)
        rig.peer.silent_units.add(2)
        silent = await rig.goes_on(20, "shelf/g4.s1")
        rig.take()
        states = list(rig.states)
        rig.peer.silent_units.clear()
        after = await rig.goes_on(40)
        return silent, states, after, rig

    silent, states, after, rig = with_rig(scene, *two_shelves(), unit_ids=(1, 2, 3))
    gone = f"no answer from unit 2 on {URL} for 5000 ms"
    assert ("shelf/g3.s1", "offline", gone) in states
    assert ("shelf/g4.s1", "online", None) in states
    assert "shelf/g4.s1" not in {device for device, state, _ in states if state == "offline"}
    assert values(silent) == {412.0}
    assert len(silent) > 60
    assert rig.states[-1] == ("shelf/g3.s1", "online", None)
    assert {tuple(row) for row in after[5:]} == {(412.0, 412.0)}


def test_no_row_is_handed_on_before_all_units_have_been_heard():
    async def scene(rig):
        rig.peer.silent_units.add(2)
        return await rig.goes_on(20), rig

    rows, rig = with_rig(scene, config(unit_ids=(1, 2)), unit_ids=(1, 2))
    assert rows == []
    assert [state for _, state, _ in rig.states] == ["offline"]


# Faults.


def after_a_fault(fault, **settings):
    async def scene(rig):
        await rig.goes_on(3)
        rig.peer.order(fault)
        rows = await rig.goes_on(5)
        return rows, rig

    return with_rig(scene, config(**settings))


@pytest.mark.parametrize(
    ("fault", "drops"),
    [
        ("half", {"timeout": 1, "garbage": 1}),
        ("checksum", {"timeout": 1, "checksum": 1}),
        ("flood", {}),
    ],
)
def test_noise_costs_a_row_or_two_and_makes_no_weight(fault, drops):
    rows, rig = after_a_fault(fault)
    assert values(rows) == {412.0}
    assert rows.count([None]) <= 3
    assert {reason: count for reason, count in rig.drops.items() if reason != "late"} == drops
    assert [state for _, state, _ in rig.states] == ["online"]


def test_half_a_frame_on_tcp_is_no_weight_and_the_next_is_one():
    rows, rig = after_a_fault("half", url="socket://192.0.2.7:502", framing="tcp")
    assert values(rows) == {412.0}
    assert rig.drops["timeout"] == 1


@pytest.mark.parametrize(
    ("fault", "reason", "dropped"),
    [
        ("silence", f"no answer from unit 1 on {URL} for 5000 ms", "timeout"),
        ("other-unit", f"no answer from unit 1 on {URL} for 5000 ms", "garbage"),
        (
            "exception",
            f"unit 1 on {URL} refuses to be read: exception 6, device busy",
            "refused",
        ),
    ],
)
def test_what_gives_no_weight_is_told_and_its_end_too(fault, reason, dropped, caplog):
    async def scene(rig):
        await rig.goes_on(3)
        rig.peer.order(fault)
        during = await rig.goes_on(12)
        rig.peer.order(fault)
        after = await rig.goes_on(40)
        return during, after, rig

    during, after, rig = with_rig(scene, config())
    assert values(during[2:]) == set()
    assert values(after) == {412.0}
    assert [(state, why) for _, state, why in rig.states] == [
        ("online", None),
        ("offline", reason),
        ("online", None),
    ]
    [down] = [record.getMessage() for record in caplog.records]
    assert down.startswith(f"shelf/g3.s1 is down: {reason}. Check ")
    assert rig.drops[dropped] > 1
    assert len({block.boot for block in rig.blocks}) == 2


def test_a_map_of_another_device_is_told_with_the_remedy(caplog):
    async def scene(rig):
        await rig.goes_on(8)
        return rig.states

    other = config(name="g4.s1", map="dingsong")
    assert ("shelf/g3.s1", "online", None) in with_rig(scene, config(), other)
    [told] = [record.getMessage() for record in caplog.records]
    assert told == (
        f"shelf/g4.s1 is down: unit 1 on {URL} refuses to be read: exception 2, "
        "illegal data address. Check the register map and channels in the settings"
    )


@pytest.mark.parametrize("name", ["tuna-id551pn", "eagle-ei"])
def test_overload_is_no_value_and_the_transmitter_stays_there(name):
    async def scene(rig):
        await rig.goes_on(3)
        rig.peer.order("overload")
        over = await rig.goes_on(10)
        rig.peer.order("overload")
        after = await rig.goes_on(5)
        return over, after, rig

    over, after, rig = with_rig(scene, device_of(name))
    assert values(over[2:]) == set()
    assert len(over) >= 38
    assert values(after[2:]) == {412.0}
    assert [state for _, state, _ in rig.states] == ["online"]


def test_a_plug_that_is_pulled_takes_all_shelves_of_its_line_and_its_return_brings_them_back(
    caplog,
):
    caplog.set_level("INFO")

    async def scene(rig):
        await rig.goes_on(3)
        rig.peer.order("unplug")
        rows = await rig.goes_on(10)
        return rows, rig

    rows, rig = with_rig(scene, *two_shelves(), unit_ids=(1, 2, 3))
    assert {tuple(row) for row in rows[3:]} == {(412.0, 412.0)}
    for device in ("shelf/g3.s1", "shelf/g4.s1"):
        states = [(state, why) for name, state, why in rig.states if name == device]
        assert [state for state, _ in states] == ["online", "offline", "online"]
        assert states[1][1].startswith(f"{URL}: ")
    told = sorted(record.getMessage().partition(":")[0] for record in caplog.records)
    assert [line.split(" after")[0] for line in told] == [
        "shelf/g3.s1 is back",
        "shelf/g3.s1 is down",
        "shelf/g4.s1 is back",
        "shelf/g4.s1 is down",
    ]
    assert len(rig.cable.opened) == 2
    assert rig.cable.open_now == 0


def test_another_adapter_in_the_socket_is_refused():
    found = ["0403:6001", "1a86:7523"]

    async def main():
        clock, cable = LoopClock(), Cable()
        driver = build(
            config(),
            clock=clock,
            open_stream=None,
            judge=None,
            lines=Lines(cable.open),
            identify=lambda _url: found.pop(0),
        )
        intake = Intake(clock)
        with pytest.raises(DeviceSilentError):
            await driver.run(intake, lambda: None)
        with pytest.raises(OtherDeviceError, match="1a86:7523 is on /dev/ttyUSB0, where 0403:6001"):
            await driver.run(intake, lambda: None)
        return cable.opened

    assert len(run_virtual(main())[0]) == 1


@pytest.mark.parametrize("delay_s", [0.5, 0.9, 1.5])
@pytest.mark.parametrize("shelves", [1, 2])
def test_a_late_answer_is_not_taken_for_another_plates(shelves, delay_s):
    """Channels 1 and 8 are two questions of one length: their answers look alike."""
    plates = [((1, 8), "g3.s1")] if shelves == 1 else [((1,), "g3.s1"), ((8,), "g4.s1")]
    configs = [
        config(name=name, map="eagle-ei", decimals=None, channels=channels)
        for channels, name in plates
    ]

    async def scene(rig):
        for (_, channel), plate in rig.peer.plates.items():
            plate.grams = channel * 100
        await rig.goes_on(3)
        rig.cable.delay_s = delay_s
        await rig.goes_on(4)
        rig.cable.delay_s = 0.005
        await rig.goes_on(4)
        before = len(rig.blocks)
        await rig.goes_on(2)
        return rig, before

    rig, before = with_rig(scene, *configs)
    assert rig.drops["timeout"] > 1
    for one in configs:
        right = tuple(channel * 100.0 for channel in one.channels)
        blocks = [block for block in rig.blocks if block.device == one.device]
        weights = {tuple(row) for block in blocks for row in block.w}
        assert weights - {(None,) * len(right)} == {right}
    assert all(None not in row for block in rig.blocks[before:] for row in block.w)


@pytest.mark.parametrize("delay_s", [0.005, 0.08, 0.1])
def test_shelves_that_share_a_transmitter_do_not_keep_each_other_from_asking(delay_s):
    channels = {"g3.s1": 1, "g4.s1": 5}
    configs = [
        config(name=name, map="dingsong", channels=(channel,)) for name, channel in channels.items()
    ]

    async def scene(rig):
        rig.cable.delay_s = delay_s
        await rig.goes_on(20)
        return rig

    rig = with_rig(scene, *configs)
    assert sorted(rig.states) == [(one.device, "online", None) for one in configs]
    holes = [row for block in rig.blocks for row in block.w if None in row]
    assert (holes, rig.drops) == ([], {})


def test_a_line_that_is_too_slow_for_its_polls_is_counted():
    async def scene(rig):
        rig.cable.delay_s = 0.2
        rows = await rig.goes_on(10)
        return rows, rig.drops

    rows, drops = with_rig(scene, config(unit_ids=(1, 2)), unit_ids=(1, 2))
    assert drops.keys() == {"late"}
    assert drops["late"] >= 10
    assert values(rows) == {412.0}


def test_a_weight_that_changes_appears_in_its_own_row():
    async def scene(rig):
        await rig.goes_on(3.05)
        rig.peer.put(206)
        await rig.goes_on(2)
        return rig.blocks

    rows = [
        (block.host_mono_ms + at * block.period_us / 1_000, row[0])
        for block in with_rig(scene, config())
        for at, row in enumerate(block.w)
    ]
    [first, *_] = [at_ms for at_ms, grams in rows if grams == 206.0]
    assert first == pytest.approx(3_100, abs=PERIOD_S * 500 + 100)
