# SPDX-License-Identifier: Apache-2.0
"""What a model file tells of itself, besides its weights.

Ultralytics writes the same table into each of its exports: as metadata of an ONNX file, and as
``metadata.yaml`` beside OpenVINO and ncnn files. Of that file only what is read here is understood:
scalars, lists of scalars and tables of scalars, as it writes them.
"""

import ast
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TEXT_CHARS_MAX = 256 * 1024
NAMES_MAX = 10_000
SIDE_PX_MAX = 4096
KEYPOINTS_MAX = 1_000
METADATA_FILE = "metadata.yaml"
UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")
"""Controls, what ends a line, halves of a character and what is none: YAML has no such text."""


@dataclass(frozen=True, slots=True)
class Told:
    """What is known; None where the file does not say.

    Attributes:
        task: Ultralytics' word for what the model does: ``pose``, ``detect`` and others.
        names: Of the classes, in their order.
        keypoints: How many, and how many numbers each has (2 or 3).
        end_to_end: Whether overlapping boxes are already dropped; False where it does not say.
        size_wh: Width and height of the input that it was exported for.
        model: The model's own name.
    """

    task: str | None = None
    names: tuple[str, ...] | None = None
    keypoints: tuple[int, int] | None = None
    end_to_end: bool = False
    size_wh: tuple[int, int] | None = None
    model: str | None = None


NOTHING = Told()


def told_by(entries: Mapping[str, Any], model: str | None = None) -> Told:
    """Return what ultralytics' table says; an entry that is not as it writes them says nothing."""
    values = {key: _literal(value) for key, value in entries.items()}
    task, end = values.get("task"), values.get("end2end")
    points, size = _integers(values.get("kpt_shape")), _integers(values.get("imgsz"))
    good_points = points is not None and 1 <= points[0] <= KEYPOINTS_MAX and points[1] in (2, 3)
    good_size = size is not None and all(1 <= side <= SIDE_PX_MAX for side in size)
    return Told(
        task=printable(task) if isinstance(task, str) else None,
        names=_names(values.get("names")),
        keypoints=points if good_points else None,
        end_to_end=end is True or str(end).lower() == "true",
        size_wh=(size[1], size[0]) if size is not None and good_size else None,
        model=model,
    )


def printable(text: str) -> str:
    """Return a text of one line that a terminal and a file can take."""
    return UNPRINTABLE.sub("", text)


def told_beside(model: Path, name: str | None = None) -> Told:
    """Return what the ``metadata.yaml`` beside a model file says, if there is one."""
    path = model.with_name(METADATA_FILE)
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            text = file.read(TEXT_CHARS_MAX)
    except OSError:
        return Told(model=name)
    return told_by(_entries(text), name)


def _entries(text: str) -> dict[str, Any]:
    """Return the top level of a YAML file: scalars as texts, nested lists and tables of them."""
    entries: dict[str, Any] = {}
    key = ""
    for line in text.splitlines():
        top = re.match(r"(\w+):[ \t]*(.*)", line)
        inner = re.match(r"[ ]*(-|[\w'\"]+:)[ \t]+(.*)", line)
        if top:
            key = top[1]
            entries[key] = _scalar(top[2])
        elif inner and key:
            held = entries[key]
            if inner[1] == "-":
                entries[key] = [*(held if isinstance(held, list) else []), _scalar(inner[2])]
            else:
                table = held if isinstance(held, dict) else {}
                entries[key] = {**table, inner[1][:-1].strip("'\""): _scalar(inner[2])}
        else:
            key = ""  # deeper than what is written here
    return entries


def _scalar(text: str) -> str:
    """Return what is written: bare, in single quotes, or in double ones as JSON has them."""
    text = text.strip()
    if re.fullmatch("'(?:[^']|'')*'", text):
        return text[1:-1].replace("''", "'")
    if text.startswith('"'):
        try:
            return str(json.loads(text))
        except ValueError:
            return text.strip('"')  # an escape that YAML alone has: as it stands
    return text


def _literal(value: object) -> Any:  # noqa: ANN401 - whatever was written
    """Return a table, list or number that is written as a text; another text as it is."""
    if not isinstance(value, str) or len(value) > TEXT_CHARS_MAX:
        return value
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return value


def _integers(value: object) -> tuple[int, int] | None:
    if not isinstance(value, list | tuple) or len(value) != 2:
        return None
    try:
        return int(value[0]), int(value[1])
    except (TypeError, ValueError, OverflowError):
        return None


def _names(value: object) -> tuple[str, ...] | None:
    if isinstance(value, Mapping):
        value = list(value.values())
    if not isinstance(value, list | tuple) or not 1 <= len(value) <= NAMES_MAX:
        return None
    return tuple(printable(str(name)) for name in value)
