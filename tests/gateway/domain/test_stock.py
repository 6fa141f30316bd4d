# SPDX-License-Identifier: Apache-2.0
"""How many units stand on a facing: what acts, weights and time make of a count."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.goods import Known
from gateway.domain.stock import (
    BLUR_NS,
    MANY,
    WORTH_MAX,
    Stock,
    anything,
    at_most,
    between,
    beyond,
    changed,
    counted,
    kept,
    mixed,
    worth,
)
from gateway.domain.store import Facing

TEA = Known(240.0, 6.0)
FACING = Facing(gtin="09506000130026", plates=("g1.s1.p2",))


def surely(units):
    """Return the shares of a count that is known."""
    shares = np.zeros(MANY + 1)
    shares[units] = 1.0
    return shares


def likely(shares):
    return int(shares.argmax())


counts = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=MANY + 1).filter(
    lambda shares: sum(shares) > 0.01
)


@given(
    counts, st.lists(st.integers(-MANY - 3, MANY + 3), max_size=12), st.floats(-2_000.0, 20_000.0)
)
def test_a_count_stays_one_whatever_happens(shares, acts, carried_g):
    known = Stock(tuple(shares), carried_g).array(0)
    for units in acts:
        known = changed(known, units) * at_most(carried_g, TEA.unit_g)
        stock = kept(FACING, known, carried_g, 0)
        known = stock.array(0)
        assert known.shape == (MANY + 1,)
        assert known.min() >= 0.0
        assert known.sum() == pytest.approx(1.0)
        assert msgspec.json.decode(msgspec.json.encode(stock), type=Stock) == stock


@given(st.integers(0, 20), st.integers(1, 8))
def test_what_comes_and_goes_again_leaves_as_many(units, more):
    known = changed(changed(surely(units), more), -more)
    assert likely(known) == units
    assert known[units] > 0.95


@given(counts, st.floats(-500.0, 9_000.0), st.integers(-4, 6), st.integers(0, 6))
def test_what_a_count_says_is_bounded_and_never_for_taking_more(shares, carried_g, now, more):
    known = Stock(tuple(shares), 0.0).array(0)
    once = worth(known, carried_g, TEA.unit_g, (now, max(now, 0)))
    again = worth(known, carried_g, TEA.unit_g, (now, max(now, 0) + more))
    assert -WORTH_MAX - 1e-9 <= again <= once + 1e-9 <= 2e-9


def test_a_row_of_nothing_is_no_count():
    assert Stock((0.0, 0.0), 0.0).array(0) == pytest.approx(anything())


def test_who_takes_from_none_shows_that_there_was_one():
    known = changed(surely(0), -1)
    assert known.sum() == pytest.approx(1.0)
    assert between(known)[1] > 5, "how many is anybody's guess then"


def test_of_many_some_are_left():
    known = changed(surely(MANY), -4)
    assert known[MANY] > 0.5
    assert known[: MANY - 4].sum() < 0.1


@pytest.mark.parametrize("units", [0, 1, 2, 3])
def test_what_plates_carry_tells_few_units(units):
    known = counted(units * TEA.unit_g + 10.0, 0.0, TEA)
    assert likely(known) == units
    assert known[units] > 0.6


def test_the_goods_beside_blur_a_count():
    alone, beside = (counted(2 * TEA.unit_g, beside_g, TEA) for beside_g in (0.0, 3_000.0))
    assert likely(alone) == 2
    assert between(alone) == (2, 3)
    assert between(beside)[1] - between(beside)[0] >= 3


def test_a_weight_that_nothing_explains_is_not_counted():
    assert counted(-5_000.0, 0.0, TEA) == pytest.approx(anything())


def test_time_blurs_a_count():
    stock = kept(FACING, surely(3), 720.0, 0)
    wide = [between(stock.array(part * BLUR_NS // 10)) for part in (0, 2, 10)]
    assert wide[0] == (3, 3)
    assert wide[0][1] < wide[1][1] <= wide[2][1]
    assert stock.array(100 * BLUR_NS) == pytest.approx(anything())


def test_an_empty_plate_holds_none():
    known = anything() * at_most(4.0, TEA.unit_g)
    assert known[0] / known.sum() > 0.75
    assert worth(surely(1), 4.0, TEA.unit_g, (0, 0)) == pytest.approx(-WORTH_MAX)
    assert worth(surely(1), 4.0, TEA.unit_g, (1, 1)) == pytest.approx(0.0)


def test_a_count_may_be_wrong_altogether_once_something_is_taken():
    left = changed(surely(3), -1)
    assert 0.95 < left[2] < 0.99


def test_a_doubtful_pick_leaves_each_count_as_likely_as_it_is():
    left = mixed(surely(3), {1: 0.3, 0: 0.1})
    assert left[3] == pytest.approx(0.25, abs=0.01)
    assert left[2] == pytest.approx(0.75, abs=0.02)


@pytest.mark.parametrize("units", [0, 1, 5])
def test_plates_may_carry_a_little_more_than_is_counted(units):
    assert not beyond(units, units * 240.0, 240.0)
    assert not beyond(units, units * 240.0 + 130.0, 240.0)
    assert beyond(units, (2 * units + 1) * 240.0, 240.0)
    assert not beyond(MANY, 1e6, 240.0)
