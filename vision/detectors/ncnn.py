# SPDX-License-Identifier: Apache-2.0
"""ncnn files (``.param`` with ``.bin``), as ultralytics and pnnx export them: fast on ARM."""

from pathlib import Path

import ncnn
import numpy as np
import numpy.typing as npt

from vision.detectors import ModelError
from vision.detectors.ncnn_file import check_param
from vision.detectors.network import FloatImage, Form
from vision.detectors.told import told_beside


class NcnnNetwork:
    """One model in ncnn, on the processor."""

    def __init__(self, path: Path, threads: int) -> None:
        """Load it.

        Raises:
            ModelError: It is no such model, or has layers that ncnn lacks.
        """
        weights = path.with_suffix(".bin")
        check_param(path)
        self._path = path
        self._net = ncnn.Net()
        self._net.opt.num_threads = threads
        self._net.opt.use_vulkan_compute = False
        # Threads that spin between frames would burn the cores that the daemon needs.
        self._net.opt.openmp_blocktime = 0
        if self._net.load_param(str(path)) or self._net.load_model(str(weights)):
            raise ModelError(f"{path}: ncnn cannot load it. Export it again, both files together")
        told = told_beside(path)
        asked, self._outputs = self._net.input_names(), sorted(self._net.output_names())
        if len(asked) != 1:
            raise ModelError(f"{path}: has {len(asked)} inputs. Use a model that takes one picture")
        self._input = asked[0]
        # The file does not say its size, and the grid of a pose model is part of the graph.
        wide, high = told.size_wh or (None, None)
        self.form = Form(((1, 3, high, wide),), told)

    def run(self, pixels: FloatImage) -> list[npt.NDArray[np.float32]]:
        """Return every output for one picture."""
        outputs = []
        with self._net.create_extractor() as extractor:
            extractor.input(self._input, ncnn.Mat(pixels[0]))
            for name in self._outputs:
                status, given = extractor.extract(name)
                if status:
                    raise ModelError(
                        f"{self._path}: cannot be run (status {status}) on "
                        f"{pixels.shape[3]} x {pixels.shape[2]} pixels. "
                        "Give the input_px that it was exported for, or export it again"
                    )
                # A copy: ncnn takes its memory back.
                outputs.append(np.array(given, dtype=np.float32)[None])
        return outputs
