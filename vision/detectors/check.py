# SPDX-License-Identifier: Apache-2.0
"""What a model file is, and what can run it."""

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from vision.detectors import EXTRAS, KINDS, SUFFIXES, Kind, ModelError, locate
from vision.detectors.measure import Description, Job, run
from vision.detectors.ncnn_file import check_param
from vision.detectors.onnx_file import read_onnx

File = Literal["ONNX", "OpenVINO", "ncnn", "PyTorch"]
OF_SUFFIX: dict[str, File] = {
    ".onnx": "ONNX",
    ".xml": "OpenVINO",
    ".param": "ncnn",
    ".pt": "PyTorch",
}
READERS: dict[File, tuple[Kind, ...]] = {
    file: tuple(kind for kind in KINDS if suffix in SUFFIXES[kind])
    for suffix, file in OF_SUFFIX.items()
}
XML_HEAD_BYTES = 4096


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What was found out about one file."""

    path: str
    file: File | None
    """None where it is no model of these."""
    good: bool
    """Whether a runtime on this machine can find persons, or hands, with it."""
    described: Description | None
    runtimes: dict[str, str]
    """What each runtime that reads such files says: ``runs``, or why it does not."""
    error: str | None
    """Why it cannot be used."""


def check(path: Path, kinds: Sequence[Kind] = KINDS) -> Verdict:
    """Look a file over, and try it in each of these runtimes that reads such files."""
    try:
        found, file = identify(path)
    except ModelError as error:
        return Verdict(
            path=str(path), file=None, good=False, described=None, runtimes={}, error=str(error)
        )
    described: Description | None = None
    runtimes: dict[str, str] = {}
    errors: list[str] = []
    for kind in [kind for kind in READERS[file] if kind in kinds]:
        outcome = run(Job(kind=kind, model=str(found)))
        if outcome.described is not None:
            runtimes[kind] = "runs"
            described = described or outcome.described
        else:
            runtimes[kind] = outcome.error or "no answer"
            if outcome.missing:
                runtimes[kind] = f"not installed: pip install 'shelfgate[{EXTRAS[kind]}]'"
            else:
                errors.append(runtimes[kind])
    why_not = None
    if described is None:
        why_not = errors[0] if errors else f"{found}: no runtime tried here reads {file} files"
    return Verdict(
        path=str(found),
        file=file,
        good=described is not None,
        described=described,
        runtimes=runtimes,
        error=why_not,
    )


def identify(path: Path) -> tuple[Path, File]:
    """Return the file of a model, or the one in its folder, and what it is by its content.

    Raises:
        ModelError: It is none of these.
    """
    if path.is_dir():
        inside = [one for one in sorted(path.iterdir()) if one.suffix in OF_SUFFIX]
        if not inside:
            raise ModelError(
                f"{path}: holds no file of {', '.join(OF_SUFFIX)}. "
                "Name a model's file, or the folder that an export wrote"
            )
        if len(inside) > 1:
            raise ModelError(f"{path}: holds {len(inside)} models. Name the file")
        path = inside[0]
    file = OF_SUFFIX.get(path.suffix)
    if file is None and path.exists():
        raise ModelError(f"{path}: no model by its name. Give a file of {', '.join(OF_SUFFIX)}")
    locate("ultralytics", path)  # is it there at all?
    if file == "ONNX":
        read_onnx(path)
    elif file == "ncnn":
        check_param(path)
    elif file == "OpenVINO":
        _check_xml(path)
    elif not zipfile.is_zipfile(path):
        raise ModelError(f"{path}: no PyTorch weights. Give the file that training wrote")
    assert file is not None, "a file that is not there was refused"
    return path, file


def _check_xml(path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(XML_HEAD_BYTES)
    if b"<net" not in head:
        raise ModelError(f"{path}: no OpenVINO model. Give the .xml of an OpenVINO export")
    weights = path.with_suffix(".bin")
    if not weights.is_file():
        raise ModelError(f"{weights}: no such file. Keep it beside {path.name}")


def text_of(verdict: Verdict) -> str:
    """Return a verdict as lines for a person."""
    if verdict.file is None:
        return f"{verdict.error}\n"
    lines = [f"{verdict.path}: {verdict.file}"]
    about = verdict.described
    if about is not None:
        size = f"{about.input_wh[0]} x {about.input_wh[1]} px" if about.input_wh else "any size"
        lines.append(f"  format     {about.format}")
        lines.append(f"  input      {size}, {about.channels}")
        if about.hands:
            lines.append("  finds      hands: give it as hands beside a model of persons")
        else:
            lines.append(f"  classes    {about.classes}, the person is {about.person}")
            points = (
                str(about.keypoints) if about.keypoints else "none: feet are a guess, no wrists"
            )
            lines.append(f"  keypoints  {points}")
    for kind, word in verdict.runtimes.items():
        lines.append(f"  {kind:<12} {word}")
    if verdict.error:
        lines.append(f"cannot be used: {verdict.error}")
    return "\n".join(lines) + "\n"
