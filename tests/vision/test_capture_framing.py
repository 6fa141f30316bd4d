# SPDX-License-Identifier: Apache-2.0
"""Types and sizes of frames, crop and mask, and that the calibration's pixels stay true."""

import numpy as np
import pytest

from tests.vision.test_vision_worker import OnePerson, config
from vision.appearance import build_appearance
from vision.detectors import Detections
from vision.framing import FrameTypeError, Framing, FramingError, as_bgr
from vision.gate import MotionGate
from vision.recall import Recall
from vision.seeing import Seeing
from vision.worker import Worker, check


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (np.full((16, 24), 77, np.uint8), (77, 77, 77)),
        (np.full((16, 24, 1), 77, np.uint8), (77, 77, 77)),
        (np.full((16, 24, 3), (1, 2, 3), np.uint8), (1, 2, 3)),
        (np.full((16, 24, 4), (1, 2, 3, 255), np.uint8), (1, 2, 3)),
        (np.full((16, 24), 77 << 8 | 5, np.uint16), (77, 77, 77)),
        (np.full((16, 24, 3), 77 << 8, np.uint16), (77, 77, 77)),
        (np.full((16, 24, 4), 77 << 8, np.uint16), (77, 77, 77)),
    ],
)
def test_frames_of_usual_types_become_colour_of_eight_bits(raw, expected):
    image = as_bgr(raw)
    assert image.shape == (16, 24, 3)
    assert image.dtype == np.uint8
    assert (image == expected).all()


@pytest.mark.parametrize(
    "raw",
    [
        np.zeros((4, 6), np.float32),
        np.zeros((4, 6, 2), np.uint8),
        np.zeros((2, 4, 6, 3), np.uint8),
        np.zeros(6, np.uint8),
        np.zeros((0, 6, 3), np.uint8),
        np.broadcast_to(np.uint8(0), (4, 9_000, 3)),
        np.array(None),
    ],
)
def test_what_is_no_picture_is_a_clear_error(raw):
    with pytest.raises(FrameTypeError, match=r"no pictures\. Set the camera to colour"):
        as_bgr(raw)


@pytest.mark.parametrize("size_wh", [(1, 4_000), (4_000, 1), (15, 480), (640, 15), (3, 2)])
def test_a_frame_that_shows_nobody_is_a_clear_error(size_wh):
    raw = np.zeros((size_wh[1], size_wh[0], 3), np.uint8)
    told = f"gives frames of {size_wh[0]}x{size_wh[1]} px, .*Set the camera to 16x16 px or more"
    with pytest.raises(FrameTypeError, match=told):
        Framing(resolution=(640, 480)).cut(raw)
    assert Framing().cut(np.zeros((16, 16, 3), np.uint8)).size_wh == (16, 16)


def test_a_frame_that_would_fill_the_memory_is_a_clear_error():
    raw = np.broadcast_to(np.uint8(0), (4_001, 4_000, 3))
    with pytest.raises(FrameTypeError, match="4000x4001 px, more than 16 million"):
        as_bgr(raw)
    assert as_bgr(raw[:4_000]).shape == (4_000, 4_000, 3)


def test_crop_and_mask_follow_the_size_of_the_frames():
    framing = Framing(
        size_wh=(100, 80), crop=(20, 10, 60, 40), mask=(((0, 0), (49, 0), (49, 80), (0, 80)),)
    )
    framing.check()
    for scale in (1, 2, 3):
        cut = framing.cut(np.full((80 * scale, 100 * scale, 3), 200, np.uint8))
        assert cut.image.shape == (40 * scale, 60 * scale, 3)
        assert cut.origin_px == (20 * scale, 10 * scale)
        assert cut.size_wh == (100 * scale, 80 * scale)
        assert cut.image.flags.c_contiguous
        edge = 30 * scale
        assert (cut.image[:, : edge - scale] == 0).all()
        assert (cut.image[:, edge + scale :] == 200).all()
        assert not cut.keep[:, : edge - scale].any()
        assert cut.keep[:, edge + scale :].all()


def test_frames_are_scaled_to_the_resolution_that_is_set():
    cut = Framing(size_wh=(100, 80), resolution=(50, 40), crop=(20, 20, 40, 40)).cut(
        np.zeros((240, 300, 3), np.uint8)
    )
    assert (cut.image.shape, cut.size_wh, cut.origin_px) == ((20, 20, 3), (50, 40), (10, 10))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"crop": (90, 0, 20, 20)}, r"crop: \[90, 0, 20, 20\] leaves the picture of 100x80 px"),
        ({"crop": (0, 0, 8, 20)}, "crop: is 8x20 px. Give at least 16x16"),
        ({"mask": (((0, 0), (5, 0), (101, 5)),)}, "mask: polygon 1 leaves the picture of 100x80"),
        ({"mask": (((0, 0), (100, 0), (100, 80), (0, 80)),)}, "mask: hides everything"),
    ],
)
def test_crops_and_masks_that_do_not_fit_are_clear_errors(changes, problem):
    with pytest.raises(FramingError, match=problem):
        Framing(size_wh=(100, 80), **changes).check()


def test_a_worker_refuses_a_crop_that_does_not_fit():
    with pytest.raises(FramingError, match="leaves the picture of 512x384 px"):
        check(config(crop=(500, 0, 64, 64)))
    with pytest.raises(FramingError, match="leaves the picture"):
        Worker(config(crop=(500, 0, 64, 64)), None)


class InTheCrop(OnePerson):
    """Sees the same person, in pixels of the crop that it is given."""

    def __init__(self, whole_wh, origin_px):
        self.whole = np.zeros((whole_wh[1], whole_wh[0], 3), np.uint8)
        self.origin_px = origin_px

    def detect(self, frame):
        assert frame.shape[0] < self.whole.shape[0]
        found, (x, y) = super().detect(self.whole), self.origin_px
        return Detections(
            boxes_xyxy=found.boxes_xyxy - [x, y, x, y],
            scores=found.scores,
            head_px=found.head_px - [x, y],
            head_scores=found.head_scores,
            feet_px=found.feet_px - [x, y],
            feet_scores=found.feet_scores,
            wrists_px=found.wrists_px - [x, y],
            wrist_scores=found.wrist_scores,
        )


@pytest.mark.parametrize("scale", [1, 2])
def test_people_in_a_crop_stand_where_they_stand_in_the_whole_picture(scale):
    from vision.capture import Frame

    whole_wh = (512 * scale, 384 * scale)
    whole = np.zeros((whole_wh[1], whole_wh[0], 3), np.uint8)
    plain, cropped = Worker(config(), None), Worker(config(crop=(100, 40, 300, 300)), None)
    cut = cropped.config.framing.cut(whole)
    whole_seen, cut_seen = (
        Seeing(detector, build_appearance(), worker._placer, MotionGate(), Recall())
        for worker, detector in (
            (plain, OnePerson()),
            (cropped, InTheCrop(whole_wh, cut.origin_px)),
        )
    )
    for number in range(3):
        at_ns = number * 100_000_000
        expected = whole_seen.people(Frame(whole, number, at_ns, whole_wh))
        frame = Frame(cut.image, number, at_ns, cut.size_wh, cut.origin_px)
        assert cut_seen.people(frame) == expected
    assert expected
    assert expected[0]["wrists"]
