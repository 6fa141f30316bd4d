# SPDX-License-Identifier: Apache-2.0
from math import hypot

import numpy as np
import pytest

from gateway.domain.attribution import (
    PLATES_MAX,
    QUANTITY_MAX,
    Shelved,
    divide,
    explain,
    guesses,
    may_hold,
    presence,
    whole,
)
from gateway.domain.layout import Layout
from gateway.domain.people import Person
from gateway.domain.store import Product
from gateway.domain.weighing import PlateChange
from tests.gateway.domain.scene import corner_store

S = 1_000_000_000
LIGHT = Product(gtin="light", name="", unit_g=100.0, tolerance_g=3.0)
HEAVY = Product(gtin="heavy", name="", unit_g=330.0, tolerance_g=8.0)


def felt(plate, delta_g, sigma_g=0.7):
    return PlateChange(plate, delta_g, sigma_g, 10 * S, 11 * S, 1_000.0, unwatched=False)


def on(product, count=1_000, *, misplaced=False):
    return Shelved(product, count, misplaced)


@pytest.mark.parametrize(
    ("delta_g", "gtin", "quantity"),
    [
        (-100.0, "light", 1),
        (-205.0, "light", 2),
        (-330.0, "heavy", 1),
        (-300.0, "light", 3),
        (-655.0, "heavy", 2),
        (-595.0, "light", 6),
    ],
)
def test_the_best_guess_is_the_one_that_weighs_as_much(delta_g, gtin, quantity):
    best = max(
        guesses(whole([felt(0, delta_g)]), [on(LIGHT), on(HEAVY)]), key=lambda one: one.likelihood
    )
    assert (best.gtin, best.quantity) == (gtin, quantity)


def test_nobody_puts_back_more_than_there_is():
    found = guesses(whole([felt(0, 300.0)]), [on(LIGHT, 2)])
    assert [one.quantity for one in found] == [1, 2]
    assert len(guesses(whole([felt(0, -900.0)]), [on(LIGHT)])) == QUANTITY_MAX
    assert guesses(whole([felt(0, -900.0)]), []) == []


def test_a_weight_far_from_everything_is_likely_for_nothing_and_overflows_nowhere():
    for one in guesses(whole([felt(0, -25_000.0)]), [on(LIGHT)]):
        assert 0.0 <= one.likelihood < 1e-20


def cut(changes, shelved, held=()):
    return [[one.plate for one in part.plates] for part in divide(changes, shelved, list(held))]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([felt(0, -100.0)], [[0]]),
        ([felt(0, -60.0), felt(1, -40.0)], [[0, 1]]),
        ([felt(0, -100.0), felt(1, -330.0)], [[0], [1]]),
        ([felt(0, -30.0), felt(1, -45.0), felt(2, -25.0)], [[0, 1, 2]]),
        ([felt(0, -330.0), felt(1, -60.0), felt(2, -40.0)], [[0], [1, 2]]),
        ([felt(0, -330.0), felt(1, 4.0)], [[0]]),  # A neighbour that trembled.
        ([felt(0, 100.0), felt(1, -330.0)], [[0], [1]]),
    ],
)
def test_a_change_is_cut_into_acts(changes, expected):
    shelved = {0: [on(LIGHT), on(HEAVY)], 1: [on(LIGHT), on(HEAVY)], 2: [on(LIGHT), on(HEAVY)]}
    assert cut(changes, shelved, [on(LIGHT, 1)]) == expected


@pytest.mark.parametrize(
    ("beside_g", "expected"), [(60.0, [[0]]), (-60.0, [[0]]), (100.0, [[0], [1]])]
)
def test_what_a_heavy_act_shakes_on_the_plate_beside_it_is_no_act(beside_g, expected):
    oil = Product(gtin="oil", name="", unit_g=900.0, tolerance_g=20.0)
    shelved = {0: [on(oil)], 1: [on(LIGHT)]}
    assert cut([felt(0, -900.0), felt(1, beside_g)], shelved, [on(LIGHT, 1)]) == expected
    # Beside a light act, as much is one of its own.
    assert cut([felt(0, -100.0), felt(1, 60.0)], shelved, [on(LIGHT, 1)]) == [[0], [1]]


