# SPDX-License-Identifier: Apache-2.0
"""Rendered pictures: labels are where things are painted."""

import dataclasses

import numpy as np
import pytest

from vision.figure import Body, look_of, resting_wrists
from vision.geometry import Camera
from vision.rendering import Renderer, Scene
from vision.scenes import BARREL, BESIDE_MM, SIZE_WH, demo_camera, demo_scene, pictures


def standing(x=0.0, y=0.0, **changes):
    body = Body((x, y), 0.0, 1700.0, resting_wrists((x, y), 0.0, 1700.0), look=5)
    return dataclasses.replace(body, **changes)


def test_an_empty_store_has_no_labels():
    renderer = Renderer(demo_camera(), demo_scene())
    labels = renderer.labels([])
    assert labels.boxes_xyxy.shape == (0, 4)
    assert labels.wrists_px.shape == (0, 2, 2)
    assert (renderer.render([]) == renderer.render([])).all()


def test_a_reaching_hand_is_painted_where_its_label_says():
    renderer = Renderer(demo_camera(), Scene())
    body = standing(wrists_mm=((600.0, 300.0, 1200.0), (600.0, -300.0, 1200.0)))
    image, labels = renderer.render([body]), renderer.labels([body])
    assert labels.present.all()
    assert labels.wrists_visible.all()
    for x, y in labels.wrists_px[0]:
        assert tuple(image[round(y), round(x)]) == look_of(5).hand
    low, high = labels.boxes_xyxy[0, :2], labels.boxes_xyxy[0, 2:]
    assert (low <= labels.wrists_px[0]).all()
    assert (labels.wrists_px[0] <= high).all()


@pytest.mark.parametrize(
    ("wrist", "visible"),
    [
        ((0.0, 930.0, 1000.0), True),  # into the lower shelf, before the upper deck's edge
        ((0.0, 1150.0, 900.0), False),  # deep under the upper deck
        ((0.0, 1000.0, 1350.0), True),  # over the upper shelf
        ((9000.0, 0.0, 1000.0), False),  # out of the frame
    ],
)
def test_decks_and_the_frame_hide_hands(wrist, visible):
    renderer = Renderer(demo_camera(), demo_scene())
    body = standing(y=450.0, heading_rad=np.pi / 2, wrists_mm=(wrist, (250.0, 450.0, 850.0)))
    assert renderer.labels([body]).wrists_visible[0, 0] == visible


def test_a_body_mostly_out_of_the_frame_is_not_present():
    renderer = Renderer(demo_camera(), Scene())
    labels = renderer.labels([standing(), standing(x=2600.0)])
    assert labels.present.tolist() == [True, False]


def test_a_seed_decides_pictures():
    first, again, other = (list(pictures(seed, 3)) for seed in (4, 4, 5))
    for one, two in zip(first, again, strict=True):
        assert (one.image == two.image).all()
        assert (one.labels.wrists_px == two.labels.wrists_px).all()
    assert any((one.image != two.image).any() for one, two in zip(first, other, strict=True))


@pytest.mark.parametrize("x", [-2400.0, -1800.0, 0.0, 1800.0, 2400.0])
def test_who_stands_whole_at_the_edge_of_a_wide_lens_is_whole(x):
    camera = Camera.overhead((0.0, 0.0, 3200.0), 215.0, SIZE_WH, distortion=BARREL)
    labels = Renderer(camera, Scene()).labels([standing(x=x)])
    assert (labels.boxes_xyxy > 0).all()
    assert (labels.boxes_xyxy[0, 2:] < SIZE_WH).all()
    assert 0.8 < labels.share[0] <= 1.0


def test_who_stands_half_out_of_a_wide_lens_has_that_share():
    camera = Camera.overhead((0.0, 0.0, 3200.0), 260.0, SIZE_WH, distortion=BARREL)
    labels = Renderer(camera, Scene()).labels([standing(x=x) for x in (-2600.0, -3300.0)])
    assert 0.3 < labels.share[0] < 0.8
    assert labels.share[1] < 0.25


def test_in_busy_pictures_most_stand_close_to_somebody():
    close = []
    for busy in (False, True):
        found = list(pictures(6, 30, busy=busy))
        gaps = []
        for feet in (picture.labels.feet_px for picture in found):
            apart = np.hypot(*(feet[:, None] - feet[None]).transpose(2, 0, 1))
            gaps += (apart + 1e6 * np.eye(len(feet))).min(axis=1).tolist() if len(feet) > 1 else []
        # Wide lenses show BESIDE_MM at most about so large.
        close.append(np.mean(np.array(gaps) < 0.12 * BESIDE_MM[1]))
    assert close[0] < 0.3
    assert close[1] > 0.6
