# SPDX-License-Identifier: Apache-2.0
"""Plates that give no stable weight though their shelf is heard are told, and no others."""

import numpy as np
import pytest

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
        if self.fault == "null":
            for row in item.w:
                row[3] = None
        elif self.fault == "jumping":
            for row in item.w:
                row[3] += float(self.rng.normal(0.0, 500.0))
        return item


def told(scene):
    return [(one["plate"], one["unweighed"]) for one in scene.named("plate.unweighed")]


@pytest.mark.parametrize("fault", ["null", "jumping"])
def test_a_plate_without_a_stable_weight_is_told_once_and_its_end_too(fault):
    scene = Broken()
    scene.run(2.0)
    scene.fault = fault
    scene.run(190.0)
    assert told(scene) == [(PLATE, True)]
    scene.run(120.0)
    assert told(scene) == [(PLATE, True)]
    scene.fault = ""
    scene.run(120.0)
    assert told(scene) == [(PLATE, True), (PLATE, False)]


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


def test_a_busy_plate_is_none():
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
    "half as fast": lambda ms: ms // 2,  # Frames do not say how much time they cover.
}


@pytest.mark.parametrize(
    ("device", "clock"),
    [(SHELF, clock) for clock in CLOCKS] + [("camera/over", clock) for clock in list(CLOCKS)[:-1]],
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
    scene.run(20.0)
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
