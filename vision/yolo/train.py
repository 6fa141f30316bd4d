# SPDX-License-Identifier: AGPL-3.0-or-later
"""Train the small person model with ultralytics on rendered pictures."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

from vision.yolo.runtime import prepare, yolo

ARCHITECTURE = Path(__file__).with_name("people.yaml")
IMGSZ = 256
SCHEDULE: dict[str, Any] = {
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


def train_people(
    dataset: Path,
    folder: Path,
    *,
    seed: int,
    epochs: int,
    threads: int,
    batch: int = 32,
    start: Path | None = None,
) -> Path:
    """Train and return the path of the weights.

    Args:
        dataset: Description written by :func:`vision.yolo.dataset.make_dataset`.
        folder: Where runs and weights go.
        seed: Of initial weights and augmentation.
        epochs: Passes over the training pictures.
        threads: Torch threads.
        batch: Pictures a step.
        start: Weights to go on from, at half the rate; None: from scratch.
    """
    prepare(threads)
    # The scale is the letter in the file's name, and ultralytics looks for it there.
    with tempfile.TemporaryDirectory() as place:
        named = Path(place) / "yolo11n-pose.yaml"
        shutil.copy(ARCHITECTURE, named)
        model = yolo(named if start is None else start)
        model.train(
            data=str(dataset),
            imgsz=IMGSZ,
            epochs=epochs,
            batch=batch,
            seed=seed,
            project=str(folder.resolve()),
            name="people",
            exist_ok=True,
            device="cpu",
            workers=0,
            cache="ram",
            rect=True,
            lr0=0.002 if start is None else 0.001,
            **SCHEDULE,
        )
    weights = folder / "people" / "weights" / "last.pt"
    if not weights.exists():
        raise FileNotFoundError(f"{weights}: training left no weights. Read its output above")
    return weights
