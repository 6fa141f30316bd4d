# SPDX-License-Identifier: Apache-2.0
"""A re-identification model in ONNX Runtime, for stores where clothes' colours do not tell enough.

It is a network that turns one person's picture into one vector whose direction tells persons apart,
as OSNet and its like do: input ``(1 or n, 3, height, width)`` float32 RGB with ImageNet's mean and
deviation taken out, output ``(1 or n, d)``. Vectors are brought to length 1 and projected to 16
numbers like colours are.
"""

from pathlib import Path

import cv2
import numpy as np

from gateway.domain.identity import Scatter
from vision.appearance import LOOK, signs
from vision.detectors import Detections, ModelError
from vision.detectors.onnx import open_session
from vision.geometry import FloatArray
from vision.rendering import Image

MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
DEVIATION = np.array([0.229, 0.224, 0.225], dtype=np.float32)
"""Of ImageNet's RGB from 0 to 1: what such networks are trained with."""
SIDE_PX_MAX = 512
FEATURES_MAX = 4_096
PERSON_PX_MIN = 16.0
PERSONS_MAX = 16
"""Pictures described a frame, the surest persons first: the time is bounded."""


class ReidentificationModel:
    """Describes persons by an ONNX model; an :class:`vision.appearance.Appearance`.

    Raises:
        ModelError: The file is missing or no such model.
    """

    def __init__(self, path: Path, *, threads: int = 1) -> None:
        if not path.is_file():
            raise ModelError(f"{path}: no such file. Give the path of a re-identification model")
        self._session = open_session(path, threads)
        asked = self._session.get_inputs()
        shape = asked[0].shape if len(asked) == 1 else []
        sides = shape[2:] if len(shape) == 4 and shape[1] == 3 else []
        if not sides or not all(isinstance(side, int) and side <= SIDE_PX_MAX for side in sides):
            raise ModelError(
                f"{path}: takes {[one.shape for one in asked]}, not one picture of 3 channels and a"
                f" fixed size of at most {SIDE_PX_MAX} pixels. Export a re-identification model"
            )
        self._name = asked[0].name
        self._size_wh = (int(sides[1]), int(sides[0]))
        size = self._run(np.zeros((int(sides[0]), int(sides[1]), 3), dtype=np.uint8), path).size
        if not 1 < size <= FEATURES_MAX:
            raise ModelError(
                f"{path}: gives {size} numbers a picture, not 2 to {FEATURES_MAX}. "
                "Export a re-identification model with its feature layer as the output"
            )
        self._signs = signs(LOOK, size)

    def describe(self, frame: Image, found: Detections) -> FloatArray:
        """Return ``(n, 16)`` descriptors; see :meth:`vision.appearance.Appearance.describe`."""
        looks = np.full((len(found), LOOK), np.nan)
        edge = np.array([frame.shape[1], frame.shape[0]] * 2)
        for index in np.argsort(-found.scores, kind="stable")[:PERSONS_MAX]:
            box = np.clip(np.nan_to_num(found.boxes_xyxy[index]), 0, edge)
            if (box[2:] - box[:2]).min() < PERSON_PX_MIN:
                continue
            left, top = (int(value) for value in np.floor(box[:2]))
            right, bottom = (int(value) for value in np.ceil(box[2:]))
            features = self._run(frame[top:bottom, left:right])
            length = float(np.linalg.norm(features))
            if np.isfinite(length) and length > 0.0:
                looks[index] = self._signs @ (features / length)
        return looks

    def scatter(self) -> Scatter:
        """Return nothing known: every model has its own scale, which is learned."""
        return Scatter()

    def _run(self, person: Image, path: Path | None = None) -> FloatArray:
        """Return the flat output for an ``(h, w, 3)`` BGR picture of any size."""
        fitted = cv2.resize(person, self._size_wh, interpolation=cv2.INTER_LINEAR)
        pixels = fitted[:, :, ::-1].astype(np.float32) / np.float32(255)
        pixels = ((pixels - MEAN) / DEVIATION).transpose(2, 0, 1)
        try:
            output = self._session.run(None, {self._name: np.ascontiguousarray(pixels)[None]})[0]
        except Exception as error:
            if path is None:
                raise
            raise ModelError(f"{path}: does not run ({error}). Export it again") from error
        return np.asarray(output, dtype=np.float64).reshape(-1)
