# SPDX-License-Identifier: Apache-2.0
"""Changes become acts, reviews or unattended changes; where nobody watched, never guesses."""

from math import log

import msgspec
import pytest

from gateway.domain.changes import decide_shelves, settled
from gateway.domain.explanations import Explanation, Way
from gateway.domain.goods import Load
from gateway.domain.output import Step
from gateway.domain.weighing import PlateChange, ShelfChange
from tests.bench.busy import busy_store
from tests.gateway.domain.scene import CRISPS, DOUBT_S, JAM, OIL, TEA, Body, Scene


def test_what_changes_while_a_shelf_is_away_is_asked_and_not_guessed(shopping):
    shopping.silent = {"shelf/g1.s1"}
    shopping.reach("anna", "g1.s1.p3")
    shopping.run(3.0)
    shopping.weights_g["g1.s1.p3"] -= 390.0
    shopping.run(4.0)
    shopping.silent = set()
    shopping.bodies["anna"].wrist_mm = None
    shopping.run(3.0)
    (unattended,) = shopping.named("shelf.changed-unattended")
    assert unattended["reason"] == "device-down"
    assert [one["plate"] for one in unattended["weights"]] == ["g1.s1.p3"]
    shopping.leave()
    assert shopping.receipt(shopping.anna) == {TEA: 1}
    assert shopping.named("cart.closed")[0]["open"] == [unattended["review"]]


def test_a_change_with_nobody_near_goes_to_nobody(shopping):
    shopping.bodies["anna"].floor_mm = (3_000.0, -400.0)
    shopping.run(2.0)
    shopping.weights_g["g1.s1.p0"] -= 150.0
    shopping.run(2.0)
    (unattended,) = shopping.named("shelf.changed-unattended")
    assert (unattended["reason"], unattended["review"]) == ("nobody-near", None)
    shopping.leave()
    assert shopping.receipt(shopping.anna) == {TEA: 1}


def test_what_somebody_without_a_session_takes_is_in_no_cart(shopping):
    shopping.stand("anna", "g2.s1.p0")
    shopping.bodies["staff"] = Body((-1_200.0, 300.0))
    shopping.run(1.0)
    shopping.act("staff", {"g1.s1.p3": -390.0})
    (review,) = shopping.named("review.requested")
    assert review["reason"] == "person-without-session"
    shopping.leave()
    assert shopping.receipt(shopping.anna) == {TEA: 1}


def test_a_weight_that_no_product_has_is_billed_to_nobody_and_asked(shopping):
    shopping.act("anna", {"g1.s1.p3": -75.0})
    assert len(shopping.named("item.picked")) == 1
    shopping.leave()
    (review,) = shopping.named("review.requested")
    assert review["reason"] == "unexplained-weight"
    assert shopping.named("shelf.changed-unattended") == []  # Somebody was there.
    assert shopping.receipt(shopping.anna) == {TEA: 1}
    assert shopping.named("cart.closed")[0]["open"] == [review["review"]]


def test_a_unit_too_light_for_what_belongs_there_is_asked(shopping):
    """150 g on a plate of 900 g units: a bag of crisps that nobody is known to have."""
    shopping.act("anna", {"g2.s1.p0": 150.0}, wait_s=12.0)
    (review,) = shopping.named("review.requested")
    assert review["reason"] == "unexplained-weight"
    assert [one["delta_g"] for one in review["weights"]] == pytest.approx([150.0], abs=2.0)
    shopping.act("anna", {"g2.s1.p0": 15.0}, wait_s=12.0)  # A thing of the shopper's own.
    assert len(shopping.named("review.requested")) == 1
    assert shopping.named("item.put-back") == []


def test_two_acts_that_nearly_cancel_on_one_plate_are_asked(shopping):
    """900 g came and 780 g left at once: neither cart may be taken for right."""
    shopping.act("anna", {"g1.s1.p3": 120.0}, wait_s=12.0)
    (review,) = shopping.named("review.requested")
    assert review["reason"] == "unexplained-weight"
    assert shopping.anna in review["sessions"]


def test_what_leaves_one_plate_and_comes_to_the_next_is_asked_unless_it_weighs_the_same(shopping):
    """900 g come to a plate and 870 g leave the two beside it: no load only moved along."""
    shopping.silent = {"shelf/g1.s1"}
    shopping.run(7.0)
    shopping.weights_g["g1.s1.p3"] += 510.0
    shopping.weights_g["g1.s1.p2"] -= 480.0
    shopping.silent = set()
    shopping.run(2.0)
    (change,) = shopping.named("shelf.changed-unattended")
    felt = {one["plate"]: one["delta_g"] for one in change["weights"]}
    assert felt == pytest.approx({"g1.s1.p2": -480.0, "g1.s1.p3": 510.0}, abs=3.0)


