# SPDX-License-Identifier: Apache-2.0
"""Plates that give no stable weight though their shelf is heard are told, and no others."""

import msgspec
import numpy as np
import pytest

from gateway.domain.devices import BACK_MS_MAX, DeviceClock
from tests.gateway.domain.scene import BLOCK, JAM, PERIOD_NS, Scene

PLATE = "g1.s1.p3"
SHELF = "shelf/g1.s1"


class Broken(Scene):
    """A store of which one shelf can be made to send what no window is made of."""

    fault = ""

    def block(self, shelf, **changed):
        item = super().block(shelf, **changed)
        if shelf != "g1.s1":
            return item
        if self.fault in {"null", "4 of 12 null"}:
            for row in item.w[: 4 if self.fault == "4 of 12 null" else None]:
                row[3] = None
        elif self.fault == "jumping":
            for row in item.w:
                row[3] += float(self.rng.normal(0.0, 500.0))
        return item


def told(scene):
    return [(one["plate"], one["unweighed"]) for one in scene.named("plate.unweighed")]


@pytest.mark.parametrize("fault", ["null", "4 of 12 null", "jumping"])
def test_a_plate_without_a_stable_weight_is_told_once_and_its_end_too(fault):
    scene = Broken()
    scene.run(2.0)
    scene.fault = fault
    scene.run(110.0)
    assert told(scene) == [], "it has lasted for less than two minutes"
    scene.run(80.0)
    assert told(scene) == [(PLATE, True)]
    scene.run(120.0)
    assert told(scene) == [(PLATE, True)]
    scene.fault = ""
    scene.run(120.0)
    assert told(scene) == [(PLATE, True), (PLATE, False)]


def test_it_is_told_once_over_a_restart_and_its_end_too():
    scene = Broken()
    scene.run(2.0)
    scene.fault = "null"
    scene.run(190.0)
    scene.restart()
    scene.run(190.0)
    assert told(scene) == [(PLATE, True)]
    scene.restart()
    scene.fault = ""
    scene.run(120.0)
    assert told(scene) == [(PLATE, True), (PLATE, False)]


def test_what_was_taken_meanwhile_is_nobodys_who_stands_there_when_it_is_over():
    scene = Broken()
    scene.run(2.0)
    anna = scene.enter("anna")
    scene.fault = "null"
    scene.run(70.0)
    scene.act("anna", {PLATE: -390.0})
    bert = scene.enter("bert")
    scene.reach("bert", PLATE)
    scene.fault = ""
    scene.run(3.0)
    scene.leave("anna")
    scene.leave("bert")
    assert scene.receipt(anna) == scene.receipt(bert) == {}
    [review] = scene.named("review.requested")
    assert review["reason"] == "device-down"
    assert set(review["sessions"]) == {anna, bert}


def change_places_in_a_hole(scene, hole_s, *, nulls):
    """Anna takes a jam, and Bert's hand comes where hers was, while its plate tells nothing."""
    scene.reach("anna", PLATE)
    scene.run(0.4)
    if nulls:
        scene.fault = "null"
    else:
        scene.silent.add(SHELF)
    scene.weights_g[PLATE] -= 390.0
    scene.run(0.2)
    scene.bodies["anna"].wrist_mm = None
    scene.bodies["anna"].floor_mm = (500.0, 0.0)
    scene.reach("bert", PLATE)
    scene.run(hole_s - 0.2)
    scene.fault = ""
    if scene.silent:
        scene.silent.clear()
        scene.seqs[SHELF] += round(hole_s * 5)


@pytest.mark.parametrize("nulls", [False, True])
@pytest.mark.parametrize("hole_s", [0.8, 2.0, 4.6])
def test_what_was_taken_in_a_hole_is_nobodys_who_comes_before_its_end(hole_s, nulls):
    scene = Broken()
    scene.run(2.0)
    anna, bert = scene.enter("anna"), scene.enter("bert")
    change_places_in_a_hole(scene, hole_s, nulls=nulls)
    scene.run(3.0)
    scene.leave("anna")
    scene.leave("bert")
    assert scene.receipt(anna) == scene.receipt(bert) == {}
    assert [one["reason"] for one in scene.named("review.requested")] == ["device-down"]


