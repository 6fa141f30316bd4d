# SPDX-License-Identifier: Apache-2.0
"""Every emulated scale before its driver, calm and with each fault."""

from decimal import Decimal
from itertools import pairwise

import pytest

from drivers.scale.grid import Grid, Rhythm
from drivers.scale.protocols import PROTOCOLS, poll_of, problems
from drivers.scale.reading import Noise, Reading
from drivers.scale.talk import Talk
from gateway.simulator.scales.dialects import DIALECTS
from tests.drivers.scale.rig import EXTRA, with_rig
from tests.drivers.scale.vectors import config, nothing, weighs

NAMES = list(PROTOCOLS)
NEVER_WRITTEN_TO = {"toledo", "a-and-d", "ohaus", "cas", "lines"}


def weights(samples):
    return {sample for sample in samples if sample is not None}


def test_every_protocol_has_an_emulated_scale():
    assert list(DIALECTS) == NAMES


@pytest.mark.parametrize("protocol", NAMES)
def test_a_calm_scale_gives_a_sample_a_period(protocol):
    async def scene(rig):
        samples = await rig.goes_on(10)
        return samples, rig

    samples, rig = with_rig(protocol, scene)
    period_s = 0.25 if poll_of(rig.config) else 0.1
    assert weights(samples) == {412.0}
    assert samples.count(None) == 0
    # The first ten tell the period.
    assert len(samples) == pytest.approx(10 / period_s - 9, abs=4)
    assert rig.drops == {}
    assert rig.states == [("online", None)]
    assert bool(rig.modem.sent) == (protocol not in NEVER_WRITTEN_TO)
    starts = [block.host_mono_ms for block in rig.blocks]
    steps = {after - before for before, after in pairwise(starts)}
    assert steps == {len(rig.blocks[0].w) * period_s * 1_000}
    assert [block.seq for block in rig.blocks] == list(range(len(rig.blocks)))
    assert {(block.unit, block.period_us) for block in rig.blocks} == {("g", period_s * 1e6)}


@pytest.mark.parametrize("protocol", ["a-and-d", "ohaus"])
def test_a_scale_that_may_be_asked_answers(protocol):
    async def scene(rig):
        rig.player._repeats = False
        samples = await rig.goes_on(5)
        return samples, rig.drops

    samples, drops = with_rig(protocol, scene, talk="poll", poll_ms=200)
    # The answer to the first question may be the rest of a line that was not seen to begin.
    assert drops.get("timeout", 0) <= 1
    assert weights(samples) == {412.0}
    assert len(samples) >= 18


@pytest.mark.parametrize("protocol", NAMES)
def test_half_a_frame_is_counted_and_makes_no_weight(protocol):
    async def scene(rig):
        await rig.goes_on(3)
        rig.player.order("half")
        samples = await rig.goes_on(5)
        return samples, rig

    samples, rig = with_rig(protocol, scene)
    assert weights(samples) == {412.0}
    assert samples.count(None) <= 5
    assert sum(rig.drops.values()) in {1, 2}
    assert rig.states == [("online", None)]


def test_a_wrong_checksum_is_counted():
    async def scene(rig):
        await rig.goes_on(3)
        rig.player.order("checksum")
        samples = await rig.goes_on(3)
        return samples, rig.drops

    samples, drops = with_rig("toledo", scene)
    assert drops["checksum"] == 1
    assert samples.count(None) == 1
    assert weights(samples) == {412.0}


@pytest.mark.parametrize("protocol", NAMES)
def test_noise_in_parity_bits_is_found_where_there_is_a_parity(protocol):
    async def scene(rig):
        await rig.goes_on(3)
        for _ in range(3):
            rig.player.order("parity")
        samples = await rig.goes_on(5)
        return samples, rig.drops

    samples, drops = with_rig(protocol, scene)
    assert weights(samples) == {412.0}
    if DIALECTS[protocol].line != "8N1":
        # Where the end of a frame was hit, its rest is given up, or the answer is missed.
        assert drops
        assert drops.keys() <= {"parity", "timeout", "malformed", "garbage"}
    elif protocol == "cas":
        assert drops.keys() <= {"malformed", "garbage"}
        assert drops
    else:
        # Its checksum's own eighth bit is looked at by nobody else.
        assert drops == {}


