# SPDX-License-Identifier: Apache-2.0
"""From a model's output to persons in input pixels, one function for each format."""

import numpy as np
import numpy.typing as npt

from vision.detectors import Detections, ModelError, persons_from_boxes, persons_from_pose
from vision.detectors.boxes import suppress, suppress_poses
from vision.detectors.formats import TITLES, Format
from vision.geometry import FloatArray

Output = npt.NDArray[np.float32]
IOU_MAX = 0.5
PERSONS_MAX = 50
CANDIDATES_MAX = 1000
"""So many of the best boxes of one frame are compared with one another."""
NORMALISED_MAX = 4.0
"""Coordinates in pixels over a whole grid are never all this small."""
SCORE_SLACK = 0.01
"""Quantised models give scores a little beside 0 and 1."""
LOG_SIZE_MAX = 20.0
"""Of cells; beyond any picture, and far from overflow."""


def decode(
    output: Output, form: Format, size_wh: tuple[int, int], *, score_min: float
) -> Detections:
    """Return the persons of one output, best first.

    Args:
        output: As its format has it, with the leading 1.
        form: Its format, not that of hands.
        size_wh: Width and height of the input, whose pixels the result is in.
        score_min: Least score of a person.
    """
    if form.name == "yolo":
        boxes, scores, points = _yolo(output[0], form, size_wh, score_min)
    elif form.name == "e2e":
        boxes, scores, points = _end_to_end(output[0], form, size_wh, score_min)
    elif form.name == "yolox":
        boxes, scores, points = _yolox(output[0], form, size_wh, score_min)
    else:
        assert form.name == "ssd", "the caller reads hands"
        boxes, scores, points = _ssd(output[0, 0], size_wh, score_min)
    # A broken model's output is no place: neither are boxes turned inside out.
    whole = np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    whole &= np.isfinite(points).all(axis=(1, 2))
    boxes, scores, points = boxes[whole], scores[whole], points[whole]
    order = np.argsort(-scores, kind="stable")[:CANDIDATES_MAX]
    boxes, scores, points = boxes[order], scores[order], points[order]
    if form.name != "e2e":
        kept = suppress(boxes, IOU_MAX)
        if form.keypoints[0]:
            kept = kept[suppress_poses(boxes[kept], points[kept])]
        boxes, scores, points = boxes[kept], scores[kept], points[kept]
    boxes, scores, points = boxes[:PERSONS_MAX], scores[:PERSONS_MAX], points[:PERSONS_MAX]
    if form.keypoints[0]:
        return persons_from_pose(boxes, scores, points)
    return persons_from_boxes(boxes, scores)


def check_output(output: Output, form: Format) -> None:
    """Look whether all numbers are finite and what should be scores are from 0 to 1.

    Of what is neither, :func:`decode` would make nobody, which is more than not to know.

    Raises:
        ModelError: They are not: the file's conversion went wrong, or the format was mistaken.
    """
    if form.name == "ssd":
        output = output[:, :, ~_ended(output[0, 0])]  # What follows may be anything.
    if not np.isfinite(output).all():
        raise ModelError(
            f"its output as {TITLES[form.name]} has numbers that are not finite. "
            "Export the model again, in another way"
        )
    if form.name == "yolo":
        scores = output[0, 4 : 4 + form.classes]
    elif form.name == "hands":
        scores = output[0, 0]
    elif form.name == "ssd":
        scores = output[0, 0, :, 2]
    else:
        scores = output[0, :, 4 : None if form.name == "yolox" else 5]
    least, most = float(scores.min(initial=0.0)), float(scores.max(initial=0.0))
    if least < -SCORE_SLACK or most > 1 + SCORE_SLACK:
        raise ModelError(
            f"its scores as {TITLES[form.name]} are from {least:.3g} to {most:.3g} "
            "where they must be from 0 to 1. Export the model again, in another way"
        )


_Raw = tuple[FloatArray, FloatArray, FloatArray]
"""``(n, 4)`` corners, ``(n,)`` scores and ``(n, k, 3)`` keypoints."""


