# SPDX-License-Identifier: Apache-2.0
"""What is believed of carts: decisions condition it, settling keeps its doubt."""

import pytest

from gateway.domain.carts import CartLine
from gateway.domain.choices import Sketch
from gateway.domain.explanations import Explanation, Way, known_now, probability
from tests.gateway.domain.joint import PLATE_OF, UNIT_G, Story

EVEN = {"anna": 0.5, "bert": 0.5}
LIKELIER = {"anna": 0.6, "bert": 0.4}


def picked(session, gtin, quantity=1, direction="pick"):
    return Sketch(session, gtin, quantity, direction, PLATE_OF[gtin])


def decide(story, change, *acts):
    """Take in that these were a change's acts."""
    attribution = story.beliefs.open.get(change)
    before = attribution.options[story.beliefs.best.chosen[change]] if attribution else ()
    story.beliefs.hold(change, before, acts, UNIT_G)


def test_a_decision_makes_what_it_says_certain():
    story = Story("anna", "bert")
    change = story.act(-240.0, 0, LIKELIER)
    decide(story, change, picked("bert", "tea"))
    assert (story.cart("anna"), story.cart("bert")) == ({}, {"tea": 1})
    assert story.sure("bert", "tea") == pytest.approx(1.0)
    assert change not in story.beliefs.open


def test_a_decision_revises_what_depended_on_it():
    """Whoever took the tea put it back: who that was follows from the decision."""
    story = Story("anna", "bert")
    first = story.act(-240.0, 0, LIKELIER)
    back = story.act(+240.0, 0, EVEN)
    assert story.told(back) == [("anna", "tea", 1)]
    decide(story, first, picked("bert", "tea"))
    assert story.told(back) == [("bert", "tea", 1)]
    assert story.cart("anna") == story.cart("bert") == {}


def test_a_decision_that_no_explanation_thought_of_is_taken_all_the_same():
    story = Story("anna", "bert")
    change = story.act(-240.0, 0, LIKELIER)
    decide(story, change, picked("bert", "oil", 2))
    assert (story.cart("anna"), story.cart("bert")) == ({}, {"oil": 2})
    assert sum(map(probability, story.beliefs.beam)) == pytest.approx(1.0)


def test_nobody_took_anything_is_a_decision():
    story = Story("anna")
    change = story.act(-240.0, 0, {"anna": 1.0})
    decide(story, change)
    assert story.cart("anna") == {}


def test_a_decision_on_what_is_settled_undoes_what_was_told():
    story = Story("anna", "bert")
    change = story.act(-240.0, 0, LIKELIER)
    story.beliefs.settle(change)
    story.beliefs.hold(change, [picked("anna", "tea")], [picked("bert", "tea")], UNIT_G)
    assert (story.cart("anna"), story.cart("bert")) == ({}, {"tea": 1})


def test_the_order_of_decisions_changes_no_cart():
    """A put-back may be decided before the pick that it undoes."""
    story = Story("anna")
    story.beliefs.hold(None, [], [picked("anna", "tea", 1, "put-back")], UNIT_G)
    assert story.beliefs.lines("anna")["tea"].quantity == -1
    story.beliefs.hold(None, [], [picked("anna", "tea")], UNIT_G)
    assert story.cart("anna") == {}


def test_settling_holds_the_best_for_true_and_keeps_the_lines_doubt():
    story = Story("anna", "bert")
    change = story.act(-240.0, 0, LIKELIER)
    before = story.sure("anna", "tea")
    story.beliefs.settle(change)
    assert story.cart("anna") == {"tea": 1}
    assert story.cart("bert") == {}
    assert story.sure("anna", "tea") == pytest.approx(before, abs=0.02)
    assert all(change not in one.chosen for one in story.beliefs.beam)


def test_settling_what_is_certain_costs_nothing():
    story = Story("anna")
    change = story.act(-240.0, 0, {"anna": 1.0})
    before = story.sure("anna", "tea")
    story.beliefs.settle(change)
    assert story.sure("anna", "tea") == pytest.approx(before, abs=0.001)


def test_settling_one_change_leaves_another_open():
    story = Story("anna", "bert")
    first = story.act(-240.0, 0, {"anna": 0.99, "bert": 0.01})
    second = story.act(-390.0, 1, EVEN)
    story.beliefs.settle(first)
    shares = [share for share, _ in story.beliefs.options(second)][:2]
    assert shares == pytest.approx([0.5, 0.5], abs=0.02)


def test_a_cart_that_was_written_down_is_taken_up_with_its_doubt():
    story = Story()
    lines = {"tea": CartLine(2, 0.7, 241.0), "jam": CartLine(-1, 1.0, None)}
    story.beliefs.join("anna", lines, UNIT_G)
    assert story.cart("anna") == {"tea": 2, "jam": -1}
    assert story.sure("anna", "tea") == pytest.approx(0.7)
    back = story.act(+241.0, 0, {"anna": 1.0})
    assert story.told(back) == [("anna", "tea", 1)]
    assert story.cart("anna") == {"tea": 1, "jam": -1}


def test_whoever_leaves_is_forgotten_and_settles_what_concerns_them():
    story = Story("anna", "bert")
    hers = story.act(-240.0, 0, LIKELIER)
    his = story.act(-390.0, 1, {"bert": 1.0})
    assert story.beliefs.concerning("anna") == [hers]
    story.beliefs.settle(hers)
    story.beliefs.leave("anna")
    assert hers not in story.beliefs.open
    assert his in story.beliefs.open
    assert all("anna" not in one.carts for one in story.beliefs.beam)
    assert story.cart("bert") == {"jam": 1}
    assert "anna" not in story.beliefs.sure


def test_what_counts_have_said_is_kept_when_a_change_is_settled():
    one = Explanation(0.0, {}, (), [Way(1.0, {"a": 0, "b": 1})], (), -2.5)
    [kept] = known_now([one], "a", {0})
    assert kept.counted == -2.5
    assert kept.chosen == {"b": 1}