@pytest.mark.parametrize("nulls", [False, True])
def test_whose_hand_it_was_in_a_short_hole_is_not_sure_where_two_changed_places(nulls):
    scene = Broken()
    scene.run(2.0)
    anna = scene.enter("anna")
    scene.act("anna", {"g1.s1.p2": -240.0})
    bert = scene.enter("bert")
    change_places_in_a_hole(scene, 0.4, nulls=nulls)
    scene.run(16.0)
    (review,) = scene.named("review.requested")
    assert {anna, bert} <= set(review["sessions"])


@pytest.mark.parametrize("block_s", [0.6, 2.0, 5.0])
def test_what_is_taken_within_a_long_block_is_dated_by_its_samples(block_s):
    """Whoever comes after it, in the same block, has taken nothing."""
    scene = Scene()
    scene.run(2.0)
    anna, bert = scene.enter("anna"), scene.enter("bert")
    plain, rows, due_ns = scene.block, [], scene.now_ns

    def block(shelf, **changed):
        if shelf != "g1.s1":
            return plain(shelf, **changed)
        rows.extend(plain(shelf, seq=0).w)
        return None

    give = scene.give

    def give_long(item):
        nonlocal due_ns
        if item is not None:
            return give(item)
        if scene.now_ns - due_ns < block_s * 1e9:
            return []
        due_ns = scene.now_ns
        t_ms = (scene.now_ns - len(rows) * PERIOD_NS) // 1_000_000
        w, rows[:] = rows[:], []
        return give(plain("g1.s1", w=w, t_ms=t_ms))

    scene.block, scene.give = block, give_long
    scene.run(2 * block_s)
    scene.act("anna", {PLATE: -390.0}, wait_s=0.4)
    scene.bodies["anna"].floor_mm = (500.0, 0.0)
    scene.run(0.2)  # Two who leap in one frame may have exchanged their tracks.
    scene.reach("bert", PLATE)
    scene.run(0.6)
    scene.bodies["bert"].wrist_mm = None
    scene.run(2 * block_s)
    scene.leave("anna")
    scene.leave("bert")
    assert scene.receipt(anna) == {JAM: 1}
    assert scene.receipt(bert) == {}


def test_a_shelf_whose_blocks_never_make_a_window_is_told():
    """It samples for 50 ms and sleeps for 800: heard all the time, and never weighed by."""
    scene = Scene()
    scene.run(2.0)
    scene.silent.add(SHELF)
    for _ in range(240):
        scene.run(0.8)
        block = scene.block("g1.s1")
        scene.give(scene.block("g1.s1", w=block.w[:3], seq=block.seq + 1))
        scene.seqs[SHELF] = block.seq + 2
    assert SHELF not in {one["device"] for one in scene.named("device.lost")}
    assert told(scene) == [(f"g1.s1.p{n}", True) for n in range(4)]


def test_a_plate_that_is_used_all_the_time_is_not_told():
    scene = Scene()
    scene.run(2.0)
    scene.enter("anna")
    for n in range(50):
        scene.act("anna", {PLATE: -390.0 if n % 2 == 0 else 390.0})
    assert told(scene) == []


def test_a_shelf_that_is_lost_is_told_as_lost_alone():
    scene = Scene()
    scene.run(2.0)
    scene.silent.add(SHELF)
    scene.run(190.0)
    assert SHELF in {one["device"] for one in scene.named("device.lost")}
    assert told(scene) == []


CLOCKS = {
    "stands still": lambda ms: ms * 0,
    "in seconds": lambda ms: ms // 1_000,
    "in long steps": lambda ms: ms // 3_000 * 3_000,
    "in microseconds": lambda ms: ms * 1_000,
    "half as fast": lambda ms: ms // 2,
    "a tenth too slow": lambda ms: ms * 9 // 10,
    "backwards": lambda ms: -ms,
    "the milliseconds of a second": lambda ms: ms % 1_000,
}


