# SPDX-License-Identifier: Apache-2.0
"""From the hands net's heatmap to wrists, and from wrists to the persons they belong to.

The net gives ``(7, h, w)`` for cells of 4 x 4 pixels: how much a hand is centred in the cell, where
in the cell (x, y, in cells from its middle), and where its owner's head is seen from the hand, and
where the owner's feet are (x, y, in units of :data:`OWNER_PX`). ``vision/yolo/hands_net.py`` trains
it. One of ``(5, h, w)`` says nothing of feet.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from vision.assignment import cheapest_pairs
from vision.detectors import Detections
from vision.geometry import FloatArray

STRIDE = 4
OWNER_PX = 64.0
CHANNELS = (5, 7)
"""What a net may give for each cell."""
HANDS_MAX = 24
SCORE_MIN = 0.5
"""Of a peak that is a hand. Lower ones are found more often, and more often another's."""
OWNER_SCORE_MIN = 0.5
"""A keypoint that is less sure than this says nothing about whose hand it is."""
OWNER_SHARE = 0.4
"""How far a head is, or feet are, from where a hand says, as a share of a box's diagonal: a
deviation."""
HEAD_OUTSIDE_SHARE = 0.2
"""The same of how far outside of its box that is..."""
HAND_OUTSIDE_SHARE = 0.12
"""... and of how far outside the hand is."""
UNSEEN_COST = 2.0
"""What counts where neither was found: what one that was found is off by, squared."""
NOBODYS = 14.0
"""From so many squared deviations on a hand is nobody's."""
EDGE_PX = 3.0
"""A box that ends so near the picture's edge is cut off by it."""


@dataclass(frozen=True, slots=True)
class Hands:
    """``n`` hands in the net's input pixels.

    Attributes:
        centres_px: ``(n, 2)``.
        heads_px: ``(n, 2)`` where the owner's head should be.
        feet_px: ``(n, 2)`` where the owner's feet should be; NaN where the net does not say.
        scores: ``(n,)``, best first.
    """

    centres_px: FloatArray
    heads_px: FloatArray
    feet_px: FloatArray
    scores: FloatArray


def decode_hands(heatmap: npt.NDArray[np.float32], *, score_min: float = SCORE_MIN) -> Hands:
    """Return the peaks of an output: cells that no neighbour exceeds.

    Args:
        heatmap: ``(c, h, w)`` with one of :data:`CHANNELS`.
        score_min: Least score of a hand.
    """
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
    unsaid = np.full_like(centres, np.nan)
    return Hands(
        centres_px=centres[kept],
        heads_px=(centres + found[3:5].T * OWNER_PX)[kept],
        feet_px=(centres + found[5:7].T * OWNER_PX if len(found) > 5 else unsaid)[kept],
        scores=found[0][kept],
    )


def give_hands(persons: Detections, hands: Hands, picture_xyxy: FloatArray) -> Detections:
    """Return the persons with at most two hands each, as they fit best all together.

    Args:
        persons: Of one frame.
        hands: Of the same, in the same pixels.
        picture_xyxy: ``(4,)`` where the picture ends in these pixels.
    """
    wrists, scores = np.full((len(persons), 2, 2), np.nan), np.zeros((len(persons), 2))
    if not len(persons):
        return replace(persons, wrists_px=wrists, wrist_scores=scores)
    claims = np.minimum(_claims(persons, hands, picture_xyxy), NOBODYS)
    taken = np.zeros(len(persons), dtype=np.int64)
    # Each person has two hands to give a place to.
    for hand, place in cheapest_pairs(np.repeat(claims, 2, axis=0).T.tolist()):
        person = place // 2
        if claims[person, hand] < NOBODYS:
            wrists[person, taken[person]] = hands.centres_px[hand]
            scores[person, taken[person]] = hands.scores[hand]
            taken[person] += 1
    return replace(persons, wrists_px=wrists, wrist_scores=scores)


def _claims(persons: Detections, hands: Hands, picture_xyxy: FloatArray) -> FloatArray:
    """Return ``(n, k)`` squared deviations by which each hand is off from being each person's.

    A hand is in its owner's box or a little outside; where it says that its owner's head is, there
    is the head, or, where none was found, a point of the box or of what the picture cuts off of it.
    Its owner's feet are where it says, too.
    """
    boxes = persons.boxes_xyxy
    # Of all alike: whoever has the largest box, with an arm stretched out, has no claim for that.
    size = max(float(np.median(np.hypot(*(boxes[:, 2:] - boxes[:, :2]).T))), 1.0)
    outside = _outside(boxes, hands.centres_px) / size
    outward = np.array([-1.0, -1.0, 1.0, 1.0])
    cut = (picture_xyxy - boxes) * outward < EDGE_PX
    whole = np.where(cut, 1e6 * outward, boxes)
    told = [
        _away(persons.head_px, persons.head_scores, hands.heads_px, size),
        _away(persons.feet_px, persons.feet_scores, hands.feet_px, size),
    ]
    counts = np.isfinite(told).sum(axis=0)
    owner = np.where(counts > 0, np.nansum(told, axis=0) / np.maximum(counts, 1), UNSEEN_COST)
    owner = owner + (_outside(whole, hands.heads_px) / size / HEAD_OUTSIDE_SHARE) ** 2
    return np.asarray(owner + (outside / HAND_OUTSIDE_SHARE) ** 2)


def _away(found_px: FloatArray, scores: FloatArray, told_px: FloatArray, size: float) -> FloatArray:
    """Return ``(n, k)`` squared deviations of persons' keypoints from where hands say they are.

    NaN where a keypoint was not found, or a hand says nothing of it.
    """
    off = told_px[None] - found_px[:, None]
    away = (np.hypot(off[..., 0], off[..., 1]) / size / OWNER_SHARE) ** 2
    return np.where((scores >= OWNER_SCORE_MIN)[:, None], away, np.nan)


def _outside(boxes_xyxy: FloatArray, points: FloatArray) -> FloatArray:
    """Return ``(n, k)`` how far ``(k, 2)`` points are from ``(n, 4)`` boxes; 0 inside."""
    point = points[None]
    gap = np.maximum(boxes_xyxy[:, None, :2] - point, point - boxes_xyxy[:, None, 2:])
    return np.asarray(np.hypot(*np.maximum(gap, 0.0).transpose(2, 0, 1)))


def _apart(points: FloatArray, least: float) -> npt.NDArray[np.int64]:
    """Return the indices of points not within ``least`` of an earlier one kept."""
    kept: list[int] = []
    for index, point in enumerate(points):
        if all(np.hypot(*(point - points[other])) >= least for other in kept):
            kept.append(index)
    return np.asarray(kept, dtype=np.int64)
