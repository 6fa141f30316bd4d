# SPDX-License-Identifier: Apache-2.0
"""One model in one runtime, tried or measured in a process of its own.

So memory is that runtime's alone, and a library that crashes on a file takes nothing with it. The
process is ``python -m vision.detectors.measure``: a job as JSON on its standard input, the outcome
as JSON on its standard output; what libraries print goes to its standard error.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import cv2
import msgspec
import numpy as np

from vision.detectors import (
    Detector,
    Kind,
    ModelError,
    RuntimeMissingError,
    build,
    load_network,
    locate,
    missing,
)
from vision.detectors.formats import TITLES, Format
from vision.detectors.network import threads_used
from vision.detectors.persons import ModelInput, PersonDetector
from vision.detectors.told import Told
from vision.rendering import Image

FRAME_WH = (1280, 720)
PICTURES, SEED = 4, 5
WARM_UP = 3
FRAMES_MIN = 10
PATIENCE_S = 300.0


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What to do.

    Without frames, the model is loaded and run once; with, it is measured.
    """

    kind: Kind
    model: str
    threads: int = 1
    input_px: int | None = None
    frames: int = 0
    seconds_max: float = 10.0


class Description(msgspec.Struct, frozen=True, kw_only=True):
    """What a model is."""

    format: str
    input_wh: tuple[int, int] | None
    """Width and height; None where it takes any."""
    channels: str
    """Order and range of the pixels that it takes."""
    classes: int
    person: str
    """Name of the class that is a person, or what stands for it."""
    keypoints: int
    hands: bool = False
    """Whether it finds hands and no persons."""


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What it takes, from a frame of :data:`FRAME_WH` to persons."""

    input_wh: tuple[int, int] | None
    frames: int
    p50_ms: float
    p95_ms: float
    frames_a_second: float
    cpu_ms: float
    """Of all threads, a frame."""
    memory_mb: float
    """Peak of the process."""
    model_mb: float
    """Of which: since before the runtime was loaded."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a job: a description or a measurement, or why there is none."""

    described: Description | None = None
    measured: Measured | None = None
    error: str | None = None
    missing: bool = False
    """Whether that is only because the runtime is not installed."""


def run(job: Job) -> Outcome:
    """Do a job in a process of its own."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "vision.detectors.measure"],
            input=msgspec.json.encode(job),
            capture_output=True,
            timeout=PATIENCE_S + job.seconds_max,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Outcome(error=_failed(job, f"had not ended after {PATIENCE_S:.0f} s"))
    try:
        return msgspec.json.decode(done.stdout, type=Outcome)
    except msgspec.DecodeError:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no word"]
        word = last[0][:200].rstrip(".")
        return Outcome(error=_failed(job, f"ended with status {done.returncode} ({word})"))


def _failed(job: Job, how: str) -> str:
    return f"{job.model}: {job.kind} {how}. Use another detector, or export it again"


def carry_out(job: Job) -> Outcome:
    """Do a job in this process."""
    path = Path(job.model)
    try:
        if job.frames:
            return Outcome(measured=_measure(job, path))
        return Outcome(described=_describe(job, path))
    except RuntimeMissingError as error:
        return Outcome(error=str(error), missing=True)
    except ModelError as error:
        return Outcome(error=str(error))


def _describe(job: Job, path: Path) -> Description:
    if job.kind == "ultralytics":
        detector = build("ultralytics", path, threads=job.threads, input_px=job.input_px)
        from vision.yolo.detector import UltralyticsDetector  # noqa: PLC0415

        assert isinstance(detector, UltralyticsDetector)
        return Description(
            format=f"ultralytics {detector.task}",
            input_wh=None,
            channels="RGB from 0 to 1",
            classes=len(detector.names),
            person=detector.names[detector.person],
            keypoints=detector.keypoints,
        )
    found = locate(job.kind, path)
    try:
        network = load_network(job.kind, found, threads_used(job.threads))
    except ModuleNotFoundError as error:
        raise missing(job.kind, error) from error
    model = ModelInput(found, network, job.input_px)
    form, told = model.format, network.form.told
    return Description(
        format=TITLES[form.name],
        input_wh=model.fixed_wh,
        channels="BGR from 0 to 255" if form.bgr else "RGB from 0 to 1",
        classes=form.classes,
        person=_person(form, told),
        keypoints=form.keypoints[0],
        hands=form.name == "hands",
    )


def _person(form: Format, told: Told) -> str:
    """Return what a model calls a person."""
    if told.names is not None and len(told.names) == form.classes:
        return told.names[form.person]
    return "any" if form.classes == 1 else f"number {form.person}, as in COCO"


def _measure(job: Job, path: Path) -> Measured:
    frames = _frames()
    before_mb = _peak_mb()
    detector = build(job.kind, path, threads=job.threads, input_px=job.input_px)
    for number in range(WARM_UP):
        detector.detect(frames[number % len(frames)])
    taken_ms: list[float] = []
    started, cpu = time.perf_counter(), time.process_time()
    for number in range(job.frames):
        begun = time.perf_counter()
        if number >= FRAMES_MIN and begun - started > job.seconds_max:
            break
        detector.detect(frames[number % len(frames)])
        taken_ms.append((time.perf_counter() - begun) * 1e3)
    cpu_ms = (time.process_time() - cpu) * 1e3
    return Measured(
        input_wh=_input_wh(detector, frames[0]),
        frames=len(taken_ms),
        p50_ms=round(float(np.percentile(taken_ms, 50)), 2),
        p95_ms=round(float(np.percentile(taken_ms, 95)), 2),
        frames_a_second=round(1e3 / float(np.mean(taken_ms)), 1),
        cpu_ms=round(cpu_ms / len(taken_ms), 2),
        memory_mb=round(_peak_mb(), 1),
        model_mb=round(_peak_mb() - before_mb, 1),
    )


def _input_wh(detector: Detector, frame: Image) -> tuple[int, int] | None:
    return detector.people.size_for(frame) if isinstance(detector, PersonDetector) else None


def _frames() -> list[Image]:
    """Return rendered pictures of persons, of a camera's size."""
    from vision.scenes import pictures  # noqa: PLC0415 - only who measures paints

    return [
        np.asarray(cv2.resize(picture.image, FRAME_WH), dtype=np.uint8)
        for picture in pictures(SEED, PICTURES)
    ]


def _peak_mb() -> float:
    """Return the most memory that this process has held, as Linux counts it."""
    # Not getrusage: its peak begins with that of the process that started this one.
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


def main() -> int:
    """Do the job on standard input."""
    out = os.dup(1)
    os.dup2(2, 1)
    outcome = carry_out(msgspec.json.decode(sys.stdin.buffer.read(), type=Job))
    with os.fdopen(out, "wb") as answer:
        answer.write(msgspec.json.encode(outcome))
    return 0


if __name__ == "__main__":
    sys.exit(main())
