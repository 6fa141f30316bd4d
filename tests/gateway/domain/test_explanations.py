# SPDX-License-Identifier: Apache-2.0
"""Joint explanations: later changes weigh earlier choices anew, and carts are evidence."""

from itertools import pairwise
from math import exp, log

import pytest

from gateway.domain.explanations import Explanation, Way, merged, probability
from gateway.domain.goods import Item, Lying
from gateway.domain.readings import Reading
from tests.gateway.domain.joint import PLATES, Story, moved

EVEN = {"anna": 0.5, "bert": 0.5}
ANNA = {"anna": 0.99, "bert": 0.01}
BERT = {"anna": 0.01, "bert": 0.99}


def test_a_pick_by_the_only_one_near_is_sure():
    story = Story("anna", "bert")
    change = story.act(-240.0, 0, ANNA)
    assert story.told(change) == [("anna", "tea", 1)]
    assert story.sure("anna", "tea") > 0.95


def test_two_equally_near_are_told_apart_by_nothing():
    story = Story("anna", "bert")
    change = story.act(-240.0, 0, EVEN)
    (one, _), (other, _) = story.beliefs.options(change)[:2]
    assert one == pytest.approx(other, abs=0.01)
    assert one == pytest.approx(0.5, abs=0.02)


def test_probabilities_add_up_to_one_and_come_in_order():
    story = Story("anna", "bert")
    for delta_g, plate in ((-240.0, 0), (-390.0, 1), (-240.0, 0), (+390.0, 1)):
        change = story.act(delta_g, plate, EVEN)
        shares = [share for share, _ in story.beliefs.options(change)]
        assert sum(shares) == pytest.approx(1.0)
        assert shares == sorted(shares, reverse=True)
        assert sum(map(probability, story.beliefs.beam)) == pytest.approx(1.0)
        assert all(one.logp >= other.logp for one, other in pairwise(story.beliefs.beam))


def test_a_put_back_is_made_by_whoever_holds_it():
    story = Story("anna", "bert")
    story.act(-240.0, 0, BERT)
    back = story.act(+240.0, 0, {"anna": 0.7, "bert": 0.3})
    assert story.told(back) == [("bert", "tea", 1)]
    assert story.cart("anna") == story.cart("bert") == {}


def test_nobody_puts_back_what_nobody_holds():
    story = Story("anna")
    back = story.act(+240.0, 0, {"anna": 1.0})
    assert all(session is None for session, *_ in story.told(back))
    assert story.cart("anna") == {}


def test_what_was_taken_unseen_comes_off_no_cart_by_the_hand_of_one_who_holds_none():
    story = Story("anna", "bert")
    story.act(-240.0, 0, {"anna": 1.0})
    back = story.act(+240.0, 0, {"anna": 1e-4, "bert": 1.0}, unseen={"tea"})
    assert story.told(back) == [(None, "tea", 1)]
    assert story.cart("anna") == {"tea": 1}


@pytest.mark.parametrize(
    ("met", "near", "handed"),
    [
        ({"carl"}, {"anna", "carl"}, True),
        ({"carl"}, {"anna"}, False),  # Whoever met her is far away.
        (set(), {"anna", "carl"}, False),
    ],
)
def test_what_somebody_took_who_has_left_comes_back_by_whoever_met_her_and_is_near(
    met, near, handed
):
    story = Story("anna", "bert")
    story.act(-240.0, 0, {"bert": 1.0})
    who = {"anna": 0.4, "carl": 0.6}
    back = story.act(+240.0, 0, who, met={"bert": met}, near=near)
    assert (story.told(back) == [("bert", "tea", 1)]) is handed
    assert story.cart("bert") == ({} if handed else {"tea": 1})


def test_what_was_taken_unseen_leaves_ones_own_put_back_ones_own():
    story = Story("anna", "bert")
    story.act(-240.0, 0, {"anna": 1.0})
    back = story.act(+240.0, 0, {"anna": 1.0, "bert": 1e-4}, unseen={"tea"})
    assert story.told(back) == [("anna", "tea", 1)]


