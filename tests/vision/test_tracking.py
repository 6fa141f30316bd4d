# SPDX-License-Identifier: Apache-2.0
"""Tracks: names last while bodies are seen, through gaps, crossings, noise and echoes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vision.tracking import Tracker

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


@pytest.mark.parametrize(("gap_frames", "same"), [(15, True), (25, False)])
def test_a_track_survives_two_seconds_unseen(gap_frames, same):
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
