# SPDX-License-Identifier: Apache-2.0
"""ncnn files (``.param`` with ``.bin``), as ultralytics and pnnx export them: fast on ARM."""

from pathlib import Path

import ncnn
import numpy as np
import numpy.typing as npt

from vision.detectors import ModelError
from vision.detectors.network import FloatImage, Form
from vision.detectors.told import told_beside

MAGIC = "7767517"
"""First line of each ``.param``."""
LINES_MAX = 100_000
LAYER_WORDS_MIN = 4


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


def check_param(path: Path) -> None:
    """Look over a ``.param``: ncnn itself trusts it.

    Raises:
        ModelError: It is none, or its weights are not beside it.
    """
    weights = path.with_suffix(".bin")
    if not weights.is_file():
        raise ModelError(f"{weights}: no such file. Keep it beside {path.name}")
    with path.open(encoding="ascii", errors="replace") as file:
        lines = [line.split() for _, line in zip(range(LINES_MAX), file, strict=False)]
    good = len(lines) > 2 and lines[0] == [MAGIC] and len(lines[1]) == 2
    good = good and all(word.isdecimal() for word in lines[1])
    layers = [line for line in lines[2:] if line]
    good = good and int(lines[1][0]) == len(layers)
    good = good and all(_layer(line) for line in layers)
    if not good:
        raise ModelError(f"{path}: no ncnn model. Give the .param of an ncnn export")


def _layer(words: list[str]) -> bool:
    """Say whether a line is: type, name, counts of inputs and outputs, that many names, options."""
    if len(words) < LAYER_WORDS_MIN or not (words[2].isdecimal() and words[3].isdecimal()):
        return False
    names = int(words[2]) + int(words[3])
    options = words[LAYER_WORDS_MIN + names :]
    return len(words) >= LAYER_WORDS_MIN + names and all("=" in option for option in options)
