# SPDX-License-Identifier: Apache-2.0
"""Tracks: names last while bodies are seen, through gaps, crossings, noise and echoes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vision.appearance import TorsoColours
from vision.tracking import TRACKS_MAX, Tracker

STEP_S = 0.1


def update(tracker, frame, *places, sigma=60.0, score=0.9):
    floor = np.array(places, dtype=np.float64).reshape(-1, 2)
    count = len(floor)
    return tracker.update(floor, np.full(count, sigma), np.full(count, score), frame * STEP_S)


def test_no_bodies_no_tracks():
    assert update(Tracker(), 0) == []


def test_a_body_is_told_of_at_its_third_sighting_and_keeps_its_name():
    tracker = Tracker()
    names = [update(tracker, frame, (frame * 120.0, 0.0)) for frame in range(20)]
    assert names[:2] == [[None], [None]]
    assert names[2:] == [["1"]] * 18


@pytest.mark.parametrize(("gap_frames", "same"), [(20, True), (28, True), (40, False)])
def test_a_track_survives_two_seconds_unseen_and_a_little_more(gap_frames, same):
    tracker = Tracker()
    for frame in range(10):
        update(tracker, frame, (0.0, 0.0))
    for frame in range(10, 10 + gap_frames):
        update(tracker, frame)
    back = [update(tracker, 10 + gap_frames + frame, (100.0, 0.0)) for frame in range(3)]
    assert (back[0] == ["1"]) == same
    assert (back[2] == ["1"]) == same


def test_two_who_walk_past_each_other_keep_their_names():
    tracker = Tracker()
    rng = np.random.default_rng(1)
    for frame in range(60):
        left = rng.normal((-3000 + 100 * frame, 250.0), 40)
        right = rng.normal((3000 - 100 * frame, -250.0), 40)
        names = update(tracker, frame, left, right)
    assert names == ["1", "2"]


def test_a_jump_across_the_store_is_another_body():
    tracker = Tracker()
    for frame in range(10):
        update(tracker, frame, (0.0, 0.0))
    names = [update(tracker, 10 + frame, (3000.0, 0.0)) for frame in range(3)]
    assert names[2] == ["2"]


def test_a_weak_sighting_continues_a_track_and_begins_none():
    tracker = Tracker()
    assert all(update(tracker, frame, (0.0, 0.0), score=0.4) == [None] for frame in range(5))
    for frame in range(5, 10):
        update(tracker, frame, (0.0, 0.0))
    assert update(tracker, 10, (10.0, 0.0), score=0.4) == ["1"]


def test_an_echo_beside_a_tracked_body_becomes_no_track():
    tracker = Tracker()
    for frame in range(10):
        names = update(tracker, frame, (0.0, 0.0), (150.0, 0.0))
    assert names == ["1", None]


def test_who_has_gone_is_not_back_in_an_echo_of_somebody_else():
    tracker = Tracker()
    for frame in range(10):
        update(tracker, frame, (0.0, 0.0), (800.0, 0.0))
    for frame in range(10, 20):
        update(tracker, frame, (0.0, 0.0))
    assert update(tracker, 20, (0.0, 0.0), (350.0, 0.0)) == ["1", None]
    assert update(tracker, 21, (0.0, 0.0), (800.0, 0.0)) == ["1", "2"]


def test_a_body_without_a_place_has_no_track():
    nowhere = (float("nan"), float("nan"))
    assert update(Tracker(), 0, nowhere) == [None]


@given(
    st.lists(
        st.lists(st.tuples(st.floats(-9000, 9000), st.floats(-9000, 9000)), max_size=5), max_size=15
    ),
    st.lists(st.floats(-1, 3), min_size=15, max_size=15),
)
def test_any_sightings_give_each_track_to_one_body_a_frame(frames, steps):
    tracker, at_s = Tracker(), 0.0
    for places, step in zip(frames, steps, strict=False):
        at_s += step  # time may stand still or go back
        count = len(places)
        floor = np.array(places, dtype=np.float64).reshape(-1, 2)
        names = tracker.update(floor, np.full(count, 80.0), np.full(count, 0.9), at_s)
        told = [name for name in names if name is not None]
        assert len(names) == count
        assert len(set(told)) == len(told)


# Looks.

RED, BLUE = [0.8, 0.0, *[0.0] * 14], [0.0, 0.8, *[0.0] * 14]


def dressed():
    return Tracker(TorsoColours().scatter())


def see(tracker, frame, *people, sigma=60.0):
    """Take in people as pairs of place and look; a look may be None."""
    floor = np.array([place for place, _ in people], dtype=np.float64).reshape(-1, 2)
    rng = np.random.default_rng(frame)
    looks = np.array([look or [np.nan] * 16 for _, look in people]).reshape(-1, 16)
    looks += rng.normal(0, 0.05, looks.shape)
    count = len(floor)
    return tracker.update(floor, np.full(count, sigma), np.full(count, 0.9), frame * STEP_S, looks)


def test_of_two_who_come_back_at_one_place_looks_tell_who_is_who():
    """Both vanish side by side and come out the other way round."""
    tracker = dressed()
    for frame in range(20):
        before = see(tracker, frame, ((-500, 0), RED), ((500, 0), BLUE))
    for frame in range(20, 38):
        see(tracker, frame)
    for frame in range(38, 48):
        after = see(tracker, frame, ((-500, 0), BLUE), ((500, 0), RED))
    assert before == ["1", "2"]
    assert after == ["2", "1"]


def test_a_stranger_where_somebody_vanished_is_somebody_new():
    tracker = dressed()
    for frame in range(20):
        see(tracker, frame, ((0, 0), RED))
    for frame in range(20, 30):
        see(tracker, frame)
    for frame in range(30, 40):
        names = see(tracker, frame, ((0, 0), BLUE))
    assert names == ["2"]


def test_two_who_were_exchanged_while_they_were_near_get_their_names_back():
    tracker = dressed()
    for frame in range(20):
        away = 220 + 60 * (20 - frame)
        see(tracker, frame, ((-away, 0), RED), ((away, 0), BLUE))
    for frame in range(20, 30):  # side by side, and nothing of either to be told from the other
        see(tracker, frame, ((-220, 0), None), ((220, 0), None))
    names = []
    for frame in range(30, 50):  # they have changed places meanwhile
        away = 220 + 60 * (frame - 30)
        names.append(see(tracker, frame, ((-away, 0), BLUE), ((away, 0), RED)))
    assert names[0] == ["1", "2"]
    assert names[-1] == ["2", "1"]
    assert names.index(["2", "1"]) <= 12  # and it stays so
    assert set(map(tuple, names[names.index(["2", "1"]) :])) == {("2", "1")}


def test_a_few_mixed_looks_at_two_who_part_do_not_exchange_their_names():
    """Pictures of who has just left another's side show some of both, one frame as the next."""
    tracker = dressed()
    mostly_red, mostly_blue = (
        [0.6 * most + 0.4 * rest for most, rest in zip(*pair, strict=True)]
        for pair in ((RED, BLUE), (BLUE, RED))
    )
    for frame in range(20):
        see(tracker, frame, ((-220 - 60 * (20 - frame), 0), RED), ((1420 - 60 * frame, 0), BLUE))
    names = set()
    for frame in range(20, 60):
        away = 220 + 60 * (frame - 20)
        looks = (mostly_blue, mostly_red) if 22 <= frame < 25 else (RED, BLUE)
        names.add(tuple(see(tracker, frame, ((-away, 0), looks[0]), ((away, 0), looks[1]))))
    assert names == {("1", "2")}


