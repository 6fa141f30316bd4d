# SPDX-License-Identifier: Apache-2.0
"""The few fields of an ONNX file that say what it takes, read without any library.

OpenCV does not tell a model's input, and ``shelfgate model check`` is to know a file where no
runtime is installed. ONNX is a protobuf message (github.com/onnx/onnx, ``onnx.proto3``): fields of
a number, a wire type and a value, of which weights are skipped.
"""

import mmap
from collections.abc import Iterator
from pathlib import Path

from vision.detectors import ModelError
from vision.detectors.network import Form, Shape
from vision.detectors.told import TEXT_CHARS_MAX, told_by

INPUTS_MAX = 64
METADATA_MAX = 256
DIMENSIONS_MAX = 16
VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
MODEL_GRAPH, MODEL_METADATA = 7, 14
GRAPH_NODE, GRAPH_INITIALIZER, GRAPH_INPUT = 1, 5, 11
INITIALIZER_NAME = 8
NODE_OPERATOR = 4


def read_onnx(path: Path) -> Form:
    """Return what an ONNX file takes and tells.

    Raises:
        ModelError: It is no ONNX file.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _model(data)
    except (OSError, ValueError, IndexError) as error:
        raise ModelError(f"{path}: no ONNX model ({error}). Export it again") from error


def _model(data: mmap.mmap) -> Form:
    told: dict[str, str] = {}
    inputs: dict[str, Shape] = {}
    weights: set[str] = set()
    operators: set[str] = set()
    for number, _, start, end in _fields(data, 0, len(data)):
        if number == MODEL_METADATA and len(told) < METADATA_MAX:
            pair = {field: (a, b) for field, _, a, b in _fields(data, start, end)}
            told[_text(data, pair.get(1))] = _text(data, pair.get(2))
        elif number == MODEL_GRAPH:
            for field, _, first, last in _fields(data, start, end):
                if field == GRAPH_NODE:
                    operators.add(_named(data, first, last, NODE_OPERATOR))
                elif field == GRAPH_INPUT and len(inputs) < INPUTS_MAX:
                    name, shape = _value_info(data, first, last)
                    inputs[name] = shape
                elif field == GRAPH_INITIALIZER:
                    weights.add(_named(data, first, last, INITIALIZER_NAME))
    if not operators or not inputs:
        raise ValueError("it has no graph")
    # Old files list their weights among the inputs.
    pictures = tuple(inputs[name] for name in inputs if name not in weights)
    return Form(pictures, told_by(told), frozenset(operators))


def _named(data: mmap.mmap, start: int, end: int, number: int) -> str:
    """Return the text in the field of this number; empty where there is none."""
    for field, _, first, last in _fields(data, start, end):
        if field == number:
            return _text(data, (first, last))
    return ""


def _value_info(data: mmap.mmap, start: int, end: int) -> tuple[str, Shape]:
    """Return an input's name and shape: ValueInfoProto, TypeProto, Tensor, TensorShapeProto."""
    name = ""
    shape: Shape = ()
    for field, _, first, last in _fields(data, start, end):
        if field == 1:
            name = _text(data, (first, last))
        elif field == 2:
            shape = tuple(
                next((value for n, value, _, _ in _fields(data, a, b) if n == 1 and value), None)
                for a, b in _inside(data, first, last, path=(1, 2, 1))
            )
    return name, shape[:DIMENSIONS_MAX]


def _inside(
    data: mmap.mmap, start: int, end: int, *, path: tuple[int, ...]
) -> Iterator[tuple[int, int]]:
    """Yield where the messages are that these field numbers lead to, one within the other."""
    for field, _, first, last in _fields(data, start, end):
        if field == path[0]:
            if len(path) == 1:
                yield first, last
            else:
                yield from _inside(data, first, last, path=path[1:])


def _fields(data: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield each field's number, its value where that is a number, and where its bytes are.

    Raises:
        ValueError: The bytes are no protobuf message.
    """
    at = start
    while at < end:
        tag, at = _varint(data, at, end)
        value, first = 0, at
        kind = tag & 7
        if kind == VARINT:
            value, at = _varint(data, at, end)
        elif kind == LENGTH:
            size, first = _varint(data, at, end)
            at = first + size
        elif kind in (FIXED64, FIXED32):
            at += 8 if kind == FIXED64 else 4
        else:
            raise ValueError("not as ONNX is written")
        if at > end or not tag >> 3:
            raise ValueError("it ends early" if at > end else "not as ONNX is written")
        yield tag >> 3, value, first, at


def _varint(data: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    """Return a number of 7 bits a byte, least first, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            raise ValueError("it ends early")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("not as ONNX is written")


def _text(data: mmap.mmap, place: tuple[int, int] | None) -> str:
    if place is None:
        return ""
    first, last = place
    return data[first : min(last, first + TEXT_CHARS_MAX)].decode("utf-8", "replace")
