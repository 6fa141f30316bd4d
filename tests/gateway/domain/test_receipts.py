# SPDX-License-Identifier: Apache-2.0
"""Receipts of whole visits, held against what simulated shoppers really took."""

from collections import Counter

import pytest

from tests.gateway.domain.runs import Books, run
from tests.schema_check import check_data

SEEDS = range(100, 110)
EXACT_MIN = 0.9
"""Least part of the receipts that are exactly right; the others list what is open."""


@pytest.mark.parametrize("seed", SEEDS)
def test_no_receipt_is_wrong_without_saying_so(seed):
    lived = run(seed)
    books = Books(lived.flat)
    assert len(books.carts) == len(lived.truth.left_ns) > 0
    assert books.wrong(lived.truth) == []
    assert lived.engine.state.sessions == {}


@pytest.mark.parametrize("seed", SEEDS)
def test_every_event_is_of_its_schema(seed):
    for event in run(seed).flat:
        check_data(event.name, bytes(event.data))


def test_nearly_every_receipt_is_exactly_right():
    right, all_of_them = 0, 0
    for seed in SEEDS:
        lived = run(seed)
        right += Books(lived.flat).right(lived.truth)
        all_of_them += len(lived.truth.left_ns)
    assert right >= EXACT_MIN * all_of_them, f"{right} of {all_of_them}"


@pytest.mark.parametrize("seed", SEEDS[:3])
def test_units_are_neither_made_nor_lost(seed):
    lived = run(seed)
    books = Books(lived.flat)
    sold = Counter()
    for session in books.carts:
        sold += books.lines(session)
    moved = Counter()
    for act in lived.truth.acts:
        moved[act.gtin] += act.quantity if act.direction == "pick" else -act.quantity
    # What a review asks about may be on a cart or not.
    asked = {
        act["gtin"]
        for review in books.reviews.values()
        for candidate in review["candidates"]
        for act in candidate["acts"]
    }
    assert {gtin: units for gtin, units in sold.items() if gtin not in asked} == {
        gtin: units for gtin, units in (+moved).items() if gtin not in asked
    }