def test_acts_that_nobody_watched_are_told_whatever_they_add_up_to(shopping):
    """900 g came to a plate and 780 g left it while the shelf was away."""
    shopping.silent = {"shelf/g1.s1"}
    shopping.run(7.0)
    shopping.weights_g["g1.s1.p3"] += 120.0
    shopping.silent = set()
    shopping.run(2.0)
    (change,) = shopping.named("shelf.changed-unattended")
    assert change["weights"][0]["delta_g"] == pytest.approx(120.0, abs=3.0)


def test_with_the_camera_gone_nobody_is_guessed(shopping):
    shopping.silent = {"camera/over"}
    shopping.run(8.0)
    shopping.weights_g["g1.s1.p3"] -= 390.0
    shopping.run(3.0)
    assert len(shopping.named("item.picked")) == 1
    (review,) = shopping.named("review.requested")
    assert (review["reason"], review["sessions"]) == ("no-camera", [shopping.anna])
    shopping.silent = set()
    shopping.leave()
    assert shopping.receipt(shopping.anna) == {TEA: 1}
    assert shopping.named("cart.closed")[0]["open"] == [review["review"]]


def test_whom_the_best_explanation_leaves_out_is_asked_about_where_somebody_was_near(shopping):
    """Anna stands a little too far off, her hands hidden: she is not billed, but not ruled out."""
    shopping.stand("anna", "g1.s1.p3")
    x_mm, y_mm = shopping.bodies["anna"].floor_mm
    shopping.bodies["anna"].floor_mm = (x_mm - 890.0, y_mm)
    shopping.run(1.0)
    shopping.weights_g["g1.s1.p3"] -= 390.0
    shopping.run(3.0)
    (act,) = shopping.named("item.picked")[-1]["acts"]
    assert act["session"] is None
    shopping.run(10.0)
    (review,) = shopping.named("review.requested")
    assert (review["reason"], review["sessions"]) == ("uncertain", [shopping.anna])
    shopping.leave(wait_s=DOUBT_S)
    assert shopping.named("cart.closed")[0]["open"] == [review["review"]]


def test_a_misplaced_product_is_remembered_and_may_be_taken_from_there(shopping):
    shopping.act("anna", {"g2.s1.p0": +240.0})
    (back,) = shopping.named("item.put-back")
    assert back["acts"][0]["misplaced"]
    assert shopping.state.holdings["g2.s1.p0"].misplaced == {TEA: 1}
    shopping.leave()
    assert shopping.receipt(shopping.anna) == {}
    shopping.restart()
    shopping.run(2.0)
    bert = shopping.enter("bert")
    shopping.act("bert", {"g2.s1.p0": -240.0})
    assert shopping.named("item.picked")[-1]["acts"][0]["gtin"] == TEA
    assert shopping.state.holdings["g2.s1.p0"].misplaced == {}
    shopping.act("bert", {"g2.s1.p0": -900.0})
    shopping.leave("bert")
    assert shopping.receipt(bert) == {TEA: 1, OIL: 1}


def test_a_bag_that_leans_on_two_plates_is_one_bag(shopping):
    shopping.act("anna", {"g1.s1.p0": -95.0, "g1.s1.p1": -55.0})
    assert len(shopping.named("item.picked")) == 2
    assert len(shopping.named("item.picked")[-1]["weights"]) == 2
    shopping.leave()
    assert shopping.receipt(shopping.anna) == {TEA: 1, CRISPS: 1}


@pytest.mark.parametrize("other_g", [330.0, 180.0])
def test_opposite_changes_of_neighbours_do_not_hide_each_other(shopping, other_g):
    shopping.act("anna", {"g1.s1.p2": -240.0, "g1.s1.p3": other_g})
    assert len(shopping.named("item.picked")) == 2
    shopping.leave()
    (review,) = shopping.named("review.requested")
    assert [one["plate"] for one in review["weights"]] == ["g1.s1.p2", "g1.s1.p3"]
    likeliest = review["candidates"][0]["acts"]
    assert [(act["gtin"], act["session"]) for act in likeliest] == [(TEA, shopping.anna)]
    assert shopping.receipt(shopping.anna) == {TEA: 2}
    assert shopping.named("cart.closed")[0]["open"] == [review["review"]]


