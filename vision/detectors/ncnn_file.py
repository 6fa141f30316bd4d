# SPDX-License-Identifier: Apache-2.0
"""A look over ncnn's ``.param`` files, without ncnn: it trusts them and crashes on what is none."""

from pathlib import Path

from vision.detectors import ModelError

MAGIC = "7767517"
"""First line of each ``.param``."""
LINES_MAX = 100_000
LAYER_WORDS_MIN = 4


def check_param(path: Path) -> None:
    """Look over a ``.param``.

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
