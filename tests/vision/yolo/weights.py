# SPDX-License-Identifier: AGPL-3.0-or-later
"""Models as ultralytics' own weights and as ONNX files that take any size, of the same numbers.

``python -m tests.vision.yolo.weights FOLDER``: the model of the fixtures, whose weights are
read back from its ONNX file, and YOLO11n-pose untrained, which costs what a trained one costs.
"""

import contextlib
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[3]
FIXTURE = ROOT / "fixtures" / "model" / "people.onnx"
MODELS = ("people", "yolo11n-pose")


def make(folder):
    """Write these models, each as ``.pt`` and ``.onnx``; both take 10 s or so."""
    from vision.yolo.runtime import prepare, yolo

    prepare(1)
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.chdir(folder):
        for name in MODELS:
            model = _people() if name == "people" else yolo(f"{name}.yaml")
            model.save(f"{name}.pt")
            # By way of the file, so that both hold the same.
            yolo(f"{name}.pt").export(
                format="onnx", imgsz=640, dynamic=True, device="cpu", verbose=False
            )


def _people():
    """Return the fixture's model with the weights of its ONNX file, which are fused."""
    import onnx
    import onnx.numpy_helper
    import torch

    from vision.yolo.runtime import yolo

    kept = {
        one.name.removesuffix(".half"): onnx.numpy_helper.to_array(one)
        for one in onnx.load(str(FIXTURE)).graph.initializer
    }
    model = yolo(ROOT / "vision" / "yolo" / "people.yaml")
    net = model.model.fuse(verbose=False)
    net.load_state_dict(
        {
            name: torch.from_numpy(kept[name].astype(np.float32).reshape(weight.shape))
            for name, weight in net.state_dict().items()
        }
    )
    net.names = {0: "person"}
    model.model = net
    return model


if __name__ == "__main__":
    make(Path(sys.argv[1]))