@pytest.mark.parametrize("protocol", NAMES)
def test_silence_is_told_and_its_end_too(protocol, caplog):
    async def scene(rig):
        await rig.goes_on(3)
        rig.player.order("silence")
        silent = await rig.goes_on(12)
        rig.player.order("silence")
        after = await rig.goes_on(15)
        return silent, after, rig

    silent, after, rig = with_rig(protocol, scene)
    assert len(weights(silent[3:])) == 0
    assert weights(after) == {412.0}
    [_, (state, reason), back] = rig.states
    assert state == "offline"
    assert reason == "nothing came on /dev/ttyUSB0 for 5000 ms"
    assert back == ("online", None)
    [down] = [record.getMessage() for record in caplog.records]
    assert down.startswith("shelf/g3.s1 is down: nothing came")
    asked = DIALECTS[protocol].streams
    assert (rig.drops.get("timeout", 0) > 0) != asked
    boots = {block.boot for block in rig.blocks}
    assert len(boots) == 2


@pytest.mark.parametrize("protocol", NAMES)
def test_a_flood_of_garbage_is_one_count(protocol):
    async def scene(rig):
        await rig.goes_on(3)
        rig.player.order("flood")
        samples = await rig.goes_on(5)
        return samples, rig

    samples, rig = with_rig(protocol, scene)
    assert rig.drops["too-long"] == 1
    assert sum(rig.drops.values()) <= 3
    assert weights(samples) == {412.0}
    assert samples.count(None) <= 5


@pytest.mark.parametrize("protocol", [name for name in NAMES if DIALECTS[name].units])
def test_another_unit_is_told_and_converted(protocol, caplog):
    caplog.set_level("INFO")

    async def scene(rig):
        await rig.goes_on(3)
        rig.player.order("unit")
        return await rig.goes_on(5), rig

    samples, rig = with_rig(protocol, scene)
    # 0.908 lb, exactly.
    assert weights(samples[3:]) == {float("411.86187196")}
    told = [record.getMessage() for record in caplog.records if "shows" in record.getMessage()]
    assert told == ["shelf/g3.s1: shows lb now, not kg"]
    assert rig.states == [("online", None)]


@pytest.mark.parametrize("protocol", [name for name in NAMES if DIALECTS[name].overloads])
def test_overload_is_no_value_and_the_scale_stays_there(protocol):
    async def scene(rig):
        await rig.goes_on(3)
        rig.player.order("overload")
        over = await rig.goes_on(10)
        rig.player.order("overload")
        after = await rig.goes_on(5)
        return over, after, rig

    over, after, rig = with_rig(protocol, scene)
    assert weights(over[3:]) == set()
    assert len(over) >= 36
    assert weights(after) == {412.0}
    assert rig.states == [("online", None)]


@pytest.mark.parametrize("protocol", NAMES)
def test_a_plug_that_is_pulled_is_told_once_and_its_return_once(protocol, caplog):
    caplog.set_level("INFO")

    async def scene(rig):
        await rig.goes_on(3)
        rig.player.order("unplug")
        samples = await rig.goes_on(10)
        return samples, rig

    samples, rig = with_rig(protocol, scene)
    assert weights(samples) == {412.0}
    gone = ("offline", "/dev/ttyUSB0: Input/output error")
    assert rig.states == [("online", None), gone, ("online", None)]
    told = [
        record.getMessage() for record in caplog.records if "scale B02" not in record.getMessage()
    ]
    assert [line.partition(":")[0] for line in told] == [
        "shelf/g3.s1 is down",
        "shelf/g3.s1 is back after 1 failed attempts",
    ]
    assert rig.modem.opened == 2


# What is MT-SICS's alone.


