# SPDX-License-Identifier: Apache-2.0
"""ONNX files in OpenCV's own network module: nothing further to install."""

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from vision.detectors import ModelError
from vision.detectors.network import FloatImage
from vision.detectors.onnx_file import read_onnx

DEADLY = "NonMaxSuppression"
"""OpenCV 5 divides by the number of boxes that it finds, and takes the process with it at none."""


class OpencvNetwork:
    """One ONNX file. OpenCV's threads are one number for the whole process: the last one set."""

    def __init__(self, path: Path, threads: int) -> None:
        """Load it.

        Raises:
            ModelError: It is no ONNX model, or has operators that OpenCV lacks or crashes on.
        """
        self.form = read_onnx(path)
        self._path = path
        if DEADLY in self.form.operators:
            raise ModelError(
                f"{path}: was exported with nms=True, and OpenCV crashes on such a model where "
                "nobody is in view. Export it without, or use the detector onnxruntime"
            )
        cv2.setNumThreads(threads)
        try:
            self._net = cv2.dnn.readNetFromONNX(str(path))
        except cv2.error as error:
            raise ModelError(
                f"{path}: OpenCV cannot load it ({_first(error)}). Use the detector onnxruntime"
            ) from error
        self._outputs = self._net.getUnconnectedOutLayersNames()

    def run(self, pixels: FloatImage) -> list[npt.NDArray[np.float32]]:
        """Return every output for one picture."""
        try:
            self._net.setInput(pixels)
            found = self._net.forward(self._outputs)
        except cv2.error as error:
            raise ModelError(
                f"{self._path}: OpenCV cannot run it ({_first(error)}). "
                "Use the detector onnxruntime"
            ) from error
        return [np.array(output, dtype=np.float32) for output in found]


def _first(error: Exception) -> str:
    """Return what OpenCV says after the place in its source."""
    text = str(error).strip().splitlines()[0]
    return (text.partition("error: ")[2] or text).partition(" in function")[0][:300]
