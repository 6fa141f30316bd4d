# SPDX-License-Identifier: Apache-2.0
import pytest

from gateway.domain.engine import Engine, fold
from gateway.domain.events import event_id
from gateway.domain.inputs import (
    People,
    Samples,
    Tick,
)
from tests.gateway.domain.scene import (
    ENTRY_MM,
    JAM,
    STEP_NS,
    TEA,
    Body,
    Scene,
    epoch_name,
)

S = 1_000_000_000


def test_a_stepped_clock_is_told_and_labels_only(shopping):
    shopping.utc_shift_ns = 3_600 * S
    shopping.run(1.0)
    (stepped,) = shopping.named("clock.stepped")
    assert stepped["step_ms"] == 3_600_000
    assert stepped["utc_minus_mono_ns"] == shopping.stamp().utc_ns - shopping.now_ns
    shopping.act("anna", {"g1.s1.p3": -390.0})
    shopping.leave()
    assert shopping.receipt(shopping.anna) == {TEA: 1, JAM: 1}


@pytest.mark.parametrize("shift_ns", [-10 * S, -S // 2, S // 2])
def test_steps_of_half_a_second_are_told(scene, shift_ns):
    scene.utc_shift_ns = shift_ns
    scene.run(1.0)
    assert [one["step_ms"] for one in scene.named("clock.stepped")] == [shift_ns // 1_000_000]


def test_a_clock_that_is_slewed_is_not_told_at_once_but_when_it_is_far(scene):
    for _ in range(60):
        scene.utc_shift_ns += 10_000_000
        scene.run(0.1)
    assert len(scene.named("clock.stepped")) == 1


def test_a_clock_that_begins_to_be_trusted_is_told():
    scene = Scene(start=False)
    scene.utc_trusted = False
    scene.start()
    scene.run(1.0)
    assert scene.named("clock.stepped") == []
    scene.utc_trusted = True
    scene.run(1.0)
    (stepped,) = scene.named("clock.stepped")
    assert stepped["step_ms"] == 0
    assert stepped["clock"]["utc_trusted"]


def test_events_are_named_by_their_cause(scene):
    number = scene.number + 1
    scene.bodies["1"] = Body(ENTRY_MM)
    (made,) = scene.scan("anna")
    assert made.event.id == event_id("gw", epoch_name(1), number, 0)
    assert made.event.type == "org.shelfgate.session.started.v1"
    assert made.event.time == "2026-11-18T11:06:42.000Z"
    ids = [one.event.id for one in scene.events]
    assert len(set(ids)) == len(ids)


def test_every_event_carries_the_clocks_of_its_cause(shopping):
    shopping.leave()
    for made in shopping.events:
        clock = made.data["clock"]
        assert clock["boot"] == "kernel-1"
        assert clock["utc_error_ms"] == 5
        assert made.data["store_version"] == shopping.store.version


def test_the_first_input_begins():
    scene = Scene(start=False)
    with pytest.raises(AssertionError, match="GatewayStarted"):
        Engine().step(1, Tick(at=scene.stamp()))
    assert (Engine().number, Engine().link_online) == (0, False)


def test_folding_is_stepping(shopping):
    events = list(fold(Engine(), shopping.inputs))
    assert events == [made.event for made in shopping.events]


def test_changed_rows_are_told_once(shopping):
    assert shopping.engine.changed_rows() == []
    shopping.engine.step(shopping.number + 1, shopping.block("g1.s1"))
    assert shopping.engine.changed_rows() == []


def test_a_quiet_store_writes_hardly_any_rows(scene):
    scene.run(5.0)
    written = 0
    for _ in range(20):
        scene.run(0.5)
        written += len(scene.engine.changed_rows())
    before = dict(scene.rows)
    scene.run(10.0)
    assert scene.rows.keys() == before.keys()
    assert scene.rows == before


def test_samples_and_frames_may_come_without_a_clock(scene):
    anna = scene.enter("anna")
    scene.reach("anna", "g1.s1.p2")
    for n in range(20):
        scene.now_ns += 2 * STEP_NS
        scene.give(Tick(at=scene.stamp()))
        scene.give(scene.frame(t_ms=None))
        scene.give(scene.block("g1.s1", t_ms=None))
        if n == 3:
            scene.weights_g["g1.s1.p2"] -= 240.0
    assert [one.name for one in scene.events][-1] == "item.picked"
    assert isinstance(scene.inputs[-1][1], Samples)
    assert isinstance(scene.inputs[-2][1], People)
    scene.leave()
    assert scene.receipt(anna) == {TEA: 1}
