# SPDX-License-Identifier: Apache-2.0
"""YOLO pose models, and the hands net beside them, in ONNX Runtime.

Decodes the output of YOLO v8 and 11 pose exports, ``(1, 5 + 3 k, anchors)``: box centre and size,
score, then x, y and score of k keypoints. Two layouts are read: NCHW with coordinates in input
pixels, as ultralytics exports ONNX, and NHWC with coordinates from 0 to 1, as it exports TFLite.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from vision.detectors import Detections, ModelError, persons_from_pose
from vision.detectors.boxes import suppress, suppress_poses
from vision.detectors.hands import decode_hands, give_hands
from vision.geometry import FloatArray
from vision.rendering import Image

PADDING = (114, 114, 114)
"""The grey that ultralytics trains its letterboxes with."""
IOU_MAX = 0.5
PERSONS_MAX = 50
BOX_FIELDS = 5
NORMALISED_MAX = 4.0
"""Coordinates in pixels over a whole grid are never all this small."""


@dataclass(frozen=True, slots=True)
class Letterbox:
    """A frame fitted into a model's input without changing its aspect.

    Attributes:
        scale: Input pixels per frame pixel.
        offset_px: Left and upper margin in input pixels.
    """

    scale: float
    offset_px: tuple[float, float]

    def back(self, points_px: FloatArray) -> FloatArray:
        """Return ``(..., 2)`` input points in frame pixels."""
        return np.asarray((points_px - np.asarray(self.offset_px)) / self.scale)


def letterbox(frame: Image, size_wh: tuple[int, int]) -> tuple[Image, Letterbox]:
    """Return the frame scaled to fit and centred on grey, and the way back."""
    height, width = frame.shape[:2]
    scale = min(size_wh[0] / width, size_wh[1] / height)
    wide, high = max(round(width * scale), 1), max(round(height * scale), 1)
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    fitted = cv2.resize(frame, (wide, high), interpolation=way)
    left, top = (size_wh[0] - wide) // 2, (size_wh[1] - high) // 2
    if (wide, high) != size_wh:
        rest = (top, size_wh[1] - high - top, left, size_wh[0] - wide - left)
        fitted = cv2.copyMakeBorder(fitted, *rest, cv2.BORDER_CONSTANT, value=PADDING)
    return np.asarray(fitted, dtype=np.uint8), Letterbox(scale, (left, top))


class OnnxDetector:
    """A pose model, with a hands model of the same input size where it has no wrists."""

    def __init__(self, model: Path, *, hands: Path | None, threads: int, score_min: float) -> None:
        self._people = _Network(model, threads)
        self._hands = _Network(hands, threads) if hands is not None else None
        self._score_min = score_min
        if self._hands is not None and self._hands.size_wh != self._people.size_wh:
            raise ModelError(
                f"{hands}: takes {self._hands.size_wh} pixels where {model} takes "
                f"{self._people.size_wh}. Use two models of one size"
            )

    def detect(self, frame: Image) -> Detections:
        """Return the persons in an ``(h, w, 3)`` BGR frame of any size."""
        fitted, fit = letterbox(frame, self._people.size_wh)
        pixels = np.multiply(fitted[:, :, ::-1], np.float32(1 / 255), dtype=np.float32)
        found = decode_pose(
            self._people.run(pixels)[0], self._people.size_wh, score_min=self._score_min
        )
        if self._hands is not None and len(found):
            found = give_hands(found, decode_hands(self._hands.run(pixels)[0]))
        edge = np.array([frame.shape[1], frame.shape[0]], dtype=np.float64)
        corners = np.clip(fit.back(found.boxes_xyxy.reshape(-1, 2, 2)), 0.0, edge)
        return replace(
            found,
            boxes_xyxy=corners.reshape(-1, 4),
            head_px=fit.back(found.head_px),
            feet_px=fit.back(found.feet_px),
            wrists_px=fit.back(found.wrists_px),
        )


def decode_pose(
    output: npt.NDArray[np.float32], size_wh: tuple[int, int], *, score_min: float
) -> Detections:
    """Return the persons of one ``(5 + 3 k, anchors)`` output, in input pixels, best first.

    Raises:
        ModelError: The output has another shape.
    """
    fields = output.shape[0]
    if fields <= BOX_FIELDS or (fields - BOX_FIELDS) % 3:
        raise ModelError(
            f"pose model: gives {fields} fields an anchor. "
            "Export a YOLO v8 or 11 pose model with one class"
        )
    chosen = output[:, output[4] >= score_min].astype(np.float64).T
    chosen = chosen[np.argsort(-chosen[:, 4], kind="stable")]
    keypoints = chosen[:, BOX_FIELDS:].reshape(len(chosen), (fields - BOX_FIELDS) // 3, 3)
    if output[:4].max(initial=0.0) <= NORMALISED_MAX:
        chosen[:, :4] *= (*size_wh, *size_wh)
        keypoints = keypoints * (*size_wh, 1.0)
    half = chosen[:, 2:4] / 2
    boxes = np.column_stack([chosen[:, :2] - half, chosen[:, :2] + half])
    kept = suppress(boxes, IOU_MAX)
    kept = kept[suppress_poses(boxes[kept], keypoints[kept])][:PERSONS_MAX]
    return persons_from_pose(boxes[kept], chosen[kept, 4], keypoints[kept])


class _Network:
    """One ONNX file with one image input of a fixed size."""

    def __init__(self, path: Path, threads: int) -> None:
        ort.set_default_logger_severity(3)  # errors; an old export's warnings help nobody here
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Threads that spin between frames would burn the cores that the daemon needs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = ort.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's errors have no common base but this
            raise ModelError(f"{path}: no ONNX model ({error}). Export it again") from error
        [asked, *others] = self._session.get_inputs()
        shape = asked.shape
        fixed = len(shape) == 4 and all(isinstance(size, int) for size in shape[1:])
        if others or not fixed or 3 not in (shape[1], shape[3]):
            raise ModelError(
                f"{path}: takes {shape}, not one picture of a fixed size. "
                "Export it with dynamic=False"
            )
        self._name = asked.name
        self._channels_first = shape[1] == 3
        high, wide = shape[2:4] if self._channels_first else shape[1:3]
        self.size_wh = (int(wide), int(high))

    def run(self, pixels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the first output for ``(h, w, 3)`` RGB pixels from 0 to 1."""
        if self._channels_first:
            pixels = np.ascontiguousarray(pixels.transpose(2, 0, 1))
        output = self._session.run(None, {self._name: pixels[None]})[0]
        return np.asarray(output, dtype=np.float32)
