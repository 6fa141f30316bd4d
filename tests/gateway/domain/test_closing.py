# SPDX-License-Identifier: Apache-2.0
"""Carts that are closed: what may still change them, and what may not."""

import random

import msgspec
import pytest

from gateway.domain.explanations import LYING_MAX
from gateway.domain.state import encode_row
from tests.gateway.domain.scene import DOUBT_S, EXIT_MM, JAM, TEA, Scene


@pytest.fixture
def silent_jam(shopping):
    """Return the store after Anna took a jam from a shelf that was away, and left."""
    shopping.silent = {"shelf/g1.s1"}
    shopping.reach("anna", "g1.s1.p3")
    shopping.run(3.0)
    shopping.weights_g["g1.s1.p3"] -= 390.0
    shopping.run(4.0)
    shopping.bodies["anna"].wrist_mm = None
    shopping.leave(wait_s=10.0)
    return shopping


def open_on(scene, session):
    """Return the reviews that the last word on a receipt lists."""
    told = [*scene.named("cart.closed"), *scene.named("cart.adjusted")]
    return max((one for one in told if one["session"] == session), key=lambda one: one["revision"])[
        "open"
    ]


def test_a_receipt_stays_what_it_was_when_it_is_too_old_to_change(shopping):
    shopping.leave(wait_s=200.0)
    assert shopping.receipt(shopping.anna) == {TEA: 1}
    assert shopping.named("cart.adjusted") == []
    assert shopping.state.closed == {}
    assert not [key for key in shopping.rows if key[0] == "closed"]


@pytest.mark.parametrize("away_s", [5.0, 300.0])
def test_a_shelf_that_comes_back_late_asks_about_those_who_have_left(silent_jam, away_s):
    silent_jam.run(away_s)
    silent_jam.silent = set()
    silent_jam.run(5.0)
    (review,) = silent_jam.named("review.requested")
    assert (review["reason"], review["sessions"]) == ("device-down", [silent_jam.anna])
    assert open_on(silent_jam, silent_jam.anna) == [review["review"]]
    act = review["candidates"][0]["acts"][0] | {"session": silent_jam.anna}
    silent_jam.command("review", {"review": review["review"], "acts": [act], "by": "clerk"})
    assert silent_jam.receipt(silent_jam.anna) == {TEA: 1, JAM: 1}


def test_a_shelf_that_is_heard_late_after_a_restart_asks_about_those_who_have_left(shopping):
    shopping.reach("anna", "g1.s1.p3")
    shopping.run(0.3)
    shopping.weights_g["g1.s1.p3"] -= 390.0
    shopping.silent = {"shelf/g1.s1"}
    shopping.restart()
    shopping.run(1.0)
    shopping.leave(wait_s=10.0)
    shopping.silent = set()
    shopping.run(5.0)
    (review,) = shopping.named("review.requested")
    assert open_on(shopping, shopping.anna) == [review["review"]]


def test_what_a_plate_tells_long_after_somebody_left_is_on_their_receipt(shopping):
    rng, rests_g = random.Random(1), shopping.weights_g["g1.s1.p3"] - 390.0
    shopping.reach("anna", "g1.s1.p3")
    shopping.run(0.6)
    for number in range(45):
        shopping.weights_g["g1.s1.p3"] = rests_g + rng.uniform(-150.0, 150.0)
        shopping.run(0.2)
        if number == 3:
            shopping.bodies["anna"].wrist_mm, shopping.bodies["anna"].floor_mm = None, EXIT_MM
        if number == 7:
            del shopping.bodies["anna"]
    assert shopping.receipt(shopping.anna) == {TEA: 1}
    shopping.weights_g["g1.s1.p3"] = rests_g
    shopping.run(10.0)
    assert shopping.receipt(shopping.anna) == {TEA: 1, JAM: 1}


