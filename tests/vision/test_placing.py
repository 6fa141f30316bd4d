# SPDX-License-Identifier: Apache-2.0
"""Where people and hands are, from where they are seen."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vision.detectors import Detections
from vision.geometry import Camera, ShelfFront
from vision.placing import INSIDE_MM, Placer, people_payload

CAMERA = Camera.overhead((0, 0, 3200), 341.3, (512, 384))
FRONTS = (ShelfFront((-750, 900), (750, 900), 800, 1250),)
PLACER = Placer(CAMERA.view(), (512, 384), FRONTS)
NAN = float("nan")


def seen(*, feet=None, head=None, wrists=()):
    """Return one detection of points in the store, as this camera sees them."""

    def pixel(point):
        return [[NAN, NAN]] if point is None else CAMERA.project(point)

    wrists_px, wrist_scores = np.full((1, 2, 2), NAN), np.zeros((1, 2))
    for index, wrist in enumerate(wrists):
        wrists_px[0, index], wrist_scores[0, index] = CAMERA.project(wrist)[0], 0.8
    return Detections(
        boxes_xyxy=np.array([[0.0, 0, 10, 10]]),
        scores=np.array([0.9]),
        head_px=np.array(pixel(head)),
        head_scores=np.array([0.0 if head is None else 0.9]),
        feet_px=np.array(pixel(feet)),
        feet_scores=np.array([0.0 if feet is None else 0.9]),
        wrists_px=wrists_px,
        wrist_scores=wrist_scores,
    )


@given(st.floats(-1200, 1200), st.floats(-800, 800))
def test_feet_give_the_place_exactly_and_a_head_nearly(x, y):
    by_feet = PLACER.places(seen(feet=(x, y, 0), head=(x, y, 1500)))
    by_head = PLACER.places(seen(head=(x, y, 1500)))
    assert np.allclose(by_feet.floor_mm, [[x, y]], atol=1e-3)
    error = np.hypot(*(by_head.floor_mm[0] - [x, y]))
    assert error <= 2 * by_head.sigma_mm[0]
    assert by_feet.sigma_mm[0] >= 40


def test_a_person_without_feet_and_head_has_no_place():
    places = PLACER.places(seen())
    assert np.isnan(places.floor_mm).all()
    [person] = people_payload(seen(), places, ["7"], PLACER)
    assert person == {"track": "7", "score": 0.9, "wrists": []}


@given(st.floats(-700, 700), st.floats(850, 1300))
def test_a_hand_at_a_shelf_is_placed_just_behind_its_front(x, z):
    [wrist] = PLACER.wrists(seen(wrists=[(x, 900 + INSIDE_MM, z)]), 0)
    assert np.allclose(wrist["mm"], [x, 900 + INSIDE_MM, z], atol=1)
    assert wrist["ray_mm"] == [[0, 0, 3200], wrist["mm"]]
    assert wrist["sigma_mm"] >= 80


@given(st.floats(-1000, 1000), st.floats(-500, 500), st.floats(850, 1350))
def test_a_hand_in_the_aisle_is_within_three_sigma(x, y, z):
    [wrist] = PLACER.wrists(seen(wrists=[(x, y, z)]), 0)
    assert wrist["mm"][2] == 1100
    assert np.hypot(wrist["mm"][0] - x, wrist["mm"][1] - y) <= 3 * wrist["sigma_mm"] + 1


def test_only_who_has_a_track_is_told_of():
    found = seen(feet=(0, 0, 0))
    assert people_payload(found, PLACER.places(found), [None], PLACER) == []


@pytest.mark.parametrize("scale", [0.5, 3.75])
def test_frames_of_another_size_are_scaled_to_the_calibrations(scale):
    found = seen(feet=(500, 300, 0), wrists=[(500, 900, 1000)])
    other = Placer(PLACER.view, (round(512 * scale), round(384 * scale)))
    there = other.scaled(found, (512, 384))
    back = PLACER.scaled(there, other.size_wh)
    assert np.allclose(back.feet_px, found.feet_px)
    assert np.allclose(back.wrists_px, found.wrists_px, equal_nan=True)
    assert np.allclose(there.boxes_xyxy, found.boxes_xyxy * scale)