def _yolo(output: Output, form: Format, size_wh: tuple[int, int], score_min: float) -> _Raw:
    """Read ``(4 + c + kd, a)``: centre and size, classes, keypoints; in pixels or from 0 to 1."""
    row = 4 + form.person
    chosen = output[:, output[row] >= score_min].T.astype(np.float64)
    points = _points(chosen[:, 4 + form.classes :], form)
    if output[:4].max(initial=0.0) <= NORMALISED_MAX:
        chosen[:, :4] *= (*size_wh, *size_wh)
        points = points * (*size_wh, 1.0)
    return _corners(chosen[:, :4]), chosen[:, row], points


def _end_to_end(output: Output, form: Format, size_wh: tuple[int, int], score_min: float) -> _Raw:
    """Read ``(n, 6 + kd)``: corners, score, class, keypoints; in pixels or from 0 to 1."""
    named = np.abs(output[:, 5] - form.person) < 0.5
    chosen = output[(output[:, 4] >= score_min) & named].astype(np.float64)
    points, boxes = _points(chosen[:, 6:], form), chosen[:, :4]
    if len(boxes) and boxes.max() <= NORMALISED_MAX:
        boxes = boxes * (*size_wh, *size_wh)
        points = points * (*size_wh, 1.0)
    return boxes, chosen[:, 4], points


def _yolox(output: Output, form: Format, size_wh: tuple[int, int], score_min: float) -> _Raw:
    """Read ``(a, 5 + c)``: centre and size as offset and logarithm in cells, objectness, classes.

    Some exports have centre and size in pixels already.
    """
    scores = output[:, 4] * output[:, 5 + form.person]
    seen = scores >= score_min
    chosen = output[seen, :4].astype(np.float64)
    if output[:, :2].max(initial=0.0) < max(size_wh) / 4:
        corners, sides = _cells(size_wh, form.grids)
        side = sides[seen, None]
        centres = (chosen[:, :2] + corners[seen]) * side
        sizes = np.exp(np.minimum(chosen[:, 2:], LOG_SIZE_MAX)) * side
        chosen = np.concatenate([centres, sizes], axis=1)
    return _corners(chosen), scores[seen].astype(np.float64), np.zeros((len(chosen), 0, 3))


def _ssd(output: Output, size_wh: tuple[int, int], score_min: float) -> _Raw:
    """Read ``(n, 7)``: picture (-1 from the end on), class, score, corners from 0 to 1."""
    chosen = output[(output[:, 2] >= score_min) & ~_ended(output)].astype(np.float64)
    boxes = chosen[:, 3:] * (*size_wh, *size_wh)
    return boxes, chosen[:, 2], np.zeros((len(chosen), 0, 3))


def _ended(output: Output) -> npt.NDArray[np.bool_]:
    """Return ``(n,)`` which rows of an SSD's ``(n, 7)`` lie behind its end."""
    return np.asarray(np.cumsum(output[:, 0] == -1) > 0)


def _cells(size_wh: tuple[int, int], grids: tuple[int, ...]) -> tuple[FloatArray, FloatArray]:
    """Return ``(a, 2)`` column and row of each cell, and ``(a,)`` its side in pixels."""
    corners, sides = [], []
    for side in grids:
        rows, columns = np.mgrid[0 : size_wh[1] // side, 0 : size_wh[0] // side]
        corners.append(np.column_stack([columns.ravel(), rows.ravel()]))
        sides.append(np.full(rows.size, float(side)))
    return np.concatenate(corners).astype(np.float64), np.concatenate(sides)


def _corners(centred: FloatArray) -> FloatArray:
    """Return ``(n, 4)`` corners of ``(n, 4)`` centres and sizes."""
    half = centred[:, 2:] / 2
    return np.concatenate([centred[:, :2] - half, centred[:, :2] + half], axis=1)


def _points(fields: FloatArray, form: Format) -> FloatArray:
    """Return ``(n, k, 3)`` keypoints; those without a score of their own are all seen."""
    count, numbers = form.keypoints
    points = fields[:, : count * numbers].reshape(len(fields), count, numbers)
    if numbers == 2:
        points = np.concatenate([points, np.ones((*points.shape[:2], 1))], axis=2)
    return points
