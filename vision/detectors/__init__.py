# SPDX-License-Identifier: Apache-2.0
"""What every detector gives, whatever runs it: boxes and keypoints as a struct of arrays."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from vision.detectors.network import Network, forbid_telemetry, threads_used
from vision.geometry import FloatArray
from vision.rendering import Image

forbid_telemetry()  # Every runtime is imported below this package, so after this.

Kind = Literal["onnxruntime", "openvino", "ncnn", "opencv", "ultralytics"]
KINDS: tuple[Kind, ...] = ("onnxruntime", "openvino", "ncnn", "opencv", "ultralytics")
EXTRAS: dict[Kind, str] = {
    "onnxruntime": "vision",
    "openvino": "openvino",
    "ncnn": "ncnn",
    "opencv": "vision",
    "ultralytics": "ultralytics",
}
"""Which extra of this package brings each runtime."""
SUFFIXES: dict[Kind, tuple[str, ...]] = {
    "onnxruntime": (".onnx",),
    "openvino": (".xml", ".onnx"),
    "ncnn": (".param",),
    "opencv": (".onnx",),
    "ultralytics": (".pt", ".onnx", ".xml", ".param"),
}
"""Files that each runtime reads; a folder with one of them will do as well."""
POINT_SCORE_MIN = 0.3
"""A point that is less sure than this was not found."""
BOX_FEET_SCORE_MAX = 0.5
BOX_HEAD_SCORE_MAX = 0.4
"""How sure feet and head are that are guessed from a box: enough to count, never much."""


class ModelError(ValueError):
    """A model file that cannot be used."""


class FrameError(ModelError):
    """A model that was loaded failed on a frame; loaded anew it may do better."""


class RuntimeMissingError(ModelError):
    """What the model needs to run is not installed on this machine."""


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

    def wrists(self, index: int) -> list[tuple[FloatArray, float]]:
        """Return place and score of one person's wrists, those of them that were found."""
        return [
            (pixel, float(score))
            for pixel, score in zip(self.wrists_px[index], self.wrist_scores[index], strict=True)
            if score >= POINT_SCORE_MIN and np.isfinite(pixel).all()
        ]

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
    input_px: int | None = None,
) -> Detector:
    """Load a detector, and run it once.

    Args:
        kind: The runtime.
        model: YOLO v8, 11 or 26 (pose or detect), YOLOX, or an SSD of OpenVINO; with keypoints,
            COCO's 17, or head and feet. A file, or the folder that an export wrote. Ultralytics
            takes whatever it loads that has boxes of persons.
        hands: Heatmap model for wrists, where the model has none (not with ultralytics).
        threads: How many the model may use; of these at most one less than the cores.
        score_min: Least score of a person.
        input_px: Longer side of the model's input, where it takes any; else the one it says, or
            640.

    Raises:
        RuntimeMissingError: The runtime is not installed.
        ModelError: A file is missing, is no such model, or its output is of no known format.
    """
    found = locate(kind, model)
    used = threads_used(threads)
    try:
        if kind == "ultralytics":
            from vision.yolo.detector import UltralyticsDetector  # noqa: PLC0415

            if hands is not None:
                raise ModelError("hands: ultralytics runs none. Use the detector onnxruntime")
            return UltralyticsDetector(found, threads=used, score_min=score_min, input_px=input_px)
        people = (found, load_network(kind, found, used))
        beside = None if hands is None else locate(kind, hands)
        pair = None if beside is None else (beside, load_network(kind, beside, used))
    except ModuleNotFoundError as error:
        raise missing(kind, error) from error
    from vision.detectors.persons import PersonDetector  # noqa: PLC0415

    return PersonDetector(people, hands=pair, score_min=score_min, input_px=input_px)


