# SPDX-License-Identifier: Apache-2.0
"""What a runtime is to the rest: a file that was loaded, and a call from pixels to numbers."""

import os
import re
import sys
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from vision.detectors.told import NOTHING, Told

FloatImage = npt.NDArray[np.float32]
Shape = tuple[int | None, ...]
TELEMETRY = "openvino_telemetry"
PROBLEM_LETTERS_MAX = 200
_NOT_SAID = re.compile(
    r"\[ONNXRuntimeError\] : \d+ : \w+ : |Load model from .* failed:(Invalid model\. )?"
    r"|Fatal error: |Non-zero status code .* Status Message: (\S+:\d+ .* was false\. )?"
    r"|\[enforce fail at [^]]*\] \. "
)
"""Codes and names of their own, the file's name and places in sources, by which runtimes begin."""


@dataclass(frozen=True, slots=True)
class Form:
    """What a loaded file takes and tells.

    Attributes:
        inputs: Shape of each input; None is a size that may vary.
        told: What it says of itself.
        operators: Names of what its graph does, as far as they were asked for.
    """

    inputs: tuple[Shape, ...]
    told: Told = NOTHING
    operators: frozenset[str] = frozenset()


class Network(Protocol):
    """A model in one runtime. One thread at a time calls it."""

    @property
    def form(self) -> Form:
        """What the model takes."""
        ...

    def run(self, pixels: FloatImage) -> list[npt.NDArray[np.float32]]:
        """Return every output for one picture.

        Args:
            pixels: ``(1, 3, h, w)`` or ``(1, h, w, 3)``, contiguous, as the form asks.

        Raises:
            ModelError: The runtime cannot carry the model out.
        """
        ...


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def forbid_telemetry() -> None:
    """Keep runtimes from reporting to their makers; before any of them is imported.

    OpenVINO sends a message on import where a package of its own is there, and takes a stand-in
    that sends nothing where it is not. ONNX Runtime writes an identity of the machine and what it
    did into the home directory and sends it from there; only its environment variable, read on
    import, stops that.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    sys.modules.setdefault(TELEMETRY, None)  # type: ignore[arg-type]  # None forbids the import


def problem_of(error: Exception) -> str:
    """Return what a runtime says went wrong in one line of few words, without a full stop."""
    said = _NOT_SAID.sub("", " ".join(str(error).split())).strip(" .")
    return said[:PROBLEM_LETTERS_MAX] or type(error).__name__


def threads_used(asked: int) -> int:
    """Return how many threads a model gets: what is asked, but one less than the cores, at least 1.

    A model that takes every core leaves none for decoding frames and for the daemon.
    """
    return max(1, min(asked, cores() - 1))
