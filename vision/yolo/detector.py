# SPDX-License-Identifier: AGPL-3.0-or-later
"""Pose models that only ultralytics can run (PyTorch weights), as a detector of the worker."""

from pathlib import Path

import numpy as np

from vision.detectors import Detections, ModelError, persons_from_pose
from vision.detectors.boxes import suppress_poses
from vision.rendering import Image
from vision.yolo.runtime import prepare, yolo

IOU_MAX = 0.5
PERSONS_MAX = 50


class UltralyticsDetector:
    """Ultralytics' own predictor behind the worker's interface."""

    def __init__(self, model: Path, *, threads: int, score_min: float) -> None:
        prepare(threads)
        self._model = yolo(model)
        self._score_min = score_min
        if self._model.task != "pose":
            raise ModelError(f"{model}: finds no keypoints. Give a pose model")

    def detect(self, frame: Image) -> Detections:
        """Return the persons in an ``(h, w, 3)`` BGR frame of any size."""
        [result] = self._model.predict(
            frame,
            conf=self._score_min,
            iou=IOU_MAX,
            max_det=PERSONS_MAX,
            device="cpu",
            verbose=False,
        )
        if result.boxes is None or len(result.boxes) == 0:
            return Detections.empty()
        boxes = np.asarray(result.boxes.xyxy, dtype=np.float64)
        keypoints = np.asarray(result.keypoints.data, dtype=np.float64)
        kept = suppress_poses(boxes, keypoints)
        scores = np.asarray(result.boxes.conf, dtype=np.float64)
        return persons_from_pose(boxes[kept], scores[kept], keypoints[kept])
