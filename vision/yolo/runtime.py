# SPDX-License-Identifier: AGPL-3.0-or-later
"""Bring up ultralytics offline, and beside a CPU torch.

Ultralytics reads its environment and imports torchvision when it is imported, so that every import
of it in this package comes after :func:`prepare`, by way of :func:`yolo`.
"""

import importlib
import logging
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from vision.detectors.network import forbid_telemetry

log = logging.getLogger(__name__)

_kept_libraries: list[torch.library.Library] = []
"""Torch takes an operator back when the object that registered it goes."""

MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": "268435456",
    "MALLOC_TRIM_THRESHOLD_": "1073741824",
    "MALLOC_TOP_PAD_": "67108864",
}
"""glibc settings that keep freed tensors' memory: a quarter of the time on CPU. They are read when
a process starts, so that :func:`restart_with_malloc` has to start it again."""


def prepare(threads: int | None = None) -> None:
    """Set ultralytics up to write nowhere but a folder of its own and to fetch nothing.

    Args:
        threads: How many threads torch uses; None leaves its choice.
    """
    os.environ["YOLO_OFFLINE"] = "1"
    os.environ["YOLO_AUTOINSTALL"] = "false"
    if "YOLO_CONFIG_DIR" not in os.environ:
        folder = Path(tempfile.gettempdir()) / f"shelfgate-yolo-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        os.environ["YOLO_CONFIG_DIR"] = str(folder)
    forbid_telemetry()  # it loads other runtimes where a model asks for them
    if threads is not None:
        torch.set_num_threads(threads)
    repair_torchvision()
    settings = importlib.import_module("ultralytics").settings
    settings.update({"sync": False})
    # Whoever looks a dataset over fetches a font to write on pictures with; here none are drawn.
    vars(importlib.import_module("ultralytics.data.utils"))["check_font"] = lambda _font: None


def yolo(model: str | Path, *, task: str | None = "pose") -> Any:  # noqa: ANN401 - ultralytics' interface is untyped
    """Return ultralytics' model of this file; a task of None is whatever the file says."""
    return importlib.import_module("ultralytics").YOLO(str(model), task=task, verbose=False)


def repair_torchvision() -> bool:
    """Register torchvision's NMS operator where the wheel could not, and say whether it had to.

    A torchvision wheel built for CUDA cannot load its library beside a CPU torch, and its import
    then fails with ``operator torchvision::nms does not exist``.
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    else:
        return False
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    # Never called: torchvision describes it when it is imported.
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.impl("nms", _nms, "CPU")
    _kept_libraries.append(library)
    # It guards its operators by asking whether its library was loaded.
    extension = importlib.import_module("torchvision.extension")
    vars(extension)["_has_ops"] = lambda: True
    log.info("torchvision: its library does not load beside this torch, using ultralytics' NMS")
    return True


def restart_with_malloc() -> None:
    """Start this process again with :data:`MALLOC` set, unless it is set already."""
    if all(name in os.environ for name in MALLOC):
        return
    os.environ.update(MALLOC)
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606


def _nms(boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    own = importlib.import_module("ultralytics.utils.nms").TorchNMS
    kept: torch.Tensor = own.nms(boxes, scores, iou_threshold)
    return kept
