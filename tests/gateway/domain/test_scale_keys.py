# SPDX-License-Identifier: Apache-2.0
"""A scale's zero is set by command in an open store: its weight jumps, and nobody took anything."""

import pytest

from gateway.domain.effects import PressKey, Reply
from gateway.domain.inputs import Rezeroed
from tests.gateway.domain.scene import CRISPS, OIL, Scene, dropped, names

SHELF = "g2.s1"
PLATE = "g2.s1.p0"


@pytest.fixture
def shelf(scene):
    """A store at rest, long enough for every weight to be written down."""
    scene.run(4.0)
    return scene


def set_zero(scene):
    """The driver has pressed the key; the scale shows nothing now."""
    made = scene.give(Rezeroed(at=scene.stamp(), device=f"shelf/{SHELF}"))
    for place in scene.layout.shelves[SHELF].plates:
        scene.weights_g[place.name] = 0.0
    return made


@pytest.mark.parametrize("key", ["zero", "tare"])
def test_a_key_is_asked_of_the_driver_each_time(shelf, key):
    for _ in range(2):
        effects, made = shelf.command(key, {"shelf": SHELF}, command="k1")
        assert (effects, made) == ([PressKey("k1", f"shelf/{SHELF}", key)], [])


def test_a_weight_that_jumps_with_its_zero_is_no_pick(shelf):
    anna = shelf.enter()
    before = len(shelf.events)
    assert set_zero(shelf) == []
    shelf.run(6.0)
    assert names(shelf.events[before:]) == []
    shelf.act("anna", {PLATE: -900.0})
    shelf.leave()
    assert shelf.receipt(anna) == {OIL: 1}
    assert shelf.named("shelf.changed-unattended") == []
    assert dropped(shelf) == {}


def test_what_settled_right_before_it_still_counts(shelf):
    anna = shelf.enter()
    shelf.act("anna", {PLATE: -900.0}, wait_s=0.7)
    set_zero(shelf)
    shelf.run(3.0)
    shelf.leave()
    assert shelf.receipt(anna) == {OIL: 1}


@pytest.mark.parametrize("ran_s", [0.3, 3.0])
def test_a_restart_after_it_compares_with_the_new_zero_or_with_nothing(shelf, ran_s):
    set_zero(shelf)
    shelf.run(ran_s)
    shelf.restart()
    shelf.run(4.0)
    assert shelf.named("shelf.changed-unattended") == []
    assert shelf.named("review.requested") == []


def test_what_is_taken_while_the_gateway_is_down_after_it_is_still_found(shelf):
    set_zero(shelf)
    shelf.run(3.0)
    shelf.weights_g[PLATE] -= 900.0
    shelf.restart()
    shelf.run(4.0)
    (unattended,) = shelf.named("shelf.changed-unattended")
    assert unattended["weights"][0]["delta_g"] == pytest.approx(-900.0, abs=3.0)


def test_other_shelves_go_on(shelf):
    anna = shelf.enter()
    shelf.stand("anna", "g1.s1.p0")
    shelf.run(0.4)
    shelf.reach("anna", "g1.s1.p0")
    shelf.run(0.4)
    shelf.weights_g["g1.s1.p0"] -= 150.0
    set_zero(shelf)
    shelf.run(0.4)
    shelf.bodies["anna"].wrist_mm = None
    shelf.run(2.0)
    shelf.leave()
    assert shelf.receipt(anna) == {CRISPS: 1}


def refusal(scene, shelf=SHELF):
    [answer], made = scene.command("zero", {"shelf": shelf}, command=f"k{scene.number}")
    assert isinstance(answer, Reply)
    assert (answer.status, made) == ("error", [])
    return answer.message


def test_a_shelf_in_use_is_not_touched(shelf):
    shelf.enter()
    shelf.reach("anna", PLATE)
    shelf.weights_g[PLATE] -= 900.0
    shelf.run(0.4)
    assert refusal(shelf).startswith("shelf g2.s1 is in use, or has not come to rest. Try again")
    set_zero(shelf)  # All the same: the key was pressed a moment before.
    shelf.run(0.2)
    assert dropped(shelf) == {"shelf/g2.s1 moving-when-zeroed": 1}


def test_a_shelf_that_is_away_or_unknown_is_told(shelf):
    assert refusal(shelf, "g9") == "the store has no shelf 'g9'"
    shelf.status(f"shelf/{SHELF}", "offline")
    assert refusal(shelf) == "shelf g2.s1 is not there. Try again when it is"
    shelf.give(Rezeroed(at=shelf.stamp(), device="shelf/g9"))
    shelf.run(0.1)
    assert dropped(shelf) == {"shelf/g9 unknown-device": 1}


def test_a_zero_before_the_first_sample_is_nothing():
    scene = Scene()
    assert refusal(scene) == "shelf g2.s1 is not there. Try again when it is"
    set_zero(scene)
    scene.run(3.0)
    assert scene.named("shelf.changed-unattended") == []