def test_a_change_over_many_plates_is_no_act_of_shopping():
    changes = [felt(plate, -100.0) for plate in range(PLATES_MAX + 1)]
    shelved = {plate: [on(LIGHT)] for plate in range(PLATES_MAX + 1)}
    assert cut(changes, shelved) == [list(range(PLATES_MAX + 1))]


def test_a_product_on_many_plates_is_there_once():
    stretch = whole([felt(0, -60.0), felt(1, -40.0)])
    assert may_hold(stretch, {0: [on(LIGHT)], 1: [on(LIGHT)]}) == [on(LIGHT)]
    misplaced = on(LIGHT, 1, misplaced=True)
    assert may_hold(stretch, {0: [on(LIGHT)], 1: [misplaced]}) == [on(LIGHT), misplaced]


# Explanations


def best(ranked):
    one = ranked[0]
    return one.session, one.guess.gtin, one.guess.quantity, one.direction


def test_a_pick_by_the_only_one_near_is_sure():
    ranked = explain(whole([felt(0, -100.0)]), {"anna": 0.9}, [on(LIGHT), on(HEAVY)], {})
    assert best(ranked) == ("anna", "light", 1, "pick")
    assert ranked[0].probability > 0.98


def test_the_only_one_in_sight_did_not_do_it_if_nowhere_near():
    """Somebody whom no camera saw may have."""
    far = explain(whole([felt(0, -100.0)]), {"anna": 0.003}, [on(LIGHT)], {})
    assert far[0].probability == pytest.approx(0.5, abs=0.05)
    near = explain(whole([felt(0, -100.0)]), {"anna": 0.3}, [on(LIGHT)], {})
    assert near[0].probability == pytest.approx(0.99, abs=0.005)


def test_two_equally_near_are_told_apart_by_nothing():
    ranked = explain(whole([felt(0, -100.0)]), {"anna": 0.9, "bert": 0.9}, [on(LIGHT)], {})
    assert ranked[0].probability == pytest.approx(0.5, abs=0.02)
    assert {one.session for one in ranked[:2]} == {"anna", "bert"}


def test_a_put_back_is_made_by_whoever_holds_it():
    held = {"anna": [on(HEAVY, 1)], "bert": [on(LIGHT, 1)]}
    ranked = explain(whole([felt(0, 100.0)]), {"anna": 0.9, "bert": 0.5}, [on(LIGHT)], held)
    assert best(ranked) == ("bert", "light", 1, "put-back")
    assert ranked[0].probability > 0.95
    # Not by someone who has no session, nor by empty hands.
    assert explain(whole([felt(0, 100.0)]), {None: 0.9, "carl": 0.9}, [on(LIGHT)], {}) == []


def test_units_of_two_origins_do_not_halve_the_certainty_of_one_put_back():
    held = {"anna": [on(LIGHT), on(LIGHT)]}
    ranked = explain(whole([felt(0, 100.0)]), {"anna": 0.9}, [], held)
    assert len({(one.session, one.guess.gtin, one.guess.quantity) for one in ranked}) == len(ranked)
    assert ranked[0].probability > 0.95


def test_a_put_back_where_it_belongs_is_likelier():
    held = {"anna": [on(LIGHT, 1)], "bert": [on(LIGHT, 1, misplaced=True)]}
    ranked = explain(whole([felt(0, 100.0)]), {"anna": 0.9, "bert": 0.9}, [], held)
    assert [one.session for one in ranked] == ["anna", "bert"]
    assert ranked[0].probability > 4 * ranked[1].probability


def test_a_weight_that_nothing_explains_leaves_doubt():
    ranked = explain(whole([felt(0, -215.0)]), {"anna": 0.9}, [on(HEAVY)], {})
    assert sum(one.probability for one in ranked) < 0.5