def test_another_scale_on_the_line_is_refused_until_the_settings_name_it(caplog):
    caplog.set_level("INFO")

    async def scene(rig):
        await rig.goes_on(3)
        rig.player.order("other")
        samples = await rig.goes_on(30)
        return samples, rig

    samples, rig = with_rig("mt-sics", scene)
    assert weights(samples[3:]) == set()
    assert rig.states[-1][0] == "offline"
    told = [record.getMessage() for record in caplog.records]
    assert told[0] == "shelf/g3.s1: scale B021002593, Emulated 15.000 kg"
    assert len(told) == 3
    assert told[2] == (
        "shelf/g3.s1: scale XB021002593 is on /dev/ttyUSB0, where B021002593 belongs. "
        'If it was exchanged, write serial = "XB021002593" in its table and restart'
    )
    samples, rig = with_rig("mt-sics", lambda rig: named(rig, "XB021002593"), serial="B021002593")
    assert weights(samples) == set()
    assert rig.states == [
        ("offline", "scale XB021002593 is on /dev/ttyUSB0, where B021002593 belongs")
    ]
    samples, _ = with_rig("mt-sics", lambda rig: named(rig, "XB021002593"), serial="XB021002593")
    assert weights(samples) == {412.0}


async def named(rig, serial):
    rig.player.plate.serial = serial
    return await rig.goes_on(5), rig


def test_a_scale_that_was_switched_off_is_asked_again_who_it_is():
    async def scene(rig):
        await rig.goes_on(3)
        rig.modem.sent.clear()
        rig.player._repeats = False  # It forgot what it was to repeat.
        samples = await rig.goes_on(4)
        return samples, rig

    samples, rig = with_rig("mt-sics", scene)
    assert rig.modem.sent == [b"@\r\n", b"I2\r\n", b"SIR\r\n"]
    assert samples[-1] == 412.0
    assert rig.drops == {"timeout": 1}
    assert rig.states == [("online", None)]


def test_another_scale_on_a_cable_that_stays_in_the_gateway_is_refused(caplog):
    async def scene(rig):
        await rig.goes_on(3)
        rig.player.plate.serial = "C1"
        rig.player._repeats = False
        samples = await rig.goes_on(10)
        return samples, rig

    samples, rig = with_rig("mt-sics", scene)
    assert weights(samples[3:]) == set()
    assert rig.states[-1] == ("offline", "scale C1 is on /dev/ttyUSB0, where B021002593 belongs")
    assert "scale C1 is on /dev/ttyUSB0" in caplog.text


def test_nothing_is_taken_before_it_is_known_who_speaks():
    async def scene(rig):
        rig.player.received = lambda _data: None
        rig.player._repeats = True  # For whoever was there before.
        samples = await rig.goes_on(8)
        return samples, rig

    samples, rig = with_rig("mt-sics", scene)
    assert samples == []
    [(state, reason)] = rig.states
    assert state == "offline"
    assert reason.startswith("no intelligible weight")


def test_what_is_sent_has_the_parity_of_the_line():
    async def scene(rig):
        await rig.goes_on(2)
        return set(rig.modem.sent)

    assert with_rig("nci", scene) == {b"\xd7\x8d"}
    assert with_rig("nci", scene, line="8N1") == {b"W\r"}


def test_a_damaged_answer_is_one_and_garbage_is_none():
    talk = Talk(config("sma"), 0.0)
    assert talk.due(0.0) == b"\nW\r"
    assert talk.due(0.5) == b""
    talk.heard(Noise("garbage"), 0.1)
    assert talk.due_s == 1.0
    talk.heard(Noise("malformed"), 0.1)
    assert talk.due_s == 0.25
    assert talk.due(0.25) == b"\nW\r"
    assert talk.missed == 0
    assert talk.due(1.25) == b"\nW\r"
    assert talk.take_missed() == 1
    talk.heard(weighs(412), 1.9)
    assert talk.due_s == 1.9


# Samples at their times.


def test_where_nothing_came_there_is_no_sample():
    async def scene(rig):
        return await rig.goes_on(5.05), rig

    samples, _ = with_rig("ohaus", scene, rate=5.0, period_ms=100)
    assert samples[:6] == [412.0, None, 412.0, None, 412.0, None]
    samples, _ = with_rig("ohaus", scene, rate=20.0, period_ms=100)
    assert set(samples) == {412.0}
    assert len(samples) == pytest.approx(49, abs=2)


