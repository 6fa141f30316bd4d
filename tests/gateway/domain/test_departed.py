# SPDX-License-Identifier: Apache-2.0
"""What plates tell late, when whose hand it was has left, or long after: nobody else is billed."""

import pytest

from gateway.domain.people import DEPARTED_MAX, DEPARTED_NS, People
from gateway.domain.persons import Person
from tests.gateway.domain.scene import EXIT_MM, JAM, TEA
from tests.gateway.domain.test_late_blocks import held_back
from tests.gateway.domain.test_unweighed import PLATE, Broken


def sort_jars(scene, seconds):
    """Bert pushes jars about on a plate, and takes none."""
    for _ in range(round(seconds * 2)):
        scene.weights_g[PLATE] += 90.0
        scene.run(0.3)
        scene.weights_g[PLATE] -= 90.0
        scene.run(0.2)


def take_and_go(scene):
    """Anna takes a jam where Bert is about to sort jars, and goes."""
    bert = scene.enter("bert")
    scene.reach("anna", PLATE)
    scene.run(0.4)
    scene.weights_g[PLATE] -= 390.0
    scene.run(0.4)
    scene.bodies["anna"].wrist_mm = None
    scene.bodies["anna"].floor_mm = EXIT_MM
    scene.reach("bert", PLATE)
    return bert


@pytest.mark.parametrize("sorted_s", [4.0, 8.0])
def test_who_has_left_took_what_another_keeps_from_resting(shopping, sorted_s):
    bert = take_and_go(shopping)
    sort_jars(shopping, 1.0)
    del shopping.bodies["anna"]
    sort_jars(shopping, sorted_s)
    shopping.bodies["bert"].wrist_mm = None
    shopping.run(3.0)
    shopping.leave("bert", wait_s=16.0)
    assert shopping.receipt(shopping.anna) == {TEA: 1, JAM: 1}
    assert shopping.receipt(bert) == {}


def test_a_cart_waits_for_a_shelf_that_has_not_told_what_it_felt(shopping):
    bert = shopping.enter("bert")
    with held_back(shopping, "g1.s1"):
        shopping.reach("anna", PLATE)
        shopping.run(0.3)
        shopping.weights_g[PLATE] -= 390.0
        shopping.run(0.3)
        shopping.bodies["anna"].wrist_mm = None
        shopping.stand("bert", PLATE)
        shopping.leave("anna", wait_s=2.0)
        assert shopping.named("cart.closed") == []
    shopping.run(5.0)
    shopping.leave("bert")
    assert shopping.receipt(shopping.anna) == {TEA: 1, JAM: 1}
    assert shopping.receipt(bert) == {}
    assert shopping.named("cart.adjusted") == []


def test_a_plate_that_gives_no_weight_for_minutes_asks_about_who_has_left():
    scene = Broken()
    scene.run(2.0)
    anna = scene.enter("anna")
    scene.fault = "null"
    scene.act("anna", {PLATE: -390.0})
    scene.leave("anna")
    scene.run(110.0)
    bert = scene.enter("bert")  # The plate is weighed again while he is alone.
    scene.fault = ""
    scene.run(5.0)
    (review,) = scene.named("review.requested")
    assert set(review["sessions"]) == {anna, bert}
    assert scene.named("cart.adjusted")[-1]["open"] == [review["review"]]


def test_a_plate_that_is_broken_for_good_holds_carts_for_an_hour_at_most():
    scene = Broken()
    scene.run(2.0)
    scene.fault = "null"
    scene.run(5.0)
    scene.enter("anna")
    scene.leave("anna")
    scene.run(100.0)
    assert len(scene.state.closed) == 1
    scene.state.shelves["g1.s1"].good_ns[3] -= 3_600_000_000_000  # As an hour later.
    scene.run(1.0)
    assert scene.state.closed == {}


def test_who_has_left_is_remembered_for_a_while_and_not_all_of_a_crowd():
    people = People()
    for number in range(DEPARTED_MAX + 5):
        name = f"p{number}"
        people.restore(Person(id=name, floor_mm=(0.0, 0.0), seen_ns=number))
        people.depart(name, f"s{number}")
    assert list(people.departed) == [f"p{number}" for number in range(5, DEPARTED_MAX + 5)]
    assert people.persons == {}
    people.forget_strangers(set(), DEPARTED_NS + 10)
    assert list(people.departed) == [f"p{number}" for number in range(10, DEPARTED_MAX + 5)]


@pytest.mark.parametrize("other_us", [15_200, 18_200, 19_500])
def test_a_shelf_whose_firmware_measures_its_period_is_weighed(shopping, other_us):
    block = shopping.block

    def measured(shelf, **changed):
        item = block(shelf, **changed)
        if shelf == "g1.s1" and item.seq % 2:
            item = block(shelf, seq=item.seq, period_us=other_us)
        return item

    shopping.block = measured
    shopping.act("anna", {PLATE: -390.0})
    shopping.leave()
    assert shopping.receipt(shopping.anna) == {TEA: 1, JAM: 1}
    assert shopping.named("review.requested") == []
