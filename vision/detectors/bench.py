# SPDX-License-Identifier: Apache-2.0
"""Each runtime on this machine with the models given, measured one after the other."""

import logging
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import msgspec

from vision.detectors import EXTRAS, Kind
from vision.detectors.check import READERS, File, identify
from vision.detectors.measure import FRAME_WH, Job, Measured, Outcome, run
from vision.detectors.network import cores, threads_used
from vision.detectors.onnx_file import read_onnx
from vision.detectors.told import told_beside

log = logging.getLogger(__name__)

SIZES_PX = (320, 416, 640)
ALIKE = 1.05
"""Runtimes whose CPU time differs by less are told apart by memory."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One runtime with one model at one size."""

    runtime: Kind
    model: str
    size_px: int
    """Longer side of the input."""
    result: Measured


class Skipped(msgspec.Struct, frozen=True, kw_only=True):
    """What was not measured, and why."""

    runtime: Kind
    model: str
    sizes_px: tuple[int, ...]
    reason: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All of it."""

    cores: int
    threads: int
    rows: list[Row]
    skipped: list[Skipped]
    recommended: Kind | None
    recommended_model: str | None
    why: str


def bench(
    models: Sequence[Path],
    *,
    kinds: Sequence[Kind],
    sizes_px: Sequence[int] = SIZES_PX,
    threads: int = 1,
    frames: int = 100,
    seconds_max: float = 10.0,
) -> Report:
    """Measure every runtime that is installed and reads one of these files.

    A model of one fixed size is measured at that size, and the others are listed as skipped.

    Args:
        models: Files, or folders of exports: the same model as each runtime reads it.
        kinds: Runtimes to measure.
        sizes_px: Longer sides of the input.
        threads: For the model.
        frames: At most so many at each size.
        seconds_max: At most so long at each size.

    Raises:
        ModelError: One of the files is no model.
    """
    rows: list[Row] = []
    skipped: list[Skipped] = []
    found = [identify(model) for model in models]
    for (path, file), kind in ((one, kind) for one in found for kind in READERS[one[1]]):
        if kind not in kinds:
            continue
        sides, why_not = _sides(kind, path, file, sizes_px)
        skipped += why_not
        for side, input_px in sides:
            log.info("%s with %s at %d", kind, path.name, side)
            job = Job(
                kind=kind,
                model=str(path),
                threads=threads,
                input_px=input_px,
                frames=frames,
                seconds_max=seconds_max,
            )
            outcome = run(job)
            if outcome.measured is None:
                skipped.append(_skipped(kind, path, [side], outcome))
            else:
                rows.append(
                    Row(runtime=kind, model=str(path), size_px=side, result=outcome.measured)
                )
    best, why = recommend(rows)
    return Report(
        cores=cores(),
        threads=threads_used(threads),
        rows=rows,
        skipped=skipped,
        recommended=None if best is None else best.runtime,
        recommended_model=None if best is None else best.model,
        why=why,
    )


def recommend(rows: Sequence[Row]) -> tuple[Row | None, str]:
    """Return a row of the runtime to use, and why.

    It is the one that takes the least CPU time a frame, which is what a gateway has least of, on
    average over the sizes that all did; of those alike in that, the one with the least memory.
    """
    if not rows:
        return None, "nothing could be measured"
    by_choice: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        by_choice.setdefault((row.runtime, row.model), []).append(row)
    common = set.intersection(*({row.size_px for row in own} for own in by_choice.values()))
    if not common:
        return None, "the models have no size in common. Give one model, as each runtime reads it"
    cost_ms, memory_mb = {}, {}
    for choice, own in by_choice.items():
        at = [row.result for row in own if row.size_px in common]
        cost_ms[choice] = fmean(result.cpu_ms for result in at)
        memory_mb[choice] = max(result.memory_mb for result in at)
    least = min(cost_ms.values())
    alike = [choice for choice, cost in cost_ms.items() if cost <= least * ALIKE]
    best = min(alike, key=lambda choice: memory_mb[choice])
    sizes = ", ".join(str(size) for size in sorted(common))
    why = f"{cost_ms[best]:.1f} ms of CPU a frame at {sizes}"
    rest = sorted((cost, choice) for choice, cost in cost_ms.items() if choice != best)
    if rest:
        others = [f"{kind} {cost:.1f} with {_short(model)}" for cost, (kind, model) in rest]
        why += f" with {_short(best[1])}; {', '.join(others)}"
    return by_choice[best][0], why


def text_of(report: Report) -> str:
    """Return a report as a table for a person."""
    frame = f"a frame of {FRAME_WH[0]} x {FRAME_WH[1]}"
    head = f"{'runtime':<12} {'size':>5} {'input':>9} {'p50 ms':>8} {'p95 ms':>8} {'frames/s':>9}"
    head += f" {'CPU ms':>8} {'MB':>6} {'model':>6}  file"
    lines = [
        f"{report.cores} cores, {report.threads} thread(s); from {frame} to persons",
        head,
    ]
    for row in report.rows:
        result = row.result
        size = "x".join(str(side) for side in result.input_wh) if result.input_wh else ""
        lines.append(
            f"{row.runtime:<12} {row.size_px:>5} {size:>9} {result.p50_ms:>8.1f} "
            f"{result.p95_ms:>8.1f} {result.frames_a_second:>9.1f} {result.cpu_ms:>8.1f} "
            f"{result.memory_mb:>6.0f} {result.model_mb:>6.0f}  {_short(row.model)}"
        )
    for one in report.skipped:
        sizes = ", ".join(str(size) for size in one.sizes_px)
        lines.append(f"{one.runtime:<12} not at {sizes}: {_short(one.model)}: {one.reason}")
    if report.recommended is None:
        lines.append(f"no recommendation: {report.why}")
    else:
        lines.append(f'recommended: detector = "{report.recommended}": {report.why}')
    return "\n".join(lines) + "\n"


def _short(model: str) -> str:
    """Return a file's name; within an export's folder, where all are called alike, with that."""
    path = Path(model)
    return path.name if path.suffix == ".onnx" else f"{path.parent.name}/{path.name}"


def _sides(
    kind: Kind, path: Path, file: File, sizes_px: Sequence[int]
) -> tuple[list[tuple[int, int | None]], list[Skipped]]:
    """Return each size to measure, with the input to ask for, and what cannot be done."""
    tried = run(Job(kind=kind, model=str(path)))
    if tried.described is None:
        return [], [_skipped(kind, path, sizes_px, tried)]
    fixed = tried.described.input_wh
    if fixed is None and kind == "ultralytics":
        fixed = _exported_for(path, file)
    if fixed is None:
        return [(side, side) for side in sizes_px], []
    others = [side for side in sizes_px if side != max(fixed)]
    reason = Outcome(error=f"takes {fixed[0]} x {fixed[1]} alone")
    return [(max(fixed), None)], [_skipped(kind, path, others, reason)] if others else []


def _exported_for(path: Path, file: File) -> tuple[int, int] | None:
    """Return width and height of an exported file's input; None where it takes any."""
    if file == "ONNX":
        shape = next(iter(read_onnx(path).inputs), ())
        if len(shape) == 4 and shape[2] is not None and shape[3] is not None:
            return shape[3], shape[2]
        return None
    return None if file == "PyTorch" else told_beside(path).size_wh


def _skipped(kind: Kind, path: Path, sizes_px: Sequence[int], outcome: Outcome) -> Skipped:
    reason = outcome.error or "no answer"
    if outcome.missing:
        reason = f"not installed: pip install 'shelfgate[{EXTRAS[kind]}]'"
    return Skipped(runtime=kind, model=str(path), sizes_px=tuple(sizes_px), reason=reason)
