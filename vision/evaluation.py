# SPDX-License-Identifier: Apache-2.0
"""How well a detector does on rendered pictures: the measure beside the small model.

It runs the detector as the worker does, so that its figures are the product's.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec
import numpy as np
import numpy.typing as npt

from vision.detectors import POINT_SCORE_MIN, Detections, Detector
from vision.detectors.boxes import box_iou
from vision.geometry import FloatArray
from vision.rendering import Labels
from vision.scenes import SIZE_WH, Picture

IOU_MIN = 0.5
WRIST_PX = 6.0
"""How near counts as found, in pixels of a picture 256 wide."""
WRIST_WIDTH_PX = 256
CLEAR_SHARE_MIN = 0.35
"""A body of which less is in view counts neither when found nor when missed."""


class Quality(msgspec.Struct, frozen=True):
    """What was measured. Shares are from 0 to 1, pixels are of a picture 256 wide."""

    pictures: int
    persons: int
    precision: float
    recall: float
    wrists: int
    """Visible ones of the persons that count."""
    wrists_within: float
    """Share of them that their own person has within 6 pixels."""
    wrist_precision: float
    """Share of the wrists given to persons that count that are within 6 pixels of a visible one."""
    wrists_by_offset: float
    """The same share for the guess of a constant offset from the body's box."""
    wrist_px: float
    """Root of the mean square distance of those found."""
    feet_px: float
    head_px: float
    detect_ms: float
    """Median time of a whole detection."""


@dataclass(slots=True)
class _Tally:
    found: int = 0
    false: int = 0
    missed: int = 0
    wrists: int = 0
    within: int = 0
    within_offset: int = 0
    given: int = 0
    given_right: int = 0
    wrist_px: list[float] = field(default_factory=list)
    feet_px: list[float] = field(default_factory=list)
    head_px: list[float] = field(default_factory=list)
    times_ms: list[float] = field(default_factory=list)


def evaluate(detector: Detector, pictures: Iterable[Picture], offsets: FloatArray) -> Quality:
    """Measure a detector.

    Args:
        detector: What to measure.
        pictures: Labelled pictures that it was not trained on.
        offsets: ``(2, 2)`` constant guess of both wrists, from :func:`constant_offsets`.
    """
    tally, count = _Tally(), 0
    for picture in pictures:
        began = time.perf_counter()
        found = detector.detect(picture.image)
        tally.times_ms.append(1e3 * (time.perf_counter() - began))
        _count(tally, found, picture.labels, offsets)
        count += 1
    return Quality(
        pictures=count,
        persons=tally.found + tally.missed,
        precision=tally.found / max(tally.found + tally.false, 1),
        recall=tally.found / max(tally.found + tally.missed, 1),
        wrists=tally.wrists,
        wrists_within=tally.within / max(tally.wrists, 1),
        wrist_precision=tally.given_right / max(tally.given, 1),
        wrists_by_offset=tally.within_offset / max(tally.wrists, 1),
        wrist_px=_root_mean_square(tally.wrist_px),
        feet_px=_root_mean_square(tally.feet_px),
        head_px=_root_mean_square(tally.head_px),
        detect_ms=float(np.median(tally.times_ms)) if tally.times_ms else 0.0,
    )


def constant_offsets(pictures: Iterable[Picture]) -> FloatArray:
    """Return the ``(2, 2)`` mean places of the left and right wrist in their body's box, 0 to 1."""
    places: tuple[list[FloatArray], list[FloatArray]] = ([], [])
    for picture in pictures:
        labels = picture.labels
        for body, side in np.argwhere(labels.wrists_visible & labels.present[:, None]):
            low, high = labels.boxes_xyxy[body, :2], labels.boxes_xyxy[body, 2:]
            places[side].append((labels.wrists_px[body, side] - low) / (high - low))
    return np.array([np.mean(side, axis=0) for side in places])


def _count(tally: _Tally, found: Detections, labels: Labels, offsets: FloatArray) -> None:
    clear = labels.share >= CLEAR_SHARE_MIN
    owner = _matched(found.boxes_xyxy, labels.boxes_xyxy)
    for index, body in enumerate(owner):
        if body < 0:
            tally.false += not _overlaps_unclear(found.boxes_xyxy[index], labels, clear)
        elif clear[body]:
            tally.found += 1
            _count_points(tally, found, index, labels, body)
    tally.missed += int(clear.sum()) - sum(1 for body in owner if body >= 0 and clear[body])
    for body, side in np.argwhere(labels.wrists_visible & clear[:, None]):
        tally.wrists += 1
        truth = labels.wrists_px[body, side]
        low, high = labels.boxes_xyxy[body, :2], labels.boxes_xyxy[body, 2:]
        guesses = low + offsets * (high - low)
        tally.within_offset += bool(_apart(guesses, truth).min() <= WRIST_PX)
        if body in owner:
            index = owner.index(int(body))
            sure = found.wrist_scores[index] >= POINT_SCORE_MIN
            apart = _apart(found.wrists_px[index][sure], truth)
            if apart.min(initial=np.inf) <= WRIST_PX:
                tally.within += 1
                tally.wrist_px.append(float(apart.min()))


def _count_points(tally: _Tally, found: Detections, index: int, labels: Labels, body: int) -> None:
    """Count one found person's keypoints, where the truth is in the frame."""
    inside = (labels.feet_px[body] >= 0).all() and (labels.feet_px[body] < SIZE_WH).all()
    if inside and found.feet_scores[index] >= POINT_SCORE_MIN:
        tally.feet_px.append(float(_apart(found.feet_px[[index]], labels.feet_px[body])[0]))
    inside = (labels.head_px[body] >= 0).all() and (labels.head_px[body] < SIZE_WH).all()
    if inside and found.head_scores[index] >= POINT_SCORE_MIN:
        tally.head_px.append(float(_apart(found.head_px[[index]], labels.head_px[body])[0]))
    visible = labels.wrists_px[body][labels.wrists_visible[body]]
    for wrist, _ in found.wrists(index):
        tally.given += 1
        tally.given_right += bool(_apart(visible, wrist).min(initial=np.inf) <= WRIST_PX)


def _matched(found: FloatArray, truth: FloatArray) -> list[int]:
    """Return for each found box, best first, the body it covers best, or -1."""
    overlaps = box_iou(found, truth)
    owner: list[int] = []
    for index in range(len(found)):
        free = np.array([body not in owner for body in range(len(truth))], dtype=np.float64)
        shares = overlaps[index] * free
        best = int(shares.argmax()) if len(truth) else -1
        owner.append(best if best >= 0 and shares[best] >= IOU_MIN else -1)
    return owner


def _overlaps_unclear(box: FloatArray, labels: Labels, clear: npt.NDArray[np.bool_]) -> bool:
    """Return whether a box that is nobody's is at a body too little in view to count."""
    low = np.maximum(box[:2], labels.boxes_xyxy[~clear, :2])
    high = np.minimum(box[2:], labels.boxes_xyxy[~clear, 2:])
    common = np.clip(high - low, 0, None).prod(axis=1)
    return bool((common > 0.5 * float((box[2:] - box[:2]).prod())).any())


def _apart(points: FloatArray, truth: FloatArray) -> FloatArray:
    """Return ``(n,)`` distances of ``(n, 2)`` points, in pixels of a picture 256 wide."""
    away = (points - truth) * (WRIST_WIDTH_PX / SIZE_WH[0])
    return np.asarray(np.hypot(away[:, 0], away[:, 1]))


def _root_mean_square(values: list[float]) -> float:
    return float(np.sqrt(np.mean(np.square(values)))) if values else 0.0
