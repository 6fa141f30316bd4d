# SPDX-License-Identifier: Apache-2.0
"""The score cannot be flattered: what a bystander is charged is wrong, what is open is missing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.simulator.exam.answers import Answer, Billed, Claim, Decision
from gateway.simulator.exam.score import Sure, calibration, figures, judge
from gateway.simulator.stock import TrueAct, Truth

SECOND = 1_000_000_000


def act(shopper, gtin, quantity=1, at_s=10, **more):
    return TrueAct(
        shopper=shopper,
        gtin=gtin,
        quantity=quantity,
        direction="pick",
        plates=more.pop("plates", ("p1",)),
        start_ns=at_s * SECOND,
        lift_ns=at_s * SECOND,
        end_ns=at_s * SECOND + SECOND // 2,
        **more,
    )


def truth(*acts, others=()):
    baskets = {name: {} for name in others}
    for one in acts:
        basket = baskets.setdefault(one.shopper, {})
        basket[one.gtin] = basket.get(one.gtin, 0) + one.quantity
    return Truth(acts=list(acts), baskets=baskets)


def decision(*claims, at_s=10, plates=("p1",), **more):
    return Decision(
        plates=frozenset(plates),
        since_ns=at_s * SECOND,
        until_ns=at_s * SECOND + SECOND // 2,
        told_ns=(at_s + 1) * SECOND,
        claims=list(claims),
        **more,
    )


def answer(receipts, *decisions, probability=0.95):
    billed = {
        shopper: {gtin: Billed(count, probability) for gtin, count in lines.items()}
        for shopper, lines in receipts.items()
    }
    return Answer(receipts=billed, decisions=list(decisions))


def f1(given_answer, given_truth):
    return figures([judge(given_answer, given_truth)])


def test_a_right_receipt_is_right():
    claim = Claim("a", "x", 2, "pick")
    found = f1(answer({"a": {"x": 2}}, decision(claim)), truth(act("a", "x", 2)))
    assert (found.precision, found.recall, found.f1) == (1.0, 1.0, 1.0)
    assert (found.found, found.product, found.shopper) == (1.0, 1.0, 1.0)
    assert found.seconds == (1.0, 1.0)


def test_one_wide_decision_repairs_nothing_and_finds_little():
    acts = [act(f"s{n}", "x", at_s=10 + n, plates=(f"p{n}",)) for n in range(6)]
    wide = Decision(
        plates=frozenset(f"p{n}" for n in range(6)),
        since_ns=9 * SECOND,
        until_ns=20 * SECOND,
        told_ns=30 * SECOND,
        claims=[],
        open=True,
        probability=0.1,
    )
    found = f1(answer({one.shopper: {} for one in acts}, wide), truth(*acts))
    assert found.found == pytest.approx(1 / 6)
    assert found.reviewed_f1 < 0.5


def test_nothing_is_told_before_it_happens():
    early = decision(Claim("a", "x", 1, "pick"))
    early.told_ns = 9 * SECOND
    assert f1(answer({"a": {"x": 1}}, early), truth(act("a", "x"))).found == 0.0


@pytest.mark.parametrize("claim", [("a", "x", 2, "pick"), ("a", "x", 1, "put-back")])
def test_a_product_is_right_with_its_count_and_direction(claim):
    found = f1(answer({"a": {"x": 1}}, decision(Claim(*claim))), truth(act("a", "x")))
    assert (found.found, found.product) == (1.0, 0.0)


@pytest.mark.parametrize("line", [Billed(0, 0.9), Billed(-2, 0.9), Billed(1, 1.5)])
def test_an_answer_bills_what_can_be_billed(line):
    with pytest.raises(ValueError, match="Bill what was taken"):
        judge(Answer(receipts={"a": {"x": line}}), truth(act("a", "x")))


def test_what_staff_did_is_right_when_nobody_is_charged():
    real = Truth(acts=[act("staff-1", "x")], baskets={"a": {}})
    assert f1(answer({"a": {}}, decision()), real).shopper == 1.0
    claim = Claim("a", "x", 1, "pick")
    assert f1(answer({"a": {"x": 1}}, decision(claim)), real).shopper == 0.0


def test_only_the_units_that_nobody_could_decide_are_apart():
    both = truth(
        act("a", "x", undecidable=True), act("b", "x", undecidable=True), act("a", "x", 3, at_s=20)
    )
    missed = f1(answer({"a": {"x": 1}, "b": {"x": 1}}), both)
    assert missed.recall == pytest.approx(1 / 3)
    assert missed.undecidable_f1 == pytest.approx(2 / 3)
    assert f1(answer({"a": {"x": 40}, "b": {}}), both).precision < 0.1


def test_a_bystander_who_is_charged_is_wrong_and_the_taker_is_missing():
    claim = Claim("b", "x", 1, "pick")
    found = f1(answer({"a": {}, "b": {"x": 1}}, decision(claim)), truth(act("a", "x"), others="b"))
    assert (found.precision, found.recall, found.f1) == (0.0, 0.0, 0.0)
    assert (found.product, found.shopper) == (1.0, 0.0)


def test_an_open_line_is_missing():
    """Only the first cart.closed counts, whatever a person would decide later."""
    waiting = decision(open=True, probability=0.6)
    found = f1(answer({"a": {}}, waiting), truth(act("a", "x")))
    assert (found.precision, found.recall) == (1.0, 0.0)
    assert found.reviews == 1.0
    assert (found.found, found.product) == (1.0, 0.0)


def test_a_shopper_without_a_receipt_misses_everything():
    assert f1(answer({}), truth(act("a", "x", 3))).recall == 0.0


def test_a_shopper_who_is_not_in_the_truth_is_wrong():
    found = f1(answer({"ghost": {"x": 2}}), truth(act("a", "y")))
    assert (found.precision, found.recall) == (0.0, 0.0)


def test_who_takes_nothing_and_is_charged_nothing_changes_nothing():
    found = f1(answer({"a": {}}), truth(others="a"))
    assert (found.f1, found.units) == (1.0, 0)


def test_acts_that_nobody_could_decide_are_scored_apart():
    both = truth(act("a", "x", undecidable=True), act("b", "x", undecidable=True), act("a", "y"))
    found = f1(answer({"a": {"x": 2, "y": 1}, "b": {}}), both)
    assert found.f1 == 1.0
    assert found.undecidable_f1 == pytest.approx(0.5)
    assert found.calibration.lines == 1
    assert found.found == 0.0, "of the acts that somebody could decide"
    lonely = truth(act("a", "x", undecidable=True), act("b", "x", undecidable=True))
    found = f1(answer({"a": {}, "b": {}}, decision(open=True, probability=0.5)), lonely)
    assert (found.found, found.reviews, found.seconds) == (None, None, None)


def test_one_claim_is_about_one_act():
    """Two who take the same are not both found right by one decision."""
    both = truth(act("a", "x"), act("b", "x"))
    found = f1(answer({"a": {"x": 1}, "b": {}}, decision(Claim("a", "x", 1, "pick"))), both)
    assert (found.found, found.product, found.shopper) == (0.5, 1.0, 1.0)


def test_the_error_of_f1_grows_with_how_much_cases_differ():
    right = judge(answer({"a": {"x": 1}}), truth(act("a", "x")))
    wrong = judge(answer({"a": {}}), truth(act("a", "x")))
    assert figures([right] * 50).f1_error == 0.0
    assert figures([right]).f1_error is None, "how much cases differ, one does not tell"
    few, many = figures([right, wrong] * 5).f1_error, figures([right, wrong] * 50).f1_error
    assert 0.1 < few < 0.25
    assert many == pytest.approx(few / 10**0.5)


def test_a_decision_elsewhere_or_at_another_time_has_not_found_an_act():
    claim = Claim("a", "x", 1, "pick")
    for strange in (decision(claim, plates=("p2",)), decision(claim, at_s=20)):
        assert f1(answer({"a": {"x": 1}}, strange), truth(act("a", "x"))).found == 0.0


def test_the_least_certain_lines_are_looked_at_first():
    """One line of twenty: the wrong one, if it says that it is unsure, and then its other half."""
    acts = [
        act(f"s{number}", "x", at_s=10 * number, plates=(f"p{number}",)) for number in range(20)
    ]
    receipts = {one.shopper: {"x": 1} for one in acts}
    receipts["s7"] = {"z": 1}
    claims = [Claim(one.shopper, "z" if one.shopper == "s7" else "x", 1, "pick") for one in acts]
    decisions = [
        decision(claim, at_s=10 * number, plates=(f"p{number}",))
        for number, claim in enumerate(claims)
    ]
    for unsure, reviewed in (("s7", 1.0), ("s3", 0.95)):
        given_answer = answer(receipts, *decisions)
        line = given_answer.receipts[unsure]
        line[next(iter(line))] = Billed(1, 0.5)
        found = f1(given_answer, truth(*acts))
        assert found.f1 == pytest.approx(0.95)
        assert found.reviewed_f1 == pytest.approx(reviewed)


def test_calibration_of_who_says_what_is_true():
    lines = [Sure(0.8, True, number % 5 != 0, []) for number in range(100)]
    found = calibration(lines)
    assert found.expected_error == pytest.approx(0.0, abs=1e-9)
    assert found.brier_skill == pytest.approx(0.0, abs=1e-9)


def test_calibration_of_who_is_too_sure():
    lines = [Sure(1.0, True, number % 2 == 0, []) for number in range(100)]
    found = calibration(lines)
    assert found.expected_error == pytest.approx(0.5)
    assert found.brier_skill == pytest.approx(-1.0)


def test_skill_is_knowing_which_lines_are_wrong():
    lines = [Sure(0.99, True, True, [])] * 90 + [Sure(0.05, True, False, [])] * 10
    found = calibration(lines)
    assert found.brier_skill > 0.98
    assert found.bins[0][:2] == (0.05, 0.0)
    assert calibration([]) is None


units = st.dictionaries(st.sampled_from("xyz"), st.integers(1, 3))


@given(
    st.dictionaries(st.sampled_from("ab"), units), st.dictionaries(st.sampled_from("abc"), units)
)
def test_nobody_gains_by_charging_more(taken, billed):
    acts = [act(shopper, gtin, n) for shopper, lines in taken.items() for gtin, n in lines.items()]
    real = truth(*acts, others=tuple(taken))
    before = f1(answer(billed), real)
    more = {**billed, "bystander": {"x": 1}}
    after = f1(answer(more), real)
    assert 0.0 <= after.f1 <= before.f1 <= 1.0
    if any(billed.values()):
        assert after.precision <= before.precision
    perfect = f1(answer({name: dict(lines) for name, lines in taken.items()}), real)
    assert perfect.f1 == 1.0
