# SPDX-License-Identifier: Apache-2.0
"""Who fits an act: by wrists, by where they stood, and by when they were seen."""

from math import exp, hypot

import numpy as np
import pytest

from gateway.domain.hands import NOBODY, Place, evidence, shares
from gateway.domain.inputs import PersonSeen, Wrist
from gateway.domain.layout import HAND_ABOVE_MM, HAND_INWARD_MM, Layout
from gateway.domain.persons import Person
from tests.gateway.domain.scene import corner_store

S = 1_000_000_000
LAYOUT = Layout(corner_store())
SHELF = LAYOUT.shelves["g1.s1"]
P0, P3 = SHELF.plates[0], SHELF.plates[3]
OTHER_SIDE = LAYOUT.plates["g2.s1.p0"]
SINCE_NS, STABLE_NS = 100 * S, 100 * S + 400_000_000
GONE = -1e9


def body(floor_mm, *wrists_mm, from_s=98.0, to_s=102.0, hidden=()):
    """Somebody who stands still from one moment to another, seen ten times a second."""
    person = Person(id="p", floor_mm=floor_mm, seen_ns=int(to_s * S))
    for tenth in range(round(from_s * 10), round(to_s * 10) + 1):
        at_ns = tenth * S // 10
        person.places.append((at_ns, *floor_mm))
        if not any(low <= tenth / 10 <= high for low, high in hidden):
            person.wrists += [(at_ns, *wrist_mm, 20.0) for wrist_mm in wrists_mm]
    return person


def score(person, plate=P0, **how):
    place = Place("g1.s1", plate.low_mm + 60.0, plate.high_mm - 60.0)
    found = evidence(person, SHELF, place, SINCE_NS, STABLE_NS, **how)
    return GONE if found is None else found.score


def in_front(place, back_mm=350.0):
    x_mm, y_mm = place.front_mm
    return (x_mm, y_mm - back_mm)


def hand_at(place):
    x_mm, y_mm = place.front_mm
    return (x_mm, y_mm + 60.0, 900.0)


def test_a_hand_at_the_plate_is_likelier_than_none_and_that_than_both_elsewhere():
    at_plate = score(body(in_front(P0), hand_at(P0)))
    no_hand = score(body(in_front(P0)))
    elsewhere = score(body(in_front(P0), hand_at(P3), hand_at(P3)))
    assert at_plate > no_hand + 2.0
    assert no_hand > elsewhere + 2.0


def test_what_a_late_camera_tells_counts_as_if_it_had_been_in_time():
    """Two cameras see a hand by turns; the second one's frames come 150 ms after the first's."""
    by_time = [(at_ms, hand_at(P0)) for at_ms in range(99_000, 101_100, 100)]
    by_time += [(at_ms + 50, hand_at(P3)) for at_ms, _ in by_time]
    told = [at_ms + (150 if at_ms % 100 else 0) for at_ms, _ in by_time]
    persons = []
    for order in ([at_ms for at_ms, _ in by_time], told):
        person = Person(id="p", floor_mm=in_front(P0), seen_ns=0)
        for number in sorted(range(len(told)), key=order.__getitem__):
            at_ms, hand_mm = by_time[number]
            hands = [Wrist(hand_mm, sigma_mm=20.0)] * 2
            feet_mm = in_front(P0, back_mm=350.0 if at_ms > 101_000 else 400.0)
            seen = PersonSeen("1", floor_mm=feet_mm, wrists=hands)
            person.see("cam/1/1", seen, at_ms * 1_000_000)
        persons.append(person)
    in_time, late = persons
    assert (late.places, late.wrists) == (in_time.places, in_time.wrists)
    assert late.floor_mm == in_time.floor_mm == in_front(P0)
    assert score(late) == score(in_time) != score(body(in_front(P0)))


def test_one_hand_elsewhere_says_little_of_the_other():
    one = score(body(in_front(P0), hand_at(P3)))
    both = score(body(in_front(P0), hand_at(P3), hand_at(P3)))
    assert one > both + 2.0