def test_what_nobody_is_known_to_hold_may_be_brought_and_taken_again():
    """Not a hand that pressed and let go: the next who takes one is billed for it."""
    story = Story("anna")
    story.act(+240.0, 0, {"anna": 1.0})
    again = story.act(-240.0, 0, {"anna": 1.0})
    assert story.told(again) == [("anna", "tea", 1)]
    assert story.cart("anna") == {"tea": 1}


def test_a_put_back_overturns_an_earlier_choice():
    """Anna seemed to have taken it; then Bert, alone, brings it back."""
    story = Story("anna", "bert")
    picked = story.act(-240.0, 0, {"anna": 0.6, "bert": 0.4})
    assert story.told(picked) == [("anna", "tea", 1)]
    back = story.act(+240.0, 0, {"anna": 0.001, "bert": 0.999})
    assert story.told(picked) == [("bert", "tea", 1)]
    assert story.told(back) == [("bert", "tea", 1)]
    assert story.cart("anna") == story.cart("bert") == {}


def test_a_unit_that_was_handed_over_goes_off_the_takers_cart():
    story = Story("anna", "bert")
    picked = story.act(-240.0, 0, {"anna": 0.9999, "bert": 0.0001})
    back = story.act(+240.0, 0, {"anna": 0.0001, "bert": 0.9999})
    assert story.told(picked) == story.told(back) == [("anna", "tea", 1)]
    assert story.cart("anna") == story.cart("bert") == {}


def test_two_units_are_told_apart_by_what_each_weighed():
    story = Story("anna", "bert")
    story.act(-236.0, 0, ANNA)
    story.act(-246.0, 0, BERT)
    story.act(+246.0, 0, EVEN)
    assert story.cart("anna") == {"tea": 1}
    assert story.cart("bert") == {}


def test_what_is_put_where_it_does_not_belong_lies_there_until_somebody_takes_it():
    story = Story("anna", "bert")
    story.act(-390.0, 1, ANNA)
    story.act(+390.0, 0, ANNA)
    assert story.cart("anna") == {}
    (lying,) = story.beliefs.best.lying
    assert (lying.gtin, lying.plate) == ("jam", PLATES[0])
    taken = story.act(-390.0, 0, BERT)
    assert story.told(taken) == [("bert", "jam", 1)]
    assert story.beliefs.best.lying == ()


def test_three_doubtful_pairs_do_not_put_three_units_on_one_receipt():
    """One unit left, and each of three may have it: it is billed once, to whoever it may be."""
    story = Story("anna", "bert", "carl")
    story.act(-240.0, 0, {"anna": 0.34, "bert": 0.33, "carl": 0.33})
    billed = [story.cart(name) for name in ("anna", "bert", "carl")]
    assert sum(sum(cart.values()) for cart in billed) == 1
    # Whoever brings one back has it no more, whoever that was.
    story.act(+240.0, 0, {"anna": 0.02, "bert": 0.96, "carl": 0.02})
    assert [story.cart(name) for name in ("anna", "bert", "carl")] == [{}, {}, {}]
    story.act(-240.0, 0, {"anna": 0.02, "bert": 0.02, "carl": 0.96})
    assert [story.cart(name) for name in ("anna", "bert")] == [{}, {}]
    assert sum(story.cart("carl").values()) == 1


def test_a_weight_that_nothing_explains_is_on_no_cart():
    story = Story("anna")
    change = story.act(-75.0, 0, {"anna": 1.0})
    assert story.told(change) == []
    assert story.cart("anna") == {}
    assert [load.change for load in story.beliefs.best.loads] == [change]


def test_a_hand_that_pressed_lets_go_and_nothing_is_left_of_it():
    story = Story("anna")
    story.act(+75.0, 0, {"anna": 1.0})
    change = story.act(-75.0, 0, {"anna": 1.0})
    assert story.told(change) == []
    assert story.beliefs.best.loads == ()


