# SPDX-License-Identifier: Apache-2.0
"""The last seconds of a camera, kept in memory: bounded, and found again by time and place."""

import numpy as np
import pytest

from vision.capture import Frame
from vision.recall import FRAMES_MAX, SAME_MM, Recall, around

S = 1_000_000_000


def frame_of(image, number, at_ns):
    high, wide = image.shape[:2]
    return Frame(image, number, at_ns, (wide, high))


def textured(seed, size_wh=(320, 240)):
    """Return a picture that JPEG cannot make small."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 255, (size_wh[1], size_wh[0], 3), dtype=np.uint8)


def test_what_is_too_old_goes():
    recall = Recall(kept_s=2.0)
    for tenth in range(50):
        recall.keep(frame_of(textured(0), tenth, tenth * S // 10))
    times = [one.boottime_ns for one in recall.between(0, 100 * S)]
    assert times == [tenth * S // 10 for tenth in range(29, 50)]


def test_memory_is_bounded_whatever_the_frames_are():
    recall = Recall(kept_s=100.0, bytes_max=400_000)
    for number in range(40):
        recall.keep(frame_of(textured(number), number, number * S // 30))
        assert recall.size_bytes <= 400_000
    assert 1 <= len(recall) < 40


def test_a_kept_frame_is_the_frame():
    recall = Recall()
    image = np.full((240, 320, 3), (10, 120, 230), dtype=np.uint8)
    recall.keep(frame_of(image, 7, 5 * S))
    [kept] = recall.between(4 * S, 6 * S)
    assert (kept.number, kept.boottime_ns) == (7, 5 * S)
    assert np.abs(kept.opened().image.astype(int) - image).max() < 6
    assert recall.between(5 * S + 1, 6 * S) == []


def test_an_answer_is_no_longer_than_may_be_sent():
    recall = Recall()
    for number in range(3 * FRAMES_MAX):
        recall.keep(frame_of(textured(0, (32, 24)), number, number * S // 60))
    found = [one.number for one in recall.between(0, 10 * S)]
    assert len(found) == FRAMES_MAX
    assert (found[0], found[-1]) == (0, 3 * FRAMES_MAX - 1)
    assert found == sorted(found)


def test_whoever_stood_nearest_then_is_whose_hand_it_is():
    recall = Recall()
    places = np.array([[0.0, 0.0], [900.0, 0.0], [np.nan, np.nan]])
    recall.note(10.0, ["7", "8", None], places)
    recall.note(20.0, ["9"], places[:1])
    assert recall.name_at(10.2, np.array([100.0, 0.0])) == "7"
    assert recall.name_at(10.2, np.array([800.0, 50.0])) == "8"
    assert recall.name_at(10.2, np.array([0.0, SAME_MM + 1.0])) is None
    assert recall.name_at(15.0, np.array([0.0, 0.0])) is None
    assert recall.name_at(20.0, np.array([0.0, 0.0])) == "9"
    assert recall.name_at(20.0, np.array([np.nan, np.nan])) is None


@pytest.mark.parametrize(
    ("centre", "radius", "square"),
    [
        ((100.0, 80.0), 40.0, (60, 40, 140, 120)),
        ((5.0, 80.0), 40.0, (0, 40, 80, 120)),
        ((318.0, 239.0), 40.0, (240, 160, 320, 240)),
        ((160.0, 120.0), 900.0, (40, 0, 280, 240)),
        ((900.0, 80.0), 40.0, None),
        ((np.nan, 80.0), 40.0, None),
    ],
)
def test_a_crop_lies_in_the_picture_or_is_none(centre, radius, square):
    assert around(np.array(centre), radius, (320, 240)) == square
