# SPDX-License-Identifier: Apache-2.0
"""ONNX files in ONNX Runtime: the default, on any machine."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from vision.detectors import ModelError
from vision.detectors.network import FloatImage, Form, problem_of
from vision.detectors.told import told_by

TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


def open_session(path: Path, threads: int) -> ort.InferenceSession:
    """Return an ONNX file, ready to run on so many threads.

    Raises:
        ModelError: It is no ONNX model, or has operators that the runtime lacks.
    """
    ort.set_default_logger_severity(3)  # errors; an old export's warnings help nobody here
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that spin between frames would burn the cores that the daemon needs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors have no common base but this
        raise ModelError(f"{path}: no ONNX model ({problem_of(error)}). Export it again") from error


class OnnxNetwork:
    """One ONNX file."""

    def __init__(self, path: Path, threads: int) -> None:
        """Load it.

        Raises:
            ModelError: It is no ONNX model, or has operators that the runtime lacks.
        """
        self._session = open_session(path, threads)
        self._path = path
        asked = self._session.get_inputs()
        shapes = tuple(
            tuple(size if isinstance(size, int) else None for size in one.shape) for one in asked
        )
        self.form = Form(shapes, told_by(self._session.get_modelmeta().custom_metadata_map))
        if asked[0].type not in TYPES:
            raise ModelError(f"{path}: takes {asked[0].type}. Export it with floats")
        self._name, self._type = asked[0].name, TYPES[asked[0].type]

    def run(self, pixels: FloatImage) -> list[npt.NDArray[np.float32]]:
        """Return every output for one picture."""
        try:
            outputs = self._session.run(None, {self._name: pixels.astype(self._type, copy=False)})
        except Exception as error:  # as above
            raise ModelError(
                f"{self._path}: cannot be run ({problem_of(error)}). Export it again"
            ) from error
        return [np.asarray(output, dtype=np.float32) for output in outputs]
