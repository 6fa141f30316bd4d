# SPDX-License-Identifier: Apache-2.0
"""Devices that restart, flood, repeat themselves, send the future or nonsense."""

import asyncio
from collections import Counter
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from drivers.door.driver import LATE_NS
from gateway.domain.devices import AHEAD_MAX, BACK_MS_MAX, FIRST_MAX, T_MS_WRAP, DeviceClock
from gateway.domain.engine import DROPS_TOLD_NS
from gateway.domain.inputs import DoorState, Dropped, PersonSeen, Tick, Wrist
from gateway.domain.people import PERSONS_MAX, TRACKS_MAX
from gateway.domain.persons import MIXED_MAX, PLACES_MAX, WRISTS_MAX
from gateway.domain.presence import SILENT_NS_MAX, UNHEARD_NS_MAX
from gateway.intake import Intake
from tests.faults import mishaps
from tests.faults.accounts import explained_g, told
from tests.faults.disk import Connection
from tests.faults.simulation import simulate
from tests.gateway.domain.scene import (
    BLOCK,
    JAM,
    PERIOD_NS,
    STEP_NS,
    TEA,
    Body,
    Scene,
    dropped,
    names,
)
from tests.virtual_time import LoopClock, run_virtual

MS = 1_000_000
S = 1_000_000_000
SHELF, CAMERA = "shelf/g1.s1", "camera/over"


# Restarts


@pytest.mark.parametrize("at_tenth", range(12))
def test_a_shelf_that_restarts_amid_a_pick_loses_no_unit(shopping, at_tenth):
    """Whenever in the act it happens: what the plate lost is in a cart or under review."""
    shopping.reach("anna", "g1.s1.p3")
    shopping.run(0.4)
    shopping.weights_g["g1.s1.p3"] -= 390.0
    for tenth in range(20):
        if tenth == at_tenth:
            shopping.boots[SHELF] = "boot-2"
            shopping.seqs[SHELF] = 0
        shopping.run(0.1)
    shopping.bodies["anna"].wrist_mm = None
    shopping.run(3.0)
    shopping.leave()
    assert explained_g(shopping, "g1.s1.p3") == pytest.approx(-390.0, abs=3.0)
    [cart] = shopping.named("cart.closed")
    assert shopping.receipt(shopping.anna) == {TEA: 1, JAM: 1} or cart["open"]


@pytest.mark.parametrize("fault", ["restart", "will", "silence"])
def test_what_had_settled_and_waited_for_a_neighbour_is_not_lost(shopping, fault):
    """A change of one plate waits while the plate beside it moves; then the device goes."""
    shopping.reach("anna", "g1.s1.p3")
    shopping.run(0.4)
    shopping.weights_g["g1.s1.p3"] -= 390.0
    level_g = shopping.weights_g["g1.s1.p2"]
    for n in range(20):
        shopping.weights_g["g1.s1.p2"] = level_g + (80.0 if n % 2 else -80.0)
        shopping.run(0.2)
        if shopping.state.shelves["g1.s1"].pending:
            break
    assert [one.plate for one in shopping.state.shelves["g1.s1"].pending] == [3]
    shopping.weights_g["g1.s1.p2"] = level_g
    if fault == "restart":
        shopping.boots[SHELF] = "boot-2"
        shopping.seqs[SHELF] = 0
    elif fault == "will":
        shopping.status(SHELF, "offline")
    else:
        shopping.silent = {SHELF}
        shopping.run(SILENT_NS_MAX / S + 0.2)
        shopping.silent = set()
    shopping.run(0.4)
    shopping.bodies["anna"].wrist_mm = None
    shopping.run(4.0)
    shopping.leave()
    assert explained_g(shopping, "g1.s1.p3") == pytest.approx(-390.0, abs=3.0)
    assert shopping.receipt(shopping.anna) == {TEA: 1, JAM: 1}


def test_a_device_with_another_boot_in_every_message_is_bounded(shopping):
    size = len(shopping.engine.snapshot())
    tracks = 0
    for n in range(600):
        shopping.boots[SHELF] = f"boot-{n:016x}"
        shopping.boots[CAMERA] = f"eye-{n:016x}"
        shopping.run(0.1)
        tracks = max(tracks, len(shopping.state.people.by_track))
    assert tracks <= TRACKS_MAX
    shopping.boots |= {SHELF: "last", CAMERA: "last"}
    shopping.run(30.0)
    assert len(shopping.engine.snapshot()) < size + 40_000
    assert max(len(device.marks.old_boots) for device in shopping.state.devices.values()) <= 4
    shopping.leave()
    assert shopping.receipt(shopping.anna) == {TEA: 1}
    assert explained_g(shopping, "g1.s1.p3") == 0.0


