# SPDX-License-Identifier: AGPL-3.0-or-later
"""Export the trained weights to ONNX, and write down beside them how they were made."""

import logging
import shutil
import tempfile
import warnings
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper
import torch

from vision.detectors import ModelError
from vision.detectors.persons import STRIDE_PX
from vision.yolo.dataset import MODEL_WH
from vision.yolo.hands_net import load_hands
from vision.yolo.runtime import prepare, yolo

log = logging.getLogger(__name__)

OPSET = 17
UNTOLD = {"description", "date", "args"}
"""What ultralytics notes of the machine and the hour; without it equal weights are equal files."""
HALVED_MIN = 256
"""Tensors of fewer numbers stay as they are."""


def export_people(weights: Path, target: Path) -> None:
    """Write ultralytics' weights as an ONNX file with a fixed input of 4 to 3.

    Its longer side is what the weights were trained with: 256 by 192 pixels for the small model.
    Nothing is written beside the weights.

    Raises:
        ModelError: These are no weights.
        OSError: The weights cannot be read, or the file cannot be written.
    """
    prepare()
    # Ultralytics writes beside what it exports, where a file of that name may lie already.
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / f"{weights.stem}.pt"
        shutil.copyfile(weights, copy)
        model = _load(copy, weights)
        made = model.export(
            format="onnx",
            imgsz=_size_hw(model),
            opset=OPSET,
            simplify=True,
            dynamic=False,
            device="cpu",
        )
        halve_weights(Path(made))
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(made, target)
    _license_beside(target)


def _load(copy: Path, weights: Path) -> Any:  # noqa: ANN401 - ultralytics' interface is untyped
    """Load a copy of the weights; what goes wrong is told of the weights themselves."""
    try:
        return yolo(copy, task=None)
    except (UnpicklingError, RuntimeError, EOFError, KeyError, TypeError, AttributeError) as error:
        why = str(error).replace(str(copy), weights.name)[:200]
        raise ModelError(
            f"{weights}: no weights of ultralytics ({why}). Give the file that training wrote"
        ) from error


def _size_hw(model: Any) -> tuple[int, int]:  # noqa: ANN401 - ultralytics' interface is untyped
    told = model.overrides.get("imgsz", MODEL_WH[0])
    longer_px = max(told) if isinstance(told, list | tuple) else int(told)
    return max(round(longer_px * 3 / 4 / STRIDE_PX), 1) * STRIDE_PX, longer_px


def export_hands(weights: Path, target: Path) -> None:
    """Write the hands net as an ONNX file with a fixed input, of the size it was trained on."""
    net = load_hands(weights)
    wide, high = (int(side) for side in net.size_wh)
    target.parent.mkdir(parents=True, exist_ok=True)
    # The older exporter, with its warnings that it is: the newer one needs a package more for the
    # same graph.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            net,
            (torch.zeros(1, 3, high, wide),),
            str(target),
            input_names=["images"],
            output_names=["hands"],
            opset_version=OPSET,
            dynamo=False,
        )
    halve_weights(target)
    _license_beside(target)


def halve_weights(path: Path) -> None:
    """Store an ONNX file's weights in 16 bits, to be widened when it is loaded, and no paths.

    ONNX Runtime folds the widening once, so that only the file is smaller; weights are rounded to
    11 bits of mantissa.
    """
    model = onnx.load(str(path))
    casts = []
    for weight in model.graph.initializer:
        values = onnx.numpy_helper.to_array(weight)
        if values.dtype != np.float32 or values.size < HALVED_MIN:
            continue
        half = weight.name + ".half"
        casts.append(
            onnx.helper.make_node("Cast", [half], [weight.name], to=onnx.TensorProto.FLOAT)
        )
        weight.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), half))
    for cast in reversed(casts):
        model.graph.node.insert(0, cast)
    told = [entry for entry in model.metadata_props if entry.key not in UNTOLD]
    del model.metadata_props[:]
    model.metadata_props.extend(told)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def _license_beside(target: Path) -> None:
    """Say in a sidecar, as REUSE has it for files without comments, what the model is under."""
    text = "SPDX-FileCopyrightText: shelfgate contributors\n"
    text += "SPDX-License-Identifier: AGPL-3.0-or-later\n"
    target.with_name(target.name + ".license").write_text(text)
    log.info("wrote %s, %d bytes", target, target.stat().st_size)
