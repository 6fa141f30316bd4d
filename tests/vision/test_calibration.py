# SPDX-License-Identifier: Apache-2.0
"""Lenses from pictures of a board, places from points and tags."""

import dataclasses
import struct

import cv2
import msgspec
import numpy as np
import pytest

from gateway.domain.store import Camera as StoreCamera
from gateway.domain.store import FloorPoint, Lens, SpacePoint, Tag
from tests.vision.rigs import WIDE, as_camera, board_pictures, held, rays_apart_px, turned
from vision.boards import DEFAULT, PNG_HEAD, Board, BoardError
from vision.calibration import Sighting, calibrate_lens, distinct, find_board, missing_places
from vision.calibration_pose import fit_view, pose_from_points, unposed, view_of
from vision.calibration_tags import find_tags, picture_of, points_of, steady
from vision.flats import Flat
from vision.geometry import CalibrationError, Camera, FloorView
from vision.homography import apply_homography, homography_from_points
from vision.rendering import Renderer, Scene

BOARD = Board.parse("9x6x28")
SIZE = (640, 480)
CAMERA = Camera.looking_at((-2600, 0, 2700), (0, 100, 900), 320, SIZE, distortion=WIDE)


@pytest.fixture(scope="module")
def sightings():
    rng = np.random.default_rng(3)
    pictures = board_pictures(CAMERA, BOARD, rng, 18)
    return [seen for seen in (find_board(image, BOARD) for image in pictures) if seen]


def test_a_lens_is_found_to_a_small_part_of_a_pixel(sightings):
    fit = calibrate_lens(sightings, BOARD)
    assert rays_apart_px(CAMERA, as_camera(fit)) < 1.5  # In the corners; less elsewhere.
    assert fit.focal_px == pytest.approx((320, 320), rel=0.003)
    assert fit.rms_px < 0.3
    assert fit.field_deg == pytest.approx(107, abs=1)
    assert fit.focal_sigma < 0.002


def made(camera, poses, noise=0.05, seed=1):
    """Return sightings of whole boards in these poses (middle pixel, distance, rotation)."""
    rng = np.random.default_rng(seed)
    corners = BOARD.corners_mm()[:, :2]
    to_flat = (corners - np.array(BOARD.size_mm) / 2) @ np.eye(2)
    found = []
    for pixel, far, rotation in poses:
        flat = held(camera, BOARD, None, pixel=pixel, far_mm=far, rotation=rotation)
        ring = np.array(flat.corners_mm)
        across, down = (
            (ring[1] - ring[0]) / BOARD.size_mm[0],
            (ring[3] - ring[0]) / BOARD.size_mm[1],
        )
        places = ring.mean(axis=0) + to_flat[:, :1] * across + to_flat[:, 1:] * down
        pixels = camera.project(places) + rng.normal(0, noise, (len(places), 2))
        outline = apply_homography(homography_from_points(corners, pixels), BOARD.outline_mm())
        ids = np.arange(len(corners), dtype=np.int32)
        found.append(Sighting(ids, pixels, outline, camera.size_wh))
    return found


def spots(count):
    rng = np.random.default_rng(9)
    return [(rng.uniform(120, 520), rng.uniform(100, 380)) for _ in range(count)]


def test_too_few_views_are_refused_with_what_to_do(sightings):
    with pytest.raises(
        CalibrationError, match=r"5 of the 5 .* 10 are needed\. Show the board near"
    ):
        calibrate_lens(sightings[:5], BOARD)
    with pytest.raises(CalibrationError, match="1 of the 30 pictures"):
        calibrate_lens([sightings[0]] * 30, BOARD)


def test_views_of_one_corner_are_refused_with_where_to_show_the_board():
    rng = np.random.default_rng(4)
    poses = [
        (
            (rng.uniform(60, 300), rng.uniform(60, 230)),
            rng.uniform(300, 1200),
            turned((1, k % 5 - 2, 0), rng.uniform(0, 0.8)),
        )
        for k in range(80)
    ]
    with pytest.raises(CalibrationError, match=r"never seen in the image's .*lower right"):
        calibrate_lens(made(CAMERA, poses), BOARD)


def test_boards_that_all_face_the_camera_are_refused():
    camera = Camera.overhead((0, 0, 3000), 320, SIZE)
    poses = [(spot, 300.0, np.eye(3)) for spot in spots(25)]
    with pytest.raises(CalibrationError, match=r"too similar.*Tilt the board"):
        calibrate_lens(made(camera, poses), BOARD)