def locate(kind: Kind, model: Path) -> Path:
    """Return the file that a runtime reads of a model: itself, or the one in its folder.

    Raises:
        ModelError: There is none, or it is for another runtime.
    """
    suffixes = SUFFIXES[kind]
    if kind == "ultralytics" and model.exists():
        return model  # it tells the folders of its exports by their names
    if model.is_dir():
        inside = [path for path in sorted(model.iterdir()) if path.suffix in suffixes]
        if len(inside) != 1:
            raise _not_one(kind, model, len(inside))
        return inside[0]
    if not model.is_file():
        raise ModelError(f"{model}: no such file. Give the path of a model of persons")
    if model.suffix not in suffixes:
        fit = [other for other in KINDS if model.suffix in SUFFIXES[other]]
        remedy = f"Use the detector {' or '.join(fit)}" if fit else "Export the model again"
        raise ModelError(f"{model}: {kind} reads {', '.join(suffixes)} alone. {remedy}")
    return model


def _not_one(kind: Kind, folder: Path, count: int) -> ModelError:
    """Return what to say of a folder that holds no file for a runtime, or several."""
    read = " or ".join(SUFFIXES[kind])
    if count:
        return ModelError(f"{folder}: holds {count} files of {read}. Name the file")
    held = {path.suffix for path in folder.iterdir()}
    fit = [f'"{other}"' for other in KINDS if other != "ultralytics" and held & {*SUFFIXES[other]}]
    remedy = "Name a model's file, or the folder that an export wrote"
    if fit:
        remedy = f"Set detector = {' or '.join(fit)}, which reads what it holds"
    return ModelError(f"{folder}: holds no file of {read}, which {kind} reads. {remedy}")


def missing(kind: Kind, error: ModuleNotFoundError) -> RuntimeMissingError:
    """Return what to say of a runtime that is not installed."""
    return RuntimeMissingError(
        f"detector {kind}: {error.name} is not installed. "
        f"Run pip install 'shelfgate[{EXTRAS[kind]}]'"
    )


def load_network(kind: Kind, path: Path, threads: int) -> Network:
    """Load one file. Imported here so that one runtime's absence does not break the others."""
    if kind == "openvino":
        from vision.detectors.openvino import OpenvinoNetwork  # noqa: PLC0415

        return OpenvinoNetwork(path, threads)
    if kind == "ncnn":
        from vision.detectors.ncnn import NcnnNetwork  # noqa: PLC0415

        return NcnnNetwork(path, threads)
    if kind == "opencv":
        from vision.detectors.opencv import OpencvNetwork  # noqa: PLC0415

        return OpencvNetwork(path, threads)
    assert kind == "onnxruntime", "the settings allow no other"
    from vision.detectors.onnx import OnnxNetwork  # noqa: PLC0415

    return OnnxNetwork(path, threads)


def persons_from_boxes(boxes_xyxy: FloatArray, scores: FloatArray) -> Detections:
    """Return detections from a model without keypoints.

    The feet are taken to be in the middle of a box's lower edge and the head in that of its upper
    one, which is true of somebody upright seen from the side and less so from above: their scores
    are low. There are no wrists.
    """
    count = len(scores)
    middle = boxes_xyxy[:, [0, 2]].mean(axis=1)
    return Detections(
        boxes_xyxy=boxes_xyxy,
        scores=scores,
        head_px=np.column_stack([middle, boxes_xyxy[:, 1]]),
        head_scores=np.minimum(scores, BOX_HEAD_SCORE_MAX),
        feet_px=np.column_stack([middle, boxes_xyxy[:, 3]]),
        feet_scores=np.minimum(scores, BOX_FEET_SCORE_MAX),
        wrists_px=np.full((count, 2, 2), np.nan),
        wrist_scores=np.zeros((count, 2)),
    )


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


def _mean_point(points: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return ``(n, 2)`` means of the seen of ``(n, k, 3)`` points, and ``(n,)`` the best score."""
    seen = (points[..., 2] >= POINT_SCORE_MIN).astype(np.float64)
    # Where none is seen all count, and the score tells how little they do.
    weights = np.where(seen.sum(axis=1, keepdims=True) > 0, seen, 1.0)
    total = weights.sum(axis=1, keepdims=True)
    means = (points[..., :2] * weights[..., None]).sum(axis=1) / total
    return means, points[..., 2].max(axis=1)
