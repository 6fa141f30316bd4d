# SPDX-License-Identifier: Apache-2.0
"""Boxes, keypoints and hands: what is made of a model's numbers, whatever ran it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vision.detectors import Detections, ModelError, build, persons_from_pose
from vision.detectors.boxes import box_iou, suppress, suppress_poses
from vision.detectors.hands import OWNER_PX, STRIDE, Hands, decode_hands, give_hands
from vision.detectors.images import letterbox
from vision.detectors.network import Form
from vision.detectors.persons import PersonDetector
from vision.scenes import pictures

FIXTURES = Path(__file__).parents[2] / "fixtures" / "model"


@given(st.integers(2, 900), st.integers(2, 900), st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_a_letterbox_keeps_aspect_and_finds_its_way_back(width, height, share):
    frame = np.zeros((height, width, 3), dtype=np.uint8)
    fitted, fit = letterbox(frame, (256, 192))
    assert fitted.shape == (192, 256, 3)
    point = np.array([share[0] * width, share[1] * height])
    assert np.allclose(fit.back(point * fit.scale + fit.offset_px), point)


def test_coco_keypoints_become_head_feet_and_wrists():
    points = np.zeros((1, 17, 3))
    points[0, [0, 1, 2]] = [[10, 10, 0.9], [8, 8, 0.8], [12, 8, 0.8]]
    points[0, [9, 10]] = [[1, 50, 0.7], [20, 51, 0.2]]
    points[0, [15, 16]] = [[8, 100, 0.9], [12, 102, 0.9]]
    found = persons_from_pose(np.array([[0.0, 0, 20, 104]]), np.array([0.9]), points)
    assert np.allclose(found.head_px, [[10, 26 / 3]])
    assert np.allclose(found.feet_px, [[10, 101]])
    assert np.allclose(found.wrist_scores, [[0.7, 0.2]])


def test_of_boxes_on_one_another_the_best_stays():
    boxes = np.array([[0.0, 0, 10, 10], [1, 0, 11, 10], [20, 20, 30, 30]])
    assert suppress(boxes, 0.6).tolist() == [0, 2]
    assert suppress(np.zeros((0, 4)), 0.6).tolist() == []
    assert box_iou(boxes[:1], boxes[1:2])[0, 0] == pytest.approx(90 / 110)


def heatmap(*hands):
    """Return a hands output with these ``(x_px, y_px, head_x_px, head_y_px, score)``."""
    output = np.zeros((5, 48, 64), dtype=np.float32)
    for x, y, head_x, head_y, score in hands:
        column, row = int(x // STRIDE), int(y // STRIDE)
        output[:, row, column] = (
            score,
            x / STRIDE - 0.5 - column,
            y / STRIDE - 0.5 - row,
            (head_x - x) / OWNER_PX,
            (head_y - y) / OWNER_PX,
        )
    return output


@given(st.floats(0, 255.9), st.floats(0, 191.9), st.floats(-50, 300), st.floats(-50, 250))
def test_a_peak_gives_its_hand_to_a_fraction_of_a_cell(x, y, head_x, head_y):
    hands = decode_hands(heatmap((x, y, head_x, head_y, 0.8)))
    assert np.allclose(hands.centres_px, [[x, y]], atol=1e-3)
    assert np.allclose(hands.heads_px, [[head_x, head_y]], atol=1e-2)


def test_a_flat_heatmap_has_no_hands():
    assert len(decode_hands(np.zeros((5, 48, 64), dtype=np.float32)).scores) == 0


@pytest.mark.parametrize(
    ("columns", "offset", "scores"),
    [
        ((10, 12), 0.4, [0.9]),  # two cells that point at one place between them
        ((10, 12), 0.0, [0.9, 0.8]),
        ((10, 12), -0.1, [0.9, 0.8]),
    ],
    ids=["1.2 cells", "2 cells", "2.2 cells"],
)
def test_two_peaks_nearer_than_two_cells_are_one_hand_the_surer(columns, offset, scores):
    seen = np.zeros((5, 48, 64), dtype=np.float32)
    for column, score, aside in zip(columns, (0.8, 0.9), (offset, -offset), strict=True):
        seen[:2, 20, column] = score, aside
    hands = decode_hands(seen)
    assert hands.scores == pytest.approx(scores)
    assert hands.centres_px[0] == pytest.approx(
        ((columns[1] + 0.5 - offset) * STRIDE, 20.5 * STRIDE)
    )
    assert len(hands.heads_px) == len(hands.centres_px) == len(scores)


def test_cells_that_are_equally_sure_of_one_hand_are_one():
    seen = np.zeros((5, 48, 64), dtype=np.float32)
    seen[0, 20:22, 10:12] = 0.7
    assert len(decode_hands(seen).scores) == 1


PICTURE = np.array([0.0, 0.0, 256.0, 192.0])


def two_persons():
    """Return two persons side by side, heads at (50, 50) and (90, 50)."""
    return Detections(
        boxes_xyxy=np.array([[20.0, 20, 85, 100], [60.0, 20, 120, 100]]),
        scores=np.array([0.9, 0.9]),
        head_px=np.array([[50.0, 50], [90.0, 50]]),
        head_scores=np.array([0.9, 0.9]),
        feet_px=np.array([[50.0, 90], [90.0, 90]]),
        feet_scores=np.array([0.9, 0.9]),
        wrists_px=np.full((2, 2, 2), np.nan),
        wrist_scores=np.zeros((2, 2)),
    )


@pytest.mark.parametrize(
    ("second_px", "score", "count"),
    [((7, 8), 0.3, 2), ((7, 8), 0.29, 1), ((np.nan, 8), 0.9, 1)],
    ids=["found", "unsure", "nowhere"],
)
def test_of_wrists_only_those_that_were_found_are_told(second_px, score, count):
    found = two_persons()
    found.wrists_px[1] = (5, 6), second_px
    found.wrist_scores[1] = 0.8, score
    assert found.wrists(0) == []
    told = [(tuple(pixel), sure) for pixel, sure in found.wrists(1)]
    assert told == [((5, 6), 0.8), (second_px, score)][:count]


def test_a_hand_between_two_goes_to_the_head_that_it_points_to():
    hands = decode_hands(heatmap((70, 70, 91, 50, 0.9), (78, 70, 52, 50, 0.8)))
    given = give_hands(two_persons(), hands, PICTURE)
    assert np.allclose(given.wrists_px[0, 0], [78, 70])
    assert np.allclose(given.wrists_px[1, 0], [70, 70])
    assert given.wrist_scores.round(1).tolist() == [[0.8, 0], [0.9, 0]]


def test_nobody_gets_a_third_hand_nor_one_from_afar():
    mine = [(40 + 12 * i, 70, 50, 50, 0.9) for i in range(3)]
    hands = decode_hands(heatmap(*mine, (240, 180, 50, 50, 0.9)))
    given = give_hands(two_persons(), hands, PICTURE)
    assert (given.wrist_scores[0] > 0).all()
    assert (given.wrists_px[0, :, 0] < 200).all()


def test_hands_without_persons_are_nobodys():
    nobody = Hands(np.zeros((1, 2)), np.zeros((1, 2)), np.zeros((1, 2)), np.ones(1))
    assert len(give_hands(Detections.empty(), nobody, PICTURE)) == 0


def test_whoever_has_the_largest_box_has_no_claim_for_that():
    both = two_persons()
    stretched = replace(both, boxes_xyxy=np.array([[0.0, 0, 150, 190], [60.0, 20, 120, 100]]))
    given = give_hands(stretched, decode_hands(heatmap((80, 70, 74, 50, 0.9))), PICTURE)
    assert given.wrist_scores[:, 0].tolist() == [0, pytest.approx(0.9)]


def test_a_hand_whose_head_the_picture_cuts_off_goes_to_whom_it_cuts():
    both = replace(
        two_persons(),
        boxes_xyxy=np.array([[20.0, 0, 85, 60], [60.0, 20, 120, 100]]),
        head_px=np.array([[np.nan, np.nan], [90.0, 50]]),
        head_scores=np.array([0.0, 0.9]),
    )
    given = give_hands(both, decode_hands(heatmap((70, 40, 60, -80, 0.9))), PICTURE)
    assert given.wrist_scores[:, 0].tolist() == [pytest.approx(0.9), 0]
    within = decode_hands(heatmap((70, 40, 90, 45, 0.9)))
    assert give_hands(both, within, PICTURE).wrist_scores[0, 0] == 0


def test_a_hand_whose_head_was_not_found_goes_to_the_feet_that_it_points_to():
    both = replace(two_persons(), head_scores=np.zeros(2), feet_px=np.array([[50.0, 90], [90, 90]]))
    seen = heatmap((66, 70, 70, 50, 0.9), (74, 70, 70, 50, 0.8))
    told = np.concatenate([seen, np.zeros((2, *seen.shape[1:]), dtype=np.float32)])
    for x, feet_x in ((66, 90), (74, 50)):
        told[5:, 70 // STRIDE, x // STRIDE] = (feet_x - x) / OWNER_PX, (90 - 70) / OWNER_PX
    hands = decode_hands(told)
    assert np.allclose(hands.feet_px, [[90, 90], [50, 90]])
    given = give_hands(both, hands, PICTURE)
    assert given.wrists_px[:, 0, 0].round().tolist() == [74, 66]
    assert np.isnan(decode_hands(seen).feet_px).all()


def test_head_and_feet_count_together_as_much_as_either_alone():
    """A hand is as far from the first one's head and feet as it says, and farther from the head of
    the second, of whom no feet were found: unsure ones, right where it says, do not count."""
    both = replace(
        two_persons(),
        boxes_xyxy=np.array([[20.0, 20, 120, 100], [20.0, 20, 120, 100]]),
        head_px=np.array([[50.0, 50], [102.0, 50]]),
        feet_px=np.array([[50.0, 90], [75.0, 90]]),
        feet_scores=np.array([0.9, 0.4]),
    )
    middle = np.array([[75.0, 50.0]])
    hands = Hands(np.array([[75.0, 70.0]]), middle, np.array([[75.0, 90.0]]), np.ones(1))
    assert give_hands(both, hands, PICTURE).wrist_scores[:, 0].tolist() == [1.0, 0.0]


def test_hands_of_a_net_of_another_size_point_to_the_same_places(monkeypatch):
    taken = []

    def give(found, hands, _picture):
        taken.append(hands)
        return found

    monkeypatch.setattr("vision.detectors.persons.give_hands", give)
    image = next(iter(pictures(5, 1))).image
    for people in (FIXTURES / "384" / "people.onnx", FIXTURES / "people.onnx"):
        build("onnxruntime", people, hands=FIXTURES / "384" / "hands.onnx").detect(image)
    same, smaller = taken
    assert len(same.scores) > 0
    for one, other in zip(
        (same.centres_px, same.heads_px, same.feet_px),
        (smaller.centres_px, smaller.heads_px, smaller.feet_px),
        strict=True,
    ):
        assert other == pytest.approx(one * 256 / 384, abs=1e-6)


def test_hands_are_given_as_they_fit_best_all_together():
    # All four point nearest to the left head, which has two hands: the right one gets those that
    # are off the least, not what is left over.
    hands = heatmap(
        (66, 60, 66, 50, 0.9), (78, 60, 64, 50, 0.8), (40, 60, 46, 50, 0.7), (30, 60, 44, 50, 0.6)
    )
    given = give_hands(two_persons(), decode_hands(hands), PICTURE)
    assert sorted(given.wrists_px[0, :, 0].round().tolist()) == [30, 40]
    assert sorted(given.wrists_px[1, :, 0].round().tolist()) == [66, 78]


def test_missing_and_wrong_files_are_refused_with_a_remedy(tmp_path):
    with pytest.raises(ModelError, match=r"no such file\. Give the path"):
        build("onnxruntime", tmp_path / "none.onnx")
    noise = tmp_path / "noise.onnx"
    noise.write_bytes(b"noise")
    with pytest.raises(ModelError, match="no ONNX model"):
        build("onnxruntime", noise)


def test_two_boxes_with_the_same_head_and_feet_are_one_person():
    boxes = np.array([[0.0, 0, 60, 100], [0, 0, 60, 45], [30, 0, 90, 100]])
    points = np.array(
        [
            [[30, 20, 0.9], [30, 90, 0.9]],
            [[32, 22, 0.9], [29, 88, 0.9]],  # without its legs
            [[60, 20, 0.9], [60, 90, 0.9]],  # somebody beside
        ]
    )
    assert suppress_poses(boxes, points).tolist() == [0, 2]
    points[1, :, 2] = 0.1  # keypoints that are not seen prove nothing
    assert suppress_poses(boxes, points).tolist() == [0, 1, 2]
    assert suppress_poses(np.zeros((0, 4)), np.zeros((0, 2, 3))).tolist() == []


class Turning:
    """A network of one YOLO box that is sound on noise, and then has a number as one of its."""

    form = Form(inputs=((1, 3, 64, 96),))

    def __init__(self, row, number):
        self.row, self.number, self.runs = row, number, 0

    def run(self, _pixels):
        output = np.zeros((1, 5, 126), dtype=np.float32)
        if self.runs:
            output[0, self.row, 7] = self.number
        self.runs += 1
        return [output]


@pytest.mark.parametrize(
    ("row", "number", "told"),
    [
        (4, np.nan, r"m\.onnx: on a frame of 96 x 64 its output as YOLO v8 .* not finite\. Export"),
        (0, np.inf, "not finite"),
        (4, 1.2, r"its scores .* from 0 to 1\.2 where"),
        (4, -0.2, r"its scores .* from -0\.2 to 0 where"),
    ],
)
def test_a_model_that_breaks_on_a_frame_fails_and_does_not_find_nobody(row, number, told):
    frame = np.zeros((64, 96, 3), dtype=np.uint8)
    broken = PersonDetector((Path("m.onnx"), Turning(row, number)), hands=None, score_min=0.3)
    with pytest.raises(ModelError, match=told):
        broken.detect(frame)
    quantised = PersonDetector((Path("m.onnx"), Turning(4, 1.005)), hands=None, score_min=0.3)
    assert len(quantised.detect(frame)) == 0  # the box has no size
