# SPDX-License-Identifier: Apache-2.0
"""What a move may have been, by weight and place."""

import pytest

from gateway.domain.goods import (
    GRIP_UNITS_MAX,
    Known,
    Load,
    Lying,
    at_home,
    misplaced_here,
    place_loglik,
    released,
    same_unit,
    unknown,
    weight_loglik,
)
from gateway.domain.layout import FacingPlace
from gateway.domain.readings import Move

S = 1_000_000_000
LIGHT, HEAVY = FacingPlace("light", 125.0, 125.0), FacingPlace("heavy", 125.0, 125.0)
KNOWN = {"light": Known(100.0, 3.0), "heavy": Known(330.0, 8.0)}


def moved(total_g, x_mm=125.0, slack_mm=20.0):
    return Move(
        plates=(0,),
        main=0,
        total_g=total_g,
        sigma_g=0.9,
        plain_g=0.7,
        x_mm=x_mm,
        slack_mm=slack_mm,
        since_ns=10 * S,
        half_ns=10 * S,
        until_ns=11 * S,
    )


@pytest.mark.parametrize(
    ("delta_g", "gtin", "quantity"),
    [
        (-100.0, "light", 1),
        (-205.0, "light", 2),
        (-330.0, "heavy", 1),
        (-300.0, "light", 3),
        (-655.0, "heavy", 2),
        (+330.0, "heavy", 1),
    ],
)
def test_the_best_guess_weighs_as_much(delta_g, gtin, quantity):
    best = at_home(moved(delta_g), [LIGHT, HEAVY], KNOWN)[0]
    assert (best.gtin, best.quantity) == (gtin, quantity)


def test_no_grip_takes_more_than_so_many_units():
    found = at_home(moved(-900.0), [LIGHT], KNOWN)
    assert sorted(one.quantity for one in found) == list(range(1, GRIP_UNITS_MAX + 1))
    assert at_home(moved(-900.0), [], KNOWN) == []


def test_a_product_on_several_places_is_thought_of_once_at_its_best():
    far = FacingPlace("light", 800.0, 800.0)
    one, both = (at_home(moved(-100.0), faces, KNOWN) for faces in ([LIGHT], [far, LIGHT]))
    assert [(option.gtin, option.quantity) for option in both] == [
        (option.gtin, option.quantity) for option in one
    ]
    assert both[0].loglik == pytest.approx(one[0].loglik)


def test_a_unit_off_its_catalogue_weight_is_likelier_than_a_narrow_curve_says():
    """10 sigma off, a normal curve says e^-50."""
    near, far = (weight_loglik(100.0 + off_g, 0.9, 100.0, 3.0) for off_g in (0.0, 31.0))
    assert near > far > near - 40.0


def test_a_weight_far_from_everything_is_very_unlikely_and_overflows_nowhere():
    for one in at_home(moved(-25_000.0), [LIGHT], KNOWN):
        assert -1e4 < one.loglik < -100.0
    assert unknown(moved(-25_000.0)) > one.loglik


def test_something_unknown_beats_a_product_only_where_none_weighs_as_much():
    def known(total_g):
        return at_home(moved(total_g), [LIGHT, HEAVY], KNOWN)[0].loglik

    assert known(-100.0) > unknown(moved(-100.0))
    assert known(-40.0) < unknown(moved(-40.0))


def test_what_stands_elsewhere_is_less_likely_the_farther_it_is():
    fits = [place_loglik(moved(-100.0, x_mm), LIGHT) for x_mm in (125.0, 140.0, 200.0, 260.0)]
    assert fits[0] == fits[1] == 0.0  # It may well have stood a little beside.
    assert fits[1] > fits[2] > fits[3]
    best = at_home(moved(-100.0, 260.0), [LIGHT], KNOWN)[0]
    assert best.loglik < at_home(moved(-100.0), [LIGHT], KNOWN)[0].loglik
    # Where the place does not count, it does not.
    alike = at_home(moved(-100.0, 260.0), [LIGHT], KNOWN, place=False)[0]
    assert alike.loglik == at_home(moved(-100.0), [LIGHT], KNOWN)[0].loglik


def test_the_very_unit_is_known_better_than_its_kind():
    """A unit that weighed 106 comes back as 106; another of its kind would weigh about 100."""
    assert same_unit(moved(+106.0), 106.0) > same_unit(moved(+106.0), 100.0) + 2.0
    assert same_unit(moved(+106.0), 106.0) > weight_loglik(106.0, 0.9, 100.0, 3.0)


def test_what_lies_about_is_taken_where_it_lies_and_on_no_other_shelf():
    lying = [
        Lying("light", 100.0, "s1", "p0", 125.0),
        Lying("light", 100.0, "s1", "p3", 900.0),
        Lying("light", 100.0, "s2", "p0", 125.0),
    ]
    found = misplaced_here(moved(-100.0), "s1", lying)
    assert {one.lying for one in found} == {(0,), (1,)}
    here = next(one for one in found if one.lying == (0,))
    assert here.misplaced
    assert all(here.loglik > one.loglik + 3.0 for one in found if one is not here)


def test_a_hand_that_presses_lets_go_of_as_much():
    load = Load("c", "s1", (0,), 80.0, 0.9)
    assert released(moved(-80.0), load) > released(moved(-60.0), load) + 3.0
    assert released(moved(-60.0), load) > released(moved(+80.0), load)


def test_a_product_with_many_facings_hides_no_other():
    here = FacingPlace("tea", 75.0, 75.0)
    facings = [*[here] * 14, FacingPlace("cha", 75.0, 75.0)]
    known = {"tea": Known(240.0, 7.0), "cha": Known(243.0, 7.0)}
    found = at_home(moved(-241.0), facings, known, most=14)
    assert {one.gtin for one in found[:2]} == {"tea", "cha"}
    assert len(at_home(moved(-241.0), facings, known, most=3)) == 3