def test_a_hand_that_pressed_may_take_something_as_it_goes():
    story = Story("anna")
    story.act(+75.0, 0, {"anna": 1.0})
    change = story.act(-315.0, 0, {"anna": 1.0})
    assert story.told(change) == [("anna", "tea", 1)]
    assert story.beliefs.best.loads == ()


def test_the_reading_that_the_goods_fit_is_chosen():
    story = Story("anna")
    whole, halves = moved(-780.0, 1), moved(-390.0, 1)
    change = story.read([Reading(-1.0, (whole,)), Reading(-1.0, (halves, halves))], {"anna": 1.0})
    assert sum(quantity for *_, quantity in story.told(change)) == 2
    assert story.cart("anna") == {"jam": 2}


@pytest.mark.parametrize("first", [True, False])
def test_two_who_took_the_same_are_two_whatever_else_moved(first):
    """Anna's hand fits all three acts best; one of the two equal ones was Bert's all the same."""
    story = Story("anna", "bert")
    twins = (moved(-240.0, 0)._replace(twin=True),) * 2
    other = (moved(-390.0, 1),)
    moves = (*twins, *other) if first else (*other, *twins)
    change = story.read([Reading(0.0, moves)], {"anna": 0.9, "bert": 0.1})
    told = story.told(change)
    assert sorted(told) == [("anna", "jam", 1), ("anna", "tea", 1), ("bert", "tea", 1)]


def test_without_carts_as_evidence_a_put_back_goes_by_hands_alone():
    story = Story("anna", "bert")
    story.act(-240.0, 0, ANNA, carts=False)
    back = story.act(+240.0, 0, BERT, carts=False)
    assert story.told(back) == [("bert", "tea", 1)]


def test_no_cart_is_ever_below_nothing():
    story = Story("anna", "bert")
    for delta_g in (-240.0, +240.0, +240.0, -480.0, +240.0, +240.0, +240.0):
        story.act(delta_g, 0, EVEN)
        for one in story.beliefs.beam:
            assert all(item.count == 1 for items in one.carts.values() for item in items)
        assert all(n > 0 for name in EVEN for n in story.cart(name).values())


def test_the_work_is_bounded_whatever_happens():
    story = Story(*(f"s{n}" for n in range(12)))
    who = {f"s{n}": 1 / 12 for n in range(12)}
    for n in range(30):
        delta_g = (-240.0, -75.0, -390.0, +240.0, +33.0)[n % 5]
        readings = [Reading(-0.1 * k, (moved(delta_g - k, n % 3),)) for k in range(14)]
        change = story.read(readings, who)
        # As docs/accuracy.md says, and what a step costs in docs/performance.md depends on.
        assert len(story.beliefs.beam) <= 24
        assert len(story.beliefs.open[change].options) <= 96
        assert all(len(one.loads) <= 6 for one in story.beliefs.beam)


def test_what_lies_about_may_be_taken_by_anybody_but_only_once():
    story = Story("anna", "bert")
    for one in story.beliefs.beam:
        one.lying = (Lying("oil", 900.0, "s1", PLATES[0], 125.0),)
    first = story.act(-900.0, 0, EVEN)
    assert story.told(first)[0][1:] == ("oil", 1)
    second = story.act(-900.0, 0, EVEN)
    oil = [
        share
        for share, acts in story.beliefs.options(second)
        if any(act.gtin == "oil" and act.misplaced for act in acts)
    ]
    assert all(share < 0.5 for share in oil)
    assert sum(oil) < 0.6, "by half of the explanations another took it before"


def test_what_counts_say_can_be_taken_back_of_explanations_that_became_one():
    """Of three, two come to the same; what facings' counts told against one of these is undone."""
    beam = [
        Explanation(log(share), {"anna": (Item(gtin, 240.0),)}, (), [Way(1.0, {})], (), counted)
        for share, gtin, counted in ((0.5, "tea", -4.0), (0.4, "tea", 0.0), (0.1, "jam", 0.0))
    ]
    both, other = merged(beam)
    apart = exp(both.logp - both.counted) / exp(other.logp - other.counted)
    assert apart == pytest.approx((0.5 * exp(4.0) + 0.4) / 0.1)
