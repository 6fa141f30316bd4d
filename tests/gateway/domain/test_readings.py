# SPDX-License-Identifier: Apache-2.0
"""What plates felt is cut into moves: by place, by time, and by what may be of no meaning."""

import msgspec
import pytest

from gateway.domain.layout import Layout, ShelfPlaces
from gateway.domain.readings import (
    LEAN_HIDDEN_G,
    MOMENTS_ALL,
    READINGS_MAX,
    TALK,
    TALK_USUAL,
    UNDER_MAX,
    unread_g,
)
from gateway.domain.readings import read as ways_to_read
from gateway.domain.store import Plate
from gateway.domain.weighing import PlateChange
from tests.gateway.domain.scene import corner_store

S = 1_000_000_000
STORE = corner_store()
SHELF = Layout(STORE).shelves["g1.s1"]
_PLATES = tuple(Plate(name=f"p{n}", offset_mm=100.0 * n, width_mm=100.0) for n in range(8))
WIDE = ShelfPlaces(msgspec.structs.replace(STORE.shelves[0], plates=_PLATES))


def felt(plate, delta_g, at_s=10.0):
    """Return what a plate felt: a step that took 400 ms."""
    since_ns = int(at_s * S)
    return PlateChange(
        plate=plate,
        delta_g=delta_g,
        sigma_g=0.7,
        since_ns=since_ns,
        stable_ns=since_ns + 400_000_000,
        after_g=1_000.0,
        unwatched=False,
        half_ns=since_ns + 200_000_000,
    )


def read(changes, shelf):
    """Return the readings where every move is worth the same."""
    return ways_to_read(changes, shelf, lambda _move: 0.0)


def cut(*changes):
    """Return the plates of the likeliest reading's moves."""
    return [list(move.plates) for move in read(changes, SHELF)[0].moves]


def readings(*changes):
    """Return what each reading's moves weigh together, by their number."""
    return [[round(move.total_g) for move in one.moves] for one in read(changes, SHELF)]


def test_one_plate_is_one_move():
    assert cut(felt(0, -100.0)) == [[0]]


def test_what_two_neighbours_feel_at_once_is_one_thing_or_two():
    found = readings(felt(0, -60.0), felt(1, -40.0))
    assert [round(-100.0 / (1.0 + TALK_USUAL))] in found
    assert sorted([-60, -40]) in [sorted(one) for one in found]


def test_a_bag_over_three_plates_is_one_move():
    (whole,) = next(
        one.moves
        for one in read([felt(0, -30.0), felt(1, -45.0), felt(2, -25.0)], SHELF)
        if len(one.moves) == 1 and len(one.moves[0].plates) == 3
    )
    # The outer plates feel one neighbour each, the one in the middle two.
    assert whole.total_g == pytest.approx(-100.0 / (1.0 + TALK_USUAL * (0.55 + 2 * 0.45)))
    assert whole.main == 1
    assert SHELF.plates[1].low_mm < whole.x_mm < SHELF.plates[1].high_mm


def test_what_plates_feel_of_each_other_is_no_weight():
    """Where something stands on two plates, each feels a part of what the other carries."""
    talk, unit_g = 0.02, 400.0
    for share in (0.2, 0.5, 0.9):
        first_g, second_g = share * unit_g, (1.0 - share) * unit_g
        changes = [felt(0, -first_g - talk * second_g), felt(1, -second_g - talk * first_g)]
        (whole,) = next(
            one.moves
            for one in read(changes, SHELF)
            if len(one.moves) == 1 and len(one.moves[0].plates) == 2
        )
        assert abs(whole.total_g) == pytest.approx(unit_g, rel=0.004)
        assert abs(whole.total_g + unit_g) < whole.sigma_g


def test_plates_apart_are_never_one_move():
    for one in read([felt(0, -60.0), felt(2, -40.0)], SHELF):
        assert all(set(move.plates) != {0, 2} for move in one.moves)


def test_an_act_in_pieces_may_be_one_or_several_and_longer_pauses_make_several():
    def advantage(pause_s):
        """Return how much likelier it is that both pieces were one act."""
        found = read([felt(0, -60.0), felt(0, -40.0, at_s=10.0 + pause_s)], SHELF)
        by = {tuple(round(move.total_g) for move in one.moves): one.loglik for one in found}
        return by[-100,] - by[-60, -40]

    assert advantage(0.5) > advantage(2.0)


