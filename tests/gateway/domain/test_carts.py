# SPDX-License-Identifier: Apache-2.0
from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.carts import apply, receipt
from gateway.domain.events import Act
from tests.gateway.domain.scene import CRISPS, JAM, TEA, corner_store


def act(gtin, quantity, direction, probability=1.0):
    return Act("s", gtin, quantity, direction, "g1.s1.p0", probability)


acts = st.builds(
    act,
    st.sampled_from([CRISPS, TEA]),
    st.integers(1, 6),
    st.sampled_from(["pick", "put-back"]),
    st.floats(0.5, 1.0),
)


@given(st.lists(acts), st.randoms(use_true_random=False))
def test_a_cart_is_the_sum_of_its_acts_in_whatever_order_they_come(story, rng):
    by_hand = Counter()
    for one in story:
        by_hand[one.gtin] += one.quantity if one.direction == "pick" else -one.quantity
    orders = [story, rng.sample(story, len(story))]
    for order in orders:
        lines = {}
        for one in order:
            apply(lines, one)
            assert all(line.quantity and 0 < line.probability <= 1 for line in lines.values())
        assert {gtin: line.quantity for gtin, line in lines.items()} == {
            gtin: count for gtin, count in by_hand.items() if count
        }
        told = {one.gtin: int(one.quantity) for one in receipt(lines, corner_store())}
        assert told == dict(+by_hand)


def test_a_line_is_as_sure_as_all_its_acts_together():
    lines = {}
    apply(lines, act(CRISPS, 2, "pick", 0.9))
    apply(lines, act(CRISPS, 1, "put-back", 0.8))
    assert lines[CRISPS].probability == pytest.approx(0.72)
    apply(lines, act(CRISPS, 1, "put-back", 0.8))
    apply(lines, act(CRISPS, 1, "pick", 0.95))
    assert lines[CRISPS].probability == 0.95


def test_a_receipt_is_in_order_and_has_prices_where_there_are_any():
    store = corner_store(prices_version="p7")
    dear = msgspec.structs.replace(store.products[TEA], price_minor=249, currency="EUR")
    store = msgspec.structs.replace(store, products=store.products | {TEA: dear})
    lines = {}
    for gtin, quantity in ((TEA, 2), (JAM, 1), (CRISPS, 3)):
        apply(lines, act(gtin, quantity, "pick", 0.987654))
    told = [(one.gtin, one.quantity, one.uom, one.probability) for one in receipt(lines, store)]
    assert told == [
        (CRISPS, "3", "EA", 0.9877),
        (TEA, "2", "EA", 0.9877),
        (JAM, "1", "EA", 0.9877),
    ]
    prices = [
        (one.unit_price_minor, one.currency, one.price_version) for one in receipt(lines, store)
    ]
    assert prices == [(None, None, None), (249, "EUR", "p7"), (None, None, None)]


def test_a_product_that_the_store_forgot_stays_on_the_receipt():
    lines = {}
    apply(lines, act("00000000000000", 1, "pick"))
    (line,) = receipt(lines, corner_store())
    assert (line.gtin, line.name, line.quantity) == ("00000000000000", "", "1")
