# SPDX-License-Identifier: Apache-2.0
"""Whatever a detector does wrong becomes one :class:`ModelError`.

A runtime raises what it likes, and some of them end the process on a model that they mistake. The
former is caught around each call; the latter can only be tried out elsewhere first.
"""

from pathlib import Path

from vision.detectors import Detections, Detector, Kind, ModelError, RuntimeMissingError, build
from vision.detectors.measure import Job, run
from vision.detectors.network import problem_of
from vision.rendering import Image

TRIED_FIRST: tuple[Kind, ...] = ("opencv",)
"""Runtimes that were seen to end the process on a file that they can load."""


class Guarded:
    """A detector that raises nothing but :class:`ModelError`."""

    def __init__(self, detector: Detector, kind: Kind, model: Path) -> None:
        self._detector, self._kind, self._model = detector, kind, model

    def detect(self, frame: Image) -> Detections:
        """Return the persons in an ``(h, w, 3)`` BGR frame of any size.

        Raises:
            ModelError: The detector failed, in whichever way.
        """
        try:
            return self._detector.detect(frame)
        except ModelError:
            raise
        except Exception as error:  # runtimes' errors have no common base but this
            height, width = frame.shape[:2]
            raise ModelError(
                f"{self._model}: {self._kind} failed on a frame of {width} x {height} "
                f"({type(error).__name__}: {problem_of(error)}). "
                "Use another detector, or export it again"
            ) from error


def build_guarded(
    kind: Kind, model: Path, *, hands: Path | None, threads: int, input_px: int | None
) -> Guarded:
    """Load a detector that raises nothing but :class:`ModelError`; see :func:`build`.

    A runtime that may end the process does its first run in one of its own, which takes a second.

    Raises:
        RuntimeMissingError: The runtime is not installed.
        ModelError: A file cannot be used.
    """
    if kind in TRIED_FIRST:
        for path in (model, hands):
            if path is not None:
                size = input_px if path == model else None
                _try_out(Job(kind=kind, model=str(path), threads=threads, input_px=size))
    detector = build(kind, model, hands=hands, threads=threads, input_px=input_px)
    return Guarded(detector, kind, model)


def _try_out(job: Job) -> None:
    tried = run(job)
    if tried.error is None:
        return
    if tried.missing:
        raise RuntimeMissingError(tried.error)
    raise ModelError(tried.error)