# Floods


def test_a_flood_is_bounded_before_the_engine_and_told():
    """10,000 messages a second for ten seconds, of which nobody takes any."""
    scene = Scene()
    block, frame = scene.block("g1.s1"), scene.frame()

    async def main():
        intake = Intake(LoopClock())
        most = 0
        for _ in range(10):
            for n in range(10_000):
                intake.offer((block, frame)[n % 2])
                most = max(most, len(intake))
            await asyncio.sleep(1.0)
        assert most < 10_000
        intake.flush()
        taken = intake.take(1_000_000)
        return Counter(one.device for one in taken if not isinstance(one, Dropped)), taken

    (counts, taken), _ = run_virtual(main())
    lost = sum(one.count for one in taken if isinstance(one, Dropped))
    assert lost + counts[SHELF] + counts[CAMERA] == 100_000


def test_a_camera_that_floods_the_engine_fills_no_memory(scene):
    """Sixty-four people a frame who appear anywhere, each with four wrists."""
    wrists = [Wrist(mm=(0.0, 0.0, 900.0))] * 4
    for n in range(100):
        scene.now_ns += 5 * MS
        seen = [
            PersonSeen(
                track=f"{n}-{one}",
                floor_mm=(700.0 * ((one + n // 7) % 20), 900.0 * (one // 4)),
                wrists=wrists,
            )
            for one in range(64)
        ]
        scene.give(scene.frame(people=seen))
    people = scene.state.people
    assert len(people.persons) <= PERSONS_MAX
    for person in people.persons.values():
        assert len(person.places) <= PLACES_MAX
        assert len(person.wrists) <= WRISTS_MAX
        assert len(person.tracks) <= TRACKS_MAX
        assert len(person.mixed) <= MIXED_MAX
    assert len(people.by_track) <= PERSONS_MAX * TRACKS_MAX
    assert told(scene)[CAMERA, "too-many-people"] > 0 or len(people.persons) < PERSONS_MAX


def test_a_camera_whose_clock_stands_still_fills_no_memory(scene):
    """What it saw is dated long ago, for ever: no age ever removes it."""
    stuck = {"host_boot": scene.boot, "host_mono_ms": 5.0}
    seen = [PersonSeen(track="1", floor_mm=(0.0, 0.0), wrists=[Wrist(mm=(0.0, 0.0, 900.0))] * 4)]
    for _ in range(3_000):
        scene.now_ns += 10 * MS
        scene.give(scene.frame(people=seen, **stuck))
    [person] = scene.state.people.persons.values()
    assert (len(person.places), len(person.wrists)) == (PLACES_MAX, WRISTS_MAX)


def test_whom_somebody_may_be_is_bounded(scene):
    """Forty others come so close, one after another, that the camera saw one body."""
    scene.bodies["anna"] = Body((0.0, 0.0))
    for n in range(40):
        scene.bodies["other"] = Body((450.0, 0.0))
        scene.boots[CAMERA] = f"eye-{n}"
        scene.run(0.5)
        other = scene.bodies.pop("other")
        scene.run(0.8)
        scene.bodies["other"] = other
        scene.run(0.3)
        del scene.bodies["other"]
        scene.run(0.1)
        scene.bodies["anna"].floor_mm = (0.0, 9_000.0 * (n % 2))
        scene.run(21.0)
        scene.bodies["anna"].floor_mm = (0.0, 0.0)
        scene.run(0.5)
    assert 1 < max(len(one.mixed) for one in scene.state.people.persons.values()) <= MIXED_MAX


def test_a_status_that_flaps_a_thousand_times_is_told_seldom(scene):
    began = len(scene.events)
    for n in range(1_000):
        scene.now_ns += 10 * MS
        boot = f"b{n // 2}"
        scene.status("door/front", ("online", "offline")[n % 2], boot=boot)
        scene.give(Tick(at=scene.stamp()))
    assert len(scene.events) - began < 15
    assert len(scene.rows["marks", "door/front"].value) < 1_000


# Repeats


def test_every_message_twice_and_the_whole_day_again_change_nothing():
    def day(*, twice, again):
        scene = Scene(seed=5)
        if twice:
            give = scene.give

            def both(item):
                made = give(item)
                if hasattr(item, "seq"):
                    give(item)
                return made

            scene.give = both
        scene.run(2.0)
        session = scene.enter("anna")
        scene.act("anna", {"g1.s1.p2": -240.0})
        scene.act("anna", {"g1.s1.p3": -390.0})
        if again:
            for _, item in list(scene.inputs):
                if hasattr(item, "seq"):
                    scene.give(msgspec.structs.replace(item, at=scene.stamp()))
        scene.run(1.0)
        scene.leave()
        assert scene.receipt(session) == {TEA: 1, JAM: 1}
        return scene

    plain, twice = day(twice=False, again=False), day(twice=True, again=False)
    again = day(twice=False, again=True)
    for other in (twice, again):
        counted = Counter(names(other.events)) - Counter(names(plain.events))
        assert not counted.keys() - {"inputs.dropped"}
    numbered = sum(hasattr(item, "seq") for _, item in twice.inputs) // 2
    repeats = sum(n for (_, reason), n in told(twice).items() if reason == "repeat")
    assert repeats == numbered
    assert sum(n for (_, reason), n in told(again).items() if reason == "repeat") > 100


# The future, the past, and other numbers


@pytest.mark.parametrize("jump", [2**62, 2**53, AHEAD_MAX + 100])
def test_a_number_that_jumps_far_costs_that_message_alone(scene, jump):
    for n in range(5):
        scene.boots[SHELF] = f"boot-{n}"
        scene.seqs[SHELF] = 0
        scene.run(0.4)
        scene.give(scene.block("g1.s1", seq=jump))
    anna = scene.enter("anna")
    scene.act("anna", {"g1.s1.p3": -390.0})
    scene.leave("anna", DROPS_TOLD_NS / S + 0.1)
    assert scene.receipt(anna) == {JAM: 1}
    assert told(scene)[SHELF, "stray"] == 5
    assert SHELF not in {one["device"] for one in scene.named("device.lost")}


def test_numbers_that_go_on_from_far_ahead_are_a_gap(scene):
    """The device was away for a day, and has not restarted."""
    scene.run(0.4)
    scene.seqs[SHELF] += AHEAD_MAX + 1_000
    scene.run(DROPS_TOLD_NS / S + 0.1)
    assert told(scene)[SHELF, "stray"] == 1
    assert told(scene)[SHELF, "missing"] == AHEAD_MAX + 1_001


def test_a_number_from_beyond_begins_no_boot(scene):
    scene.boots[SHELF] = "another"
    scene.seqs[SHELF] = 0
    scene.give(scene.block("g1.s1", seq=FIRST_MAX + 1))
    scene.run(DROPS_TOLD_NS / S + 0.1)
    assert told(scene)[SHELF, "stray"] == 1
    assert (SHELF, "repeat") not in told(scene)


def times_of(scene, jumps_ms):
    """Pick a jam under a device clock that jumps before each of these blocks."""
    shift_ms = 0
    jumps_ms = list(jumps_ms)

    def block(shelf, **changed):
        nonlocal shift_ms
        if shelf == "g1.s1" and jumps_ms:
            shift_ms += jumps_ms.pop(0)
        t_ms = (scene.now_ns - BLOCK * PERIOD_NS) // MS + shift_ms
        return Scene.block(scene, shelf, t_ms=t_ms % T_MS_WRAP, **changed)

    scene.block = block
    return shift_ms


JUMP_MS = st.sampled_from(
    [0, 0, 0, 50, -50, 400, -400, 9_000, 3_000_000, -3_000_000, 2**31, -(2**31), 2**32 - 150, 2**45]
)


@settings(max_examples=25, deadline=None)
@given(st.lists(JUMP_MS, min_size=1, max_size=20))
@example([3_000_000, -3_000_000])
@example([0, 0, 0, 0, 0, 2**31, 0, 0, -(2**31)])
def test_whatever_a_device_clock_does_no_unit_is_lost(jumps_ms):
    scene = Scene()
    scene.run(2.0)
    anna = scene.enter("anna")
    times_of(scene, jumps_ms)
    scene.act("anna", {"g1.s1.p3": -390.0}, wait_s=4.0)
    scene.leave(wait_s=6.0)
    assert explained_g(scene, "g1.s1.p3") == pytest.approx(-390.0, abs=3.0)
    [cart] = scene.named("cart.closed")
    unattended = scene.named("shelf.changed-unattended")
    assert scene.receipt(anna) == {JAM: 1} or cart["open"] or unattended


def test_one_message_from_the_future_does_not_misdate_those_after_it():
    clock = DeviceClock()
    arrived_ns = [1_000 * S + n * 200 * MS for n in range(12)]
    sent_ms = [n * 200 for n in range(12)]
    sent_ms[5] += 3_000_000  # Below what a wrap looks like.
    times = [
        clock.map(t_ms, 0, at, BACK_MS_MAX) for t_ms, at in zip(sent_ms, arrived_ns, strict=True)
    ]
    assert times == arrived_ns


@pytest.mark.parametrize("stall_ms", [9_000, 60_000])
def test_messages_that_waited_together_keep_their_distances(stall_ms):
    clock = DeviceClock()
    clock.map(0, 0, S, BACK_MS_MAX)
    arrived_ns = S + stall_ms * MS
    waited = [clock.map(t_ms, 0, arrived_ns, BACK_MS_MAX) for t_ms in range(200, stall_ms, 200)]
    assert waited == [S + t_ms * MS for t_ms in range(200, stall_ms, 200)]


def test_a_message_dated_ahead_of_its_arrival_counts_as_just_arrived(shopping):
    ahead = {"host_boot": shopping.boot, "host_mono_ms": (shopping.now_ns + 3_600 * S) / MS}
    shopping.give(shopping.frame(**ahead))
    shopping.give(shopping.block("g1.s1", **ahead))
    assert shopping.state.people.frame_ns["over"] == shopping.now_ns
    assert shopping.state.shelves["g1.s1"].end_ns <= shopping.now_ns
    shopping.act("anna", {"g1.s1.p3": -390.0})
    shopping.leave()
    assert shopping.receipt(shopping.anna) == {TEA: 1, JAM: 1}


# Anything at all

VALUES = st.one_of(
    st.none(),
    st.sampled_from([-390.0, 0.0, 3_000.0, -1e9, 1e300, -1e300]),
    st.floats(allow_nan=True, allow_infinity=True),
)
SEQS = st.one_of(st.integers(0, 80), st.sampled_from([2**31, 2**53, 2**62]))
TIMES = st.one_of(st.none(), st.integers(0, 2_000), st.integers(0, 2**53))
BOOTS = st.sampled_from(["a", "b", "c", "d", "e", "f", "boot-shelf/g1.s1"])
BLOCKS = st.builds(
    lambda **fields: ("block", fields),
    w=st.lists(st.lists(VALUES, min_size=3, max_size=5), min_size=0, max_size=15),
    period_us=st.sampled_from([1, 16_667, 100_000, 10_000_000]),
    unit=st.sampled_from(["g", "raw"]),
    boot=BOOTS,
    seq=SEQS,
    t_ms=TIMES,
)
POINT = st.floats(-1e6, 1e6)
PEOPLE = st.lists(
    st.builds(
        PersonSeen,
        track=st.sampled_from("abcdefg"),
        floor_mm=st.none() | st.tuples(POINT, POINT),
        wrists=st.lists(st.builds(Wrist, mm=st.tuples(POINT, POINT, POINT)), max_size=2),
    ),
    max_size=5,
)
FRAMES = st.builds(
    lambda **fields: ("frame", fields), people=PEOPLE, boot=BOOTS, seq=SEQS, t_ms=TIMES
)
HOSTED = st.builds(
    lambda ms, people: ("hosted", {"host_mono_ms": ms, "people": people}),
    ms=st.floats(0, 2**53),
    people=PEOPLE,
)
STATUSES = st.builds(
    lambda device, state, boot: ("status", (device, state, boot)),
    device=st.sampled_from([SHELF, CAMERA, "scanner/gate", "door/front", "shelf/none"]),
    state=st.sampled_from(["online", "offline"]),
    boot=BOOTS | st.just(""),
)
DOORS = st.builds(lambda boot, seq: ("door", (boot, seq)), boot=BOOTS, seq=SEQS)
WAITS = st.builds(lambda s: ("wait", s), s=st.sampled_from([0.1, 0.3, 6.0]))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.one_of(BLOCKS, BLOCKS, FRAMES, HOSTED, STATUSES, DOORS, WAITS), max_size=40),
    st.booleans(),
)
def test_whatever_devices_say_the_engine_goes_on(said, restarted):
    """It never raises, what it remembers is bounded, and a snapshot of it can be read."""
    scene = Scene()
    scene.run(1.0)
    scene.bodies["anna"] = Body((0.0, 0.0))
    for kind, what in said:
        if kind == "wait":
            scene.run(what)
        elif kind == "status":
            device, state, boot = what
            scene.boots.setdefault(device, "")
            scene.status(device, state, boot=boot)
        elif kind == "door":
            boot, seq = what
            scene.give(
                DoorState(at=scene.stamp(), device="door/front", boot=boot, seq=seq, open=True)
            )
        else:
            scene.now_ns += STEP_NS
            hosted = {"host_boot": scene.boot} if kind == "hosted" else {}
            make = scene.block if kind == "block" else scene.frame
            scene.give(make(*(["g1.s1"] if kind == "block" else []), **what, **hosted))
    scene.boots.pop("shelf/none", None)
    if restarted:
        scene.restart()
    assert len(scene.engine.snapshot()) < 300_000
    scene.engine = scene.engine.restore(scene.engine.snapshot())
    # And it still works: another boot of every device, and somebody shops.
    scene.boots = {device: f"{boot}-new" for device, boot in scene.boots.items()}
    scene.bodies.clear()
    scene.weights_g |= {"g1.s1.p3": 2_000.0}
    scene.run(25.0)
    anna = scene.enter("zoe")
    scene.act("zoe", {"g1.s1.p3": -390.0})
    scene.leave("zoe")
    assert scene.receipt(anna) == {JAM: 1}


# Never there


@pytest.mark.parametrize("device", ["scanner/gate", "door/front"])
def test_a_scanner_or_door_that_never_connects_is_told(scene, device):
    [other] = {"scanner/gate", "door/front"} - {device}
    scene.status(other, "online")
    scene.run(UNHEARD_NS_MAX / S - 3.0)
    assert scene.named("device.lost") == []
    scene.run(2.0)
    [lost] = scene.named("device.lost")
    assert (lost["device"], lost["reason"]) == (device, "never-heard")
    scene.run(UNHEARD_NS_MAX / S)
    assert len(scene.named("device.lost")) == 1
    scene.status(device, "online")
    [recovered] = scene.named("device.recovered")
    assert recovered["device"] == device


def test_one_that_was_there_before_a_restart_is_told_when_it_is_not_there_after(scene):
    scene.scan("anna")  # Its mark is durable, and with it that it was there.
    scene.status("door/front", "online")
    scene.restart()
    scene.status("door/front", "online")
    scene.run(UNHEARD_NS_MAX / S + 1.0)
    assert [one["device"] for one in scene.named("device.lost")] == ["scanner/gate"]


def test_what_was_dropped_is_told_once(scene):
    scene.give(scene.block("g1.s1", w=[[1.0]], seq=0))
    scene.run(DROPS_TOLD_NS / S + 1.0)
    assert told(scene) == {(SHELF, "unknown-shape"): 1}
    assert dropped(scene) == {}


def test_a_door_stays_shut_where_the_card_took_too_long_to_write_the_entry_down():
    days, execute = [], Connection.execute_fetchall

    async def slowly(connection, sql, parameters=()):
        rows = await execute(connection, sql, parameters)
        if sql == "COMMIT" and connection.writer:
            await asyncio.sleep(LATE_NS / 1e9 + 1)
        return rows

    async def nothing_happens(_day):
        return

    with (
        patch.object(Connection, "execute_fetchall", slowly),
        patch.object(mishaps, "run", nothing_happens),
    ):
        outcome = simulate(12, change=days.append)
    [day] = days
    events = [msgspec.json.decode(payload) for _, payload in day.promises.known.values()]
    shut_out = {
        event["data"]["session"]
        for event in events
        if event["type"] == "org.shelfgate.door.not-opened.v1" and event["data"]["reason"] == "late"
    }
    assert shut_out
    assert not day.promises.doors
    assert all(what.startswith("the door never opened for session") for what in outcome.broken)