@pytest.mark.parametrize("near", [{}, {"anna": 1e-4, "bert": 1e-5}, {"anna": 1.0, None: 1.0}])
@pytest.mark.parametrize("delta_g", [-100.0, 100.0, -5_000.0])
def test_probabilities_never_exceed_one_and_come_in_order(near, delta_g):
    held = {"anna": [on(LIGHT, 3)]}
    ranked = explain(whole([felt(0, delta_g)]), near, [on(LIGHT), on(HEAVY)], held)
    probabilities = [one.probability for one in ranked]
    assert probabilities == sorted(probabilities, reverse=True)
    assert 0.0 <= sum(probabilities) <= 1.0 + 1e-9


# Where hands were

LAYOUT = Layout(corner_store())
P0, P3, OTHER_SIDE = (LAYOUT.plates[name] for name in ("g1.s1.p0", "g1.s1.p3", "g2.s1.p0"))
SINCE_NS, STABLE_NS = 100 * S, 100 * S + 400_000_000


def body(floor_mm, wrist_mm=None, *, from_s=98.0, to_s=102.0, hidden=()):
    """Somebody who stands still from one moment to another, seen ten times a second."""
    person = Person(id="p", floor_mm=floor_mm, seen_ns=int(to_s * S))
    for tenth in range(round(from_s * 10), round(to_s * 10) + 1):
        at_ns = tenth * S // 10
        person.places.append((at_ns, *floor_mm))
        if wrist_mm is not None and not any(low <= tenth / 10 <= high for low, high in hidden):
            person.wrists.append((at_ns, *wrist_mm, 40.0))
    return person


def near(person, *places):
    return presence(person, places or [P0], SINCE_NS, STABLE_NS)


def in_front(place, back_mm=350.0):
    x_mm, y_mm = place.front_mm
    return (x_mm, y_mm - back_mm)


def hand_at(place):
    x_mm, y_mm = place.front_mm
    return (x_mm, y_mm + 60.0, 900.0)


def test_a_hand_at_the_plate_is_likelier_than_one_beside_it_or_none():
    at_plate = near(body(in_front(P0), hand_at(P0)))
    beside = near(body(in_front(P0), hand_at(P3)))
    no_hand = near(body(in_front(P0)))
    far = near(body((4_000.0, 0.0), (4_000.0, 0.0, 900.0)))
    assert at_plate > 0.5
    assert at_plate > 5 * no_hand
    assert at_plate > 20 * beside
    assert far < 1e-6


def test_a_hand_hidden_in_the_shelf_counts_by_where_it_was_before():
    hidden = near(body(in_front(P0), hand_at(P0), hidden=[(99.9, 100.6)]))
    elsewhere = near(body(in_front(P0), hand_at(P3), hidden=[(99.9, 100.6)]))
    assert hidden > 0.2
    assert hidden > 5 * elsewhere


def test_whoever_was_not_there_then_did_not_do_it():
    assert near(body(in_front(P0), hand_at(P0), from_s=90.0, to_s=95.0)) == 0.0
    assert near(body(in_front(P0), hand_at(P0), from_s=104.0, to_s=106.0)) == 0.0


def test_one_who_is_just_out_of_sight_may_have_done_it():
    gone = body(in_front(P0), from_s=95.0, to_s=98.5)
    assert 0.0 < near(gone) < 0.2


def test_a_product_on_two_plates_is_reached_at_either():
    person = body(in_front(P3), hand_at(P3))
    assert near(person, P0, P3) > 0.5
    assert near(person, P0) < 0.1


def test_the_other_side_of_the_aisle_is_out_of_reach():
    assert near(body(in_front(P0), hand_at(P0)), OTHER_SIDE) < 0.1


def test_the_distance_to_a_plate_is_none_inside_its_box():
    x_mm, y_mm = P0.front_mm
    points = np.array(
        [
            (x_mm, y_mm + 10.0, 850.0),
            (x_mm, y_mm + 1_000.0, 850.0),
            (x_mm - 125.0 - 30.0, y_mm, 850.0),
            (x_mm, y_mm, 100.0),
            (x_mm - 125.0 - 30.0, y_mm - 150.0 - 40.0, 850.0),
        ]
    )
    expected = [0.0, 600.0, 30.0, 650.0, hypot(30.0, 40.0)]
    assert P0.distances_mm(points) == pytest.approx(expected)