def test_corners_that_fit_no_lens_are_refused():
    poses = [(spot, 330.0, turned((1, k % 3 - 1, 0), 0.5)) for k, spot in enumerate(spots(25))]
    views = made(Camera.overhead((0, 0, 3000), 320, SIZE), poses, noise=4.0)
    with pytest.raises(CalibrationError, match="pixels from where any lens would show them"):
        calibrate_lens(views, BOARD)


def test_pictures_of_two_sizes_are_refused(sightings):
    other = dataclasses.replace(sightings[0], size_wh=(320, 240))
    with pytest.raises(CalibrationError, match="320 x 240 and 640 x 480"):
        calibrate_lens([*sightings, other], BOARD)


def test_a_view_that_barely_moved_is_no_new_one(sightings):
    first = sightings[0]
    nudged = dataclasses.replace(first, outline_px=first.outline_px + 3)
    assert len(distinct([first, nudged])) == 1
    assert "lower right" in missing_places([], SIZE)


def test_a_picture_without_a_board_has_none():
    assert find_board(Renderer(CAMERA, Scene()).render([]), BOARD) is None


def test_the_boards_png_says_its_size():
    content = BOARD.png()
    assert content[PNG_HEAD + 4 : PNG_HEAD + 8] == b"pHYs"
    across, down, unit = struct.unpack(">IIB", content[PNG_HEAD + 8 : PNG_HEAD + 17])
    assert (across, down, unit) == (12_000, 12_000, 1)
    image = cv2.imdecode(np.frombuffer(content, dtype=np.uint8), cv2.IMREAD_COLOR)
    assert image.shape[1] < 297 * 12
    assert image.shape[0] < 210 * 12
    seen = find_board(image, BOARD)
    width = np.linalg.norm(seen.outline_px[1] - seen.outline_px[0])
    assert width / 12 == pytest.approx(252, abs=0.1)


@pytest.mark.parametrize("words", ["", "9x6", "9x6x", "3x6x28", "9x6x2", "20x20x28", "9x6x28mm"])
def test_what_is_no_board_is_refused(words):
    with pytest.raises(BoardError, match="Give"):
        Board.parse(words)
    assert str(Board.parse(DEFAULT)) == DEFAULT


# Places.

FLOOR = [(-1000, -300), (800, 200), (900, -500), (-600, 500), (0, 0), (1500, 400)]
LENS = Lens(size_px=(1280, 960), focal_px=(640, 640), centre_px=(640.5, 480.5), distortion=WIDE)


def configured(points, **more):
    pixels = CAMERA.project(points)
    space = tuple(
        SpacePoint(px=tuple(px), mm=tuple(mm)) for px, mm in zip(pixels, points, strict=True)
    )
    camera = StoreCamera(name="aisle", size_px=SIZE, floor_points=(), lens=LENS, space_points=space)
    return msgspec.structs.replace(camera, **more)


@pytest.mark.parametrize(
    "points",
    [
        [(*spot, 0.0) for spot in FLOOR],
        [(*spot, 0.0) for spot in FLOOR[:4]],
        [(-500, 800, 1380), (-400, 800, 1200), (800, 800, 600), (900, -800, 1000), (0, 0, 0)],
    ],
    ids=["floor", "four", "space"],
)
def test_points_and_a_lens_of_another_size_tell_where_a_camera_hangs(points):
    fit = fit_view(configured(points))
    assert np.allclose(fit.view.position_mm, CAMERA.position_mm, atol=0.5)
    assert fit.rms_mm < 0.1
    pixels = [(100, 200), (600, 400), (320, 240)]
    assert np.allclose(fit.view.rays(pixels), CAMERA.rays(pixels), atol=1e-4)


def test_a_shifted_point_is_told_in_millimetres():
    points = np.array([(*spot, 0.0) for spot in FLOOR])
    camera = configured([tuple(point) for point in points])
    moved = list(camera.space_points)
    moved[2] = SpacePoint(px=moved[2].px, mm=(900, -420, 0.0))
    fit = fit_view(configured([tuple(point) for point in points], space_points=tuple(moved)))
    assert fit.errors_mm.argmax() == 2
    assert 20 < fit.errors_mm[2] < 80
    assert fit.spare == 6


