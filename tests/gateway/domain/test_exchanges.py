# SPDX-License-Identifier: Apache-2.0
"""Trackers that go on with another's body where it is hard to notice."""

import pytest

from gateway.domain.people import People
from tests.gateway.domain.test_people import ANNA, BERT, see, two_far_apart, watch

EXCHANGED = {"c1/b1/t1": "p-2", "c1/b1/t2": "p-1"}
STRAIGHT = {"c1/b1/t1": "p-1", "c1/b1/t2": "p-2"}


def pass_by(people, gap_mm, *, exchanged, hide=lambda _gap_mm: ()):
    """Let two who have been seen pass each other; their tracks may be exchanged as they do.

    Args:
        people: Who has seen them, with looks.
        gap_mm: How near they come to each other.
        exchanged: Whether each track goes on with the other's body.
        hide: Whose look is left out at a distance.
    """
    for tenth in range(30):
        one_mm, other_mm = 100.0 * tenth, 3_000.0 - 100.0 * tenth
        apart_mm = ((one_mm - other_mm) ** 2 + gap_mm**2) ** 0.5
        bodies = {"anna": (one_mm, 0.0, ANNA), "bert": (other_mm, gap_mm, BERT)}
        for name in hide(apart_mm):
            bodies[name] = (*bodies[name][:2], [])
        names = ("t2", "t1") if exchanged and tenth >= 15 else ("t1", "t2")
        watch(people, 3.0 + tenth / 10, **dict(zip(names, bodies.values(), strict=True)))
    for tenth in range(60, 80):
        names = ("t2", "t1") if exchanged else ("t1", "t2")
        tracks = zip(names, ((2_900.0, 0.0, ANNA), (100.0, gap_mm, BERT)), strict=True)
        watch(people, tenth / 10, **dict(tracks))
    return people


@pytest.mark.parametrize("exchanged", [False, True])
@pytest.mark.parametrize("covered", [("anna", "bert"), ("anna",)])
@pytest.mark.parametrize("near_mm", [500.0, 705.0, 900.0])
def test_looks_left_out_while_they_are_near_hide_no_exchange(exchanged, covered, near_mm):
    people = pass_by(
        two_far_apart(),
        300.0,
        exchanged=exchanged,
        hide=lambda gap_mm: covered if gap_mm < near_mm else (),
    )
    assert people.by_track == (EXCHANGED if exchanged else STRAIGHT)
    assert all(person.mixed == [] for person in people.persons.values())


@pytest.mark.parametrize("exchanged", [False, True])
@pytest.mark.parametrize("gap_mm", [720.0, 1_500.0])
def test_tracks_may_be_exchanged_across_any_distance(exchanged, gap_mm):
    people = pass_by(two_far_apart(), gap_mm, exchanged=exchanged)
    assert people.by_track == (EXCHANGED if exchanged else STRAIGHT)


@pytest.mark.parametrize("exchanged", [False, True])
@pytest.mark.parametrize("hidden_s", [1.0, 3.0])
def test_two_who_were_both_hidden_may_come_back_under_each_others_tracks(exchanged, hidden_s):
    people = two_far_apart()
    for tenth in range(round(10 * hidden_s)):
        watch(people, 3.0 + tenth / 10)
    for tenth in range(30):
        # Each track goes on at the end that is nearer to where it vanished.
        tracks = {"t1": (1_000.0, 0.0, ANNA), "t2": (2_000.0, 0.0, BERT)}
        if exchanged:
            tracks = {"t1": (1_000.0, 0.0, BERT), "t2": (2_000.0, 0.0, ANNA)}
        watch(people, 3.0 + hidden_s + tenth / 10, **tracks)
    assert people.by_track == (EXCHANGED if exchanged else STRAIGHT)


def without_looks(*frames):
    """Return whom each of two is in doubt with, after frames of ``(at_s, x1_mm, x2_mm)``."""
    people = People()
    for at_s, one_mm, other_mm in frames:
        see(people, at_s, t1=(one_mm, 0.0), t2=(other_mm, 300.0))
    return [person.mixed for person in people.persons.values()]


@pytest.mark.parametrize(
    ("frames", "doubted"),
    [
        ([(1.0, 0.0, 200.0), (1.1, 100.0, 100.0), (1.2, 200.0, 0.0)], False),
        ([(1.0, 0.0, 200.0), (1.1, 100.0, 100.0), (1.2, 0.0, 200.0)], False),
        ([(1.0, 0.0, 600.0), (2.0, 0.0, 600.0)], False),
        ([(1.0, 0.0, 600.0), (6.0, 0.0, 600.0)], True),
        ([(1.0, 0.0, 4_000.0), (6.0, 0.0, 4_000.0)], False),
    ],
)
def test_where_no_looks_tell_a_long_hole_leaves_neighbours_in_doubt(frames, doubted):
    assert without_looks(*frames) == ([["p-2"], ["p-1"]] if doubted else [[], []])


def test_where_no_looks_tell_a_leap_onto_each_others_place_leaves_both_in_doubt():
    people = People()
    see(people, 1.0, t1=(0.0, 0.0), t2=(100.0, 300.0))
    see(people, 1.1, t1=(50.0, 0.0), t2=(50.0, 300.0))
    assert [person.mixed for person in people.persons.values()] == [[], []]
    see(people, 1.2, t1=(0.0, 300.0), t2=(100.0, 0.0))
    assert [person.mixed for person in people.persons.values()] == [["p-2"], ["p-1"]]


@pytest.mark.parametrize("frames_per_s", [3, 5, 10, 30])
def test_who_only_walk_past_each_other_are_not_in_doubt_however_slow_the_camera(frames_per_s):
    people = People()
    for frame in range(2 * frames_per_s):
        along_mm = 1_400.0 * frame / frames_per_s - 1_400.0
        see(people, 1.0 + frame / frames_per_s, t1=(along_mm, 0.0), t2=(-along_mm, 300.0))
    assert [person.mixed for person in people.persons.values()] == [[], []]


def test_frames_that_overtake_each_other_are_no_leaps():
    people = People()
    for at_s in (1.0, 1.45, 1.15, 1.3, 1.6, 1.4, 1.5):
        along_mm = 1_400.0 * (at_s - 1.3)
        see(people, at_s, t1=(along_mm, 0.0), t2=(-along_mm, 300.0))
    assert [person.mixed for person in people.persons.values()] == [[], []]
