# SPDX-License-Identifier: Apache-2.0
"""A second look: asked for where it is close whose hand it was, and used when it comes in time."""

import pytest

from gateway.domain import watching
from gateway.domain.effects import Look
from gateway.domain.hands import evidence
from gateway.domain.inputs import DeviceStatus, Looked, LookedFrame, PersonSeen, Wrist
from tests.gateway.domain.scene import JAM, Scene, dropped

PLATE = "g1.s1.p3"
AT_MM = (875.0, 1_060.0, 900.0)
AWAY_MM = (300.0, 500.0, 1_100.0)


def crowded(*, looks=True):
    """Return Anna and Bert side by side at one plate, hands hidden, and a camera that looks."""
    scene = Scene()
    scene.run(2.0)
    camera_is(scene, "online", looks=looks)
    scene.anna, scene.bert = scene.enter("anna"), scene.enter("bert")
    for name in ("anna", "bert"):
        scene.stand(name, PLATE)
    x_mm, y_mm = scene.bodies["anna"].floor_mm
    scene.bodies["anna"].floor_mm = (x_mm - 260.0, y_mm)
    scene.bodies["bert"].floor_mm = (x_mm + 260.0, y_mm)
    scene.run(1.0)
    scene.weights_g[PLATE] -= 390.0
    return scene


def camera_is(scene, state, *, looks=True):
    device = "camera/over"
    scene.give(
        DeviceStatus(
            at=scene.stamp(), device=device, state=state, boot=scene.boots[device], looks=looks
        )
    )


def asked(scene):
    """Let time pass until the camera is asked; return the look."""
    for _ in range(40):
        scene.run(0.1)
        found = [effect for effect in scene.effects if isinstance(effect, Look)]
        if found:
            return found[0]
    return None


def answer(scene, look, *frames, seq=None):
    device = "camera/over"
    return scene.give(
        Looked(
            at=scene.stamp(),
            device=device,
            boot=scene.boots[device],
            seq=scene.seq(device) if seq is None else seq,
            t_ms=(scene.now_ns // 1_000_000 - look.ago_ms[0]) % 2**32,
            look=look.id,
            frames=list(frames),
        )
    )


def film(look, hand):
    """Return frames at 30 Hz in which one has a hand at the plate, and the other elsewhere."""
    other = "bert" if hand == "anna" else "anna"
    people = [
        PersonSeen(track=hand, wrists=[Wrist(AT_MM, sigma_mm=25.0)]),
        PersonSeen(track=other, wrists=[Wrist(AWAY_MM, sigma_mm=25.0), Wrist(AWAY_MM)]),
    ]
    return [LookedFrame(ms, people) for ms in range(0, look.ago_ms[0] - look.ago_ms[1], 33)]


@pytest.mark.parametrize("hand", ["anna", "bert"])
def test_what_a_second_look_finds_decides(hand):
    scene = crowded()
    look = asked(scene)
    assert look is not None
    assert scene.named("item.picked") == []
    assert look.camera == "over"
    assert look.place_mm == pytest.approx((875.0, 1_000.0, 905.0), abs=60.0)
    assert look.ago_ms[0] > look.ago_ms[1] >= 0
    answer(scene, look, *film(look, hand))
    (picked,) = scene.named("item.picked")
    (act,) = picked["acts"]
    assert (act["session"], act["gtin"]) == (getattr(scene, hand), JAM)
    assert act["probability"] > 0.9


def test_without_an_answer_the_change_is_decided_all_the_same():
    scene = crowded()
    look = asked(scene)
    scene.run(1.5)
    (picked,) = scene.named("item.picked")
    assert picked["acts"][0]["probability"] < 0.9
    answer(scene, look, *film(look, "anna"))
    assert "camera/over look-late" in dropped(scene)
    assert len(scene.named("item.picked")) == 1


def test_an_empty_answer_ends_the_wait():
    scene = crowded()
    look = asked(scene)
    answer(scene, look)
    assert len(scene.named("item.picked")) == 1


def test_a_camera_that_cannot_is_not_asked():
    scene = crowded(looks=False)
    assert asked(scene) is None
    assert len(scene.named("item.picked")) == 1


def test_a_camera_that_is_lost_is_not_asked():
    scene = crowded()
    scene.silent.add("camera/over")
    camera_is(scene, "offline")
    assert asked(scene) is None
    assert len(scene.named("item.picked")) == 1


def test_where_it_is_clear_nobody_is_asked():
    scene = crowded()
    del scene.bodies["bert"]
    scene.weights_g[PLATE] += 390.0
    scene.run(3.0)
    scene.effects.clear()
    scene.act("anna", {PLATE: -390.0})
    assert not [effect for effect in scene.effects if isinstance(effect, Look)]


def test_a_repeated_answer_counts_once():
    scene = crowded()
    look = asked(scene)
    frames = film(look, "anna")
    seq = scene.seq("camera/over")
    answer(scene, look, *frames, seq=seq)
    answer(scene, look, *frames, seq=seq)
    assert "camera/over repeat" in dropped(scene)
    assert len(scene.named("item.picked")) == 1


def test_whoever_was_weighed_for_a_look_is_not_weighed_again_for_the_decision(monkeypatch):
    scene = crowded()
    asked(scene)
    scene.run(3.0)
    scene.effects.clear()
    weighed = []

    def counted(person, shelf, place, *times, **words):
        weighed.append((person.id, place, times))
        return evidence(person, shelf, place, *times, **words)

    monkeypatch.setattr(watching, "evidence", counted)
    scene.stand("bert", "g1.s1.p1")
    scene.run(0.2)
    made = scene.act("anna", {PLATE: -390.0})
    assert "item.picked" in [one.name for one in made]
    assert not [effect for effect in scene.effects if isinstance(effect, Look)]
    assert len(weighed) == len(set(weighed)) > 0


def test_what_is_felt_while_a_change_waits_for_a_look_is_decided_after_it():
    scene = crowded()
    before_g = scene.weights_g[PLATE]
    assert asked(scene) is not None
    scene.reach("anna", PLATE)
    scene.weights_g[PLATE] -= 390.0
    weighed_g = []
    for _ in range(60):
        scene.run(0.1)
        weighed_g.append(scene.state.holdings[PLATE].weighed_g)
    assert weighed_g == sorted(weighed_g, reverse=True)
    assert weighed_g[-1] == pytest.approx(before_g - 390.0, abs=2.0)
    began = [made["started"] for made in scene.named("item.picked")]
    assert len(began) == 2
    assert began == sorted(began)
    scene.run(15.0)
    told = len(scene.events)
    scene.restart()
    scene.run(5.0)
    assert [one for one in scene.events[told:] if one.name == "review.requested"] == []