def test_points_that_are_swapped_are_refused():
    pixels = CAMERA.project([(*spot, 0.0) for spot in FLOOR])
    places = [(*spot, 0.0) for spot in FLOOR]
    places[0], places[1] = places[1], places[0]
    with pytest.raises(CalibrationError, match="Check their pairing"):
        pose_from_points(unposed(LENS, SIZE), pixels, places)


@pytest.mark.parametrize(
    ("places", "problem"),
    [
        ([(0, 0, 0), (1, 0, 0), (0, 1, 0)], "Give 4 or more"),
        ([(k, 2 * k, 0) for k in range(5)], "in one line"),
        ([(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, float("nan"), 0)], "finite"),
    ],
)
def test_points_that_tell_no_place_are_refused(places, problem):
    pixels = [(10 * k, 5 * k * k) for k in range(len(places))]
    with pytest.raises(CalibrationError, match=problem):
        pose_from_points(unposed(LENS, SIZE), pixels, places)


def test_a_measured_place_that_does_not_fit_is_told():
    points = [(*spot, 0.0) for spot in FLOOR]
    assert view_of(configured(points, position_mm=(-2500.0, 0.0, 2700.0)))
    with pytest.raises(CalibrationError, match="mm from position_mm"):
        view_of(configured(points, position_mm=(-2600.0, 0.0, 3200.0)))


def test_floor_points_alone_give_a_homography():
    pixels = CAMERA.pinhole().project([(*spot, 0.0) for spot in FLOOR])
    floor = tuple(FloorPoint(px=tuple(p), mm=m) for p, m in zip(pixels, FLOOR, strict=True))
    fit = fit_view(StoreCamera(name="aisle", size_px=SIZE, floor_points=floor))
    assert isinstance(fit.view, FloorView)
    assert fit.rms_mm < 1e-3
    assert np.allclose(fit.view.position_mm, CAMERA.position_mm, atol=1)


def test_a_wide_lens_taken_as_a_pinhole_misplaces_the_camera():
    places = [(*spot, 0.0) for spot in FLOOR]
    pixels = CAMERA.project(places)
    floor = tuple(FloorPoint(px=tuple(p), mm=m) for p, m in zip(pixels, FLOOR, strict=True))
    bare = StoreCamera(name="aisle", size_px=SIZE, floor_points=floor)
    assert np.linalg.norm(view_of(bare).position_mm - CAMERA.position_mm) > 300
    known = msgspec.structs.replace(bare, lens=LENS)
    assert np.linalg.norm(view_of(known).position_mm - CAMERA.position_mm) < 1


# Tags.

FLAT = Tag(
    id=5,
    dictionary="4X4_50",
    size_mm=260.0,
    centre_mm=(-900.0, -300.0, 0.0),
    right=(0.8, 0.6, 0.0),
    down=(0.6, -0.8, 0.0),
)
TURNED = Tag(id=7, dictionary="4X4_50", size_mm=260.0, centre_mm=(300.0, 200.0, 0.0))
UPRIGHT = Tag(
    id=3,
    dictionary="APRILTAG_36H11",
    size_mm=240.0,
    centre_mm=(-600.0, 800.0, 1300.0),
    right=(1.0, 0.0, 0.0),
    down=(0.0, 0.0, -1.0),
)
TAGS = (FLAT, TURNED, UPRIGHT)


def printed(tag, at=None):
    picture = np.pad(picture_of(tag, 200), 40, constant_values=255)
    side = tag.size_mm * 280 / 200
    right, down = tag.right or (0.6, -0.8, 0.0), tag.down or (-0.8, -0.6, 0.0)
    return Flat.placed(picture, at or tag.centre_mm, right, down, (side, side))


def test_tags_tell_where_a_camera_with_a_lens_hangs():
    image = Renderer(CAMERA, Scene(flats=tuple(map(printed, TAGS)))).render([])
    seen = steady([find_tags(image, TAGS)] * 3)
    assert len(seen) == 3
    points = points_of(TAGS, seen, unposed(LENS, SIZE))
    assert [tag.id for tag in points.tags] == [5] * 4 + [7] + [3] * 4
    found = pose_from_points(unposed(LENS, SIZE), points.px, points.mm)
    assert np.linalg.norm(found.position_mm - CAMERA.position_mm) < 30
    assert len(points_of(TAGS, seen, None).px) == 5


def test_a_tag_that_is_there_twice_counts_as_not_seen():
    flats = (printed(FLAT), printed(FLAT, (500.0, -300.0, 0.0)))
    image = Renderer(CAMERA, Scene(flats=flats)).render([])
    assert find_tags(image, TAGS) == {}
