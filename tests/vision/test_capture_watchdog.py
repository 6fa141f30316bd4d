# SPDX-License-Identifier: Apache-2.0
"""Cameras that see nothing, told from those that look at an empty place."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from vision.rendering import Renderer
from vision.scenes import demo_camera, demo_scene
from vision.watchdog import Watchdog

VIDEOS = Path(__file__).parents[3] / "shared" / "data" / "videos"
SECOND_NS = 10**9


def reasons(images, *, fps=10, keep=None, after_s=5.0):
    """Return the watchdog's word on each frame."""
    watchdog = Watchdog(after_s)
    return [
        watchdog.look(image, SECOND_NS + round(number * 1e9 / fps), keep)
        for number, image in enumerate(images)
    ]


def rendered(count, rng):
    renderer = Renderer(demo_camera(), demo_scene())
    return [renderer.render([], rng) for _ in range(count)]


def test_an_empty_aisle_with_a_sensors_noise_is_not_frozen():
    assert set(reasons(rendered(80, np.random.default_rng(5)))) == {None}


def test_the_same_picture_is_frozen_after_five_seconds_and_not_before():
    told = reasons(rendered(1, None) * 60)
    assert told[:50] == [None] * 50
    assert told[53:] == ["frozen: the same picture for 5 s"] * 7


def test_what_moves_in_a_still_picture_is_seen_at_once():
    [still] = rendered(1, None)
    moved = still.copy()
    moved[200:240, 200:220] = 255 - moved[200:240, 200:220]
    assert np.abs(moved.astype(int) - still).mean() < 1
    told = reasons([still] * 60 + [moved] * 40 + [still] * 40)
    assert told[59].startswith("frozen")
    assert set(told[60:]) == {None}


@pytest.mark.parametrize("level", [0, 90, 245])
def test_a_covered_camera_is_told_whatever_its_noise(level):
    rng = np.random.default_rng(level)
    rough = [rng.normal(level, 12, (96, 128, 3)) for _ in range(60)]
    covered = [np.clip(image, 0, 255).astype(np.uint8) for image in rough]
    told = reasons(covered + rendered(2, np.random.default_rng(1)))
    assert told[49] is None
    assert told[59] == "covered or dark: a nearly uniform picture for 5 s"
    assert told[60:] == [None, None]


def test_a_mask_hides_neither_a_cover_nor_a_freeze():
    rng = np.random.default_rng(1)
    keep = np.ones((384, 512), dtype=bool)
    keep[:, :200] = False
    covered = np.full((384, 512, 3), 120, np.uint8)
    covered[~keep] = 0
    told = reasons([covered] * 55, keep=keep)
    assert told[-1].startswith("covered")
    frozen = rendered(1, None) * 55
    clocks = [image.copy() for image in frozen]
    for image in clocks:  # What a mask hides may move, such as a camera's own clock.
        image[:, :200] = rng.integers(0, 256)
    assert reasons(clocks)[-1] is None
    assert reasons(clocks, keep=keep)[-1].startswith("frozen")


def test_a_pause_is_no_freeze_and_a_blind_camera_stays_so_over_one():
    [still] = rendered(1, None)
    watchdog = Watchdog()
    assert watchdog.look(still, 0) is None
    assert watchdog.look(still, 60 * SECOND_NS) is None
    for second in range(61, 66):
        told = watchdog.look(still, second * SECOND_NS)
    assert told.startswith("frozen")
    assert watchdog.look(still, 300 * SECOND_NS).startswith("frozen")


def test_it_can_be_turned_off():
    assert set(reasons(rendered(1, None) * 100, after_s=0)) == {None}


@pytest.mark.parametrize("name", ["one-by-one-person-detection.mp4", "bottle-detection.mp4"])
def test_real_cameras_are_never_called_blind(name):
    if not (VIDEOS / name).exists():
        pytest.skip(f"{name} is not in the shared data")
    video = cv2.VideoCapture(str(VIDEOS / name))
    fps = video.get(cv2.CAP_PROP_FPS)
    images = []
    for number in range(200):
        good, image = video.read()
        assert good, number
        images.append(image)
    assert set(reasons(images, fps=fps)) == {None}