def test_a_hand_hidden_in_the_shelf_counts_by_where_it_was_before():
    hidden = score(body(in_front(P0), hand_at(P0), hidden=[(99.9, 100.6)]))
    elsewhere = score(body(in_front(P0), hand_at(P3), hand_at(P3), hidden=[(99.9, 100.6)]))
    assert hidden > elsewhere + 0.5


def test_many_frames_of_one_error_are_no_more_evidence_than_a_few():
    few = body(in_front(P0), hand_at(P0))
    many = body(in_front(P0), hand_at(P0))
    many.wrists += [(at_ns + n, *rest) for at_ns, *rest in few.wrists for n in (1, 2, 3)]
    assert score(many) == pytest.approx(score(few), abs=0.5)


def test_whoever_was_not_there_then_did_not_do_it():
    assert score(body(in_front(P0), hand_at(P0), from_s=90.0, to_s=95.0)) == GONE
    assert score(body(in_front(P0), hand_at(P0), from_s=104.0, to_s=106.0)) == GONE


def test_one_who_is_just_out_of_sight_may_have_done_it():
    gone = score(body(in_front(P0), from_s=95.0, to_s=98.5))
    assert NOBODY < gone <= score(body(in_front(P0)))


def test_the_other_side_of_the_aisle_is_out_of_reach():
    across = body((P0.front_mm[0], OTHER_SIDE.front_mm[1] + 350.0))
    assert score(across) < score(body(in_front(P0))) - 5.0
    assert score(across) < NOBODY


def test_without_wrists_only_feet_count():
    away = body(in_front(P0), hand_at(P3), hand_at(P3))
    assert score(away, wrists=False) == score(body(in_front(P0)))


def test_the_nearest_hand_has_the_greatest_share_and_shares_add_up_to_one():
    found = {who: exp(one) for who, one in shares([("anna", 6.0), ("bert", 0.0)]).items()}
    assert sum(found.values()) == pytest.approx(1.0, abs=1e-6)
    assert found["anna"] > 0.9 > found["bert"] > found[None]


def test_two_alike_have_the_same_share_and_somebody_unseen_hardly_any():
    found = {who: exp(one) for who, one in shares([("anna", 3.0), ("bert", 3.0)]).items()}
    assert found["anna"] == pytest.approx(found["bert"])
    assert found["anna"] == pytest.approx(0.5, abs=0.01)


def test_a_party_of_two_is_as_likely_as_its_likeliest_member():
    alone = shares([("anna", 3.0), ("bert", 1.0)])
    party = shares([("anna", 3.0), ("anna", -2.0), ("bert", 1.0)])
    assert party == pytest.approx(alone)


def test_who_is_nowhere_near_did_it_no_likelier_than_somebody_unseen():
    found = shares([("anna", NOBODY - 8.0)])
    assert found[None] > found["anna"] + 2.0


def test_no_share_is_ever_nothing():
    """A hand may be seen wrongly: later evidence must be able to overturn it."""
    found = shares([("anna", 20.0), ("bert", -20.0)])
    assert exp(found["bert"]) > 1e-5


def test_the_distance_to_where_a_hand_works_is_none_inside():
    x_mm, y_mm = P0.front_mm
    first_mm, last_mm = (y_mm + inward_mm for inward_mm in HAND_INWARD_MM)
    low_mm = SHELF.shelf.z_mm + HAND_ABOVE_MM[0]
    points = np.array(
        [
            (x_mm, first_mm, low_mm),
            (x_mm, last_mm + 600.0, low_mm),
            (x_mm - 125.0 - 30.0, last_mm, low_mm),
            (x_mm, first_mm, low_mm - 600.0),
            (x_mm - 125.0 - 30.0, first_mm - 40.0, low_mm),
        ]
    )
    expected = [0.0, 600.0, 30.0, 600.0, hypot(30.0, 40.0)]
    assert SHELF.hand_mm(points, P0.low_mm, P0.high_mm) == pytest.approx(expected)