@pytest.mark.parametrize(
    ("rate", "period_ms"),
    [(100, 50), (20, 50), (17, 100), (10, 100), (7.3, 150), (5, 200), (2, 500), (0.5, 1_000)],
)
def test_the_period_is_the_scales_own(rate, period_ms):
    async def scene(rig):
        return await rig.goes_on(max(25 / rate, 2.0)), rig

    samples, rig = with_rig("cas", scene, rate=rate)
    assert {block.period_us for block in rig.blocks} == {period_ms * 1_000}
    if rate >= 1:
        assert samples.count(None) <= len(samples) * 0.05


def test_what_waited_on_the_way_tells_no_period():
    rhythm, times_ms = Rhythm(), [0] * 40 + [0, 3, 200, 201, *range(400, 2_000, 200)]
    periods = [rhythm.heard(ms * 1_000_000) for ms in times_ms]
    assert [period for period in periods if period] == [200_000_000]


def test_a_line_with_the_tare_alone_takes_no_weight_away():
    grid = Grid((0,), period_ns=10**8, block_ns=10**8)
    grid.add(weighs(412), 0)
    grid.add(Reading(None, tare_g=Decimal(5), unit="kg"), 10**7)
    [block] = grid.advance(10**8)
    assert block.rows == [[412.0]]
    grid.add(nothing("over", unit="kg"), 10**8)
    [block] = grid.advance(2 * 10**8)
    assert block.rows == [[None]]


def test_gross_and_net_by_turns_are_told_once_and_a_key_each_time(caplog):
    async def scene(rig):
        await rig.goes_on(3)
        for _ in range(4):
            rig.player.plate.tare_g = Decimal(0 if rig.player.plate.tare_g else 12)
            await rig.goes_on(2)
        frame = rig.player._dialect.frame(rig.player.plate)
        other = frame.replace(b"GS", b"NT")
        for number in range(100):
            rig.modem.write((frame, other)[number % 2])
            await rig.goes_on(0.05)

    with_rig("cas", scene)
    told = [record.getMessage().partition(": shows ")[2] for record in caplog.records]
    net, gross = "net weights now, not gross", "gross weights now, not net"
    assert told == [net, gross, net, gross, net]


def test_a_machine_that_slept_begins_anew():
    reading = weighs(412)
    grid = Grid((0,), period_ns=10**8, block_ns=2 * 10**8)
    grid.add(reading, 0)
    [block] = grid.advance(3 * 10**8)
    assert block.rows == [[412.0], [None]]
    [rest] = grid.advance(10**12)
    assert (rest.at_ns, rest.rows) == (2 * 10**8, [[None]])
    grid.add(reading, 10**12)
    [block] = grid.advance(10**12 + 3 * 10**8)
    assert (block.at_ns, block.rows) == (10**12, [[412.0], [None]])


def test_a_weight_that_changes_appears_in_its_own_period():
    async def scene(rig):
        await rig.goes_on(3.05)
        rig.player.put(rig.player.plate.grams / 2)
        await rig.goes_on(1)
        return rig.blocks

    blocks = with_rig("cas", scene)
    rows = [
        (block.host_mono_ms + at * block.period_us / 1_000, row[0])
        for block in blocks
        for at, row in enumerate(block.w)
    ]
    [first, *_] = [at_ms for at_ms, grams in rows if grams == 206.0]
    assert first == pytest.approx(3_100, abs=51)


@pytest.mark.parametrize("key", ["zero", "tare"])
@pytest.mark.parametrize("protocol", [name for name in NAMES if PROTOCOLS[name].zero])
def test_commands_of_zero_and_tare_are_understood(protocol, key):
    facts = PROTOCOLS[protocol]

    async def scene(rig):
        await rig.goes_on(1)
        rig.player.received(facts.zero if key == "zero" else facts.tare)
        samples = await rig.goes_on(4)
        return samples, rig.drops

    samples, drops = with_rig(protocol, scene)
    if protocol != "mt-sics":  # There a command ends what repeats, and it is asked again.
        assert drops == {}
    assert samples[-1] == 0.0


def test_settings_of_every_protocol_are_good():
    for protocol in NAMES:
        assert problems(config(protocol, **EXTRA.get(protocol, {}))) == []
