# SPDX-License-Identifier: Apache-2.0
"""Overlaps of boxes."""

import numpy as np
import numpy.typing as npt

from vision.geometry import FloatArray


def suppress(boxes_xyxy: FloatArray, iou_max: float) -> npt.NDArray[np.int64]:
    """Return the indices of boxes, best first, that overlap no better one by more than ``iou_max``.

    Args:
        boxes_xyxy: ``(n, 4)`` sorted best first.
        iou_max: Greatest intersection over union that both survive.
    """
    left = np.arange(len(boxes_xyxy))
    kept: list[int] = []
    while len(left):
        best, left = int(left[0]), left[1:]
        kept.append(best)
        left = left[box_iou(boxes_xyxy[[best]], boxes_xyxy[left])[0] <= iou_max]
    return np.asarray(kept, dtype=np.int64)


def suppress_poses(
    boxes_xyxy: FloatArray, keypoints: FloatArray, *, apart_min: float = 0.15, seen_min: float = 0.5
) -> npt.NDArray[np.int64]:
    """Return the indices of poses, best first, that are no second view of a better one.

    Two boxes of one person, one with and one without its stretched arm, overlap too little to tell,
    but their keypoints lie on one another; those of two persons do not.

    Args:
        boxes_xyxy: ``(n, 4)`` sorted best first.
        keypoints: ``(n, k, 3)`` as x, y, score.
        apart_min: Least mean distance of the keypoints that both see, as a share of the better
            box's diagonal.
        seen_min: Least score of a keypoint that is seen.
    """
    kept: list[int] = []
    for index in range(len(boxes_xyxy)):
        for better in kept:
            both = (keypoints[[better, index], :, 2] >= seen_min).all(axis=0)
            away = (keypoints[better, both] - keypoints[index, both])[:, :2]
            size = float(np.hypot(*(boxes_xyxy[better, 2:] - boxes_xyxy[better, :2])))
            if both.sum() >= 2 and np.hypot(*away.T).mean() < apart_min * size:
                break
        else:
            kept.append(index)
    return np.asarray(kept, dtype=np.int64)


def box_iou(first: FloatArray, second: FloatArray) -> FloatArray:
    """Return ``(n, k)`` intersection over union of ``(n, 4)`` and ``(k, 4)`` boxes."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (first, second)]
    return np.asarray(common / np.maximum(areas[0][:, None] + areas[1][None] - common, 1e-9))
