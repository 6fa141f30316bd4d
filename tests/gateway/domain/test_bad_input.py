# SPDX-License-Identifier: Apache-2.0
"""What does not fit is counted or ignored, and harms nothing else."""

import msgspec
import pytest

from gateway.domain.drops import STRANGE_TOLD_MAX
from gateway.domain.engine import DROPS_TOLD_NS
from gateway.domain.inputs import (
    DoorState,
    Dropped,
    PersonSeen,
    Tick,
)
from tests.gateway.domain.scene import (
    JAM,
    STEP_NS,
    TEA,
    dropped,
    names,
)

S = 1_000_000_000


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (lambda scene: scene.block("g1.s1", w=[]), "shelf/g1.s1 unknown-shape"),
        (lambda scene: scene.block("g1.s1", w=[[]]), "shelf/g1.s1 unknown-shape"),
        (lambda scene: scene.block("g1.s1", w=[[1.0] * 3]), "shelf/g1.s1 unknown-shape"),
        (lambda scene: scene.block("g1.s1", w=[[1.0] * 5]), "shelf/g1.s1 unknown-shape"),
        (
            lambda scene: scene.block("g1.s1", w=[[1.0] * 4, [1.0] * 3]),
            "shelf/g1.s1 unknown-shape",
        ),
        (lambda scene: scene.block("g1.s1", device="shelf/g9.s9"), "shelf/g9.s9 unknown-shape"),
        (lambda scene: scene.block("g1.s1", device="camera/over"), "camera/over unknown-shape"),
        (lambda scene: scene.frame(device="camera/none"), "camera/none unknown-device"),
        (
            lambda scene: DoorState(
                at=scene.stamp(), device="door/back", boot="b", seq=0, open=True
            ),
            "door/back unknown-device",
        ),
    ],
)
def test_what_does_not_fit_the_store_is_counted_and_harms_nothing(shopping, item, reason):
    before = shopping.engine.snapshot()
    assert shopping.give(item(shopping)) == []
    assert dropped(shopping)[reason] == 1
    after = msgspec.json.decode(shopping.engine.snapshot())
    assert {**after, "drops": {}, "number": 0} == {
        **msgspec.json.decode(before),
        "drops": {},
        "number": 0,
    }
    shopping.leave()
    assert shopping.receipt(shopping.anna) == {TEA: 1}


def test_what_was_dropped_is_told_in_one_event_a_reason(scene):
    for _ in range(7):
        scene.give(Dropped(at=scene.stamp(), device="shelf/g1.s1", reason="malformed", count=3))
        scene.give(Dropped(at=scene.stamp(), device="shelf/g1.s1", reason="retained", count=1))
    scene.give(Dropped(at=scene.stamp(), device="camera/over", reason="malformed", count=2))
    assert scene.named("inputs.dropped") == []
    scene.run(DROPS_TOLD_NS / S)
    counts = [(one["device"], one["reason"], one["count"]) for one in scene.named("inputs.dropped")]
    assert counts == [
        ("camera/over", "malformed", 2),
        ("shelf/g1.s1", "malformed", 21),
        ("shelf/g1.s1", "retained", 7),
    ]
    scene.run(DROPS_TOLD_NS / S)
    assert len(scene.named("inputs.dropped")) == 3


NONSENSE = [None, 1e300, -1e300, 30_001.0, float("nan"), float("inf")]


@pytest.mark.parametrize("value", NONSENSE)
def test_values_that_cannot_be_true_are_ignored(shopping, value):
    for _ in range(10):
        shopping.now_ns += 2 * STEP_NS
        w = [[3_000.0, 3_000.0, 2_760.0, value] for _ in range(12)]
        assert shopping.give(shopping.block("g1.s1", w=w)) == []
    made = shopping.run(3.0)
    assert names(made) == []
    shopping.act("anna", {"g1.s1.p3": -390.0})
    shopping.leave()
    assert shopping.receipt(shopping.anna) == {TEA: 1, JAM: 1}


@pytest.mark.parametrize("value", NONSENSE)
def test_values_now_and_then_that_cannot_be_true_are_ignored(shopping, value):
    for n in range(20):
        shopping.now_ns += 2 * STEP_NS
        w = [[3_000.0, 3_000.0, 2_760.0, 3_000.0] for _ in range(12)]
        w[n % 12][n % 4] = value
        assert shopping.give(shopping.block("g1.s1", w=w)) == []
    assert names(shopping.run(3.0)) == []


def test_a_repeat_is_counted_and_changes_nothing(scene):
    anna = scene.enter("anna")
    scene.reach("anna", "g1.s1.p2")
    scene.run(0.4)
    scene.weights_g["g1.s1.p2"] -= 240.0
    for _ in range(15):
        scene.now_ns += 2 * STEP_NS
        scene.give(Tick(at=scene.stamp()))
        for item in (scene.frame(), scene.block("g1.s1")):
            scene.give(item)
            scene.give(msgspec.structs.replace(item, at=scene.stamp()))
    assert dropped(scene) == {"shelf/g1.s1 repeat": 15, "camera/over repeat": 15}
    scene.leave()
    assert scene.receipt(anna) == {TEA: 1}
    assert len(scene.named("item.picked")) == 1


def test_a_gap_in_the_numbers_is_counted_and_what_comes_late_taken_off(scene):
    scene.seq("camera/over")
    scene.seqs["shelf/g1.s1"] += 4
    scene.run(0.5)
    assert dropped(scene) == {"shelf/g1.s1 missing": 4, "camera/over missing": 1}
    scene.give(scene.frame(seq=scene.seqs["camera/over"] - 6))
    assert dropped(scene) == {"shelf/g1.s1 missing": 4}


def test_blocks_that_overtake_each_other_change_no_receipt(shopping):
    shopping.reach("anna", "g1.s1.p3")
    shopping.run(0.4)
    shopping.weights_g["g1.s1.p3"] -= 390.0
    for _ in range(8):
        held = []
        for _ in range(2):
            shopping.now_ns += 2 * STEP_NS
            shopping.give(shopping.frame())
            held.append(shopping.block("g1.s1"))
        for item in reversed(held):
            shopping.give(msgspec.structs.replace(item, at=shopping.stamp()))
        shopping.give(Tick(at=shopping.stamp()))
    shopping.bodies["anna"].wrist_mm = None
    shopping.run(2.0)
    shopping.leave()
    assert shopping.receipt(shopping.anna) == {TEA: 1, JAM: 1}


def test_a_block_that_is_far_too_late_is_dropped(scene):
    old = scene.block("g1.s1")
    scene.run(4.0)
    late = msgspec.structs.replace(old, at=scene.stamp(), seq=old.seq)
    assert scene.give(late) == []
    assert "shelf/g1.s1 late" in dropped(scene)


def test_people_without_anything_but_a_track_harm_nothing(scene):
    nobody = [PersonSeen(track=str(n)) for n in range(50)]
    scene.give(scene.frame(people=nobody))
    assert scene.state.people.persons == {}


def test_a_flood_of_strange_names_is_told_in_few_events(scene):
    scene.run(1.0)
    for number in range(500):
        item = Dropped(
            at=scene.stamp(), device=f"shelf/x{number}", reason="unknown-device", count=2
        )
        scene.give(item)
    scene.run(11.0)
    told = [one for one in scene.named("inputs.dropped") if "unknown-device" in one["reason"]]
    rest = [one for one in scene.named("inputs.dropped") if one["device"] == "gateway/other"]
    assert len(told) == STRANGE_TOLD_MAX
    assert sum(one["count"] for one in [*told, *rest]) == 1_000