def test_nothing_comes_off_the_receipt_of_somebody_who_left_before_all_others_came(shopping):
    shopping.leave(wait_s=50.0)
    shopping.enter("bert")
    shopping.act("bert", {"g1.s1.p2": +243.0})
    shopping.run(15.0)
    shopping.leave("bert")
    assert shopping.receipt(shopping.anna) == {TEA: 1}


@pytest.mark.parametrize("plate", ["g1.s1.p2", "g2.s1.p0"])
@pytest.mark.parametrize("decided", [True, False])
def test_what_was_taken_unseen_and_laid_anywhere_comes_off_nobody_elses_cart(
    shopping, plate, decided
):
    bert = shopping.enter("bert")
    shopping.weights_g["g1.s1.p2"] -= 240.0
    shopping.restart()
    shopping.run(3.0)
    if decided:
        (review,) = shopping.named("review.requested")
        body = {"review": review["review"], "acts": review["candidates"][0]["acts"], "by": "clerk"}
        shopping.command("review", body)
    shopping.bodies["anna"].floor_mm = (-500.0, 0.0)
    shopping.act("bert", {plate: +240.0})
    shopping.leave("bert", DOUBT_S)
    shopping.leave("anna", DOUBT_S)
    assert (shopping.receipt(shopping.anna), shopping.receipt(bert)) == ({TEA: 1}, {})
    assert shopping.named("review.requested")[-1]["review"] in open_on(shopping, shopping.anna)


def test_a_put_back_of_what_an_open_review_holds_is_asked_about_after_a_restart(shopping):
    bert = shopping.enter("bert")
    shopping.reach("bert", "g1.s1.p3")
    shopping.act("anna", {"g1.s1.p3": -390.0})
    shopping.bodies["bert"].wrist_mm = None
    shopping.restart()
    shopping.run(2.0)
    shopping.bodies["anna"].floor_mm = (-500.0, 0.0)
    shopping.act("bert", {"g1.s1.p3": +390.0})
    shopping.run(12.0)
    first, back = shopping.named("review.requested")
    assert back["weights"][0]["delta_g"] > 0
    act = first["candidates"][0]["acts"][0] | {"session": bert}
    shopping.command("review", {"review": first["review"], "acts": [act], "by": "clerk"})
    shopping.leave("bert", DOUBT_S)
    assert open_on(shopping, bert) == [back["review"]]


def test_what_lies_about_and_is_tidied_unseen_is_forgotten(shopping):
    shopping.act("anna", {"g2.s1.p0": +240.0})
    assert shopping.state.holdings["g2.s1.p0"].misplaced == {TEA: 1}
    shopping.weights_g["g2.s1.p0"] -= 240.0
    shopping.restart(down_s=5.0)
    shopping.run(2.0)
    assert shopping.state.holdings["g2.s1.p0"].misplaced == {}


def test_what_lies_about_is_bounded():
    scene = Scene()
    scene.run(2.0)
    holding = msgspec.structs.replace(
        scene.state.holdings["g2.s1.p0"], misplaced={TEA: 50 * LYING_MAX}
    )
    scene.rows["holding", "g2.s1.p0"] = encode_row("holding", "g2.s1.p0", holding)
    scene.restart()
    assert len(scene.state.beliefs.best.lying) == LYING_MAX


def test_a_decision_has_a_bounded_number_of_units(shopping):
    shopping.enter("bert")
    shopping.reach("bert", "g1.s1.p3")
    shopping.act("anna", {"g1.s1.p3": -390.0}, wait_s=12.0)
    (review,) = shopping.named("review.requested")
    act = review["candidates"][0]["acts"][0] | {"quantity": 60}
    body = {"review": review["review"], "acts": [act, act], "by": "clerk"}
    [reply], _ = shopping.command("review", body)
    assert (reply.status, "more than 100 units" in reply.message) == ("error", True)
    [reply], _ = shopping.command("review", body | {"acts": [act]}, "c2")
    assert reply.status == "ok"
