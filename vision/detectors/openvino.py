# SPDX-License-Identifier: Apache-2.0
"""OpenVINO: its own files (``.xml`` with ``.bin``, floats or INT8) and ONNX, on x86."""

import importlib
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import openvino as ov

from vision.detectors import ModelError
from vision.detectors.network import FloatImage, Form, Shape
from vision.detectors.onnx_file import read_onnx
from vision.detectors.told import Told, told_beside

CONFIGURATION = {
    "PERFORMANCE_HINT": "LATENCY",
    "NUM_STREAMS": 1,
    # Else threads are bound to the first cores, and two processes to the same ones.
    "ENABLE_CPU_PINNING": False,
    # What is quantised runs in 8 bits all the same. Without it some processors take 16-bit floats,
    # which move boxes, and cannot run some quantised models.
    "INFERENCE_PRECISION_HINT": "f32",
}


class OpenvinoNetwork:
    """One model in OpenVINO, on the processor."""

    def __init__(self, path: Path, threads: int) -> None:
        """Load it.

        Raises:
            ModelError: It is no such model, or has operators that OpenVINO lacks.
        """
        core = ov.Core()
        try:
            model = core.read_model(str(path))
            told = _told(path, model)
            inputs = tuple(_shape(port.get_partial_shape()) for port in model.inputs)
            self._compiled = core.compile_model(
                model, "CPU", {**CONFIGURATION, "INFERENCE_NUM_THREADS": threads}
            )
        except RuntimeError as error:
            raise ModelError(
                f"{path}: OpenVINO cannot load it ({_first(error)}). "
                "Export it for OpenVINO, or use the detector onnxruntime"
            ) from error
        self._path = path
        self._request = self._compiled.create_infer_request()
        self.form = Form(inputs, told)

    def run(self, pixels: FloatImage) -> list[npt.NDArray[np.float32]]:
        """Return every output for one picture."""
        try:
            found = self._request.infer([pixels])
        except RuntimeError as error:
            raise ModelError(
                f"{self._path}: cannot be run ({_first(error)}). Export it again"
            ) from error
        return [np.array(output, dtype=np.float32) for output in found.values()]


def save(source: Path, target: Path, seen: Sequence[FloatImage] | None) -> None:
    """Write an ONNX file in OpenVINO's own form.

    Args:
        source: What to read.
        target: The ``.xml`` to write; the ``.bin`` goes beside it.
        seen: Pictures as the model takes them: quantise to INT8 by what its layers make of them.
            None: leave its floats.

    Raises:
        ModelError: OpenVINO or NNCF cannot do it.
    """
    try:
        model = ov.Core().read_model(str(source))
        if seen is not None:
            # Asked for alone: it is no dependency, and takes seconds to import.
            nncf = importlib.import_module("nncf")
            logging.getLogger("nncf").setLevel(logging.WARNING)
            model = nncf.quantize(
                model,
                nncf.Dataset(list(seen)),
                subset_size=len(seen),
                preset=nncf.QuantizationPreset.MIXED,
            )
        ov.save_model(model, str(target))
    except RuntimeError as error:
        raise ModelError(
            f"{source}: OpenVINO cannot convert it ({_first(error)}). Use another form"
        ) from error


def _told(path: Path, model: ov.Model) -> Told:
    """Return what the file says: as metadata in ONNX, beside an IR, and in its conversion."""
    if path.suffix == ".onnx":
        return read_onnx(path).told
    name = path.stem
    try:
        converted = model.get_rt_info(["conversion_parameters", "model_name"])
        name = str(converted.astype(str))
    except RuntimeError:
        pass  # it was made in another way
    return replace(told_beside(path), model=name)


def _shape(partial: ov.PartialShape) -> Shape:
    if partial.rank.is_dynamic:
        return ()
    return tuple(None if size.is_dynamic else size.get_length() for size in partial)


def _first(error: Exception) -> str:
    """Return the last line of OpenVINO's message: those before it are places in its source."""
    lines = [line.strip(" -.") for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__