def test_a_touch_that_came_and_went_may_be_no_move():
    def nothing(back_g):
        """Return how likely it is that all was nothing, against two acts."""
        found = read([felt(0, 60.0), felt(0, back_g, at_s=10.6)], SHELF)
        return next(one.loglik for one in found if not one.moves)

    assert nothing(-60.0) > nothing(-64.0) > nothing(-160.0) + 10.0


def test_opposite_steps_of_neighbours_may_be_two_moves():
    found = [sorted(one) for one in readings(felt(0, 100.0), felt(1, -330.0))]
    assert sorted([100, -330]) in found


def test_what_a_plate_feels_of_its_neighbours_load_belongs_to_nobody():
    heavy_g = 1_000.0
    assert cut(felt(0, heavy_g), felt(1, 0.9 * TALK * heavy_g)) == [[0]]
    # As much against the load, or at another time, is of its own.
    for other in (felt(1, -0.9 * TALK * heavy_g), felt(1, 0.9 * TALK * heavy_g, at_s=12.0)):
        plates = {
            plate
            for move in read([felt(0, heavy_g), other], SHELF)[0].moves
            for plate in move.plates
        }
        assert plates == {0, 1}


def test_two_who_take_the_same_at_one_moment_are_thought_of_but_not_believed_at_once():
    found = readings(felt(0, -200.0))
    assert found.index([-200]) < found.index([-100, -100])


def test_the_place_of_what_leans_on_two_plates_is_between_them():
    def place(left_g, right_g):
        one = next(
            one for one in read([felt(0, left_g), felt(1, right_g)], SHELF) if len(one.moves) == 1
        )
        return one.moves[0].x_mm

    edge_mm = SHELF.plates[0].high_mm
    assert place(-50.0, -50.0) == pytest.approx(edge_mm)
    assert place(-80.0, -20.0) < edge_mm < place(-20.0, -80.0)


def test_readings_come_likeliest_first_and_not_without_end():
    many = [felt(n % 4, -100.0 - n, at_s=10.0 + n) for n in range(20)]
    found = read(many, SHELF)
    scores = [one.loglik for one in found]
    assert scores == sorted(scores, reverse=True)
    assert 1 < len(found) <= READINGS_MAX
    assert max(len(one.moves) for one in found) <= 2 * MOMENTS_ALL


def test_what_no_reading_has_is_known():
    many = [felt(n % 4, -100.0 - n, at_s=10.0 + n) for n in range(MOMENTS_ALL + 3)]
    assert unread_g(many) == 102.0
    assert unread_g(many[:MOMENTS_ALL]) == 0.0


def heaviest(found):
    """Return the likeliest reading's largest move."""
    return max(found[0].moves, key=lambda move: abs(move.total_g))


def test_what_stands_on_two_plates_stands_on_all_between_them():
    """Two plates sank at the instant at which the one between them rose: no one thing does that."""
    steps = [felt(0, -60.0), felt(1, -50.0), felt(1, 80.0, at_s=10.5), felt(2, -40.0)]
    moves = [move for one in read(steps, SHELF) for move in one.moves]
    assert any(move.plates == (0,) for move in moves)
    assert all(move.plates != (0, 2) for move in moves)


def test_who_leans_on_more_plates_than_a_thing_may_stand_on_took_none():
    lean = [felt(plate, -12.0 - plate) for plate in range(UNDER_MAX + 1)]
    taken = felt(6, -300.0, at_s=11.0)
    assert [move.plates for move in read([*lean, taken], WIDE)[0].moves] == [(6,)]


@pytest.mark.parametrize(("ends", "within_g"), [(True, 5.0), (False, 20.0)])
def test_a_lean_that_a_step_hides_is_taken_off_or_left_open(ends, within_g):
    """Plate 2 rose by 20 g when somebody leant on all; it was just losing 80 g, so that 60 show."""
    leans_g = {0: 18.0, 1: -15.0, 3: -20.0, 4: 14.0, 5: 17.0}
    steps = [felt(plate, leant_g) for plate, leant_g in leans_g.items()]
    steps.append(felt(2, -60.0)._replace(half_ns=int(10.05 * S)))
    if ends:
        steps += [felt(plate, -leant_g, at_s=12.0) for plate, leant_g in leans_g.items()]
        steps.append(felt(2, -20.0, at_s=12.0))
    move = heaviest(read(steps, WIDE))
    assert move.plates == (2,)
    assert abs(move.total_g + 80.0) < within_g + 1.0
    assert abs(move.total_g + 80.0) < 2.0 * move.sigma_g
    assert (move.sigma_g < LEAN_HIDDEN_G / 2) == ends
