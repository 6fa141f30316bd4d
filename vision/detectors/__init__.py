# SPDX-License-Identifier: Apache-2.0
"""What every detector gives, whatever runs it: boxes and keypoints as a struct of arrays."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from vision.geometry import FloatArray
from vision.rendering import Image

Kind = Literal["onnxruntime", "ultralytics"]


class ModelError(ValueError):
    """A model file that cannot be used."""


@dataclass(frozen=True, slots=True)
class Detections:
    """``n`` persons in one frame, in that frame's pixels.

    A point that was not found has score 0 and NaN coordinates. Scores are in ``[0, 1]``.

    Attributes:
        boxes_xyxy: ``(n, 4)`` as left, top, right, bottom.
        scores: ``(n,)`` of the persons.
        head_px: ``(n, 2)``.
        head_scores: ``(n,)``.
        feet_px: ``(n, 2)`` the floor point between the feet.
        feet_scores: ``(n,)``.
        wrists_px: ``(n, 2, 2)``: up to two wrists of each, in no fixed order.
        wrist_scores: ``(n, 2)``.
    """

    boxes_xyxy: FloatArray
    scores: FloatArray
    head_px: FloatArray
    head_scores: FloatArray
    feet_px: FloatArray
    feet_scores: FloatArray
    wrists_px: FloatArray
    wrist_scores: FloatArray

    def __post_init__(self) -> None:
        """Hold the arrays to one number of persons."""
        count = len(self.scores)
        assert self.scores.shape == self.head_scores.shape == self.feet_scores.shape == (count,)
        assert self.boxes_xyxy.shape == (count, 4)
        assert self.head_px.shape == self.feet_px.shape == (count, 2)
        assert self.wrists_px.shape == (count, 2, 2)
        assert self.wrist_scores.shape == (count, 2)

    def __len__(self) -> int:
        return len(self.scores)

    @classmethod
    def empty(cls) -> "Detections":
        """Return a frame without persons."""
        return cls(
            boxes_xyxy=np.zeros((0, 4)),
            scores=np.zeros(0),
            head_px=np.zeros((0, 2)),
            head_scores=np.zeros(0),
            feet_px=np.zeros((0, 2)),
            feet_scores=np.zeros(0),
            wrists_px=np.zeros((0, 2, 2)),
            wrist_scores=np.zeros((0, 2)),
        )


class Detector(Protocol):
    """Finds persons in frames. One thread at a time calls it."""

    def detect(self, frame: Image) -> Detections:
        """Return the persons in an ``(h, w, 3)`` BGR frame of any size."""
        ...


def build(
    kind: Kind,
    model: Path,
    *,
    hands: Path | None = None,
    threads: int = 1,
    score_min: float = 0.35,
) -> Detector:
    """Load a detector.

    Args:
        kind: ``onnxruntime`` for ONNX files, ``ultralytics`` for what only that can run.
        model: A YOLO v8 or 11 pose model: of COCO's 17 keypoints, or of head and feet.
        hands: Heatmap model for wrists, where the pose model has none (ONNX Runtime only).
        threads: How many the model may use.
        score_min: Least score of a person.

    Raises:
        ModelError: A file is missing or is no such model.
    """
    for path in (model, hands):
        if path is not None and not path.is_file():
            raise ModelError(f"{path}: no such file. Give the path of a pose model")
    # Imported here so that one runtime's absence does not break the other.
    if kind == "onnxruntime":
        from vision.detectors.onnx import OnnxDetector  # noqa: PLC0415

        return OnnxDetector(model, hands=hands, threads=threads, score_min=score_min)
    from vision.yolo.detector import UltralyticsDetector  # noqa: PLC0415

    return UltralyticsDetector(model, threads=threads, score_min=score_min)


def persons_from_pose(
    boxes_xyxy: FloatArray, scores: FloatArray, keypoints: npt.NDArray[np.float64]
) -> Detections:
    """Return detections from a pose model's ``(n, k, 3)`` keypoints (x, y, score) in pixels.

    ``k`` = 17 are COCO's: the head is the mean of nose, eyes and ears that are seen, the feet the
    middle of the ankles. ``k`` = 2 are head and feet, ``k`` = 4 head, feet and two wrists.

    Raises:
        ModelError: Another number of keypoints.
    """
    count, kinds = keypoints.shape[:2]
    groups = {17: ([0, 1, 2, 3, 4], [15, 16], [9, 10]), 2: ([0], [1], []), 4: ([0], [1], [2, 3])}
    if kinds not in groups:
        raise ModelError(
            f"pose model: has {kinds} keypoints. Use one of COCO's 17, or of head and feet (2)"
        )
    head, feet, wrists = groups[kinds]
    head_px, head_scores = _mean_point(keypoints[:, head])
    feet_px, feet_scores = _mean_point(keypoints[:, feet])
    wrists_px, wrist_scores = np.full((count, 2, 2), np.nan), np.zeros((count, 2))
    if wrists:
        wrists_px, wrist_scores = keypoints[:, wrists, :2], keypoints[:, wrists, 2]
    return Detections(
        boxes_xyxy=boxes_xyxy,
        scores=scores,
        head_px=head_px,
        head_scores=head_scores,
        feet_px=feet_px,
        feet_scores=feet_scores,
        wrists_px=wrists_px,
        wrist_scores=wrist_scores,
    )


def _mean_point(points: FloatArray, seen_min: float = 0.3) -> tuple[FloatArray, FloatArray]:
    """Return ``(n, 2)`` means of the seen of ``(n, k, 3)`` points, and ``(n,)`` the best score."""
    seen = (points[..., 2] >= seen_min).astype(np.float64)
    # Where none is seen all count, and the score tells how little they do.
    weights = np.where(seen.sum(axis=1, keepdims=True) > 0, seen, 1.0)
    total = weights.sum(axis=1, keepdims=True)
    means = (points[..., :2] * weights[..., None]).sum(axis=1) / total
    return means, points[..., 2].max(axis=1)
