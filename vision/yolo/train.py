# SPDX-License-Identifier: AGPL-3.0-or-later
"""Train the small person model with ultralytics on rendered pictures."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

from vision.yolo.resume import restore
from vision.yolo.runtime import prepare, yolo

ARCHITECTURE = Path(__file__).with_name("people.yaml")
SCHEDULE: dict[str, Any] = {
    "rect": True,
    "optimizer": "AdamW",
    "lrf": 0.02,
    "cos_lr": True,
    "warmup_epochs": 0.5,
    "weight_decay": 0.0005,
    "pose": 12.0,
    # The pictures vary by themselves; of the rest only mirroring is free.
    "mosaic": 0.0,
    "close_mosaic": 0,
    "degrees": 0.0,
    "translate": 0.0,
    "scale": 0.0,
    "erasing": 0.0,
    "hsv_h": 0.0,
    "hsv_s": 0.0,
    "hsv_v": 0.0,
    "fliplr": 0.5,
    "flipud": 0.5,
    # Validating with the defaults (conf 0.001) takes longer than an epoch.
    "val": False,
    "conf": 0.05,
    "max_det": 30,
    "plots": False,
    "amp": False,
    "deterministic": False,
    "verbose": False,
}
"""What ultralytics is told beside the task: the pictures vary by themselves."""
OWN: dict[str, Any] = {
    # Few pictures of one place, which does not stand on its head: vary them, and tell how it goes.
    "degrees": 5.0,
    "translate": 0.1,
    "scale": 0.3,
    "hsv_h": 0.015,
    "hsv_s": 0.5,
    "hsv_v": 0.4,
    "flipud": 0.0,
    "val": True,
    "rect": False,
}
"""What is otherwise for pictures of a camera."""


def train_people(
    dataset: Path,
    folder: Path,
    *,
    seed: int,
    epochs: int,
    threads: int,
    batch: int = 32,
    start: Path | None = None,
    size_px: int = 256,
    rendered: bool = True,
) -> Path:
    """Train and return the path of the weights.

    Args:
        dataset: Description written by :func:`vision.yolo.dataset.make_dataset`.
        folder: Where runs and weights go.
        seed: Of initial weights and augmentation.
        epochs: Passes over the training pictures.
        threads: Torch threads.
        batch: Pictures a step.
        start: Weights to go on from, at half the rate: of ultralytics, or an ONNX file of this
            network; None: from scratch.
        size_px: Longer side of the model's input.
        rendered: The pictures are; else they are a camera's, and are varied.

    Raises:
        ModelError: The ONNX file to start from is none, or one of another network.
    """
    prepare(threads)
    # The scale is the letter in the file's name, and ultralytics looks for it there.
    with tempfile.TemporaryDirectory() as place:
        named = Path(place) / "yolo11n-pose.yaml"
        shutil.copy(ARCHITECTURE, named)
        if start is not None and start.suffix.lower() == ".onnx":
            start = _restored(named, start)
        model = yolo(named if start is None else start)
        model.train(
            data=str(dataset),
            imgsz=size_px,
            epochs=epochs,
            batch=batch,
            seed=seed,
            project=str(folder.resolve()),
            name="people",
            exist_ok=True,
            device="cpu",
            workers=0,
            cache="ram",
            lr0=0.002 if start is None else 0.001,
            **(SCHEDULE if rendered else SCHEDULE | OWN),
        )
    weights = folder / "people" / "weights" / "last.pt"
    if not weights.exists():
        raise FileNotFoundError(f"{weights}: training left no weights. Read its output above")
    return weights


def _restored(architecture: Path, start: Path) -> Path:
    """Write an ONNX file's weights beside the architecture as ultralytics reads them."""
    model = yolo(architecture)
    restore(model.model, start)
    weights = architecture.with_name("start.pt")
    model.save(weights)
    return weights
