# SPDX-License-Identifier: Apache-2.0
"""Where people and hands are, from where they are seen."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bench.placing import PAIR, by_truth
from vision import reaching
from vision.detectors import Detections
from vision.geometry import Camera, ShelfFront
from vision.placing import WRIST_SHARE, Placer, people_payload
from vision.reaching import ABOVE_MM, DEEP_MM, STATURE_MM, stature

CAMERA = Camera.overhead((0, 0, 3200), 341.3, (512, 384))
FRONTS = (ShelfFront((-750, 900), (750, 900), 800, 1250),)
PLACER = Placer(CAMERA.view(), (512, 384), FRONTS)
NAN = float("nan")


def seen(*, camera=CAMERA, feet=None, head=None, wrists=()):
    """Return one detection of points in the store, as a camera sees them."""

    def pixel(point):
        return [[NAN, NAN]] if point is None else camera.project(point)

    wrists_px, wrist_scores = np.full((1, 2, 2), NAN), np.zeros((1, 2))
    for index, wrist in enumerate(wrists):
        wrists_px[0, index], wrist_scores[0, index] = camera.project(wrist)[0], 0.8
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


def test_nobody_stands_in_a_shelf_unless_their_head_is_seen():
    """An arm in a shelf is not somebody who stands there; behind the gondola there may be one."""

    def placed(x, y, **more):
        return bool(np.isfinite(PLACER.places(seen(feet=(x, y, 0), **more)).floor_mm).all())

    assert not placed(0, 1_250)
    assert not placed(-700, 1_050)
    assert placed(0, 950)  # Feet are not known to the centimetre.
    assert placed(0, 1_400)
    assert placed(800, 1_250)
    assert placed(0, 650)
    assert placed(0, 1_250, head=(0, 1_250, 1_600))
    shallow = (dataclasses.replace(FRONTS[0], depth_mm=200.0),)
    aisle_behind = Placer(CAMERA.view(), (512, 384), shallow)
    assert np.isfinite(aisle_behind.places(seen(feet=(0, 1_200, 0))).floor_mm).all()
    assert np.isnan(aisle_behind.places(seen(feet=(0, 1_100, 0))).floor_mm).all()
    no_front = Placer(CAMERA.view(), (512, 384), (ShelfFront((0, 900), (0, 900), 800, 1250),))
    assert np.isfinite(no_front.places(seen(feet=(0, 1_250, 0))).floor_mm).all()


SIDE = Camera.looking_at((0, -1500, 2400), (0, 900, 900), 480, (960, 720))
SHELVES = (ShelfFront((-1500, 900), (1500, 900), 500, 1500, (500, 1000, 1500)),)


@settings(max_examples=40)
@given(st.floats(-900, 900), st.sampled_from([500, 1000, 1500]), st.floats(-250, 250))
def test_a_hand_at_work_is_found_behind_its_front_and_above_its_shelf(x, level, aside):
    placer = Placer(SIDE, SIDE.size_wh, SHELVES)
    hand = np.array([x, 900 + DEEP_MM, level + ABOVE_MM])
    found = seen(camera=SIDE, feet=(x + aside, 450, 0), head=(x + aside, 450, 1600), wrists=[hand])
    [wrist] = placer.wrists(found, 0)
    assert np.linalg.norm(wrist["mm"] - hand) < 60
    assert wrist["ray_mm"] == [[0, -1500, 2400], wrist["mm"]]
    assert 15 <= wrist["sigma_mm"] <= 250


@settings(max_examples=40)
@given(st.floats(-800, 800), st.floats(-600, 200), st.floats(0, 6.28))
def test_a_hanging_hand_is_found_beside_its_body(x, y, heading):
    placer = Placer(SIDE, SIDE.size_wh, SHELVES)
    hand = np.array([x + 300 * np.cos(heading), y + 300 * np.sin(heading), 850])
    found = seen(camera=SIDE, feet=(x, y, 0), head=(x, y, 1595), wrists=[hand])
    [wrist] = placer.wrists(found, 0)
    off = np.linalg.norm(wrist["mm"] - hand)
    assert off < 3 * np.sqrt(3) * wrist["sigma_mm"] + 1
    # Unless it is before a shelf as well, the body tells its height.
    assert off < 150 or y + 300 > 300


def test_a_wrist_of_nobody_known_has_the_height_of_hands_and_says_how_unsure_that_is():
    placer = Placer(SIDE, SIDE.size_wh)
    [wrist] = placer.wrists(seen(camera=SIDE, wrists=[(0, 0, 1000)]), 0)
    assert 800 < wrist["mm"][2] < 1400
    assert wrist["sigma_mm"] > 100


def test_a_wrist_out_of_its_bodys_reach_is_taken_as_anybodys():
    placer = Placer(SIDE, SIDE.size_wh, SHELVES)
    found = seen(camera=SIDE, feet=(-1200, 0, 0), wrists=[(1300, 0, 1000)])
    [wrist] = placer.wrists(found, 0)
    assert wrist["mm"][0] > 500


@pytest.mark.parametrize("tall", [1500, 1700, 1900])
def test_stature_follows_from_the_head_where_the_camera_looks_across(tall):
    camera = Camera.looking_at((0, -4000, 1800), (0, 0, 1200), 480, (960, 720))
    [head] = camera.project((0, 0, tall - 105))
    told, sigma = stature(camera, head, np.array([0.0, 0.0]), 30.0)
    assert abs(told - tall) < 40
    assert sigma < 40
    above = Camera.overhead((0, 0, 3200), 341.3, (512, 384))
    told, sigma = stature(above, above.project((0, 0, tall - 105))[0], np.zeros(2), 40.0)
    assert (told, sigma) == (STATURE_MM, 100.0)


def test_a_camera_at_a_wrists_height_sees_it_too():
    low = Camera.looking_at((0, -3000, 1100), (0, 900, 1100), 480, (960, 720))
    placer = Placer(low, low.size_wh, SHELVES)
    hand = (0, 900 + DEEP_MM, 1130)
    found = seen(camera=low, feet=(0, 400, 0), head=(0, 400, 1600), wrists=[hand])
    [wrist] = placer.wrists(found, 0)
    assert np.linalg.norm(np.array(wrist["mm"]) - hand) < 60


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


def test_two_cameras_place_feet_and_hands_and_every_camera_says_how_unsure_it_is():
    """A short form of the bench: medians in mm, and errors over the deviations told."""
    tables = by_truth([1], 20, wrist_share=WRIST_SHARE)
    assert np.median(tables.floor[PAIR].off) < 90
    assert np.median(tables.front[PAIR].off) < 40
    for table, low, high in ((tables.floor, 0.8, 1.3), (tables.front, 0.5, 1.1)):
        for name, errors in table.items():
            off = np.array(errors.off) / errors.told
            norm = np.sqrt(np.mean(off**2) / errors.axes)
            assert low < norm < high, name


def test_a_head_tells_the_place_the_less_the_farther_it_is_from_below_the_camera():
    sigmas = [PLACER.places(seen(head=(x_mm, 0, 1_595))).sigma_mm[0] for x_mm in (0, 1_500)]
    slope = 1_500 / (3_200 - 1_595)
    assert sigmas[1] ** 2 - sigmas[0] ** 2 == pytest.approx((100.0 * slope) ** 2, rel=0.3)


def reaching_from(x_mm, y_mm):
    """Return what is known of the body of somebody who stands there, in full view."""
    found = seen(feet=(x_mm, y_mm, 0), head=(x_mm, y_mm, 1_595))
    return PLACER.stance(found, 0, PLACER.places(found))


def test_a_wrist_is_no_surer_than_its_keypoint(monkeypatch):
    stance, pixel = reaching_from(200, 0), CAMERA.project((200.0, 400.0, 1_000.0))[0]
    place, sigma = PLACER.wrist(pixel, stance)
    monkeypatch.setattr("vision.placing.WRIST_SHARE", 10 * WRIST_SHARE)
    _, tenfold = PLACER.wrist(pixel, stance)
    across = WRIST_SHARE * 512 * (3_200 - place[2]) / 341.3
    assert tenfold**2 - sigma**2 == pytest.approx(99 * 2 / 3 * across**2, rel=0.1)


def test_behind_a_front_is_no_hand_but_one_at_work():
    deep = np.array([[0.0, 900 + mm, 1_000.0] for mm in (-50, DEEP_MM, 300)])
    before, at_work, behind = reaching._likely(deep, FRONTS, reaching_from(0, 500))
    assert behind < 0.01 * before < at_work
