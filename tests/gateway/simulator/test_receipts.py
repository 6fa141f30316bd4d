# SPDX-License-Identifier: Apache-2.0
"""How the demo judges receipts: strict, and lenient only where the gateway could not see."""

import msgspec
import pytest

from gateway.simulator.receipts import judge, keep_books
from gateway.simulator.stock import TrueAct
from gateway.simulator.witness import Witness

S = 1_000_000_000


def event(name, **data):
    return msgspec.json.encode({"type": f"org.shelfgate.{name}.v1", "data": data})


def cart(session, lines, revision=0, name="cart.closed", open_=()):
    return event(
        name,
        session=session,
        revision=revision,
        lines=[{"gtin": gtin, "quantity": str(n)} for gtin, n in lines.items()],
        open=list(open_),
    )


def review(name, *plates):
    weights = [{"plate": plate, "delta_g": -100.0} for plate in plates]
    return event("review.requested", review=name, weights=weights, reason="uncertain")


def act(gtin, start_s, end_s, plate="p1", direction="pick"):
    return TrueAct("anna", gtin, 1, direction, (plate,), start_s * S, end_s * S)


def witness(basket, *acts):
    return Witness(
        over=True,
        acts=list(acts),
        baskets={"anna": basket},
        scans={"anna": 1},
        entered_ns={"anna": 0},
        left_ns={"anna": 100 * S},
    )


START = event("session.started", session="s1", shopper="anna")


def verdict(events, truth, downtimes=(), margin_ns=0):
    [one] = judge(truth, keep_books(events), downtimes, margin_ns)
    return one


def test_a_receipt_that_equals_the_basket_is_right():
    assert verdict([START, cart("s1", {"a": 2})], witness({"a": 2})).right


@pytest.mark.parametrize("lines", [{}, {"a": 1}, {"a": 3}, {"a": 2, "b": 1}, {"b": 2}])
def test_any_difference_is_wrong(lines):
    assert not verdict([START, cart("s1", lines)], witness({"a": 2})).right


def test_no_receipt_is_wrong():
    assert verdict([START], witness({"a": 1})).note == "no receipt"


def test_the_highest_revision_counts_whatever_the_order():
    late = cart("s1", {"a": 2}, revision=2, name="cart.adjusted")
    early = cart("s1", {"a": 1}, revision=1)
    assert verdict([START, late, early], witness({"a": 2})).right


def test_two_visits_of_one_shopper_add_up():
    events = [START, cart("s1", {"a": 1}), event("session.started", session="s2", shopper="anna")]
    assert verdict([*events, cart("s2", {"a": 1})], witness({"a": 2})).right


def test_a_shopper_of_two_visits_is_waited_for_until_both_carts_are_closed():
    events = [START, cart("s1", {}), event("session.started", session="s2", shopper="anna")]
    assert keep_books(events).unclosed == {"anna"}
    assert keep_books([*events, cart("s2", {"a": 1})]).unclosed == set()


def test_an_act_in_a_downtime_may_be_open():
    truth = witness({"a": 1, "b": 1}, act("a", 10, 11, "p1"), act("b", 20, 21, "p2"))
    events = [START, cart("s1", {"a": 1}, open_=["r1"]), review("r1", "p2")]
    assert verdict(events, truth, [(19 * S, 20 * S + 1)]).right
    unlisted = [START, cart("s1", {"a": 1}), review("r1", "p2")]
    assert not verdict(unlisted, truth, [(19 * S, 20 * S + 1)]).right, "the receipt names none"
    assert not verdict(events, truth, [(12 * S, 13 * S)]).right, "it was up during the act"
    assert verdict(events, truth, [(12 * S, 18 * S)], margin_ns=3 * S).right
    assert not verdict(events[:2], truth, [(19 * S, 20 * S + 1)]).right, "no review"
    assert not verdict([*events[:2], review("r1", "p1")], truth, [(19 * S, 22 * S)]).right


def test_a_downtime_excuses_nothing_else():
    truth = witness({"a": 1, "b": 1}, act("a", 10, 11, "p1"), act("b", 20, 21, "p2"))
    both = ["r1", "r2"]
    events = [START, cart("s1", {"b": 1}, open_=both), review("r1", "p2"), review("r2", "p1")]
    assert not verdict(events, truth, [(19 * S, 22 * S)]).right
    too_much = [START, cart("s1", {"a": 1, "b": 2}, open_=["r1"]), review("r1", "p2")]
    assert not verdict(too_much, truth, [(19 * S, 22 * S)]).right


def test_what_rests_on_an_unseen_act_is_excused_with_it():
    truth = witness({}, act("a", 10, 11), act("a", 30, 31, direction="put-back"))
    events = [START, cart("s1", {"a": 1}, open_=["r1"]), review("r1", "p1")]
    assert verdict(events, truth, [(30 * S, 31 * S)]).right


def test_a_resolved_review_is_not_open():
    resolved = event("review.resolved", review="r1")
    events = [START, cart("s1", {}, open_=["r1"]), review("r1", "p1"), resolved]
    assert keep_books(events).open_reviews == []
    assert not verdict(events, witness({"a": 1}, act("a", 1, 2)), [(0, 3 * S)]).right


def test_an_unattended_change_with_a_review_is_open():
    weights = [{"plate": "p1", "delta_g": -100.0}]
    data = {"change": "c", "reason": "gateway-down", "weights": weights}
    with_review = event("shelf.changed-unattended", review="r9", **data)
    without = event("shelf.changed-unattended", review=None, **data)
    assert [one.name for one in keep_books([with_review, without]).open_reviews] == ["r9"]
