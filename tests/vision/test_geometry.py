# SPDX-License-Identifier: Apache-2.0
"""Pixels to millimetres and back, for any camera that could hang in a store."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vision.geometry import (
    CalibrationError,
    Camera,
    FloorView,
    homography_from_points,
)

SIZE_WH = (512, 384)
CORNERS_PX = [[40, 30], [470, 40], [480, 350], [30, 340], [250, 200]]

cameras = st.builds(
    lambda x, y, z, focal, a, b, yaw: Camera.overhead(
        (x, y, z), focal, SIZE_WH, tilt_rad=(a, b), yaw_rad=yaw
    ),
    st.floats(-3000, 3000),
    st.floats(-3000, 3000),
    st.floats(2200, 6000),
    st.floats(250, 700),
    st.floats(-0.4, 0.4),
    st.floats(-0.4, 0.4),
    st.floats(-3.1, 3.1),
)
pixels = st.tuples(st.floats(0, 511), st.floats(0, 383))


@given(cameras, pixels, st.floats(0, 1900))
def test_a_point_seen_at_a_pixel_is_found_again_at_its_height(camera, pixel, height):
    view = camera.view()
    [point] = view.at_height(pixel, height)
    assert point[2] == height
    assert np.allclose(camera.project(point), pixel, atol=1e-5)
    assert np.allclose(view.project(point), pixel, atol=1e-5)


@given(cameras, pixels)
def test_a_pixels_ray_points_at_its_floor_point(camera, pixel):
    [floor] = camera.view().floor(pixel)
    towards = np.array([*floor, 0.0]) - camera.position_mm
    assert np.allclose(camera.rays(pixel)[0], towards / np.linalg.norm(towards), atol=1e-7)


@given(cameras)
def test_floor_points_and_the_cameras_place_give_its_view(camera):
    floor = camera.view().floor(CORNERS_PX)
    view = FloorView.from_points(CORNERS_PX, floor, position_mm=camera.position_mm)
    body = np.array([*floor[4], 1500.0])
    body[:2] += (camera.position_mm[:2] - body[:2]) * 0.3
    assert np.allclose(view.project(body), camera.project(body), atol=1e-3)


@given(cameras.filter(lambda camera: camera.rotation[2, 2] > -0.97))
def test_a_tilted_cameras_place_follows_from_floor_points_alone(camera):
    floor = camera.view().floor(CORNERS_PX)
    view = FloorView.from_points(CORNERS_PX, floor, size_wh=SIZE_WH)
    assert np.allclose(view.position_mm, camera.position_mm, atol=1.0)


def test_a_camera_that_looks_straight_down_needs_its_place():
    camera = Camera.overhead((0, 0, 3200), 341.3, SIZE_WH)
    floor = camera.view().floor(CORNERS_PX)
    with pytest.raises(CalibrationError, match="Give position_mm"):
        FloorView.from_points(CORNERS_PX, floor, size_wh=SIZE_WH)


@pytest.mark.parametrize(
    ("points", "problem"),
    [
        ([[0, 0], [1, 1], [2, 2]], "Give at least 4"),
        ([[0, 0], [1, 1], [2, 2], [3, 3]], "in one line"),
        ([[5, 5]] * 4, "all the same"),
        ([[0, 0], [1, 0], [1, 1], [0, float("nan")]], "finite"),
    ],
)
def test_points_that_determine_nothing_are_refused(points, problem):
    with pytest.raises(CalibrationError, match=problem):
        homography_from_points([[0, 0], [1, 0], [1, 1], [0, 1]][: len(points)], points)


def test_a_millimetre_is_smaller_far_from_the_camera():
    view = Camera.overhead((0, 0, 3200), 341.3, SIZE_WH).view()
    assert view.mm_per_px((256, 192)) == pytest.approx(3200 / 341.3)
    assert view.mm_per_px((256, 192), 1600) == pytest.approx(1600 / 341.3)


LENSES = st.sampled_from([(), (-0.22, 0.05, 0.0006, -0.0004, -0.004), (0.1, -0.05, 0, 0, 0.01)])
RATIONAL = (0.8, 0.1, 0.0002, 0.0001, 0.01, 1.1, 0.25, 0.02)


@settings(max_examples=40)
@given(LENSES | st.just(RATIONAL), st.floats(0, 959), st.floats(0, 719), st.floats(0, 1500))
def test_a_lens_bends_and_straightens_to_the_same_pixel(distortion, x, y, height):
    camera = Camera.looking_at(
        (-2600, 0, 2700), (0, 100, 900), 480, (960, 720), distortion=distortion
    )
    [ray] = camera.rays((x, y))
    assert np.allclose(camera.project(camera.position_mm + 3000 * ray), [[x, y]], atol=1e-4)
    [point] = camera.at_height((x, y), height)
    if np.isfinite(point).all() and np.linalg.norm(point) < 1e5:
        assert np.allclose(camera.project(point), [[x, y]], atol=1e-3)


def test_a_lens_agrees_with_opencvs():
    camera = Camera.looking_at((0, -3000, 2500), (0, 0, 0), 480, (960, 720), distortion=RATIONAL)
    points = np.random.default_rng(1).uniform(-1500, 1500, (50, 3)) * (1, 1, 0.3)
    turn = cv2.Rodrigues(camera.rotation)[0]
    shift = -camera.rotation @ camera.position_mm
    theirs = cv2.projectPoints(points, turn, shift, camera.intrinsics, np.array(RATIONAL))[0]
    assert np.allclose(camera.project(points), theirs.reshape(-1, 2), atol=1e-6)


def test_what_a_lens_cannot_show_is_no_pixel_and_no_direction():
    folding = (-0.35, 0.0, 0.0, 0.0, 0.0)
    camera = Camera.overhead((0, 0, 3000), 480, (960, 720), distortion=folding)
    assert np.isnan(camera.project((9000, 0, 0))).all()
    assert np.isnan(camera.rays((959, 719))).all()
    assert camera.mm_per_px((959, 719)) == np.inf


def test_above_the_horizon_there_is_no_floor_but_a_direction():
    camera = Camera.looking_at((0, -3000, 1500), (0, 0, 1400), 480, (960, 720))
    for view in (camera, camera.view()):
        assert np.isnan(view.floor((480, 100))).all()
        [ray] = view.rays((480, 100))
        assert ray[2] > 0.3
        assert ray[1] > 0.5
        [high] = view.at_height((480, 100), 2500.0)
        assert np.allclose(view.position_mm + ray * 1000 / ray[2], high)
    assert np.allclose(camera.rays((480, 100)), camera.view().rays((480, 100)))


@given(cameras, pixels)
def test_a_homography_and_its_camera_see_along_the_same_lines(camera, pixel):
    assert np.allclose(camera.rays(pixel), camera.view().rays(pixel), atol=1e-7)