def test_a_bag_that_shifts_from_plate_to_plate_is_no_act(shopping):
    assert shopping.act("anna", {"g1.s1.p0": -70.0, "g1.s1.p1": +71.0}) == []
    shopping.leave()
    assert len(shopping.named("item.picked")) == 1
    assert shopping.receipt(shopping.anna) == {TEA: 1}


def test_of_two_who_may_have_been_swapped_the_likelier_is_billed_and_both_are_asked_about(shopping):
    bert = shopping.enter("bert")
    one, other = shopping.state.people.persons.values()
    one.mixed.append(other.id)
    other.mixed.append(one.id)
    shopping.act("anna", {"g1.s1.p3": -390.0})
    assert shopping.named("review.requested") == []  # What comes later may tell.
    (act,) = shopping.named("item.picked")[-1]["acts"]
    assert 0.5 < act["probability"] < shopping.settings.certainty
    shopping.leave(wait_s=DOUBT_S)
    (review,) = shopping.named("review.requested")
    assert review["reason"] == "uncertain"
    assert {one["acts"][0]["session"] for one in review["candidates"][:2]} == {shopping.anna, bert}
    (cart,) = shopping.named("cart.closed")
    assert cart["open"] == [review["review"]]
    assert shopping.receipt(shopping.anna) == {TEA: 1, JAM: 1}
    jam = next(line for line in cart["lines"] if line["gtin"] == JAM)
    assert jam["probability"] == pytest.approx(act["probability"], abs=0.05)


def test_what_is_uncertain_is_asked_about_once_nothing_later_told(shopping):
    shopping.enter("bert")
    shopping.reach("bert", "g1.s1.p3")
    shopping.act("anna", {"g1.s1.p3": -390.0}, wait_s=7.0)
    assert shopping.named("review.requested") == []
    shopping.run(5.0)
    assert [one["reason"] for one in shopping.named("review.requested")] == ["uncertain"]


def test_what_is_certain_makes_no_review_however_long_the_visit_goes_on(shopping):
    shopping.act("anna", {"g1.s1.p3": -390.0}, wait_s=30.0)
    shopping.leave()
    assert shopping.named("review.requested") == []
    assert shopping.receipt(shopping.anna) == {TEA: 1, JAM: 1}


@pytest.mark.timeout(10)
def test_the_work_for_what_nobody_watched_is_bounded():
    """Neighbours that went up and down by turns may be anything: little of it is looked at."""
    scene = Scene(store=busy_store())
    scene.run(2.0)
    felt = [
        PlateChange(plate, -150.0 if plate % 2 else 240.0, 0.7, 1, 2, 0.0, True, half_ns=plate)
        for plate in range(12)
    ]
    step = Step(scene.state, scene.layout, 1_000, scene.stamp())
    settled(step, "g1.s1", ShelfChange(felt, 1, 2, unwatched=True))
    decide_shelves(step, {"g1.s1"})
    [told] = [msgspec.json.decode(event.data) for event in step.events]
    assert told["reason"] == "device-down"
    assert len(told["weights"]) == 12


def test_what_forgetting_a_load_makes_likelier_is_told(shopping):
    """Two explanations that differ by a resting hand alone become one, and overtake the best."""
    shopping.act("anna", {"g1.s1.p3": -390.0})
    beliefs, best = shopping.state.beliefs, shopping.state.beliefs.best
    change = list(beliefs.open)[-1]
    nothing = len(beliefs.open[change].options)
    beliefs.open[change].options.append(())
    beliefs.open[change].alike.append(nothing)
    without_jam = tuple(item for item in best.carts[shopping.anna] if item.gtin != JAM)
    rests = [
        Explanation(
            log(share),
            {shopping.anna: without_jam},
            (),
            [Way(1.0, {**best.chosen, change: nothing})],
            (Load(change, "g1.s1", plates, -390.0, 2.0),),
        )
        for share, plates in ((0.35, (3,)), (0.25, (2, 3)))
    ]
    best.logp = log(0.40)
    beliefs.beam = [best, *rests]
    shopping.run(60.0)
    shopping.leave(wait_s=DOUBT_S)
    told = shopping.named("attribution.revised")[-1]
    assert (told["change"], told["acts"]) == (change, [])
    assert told["sessions"] == [shopping.anna], "her cart is another by it"
    assert shopping.receipt(shopping.anna) == {TEA: 1}