def test_somebody_first_seen_badly_is_known_again():
    """The first looks of who comes back are of somebody before them."""
    tracker = dressed()
    for frame in range(30):
        see(tracker, frame, ((0, 0), RED))
    for frame in range(30, 42):
        see(tracker, frame)
    names = [see(tracker, frame, ((400, 0), BLUE)) for frame in range(42, 46)]
    names += [see(tracker, frame, ((400, 0), RED)) for frame in range(46, 70)]
    assert names[3] == ["2"]
    assert names[-1] == ["1"]


def test_two_who_change_places_between_two_frames_of_a_slow_camera_keep_their_names():
    tracker = dressed()
    for frame in range(0, 60, 5):  # two frames a second
        before = see(tracker, frame, ((-320, 0), RED), ((320, 0), BLUE))
    after = see(tracker, 60, ((-320, 0), BLUE), ((320, 0), RED))
    assert before == ["1", "2"]
    assert after == ["2", "1"]


def test_a_place_that_leaps_with_a_better_look_at_the_body_is_the_same_body():
    tracker = Tracker()
    for frame in range(10):
        update(tracker, frame, (0.0, 0.0))
    assert update(tracker, 10, (0.0, 700.0), sigma=50.0) == ["1"]
    assert update(tracker, 11, (0.0, 710.0), sigma=50.0) == ["1"]


def test_a_place_leaps_to_who_looks_the_same_and_not_to_a_stranger():
    """Somebody is missed in the one frame in which somebody else comes into view nearby."""

    def seen_on(look):
        tracker = dressed()
        for frame in range(20):
            see(tracker, frame, ((0, 0), RED), sigma=50.0)
        return tracker, see(tracker, 20, ((0, 700), look), sigma=50.0)

    assert seen_on(RED)[1] == ["1"]
    tracker, names = seen_on(BLUE)
    assert names == [None]
    for frame in range(21, 25):
        names = see(tracker, frame, ((0, 0), RED), ((0, 700), BLUE), sigma=50.0)
    assert names == ["1", "2"]


@pytest.mark.parametrize("fps", [2, 5, 10, 30])
def test_the_rate_changes_neither_who_is_who_nor_when_it_is_told(fps):
    tracker = Tracker()
    names = []
    for frame in range(3 * fps):
        at_s = frame / fps
        place = np.array([[900 * at_s, 0.0], [2_500 - 900 * at_s, 800.0]])
        names.append(tracker.update(place, np.full(2, 60.0), np.full(2, 0.9), at_s))
    told = next(frame for frame, one in enumerate(names) if one == ["1", "2"])
    assert told / fps <= max(0.2, 1 / fps) + 1e-9
    assert set(map(tuple, names[told:])) == {("1", "2")}


def test_tracks_are_bounded():
    tracker = Tracker()
    places = np.array([(x * 1_000.0, y * 1_000.0) for x in range(14) for y in range(10)])
    for frame in range(3):
        names = tracker.update(places, np.full(140, 60.0), np.full(140, 0.9), frame * STEP_S)
    assert sum(name is not None for name in names) == TRACKS_MAX
