# SPDX-License-Identifier: AGPL-3.0-or-later
"""Any model with boxes of persons that ultralytics loads, as a detector of the worker."""

from pathlib import Path
from typing import Any

import numpy as np

from vision.detectors import Detections, ModelError, persons_from_boxes, persons_from_pose
from vision.detectors.boxes import suppress_poses
from vision.detectors.decoding import IOU_MAX, PERSONS_MAX
from vision.detectors.formats import person_class
from vision.detectors.network import problem_of
from vision.detectors.onnx_file import read_onnx
from vision.detectors.told import NOTHING, Told, told_beside
from vision.rendering import Image
from vision.yolo.runtime import prepare, yolo

FOLDERS = (".xml", ".param")
"""Of these ultralytics loads the folder that it exported, by its name."""
TASKS = ("pose", "detect", "segment")
"""Ultralytics' words for what has boxes upright."""


class UltralyticsDetector:
    """Ultralytics' own predictor behind the worker's interface.

    Attributes:
        task: Ultralytics' word for what the model does.
        names: Of its classes.
        person: Index of the class that is a person.
        keypoints: How many it finds of each person.
    """

    def __init__(
        self, model: Path, *, threads: int, score_min: float, input_px: int | None = None
    ) -> None:
        """Load a model and run it once.

        Args:
            model: What ultralytics loads: weights, an exported file or an exported folder.
            threads: Of torch.
            score_min: Least score of a person.
            input_px: Longer side of the input; None for the one it was trained for.

        Raises:
            ModelError: Ultralytics cannot load or run it, or it has no boxes of persons.
        """
        prepare(threads)
        self._score_min, self._input_px = score_min, input_px
        if model.suffix in FOLDERS:
            model = model.parent
        try:
            self._model = yolo(model, task=_told(model).task)
            [result] = self._predict(np.full((64, 64, 3), 114, dtype=np.uint8))
        except ModelError:
            raise
        except Exception as error:  # ultralytics' and torch's errors have no common base but this
            raise ModelError(
                f"{model}: ultralytics cannot load it ({problem_of(error)}). Give one that it made"
            ) from error
        if self._model.task not in TASKS or result.boxes is None:
            raise ModelError(
                f"{model}: was made for {self._model.task}. Use a model made for detect or pose"
            )
        self.task = str(self._model.task)
        self.names = tuple(str(name) for name in result.names.values())
        self.keypoints = 0 if result.keypoints is None else int(result.keypoints.data.shape[1])
        try:
            self.person = person_class(len(self.names), Told(names=self.names))
        except ModelError as error:
            raise ModelError(f"{model}: {error}") from None

    def detect(self, frame: Image) -> Detections:
        """Return the persons in an ``(h, w, 3)`` BGR frame of any size."""
        [result] = self._predict(frame)
        if result.boxes is None or len(result.boxes) == 0:
            return Detections.empty()
        persons = np.asarray(result.boxes.cls).round() == self.person
        boxes = np.asarray(result.boxes.xyxy, dtype=np.float64)[persons]
        scores = np.asarray(result.boxes.conf, dtype=np.float64)[persons]
        if result.keypoints is None:
            return persons_from_boxes(boxes, scores)
        keypoints = np.asarray(result.keypoints.data, dtype=np.float64)[persons]
        if keypoints.shape[2] == 2:
            keypoints = np.concatenate([keypoints, np.ones((*keypoints.shape[:2], 1))], axis=2)
        kept = suppress_poses(boxes, keypoints)
        return persons_from_pose(boxes[kept], scores[kept], keypoints[kept])

    def _predict(self, frame: Image) -> Any:  # noqa: ANN401 - ultralytics' results are untyped
        size = {} if self._input_px is None else {"imgsz": self._input_px}
        return self._model.predict(
            frame,
            conf=self._score_min,
            iou=IOU_MAX,
            max_det=PERSONS_MAX,
            device="cpu",
            verbose=False,
            **size,
        )


def _told(model: Path) -> Told:
    """Return what an exported model says; ultralytics guesses its task from the file's name."""
    if model.is_dir():
        return told_beside(model / "any")
    if model.suffix == ".onnx":
        return read_onnx(model).told
    return NOTHING if model.suffix == ".pt" else told_beside(model)