@pytest.mark.parametrize(
    ("device", "clock"),
    [(device, clock) for device in (SHELF, "camera/over") for clock in CLOCKS],
)
def test_by_a_clock_that_measures_no_time_nothing_is_dated(clock, device):
    """The arrival counts instead, and it is told, but where the clock is too fast to do harm."""
    scene, told_ms = Scene(), CLOCKS[clock]
    make = {SHELF: "block", "camera/over": "frame"}[device]
    plain = getattr(scene, make)

    def odd(*args):
        if args in {(), ("g1.s1",)}:
            length_ns = BLOCK * PERIOD_NS if args else 0
            return plain(*args, t_ms=told_ms((scene.now_ns - length_ns) // 1_000_000) % 2**32)
        return plain(*args)

    setattr(scene, make, odd)
    scene.run(40.0)
    anna, bert = scene.enter("anna"), scene.enter("bert")
    for _ in range(3):
        scene.act("anna", {PLATE: -390.0})
        scene.run(15.0)
    scene.act("bert", {PLATE: 390.0})
    scene.leave("anna")
    scene.leave("bert")
    assert scene.receipt(anna)[JAM] == 2
    assert scene.receipt(bert) == {}
    told = [one for one in scene.named("inputs.dropped") if one["reason"] == "clock"]
    expected = [] if clock == "in microseconds" else [(device, 1)]
    assert [(one["device"], one["count"]) for one in told] == expected


@pytest.mark.parametrize("percent", [98, 100, 103, 120])
def test_a_clock_that_is_about_right_is_gone_by(percent):
    """Also where its messages were overtaken, waited for each other, or were lost."""
    scene = Scene()
    plain = scene.block

    def block(shelf, **changed):
        begun_ms = (scene.now_ns - BLOCK * PERIOD_NS) // 1_000_000
        return plain(shelf, t_ms=begun_ms * percent // 100 % 2**32, **changed)

    scene.block = block
    scene.run(30.0)
    scene.silent.add(SHELF)
    scene.run(3.0)
    scene.silent.clear()
    scene.run(30.0)
    assert not scene.state.devices[SHELF].clock.odd


@pytest.mark.parametrize(
    ("clock", "arrivals", "odd"),
    [
        (0.8, 1.0, False),  # As far as samples tell; delays that grow tell it later.
        (0.7, 1.0, True),
        (0.7, 0.7, False),  # They come faster than they say.
    ],
)
def test_a_clock_may_be_slower_than_its_samples_by_a_quarter(clock, arrivals, odd):
    one = DeviceClock()
    for n in range(60):
        t_ms, arrived_ns = int(200 * clock * n), int(200 * arrivals * n) * 1_000_000
        one.pace(t_ms, 200.0, arrived_ns)
        one.map(t_ms, 0, arrived_ns, BACK_MS_MAX)
    assert one.odd is odd


def test_a_device_that_catches_up_has_a_good_clock():
    """It was held up for a second, and stamps what it sends at once by when it sends it."""
    scene = Scene()
    scene.run(2.0)
    for _ in range(5):
        scene.silent.add(SHELF)
        scene.run(1.0)
        scene.silent.clear()
        for _ in range(5):
            scene.now_ns += 2_000_000
            scene.give(scene.block("g1.s1"))
        scene.run(0.4)
    assert not scene.state.devices[SHELF].clock.odd


def test_a_frame_that_was_overtaken_begins_no_clock():
    scene = Scene()
    scene.run(2.0)
    late = scene.frame()
    scene.run(0.9)
    before = scene.state.devices["camera/over"].clock
    least_ns, last_ms = before.least_ns, before.last_t_ms
    scene.give(msgspec.structs.replace(late, at=scene.stamp()))
    after = scene.state.devices["camera/over"].clock
    assert (after.least_ns, after.last_t_ms, after.anew) == (least_ns, last_ms, 0)


@pytest.mark.parametrize("back_ms", [1_500, 5_000, 14_000])
def test_a_clock_that_begins_anew_amid_an_act_loses_no_unit(back_ms):
    scene = Scene()
    scene.run(2.0)
    anna = scene.enter("anna")
    plain, began_ns = scene.block, scene.now_ns + 800_000_000

    def block(shelf, **changed):
        shift_ms = back_ms if shelf == "g1.s1" and scene.now_ns > began_ns else 0
        return plain(
            shelf, t_ms=(scene.now_ns - BLOCK * PERIOD_NS) // 1_000_000 - shift_ms, **changed
        )

    scene.block = block
    scene.act("anna", {PLATE: -390.0})
    scene.act("anna", {"g1.s1.p2": -240.0})
    scene.leave("anna")
    assert scene.receipt(anna) == {JAM: 1, "09506000130026": 1}


def test_one_number_from_beyond_mutes_no_device():
    scene = Scene()
    scene.run(2.0)
    anna = scene.enter("anna")
    scene.give(scene.block("g1.s1", seq=2**53))
    scene.act("anna", {PLATE: -390.0})
    scene.leave("anna", 11.0)
    assert scene.receipt(anna) == {JAM: 1}
    told = {(one["reason"], one["count"]) for one in scene.named("inputs.dropped")}
    assert told == {("stray", 1)}
    assert np.isfinite(scene.state.shelves["g1.s1"].reference_g).all()
