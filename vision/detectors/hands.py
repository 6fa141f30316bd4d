# SPDX-License-Identifier: Apache-2.0
"""From the hands net's heatmap to wrists, and from wrists to the persons they belong to.

The net gives ``(5, h, w)`` for cells of 4 x 4 pixels: how much a hand is centred in the cell, where
in the cell (x, y, in cells from its middle), and where its owner's head is seen from the hand (x,
y, in units of :data:`HEAD_PX`). ``vision/yolo/hands_net.py`` trains it.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from vision.detectors import Detections
from vision.geometry import FloatArray

STRIDE = 4
HEAD_PX = 64.0
HANDS_MAX = 24
HEAD_SCORE_MIN = 0.5
"""A head keypoint that is less sure than this says nothing about whose hand it is."""


@dataclass(frozen=True, slots=True)
class Hands:
    """``n`` hands in the net's input pixels.

    Attributes:
        centres_px: ``(n, 2)``.
        heads_px: ``(n, 2)`` where the owner's head should be.
        scores: ``(n,)``, best first.
    """

    centres_px: FloatArray
    heads_px: FloatArray
    scores: FloatArray


def decode_hands(heatmap: npt.NDArray[np.float32], *, score_min: float = 0.3) -> Hands:
    """Return the peaks of an ``(5, h, w)`` output: cells that no neighbour exceeds."""
    heat = heatmap[0]
    ringed = np.pad(heat, 1, constant_values=-1.0)
    windows = np.lib.stride_tricks.sliding_window_view(ringed, (3, 3))
    peaks = (heat >= score_min) & (heat >= windows.max(axis=(2, 3)))
    rows, columns = np.nonzero(peaks)
    order = np.argsort(-heat[rows, columns], kind="stable")[:HANDS_MAX]
    rows, columns = rows[order], columns[order]
    found = heatmap[:, rows, columns].astype(np.float64)
    cells = np.column_stack([columns, rows]) + 0.5 + found[1:3].T
    centres = cells * STRIDE
    kept = _apart(centres, 2.0 * STRIDE)
    return Hands(
        centres_px=centres[kept],
        heads_px=(centres + found[3:5].T * HEAD_PX)[kept],
        scores=found[0][kept],
    )


def give_hands(persons: Detections, hands: Hands) -> Detections:
    """Return the persons with at most two hands each, nearest claims first.

    A claim is the distance from where the hand says its owner's head is to that person's head, and
    where the head is not seen, from the hand to the person's box; both as a share of the box. Both
    arguments are in the same pixels.
    """
    wrists, scores = np.full((len(persons), 2, 2), np.nan), np.zeros((len(persons), 2))
    claims = _claims(persons, hands)
    taken = np.zeros(len(persons), dtype=np.int64)
    given = np.zeros(len(hands.scores), dtype=np.bool_)
    for flat in np.argsort(claims, axis=None, kind="stable"):
        person, hand = divmod(int(flat), max(len(hands.scores), 1))
        if claims[person, hand] >= 1.0:
            break
        if taken[person] < 2 and not given[hand]:
            wrists[person, taken[person]] = hands.centres_px[hand]
            scores[person, taken[person]] = hands.scores[hand]
            taken[person] += 1
            given[hand] = True
    return replace(persons, wrists_px=wrists, wrist_scores=scores)


def _claims(persons: Detections, hands: Hands) -> FloatArray:
    """Return ``(n, k)`` how far each hand is from being each person's; from 1 on it is not."""
    boxes = persons.boxes_xyxy
    low, high = boxes[:, None, :2], boxes[:, None, 2:]
    size = np.maximum(np.hypot(*(boxes[:, 2:] - boxes[:, :2]).T), 1.0)[:, None]
    point = hands.centres_px[None]
    outside = np.maximum(np.maximum(low - point, point - high), 0.0)
    from_box = np.hypot(outside[..., 0], outside[..., 1]) / size
    apart = np.nan_to_num(hands.heads_px[None] - persons.head_px[:, None], nan=1e6)
    from_head = np.hypot(apart[..., 0], apart[..., 1]) / size
    sure = (persons.head_scores >= HEAD_SCORE_MIN)[:, None]
    # A hand far outside the box is nobody's; without a head the box decides, less surely.
    claims = np.where(sure, from_head, 0.5 + 2.0 * from_box)
    return np.asarray(np.where(from_box < 0.5, claims, 2.0))


def _apart(points: FloatArray, least: float) -> npt.NDArray[np.int64]:
    """Return the indices of points not within ``least`` of an earlier one kept."""
    kept: list[int] = []
    for index, point in enumerate(points):
        if all(np.hypot(*(point - points[other])) >= least for other in kept):
            kept.append(index)
    return np.asarray(kept, dtype=np.int64)
