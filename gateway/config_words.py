# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a value, in the words of a person who wrote it."""

import types
import typing
from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal

import msgspec

SHOWN_LETTERS: Final = 60

Path = tuple[int, ...]


def faults(value: object, wanted: object) -> Iterator[tuple[Path, str, object]]:
    """Yield everything that keeps a value from being read.

    Args:
        value: From TOML, refused by ``msgspec.convert``.
        wanted: The type it should have, annotations included.

    Yields:
        Where in nested lists, the problem with the offending value, and the type it should have.
    """
    if isinstance(value, list):
        elements = list(_elements(value, wanted))
        found = False
        for index, (element, element_type) in enumerate(elements):
            if refused(element, element_type):
                found = True
                for path, problem, part in faults(element, element_type):
                    yield (index, *path), problem, part
        if found:
            return
        if elements:
            problem = "has 1 entry" if len(value) == 1 else f"has {len(value)} entries"
            yield (), problem, wanted
            return
        if not value:
            yield (), "is empty", wanted
            return
    yield (), describe(value, wanted), wanted


def refused(value: object, wanted: object) -> bool:
    """Tell whether a value cannot be read as a type."""
    try:
        msgspec.convert(value, wanted, strict=True)
    except (msgspec.ValidationError, OverflowError):
        return True
    return False


def describe(value: object, wanted: object) -> str:
    """Return the problem with one value: ``is -1``, ``is a number (5)``, ``has 300 letters``."""
    kind = _kind(value)
    kinds = {name for part in members(wanted) for name in _kinds(part)}
    shown = _shown(value)
    if isinstance(value, bool):
        return f"is {shown}"
    if kind in kinds or (kind == "a number" and "a whole number" in kinds):
        if not isinstance(value, str):
            return f"is {shown}"
        if not value:
            return "is empty"
        return f"is {shown}" if len(value) <= SHOWN_LETTERS else f"has {len(value)} letters"
    return f"is {kind} ({shown})" if shown else f"is {kind}"


def needed(wanted: object) -> str | None:
    """Return what a type without a description takes: ``a whole number``; None if unclear."""
    kinds = {name for part in members(wanted) for name in _kinds(part)}
    return " or ".join(sorted(kinds)) or None


def members(wanted: object) -> Iterator[object]:
    """Yield what a type may be: a union's members, without their annotations and ``None``."""
    if typing.get_origin(wanted) is Annotated:
        yield from members(typing.get_args(wanted)[0])
    elif typing.get_origin(wanted) in (typing.Union, types.UnionType):
        for member in typing.get_args(wanted):
            yield from members(member)
    elif wanted is not types.NoneType:
        yield wanted


def _elements(value: list[Any], wanted: object) -> Iterator[tuple[object, object]]:
    """Yield a list's elements, each with the type it should have."""
    for part in members(wanted):
        arguments = typing.get_args(part)
        if typing.get_origin(part) not in (tuple, list) or not arguments:
            continue
        if typing.get_origin(part) is list or arguments[-1] is Ellipsis:
            yield from ((element, arguments[0]) for element in value)
        else:
            yield from zip(value, arguments, strict=False)
        return


_NAMES: Final[dict[object, str]] = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    tuple: "a list",
    dict: "a table",
}


def _kinds(part: object) -> Iterator[str]:
    if typing.get_origin(part) is Literal:
        for choice in typing.get_args(part):
            yield _NAMES[type(choice)]
        return
    plain = typing.get_origin(part) or part
    if plain is float:
        yield "a number"
    elif isinstance(plain, type) and issubclass(plain, msgspec.Struct):
        yield "a table"
    elif plain in _NAMES:
        yield _NAMES[plain]


def _kind(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return "a number"  # A whole one may stand wherever a number may.
    return _NAMES.get(type(value), "a date or time")


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        if len(value) > SHOWN_LETTERS:
            return ""
        return '"' + "".join(one if one.isprintable() else "\ufffd" for one in value) + '"'
    if isinstance(value, list | dict):
        return ""
    return str(value)[:SHOWN_LETTERS]
