# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a command's body, in the words of whoever wrote it."""

import re
from typing import Any, Final

import msgspec

_AT: Final = re.compile(r"(?s)(.*) - at `\$\.?(.*)`\Z")
_KIND: Final = re.compile(r"Expected `([a-z| ]+)`, got `([a-z]+)`\Z")
_FIELD: Final = re.compile(r"(?s)Object (missing required|contains unknown) field `(.*)`\Z")
_KINDS: Final = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}


def worded(error: msgspec.ValidationError, data: bytes, wanted: type[msgspec.Struct]) -> str:
    """Return ``field: problem. Remedy`` for the common mistakes, else what msgspec says.

    Args:
        error: Why ``data`` is not what it should be.
        data: JSON.
        wanted: What it should be.
    """
    text = str(error)
    at = _AT.match(text)
    problem, place = at.groups() if at else (text, "")
    if field := _FIELD.match(problem):
        thing = f"{place}.{field[2]}" if place else field[2]
        if field[1] == "missing required":
            return f"{thing}: is missing. Give it"
        if place:
            return f"{thing}: unknown field. Correct its name, or leave it out"
        known = ", ".join(one.encode_name for one in msgspec.structs.fields(wanted))
        return f"{thing}: unknown field. Known are {known}"
    if kind := _KIND.match(problem):
        return f"{place or 'the body'}: {_wrong_kind(kind[1], kind[2], place, data)}"
    return text


def _wrong_kind(wanted: str, got: str, place: str, data: bytes) -> str:
    kinds = wanted.split(" | ")
    if got in {"int", "float"} and "str" in kinds:
        value = _value(place, data)
        shown = f'"{value}"' if isinstance(value, int) else "in quotes"
        return f"is a number. Write it as text, {shown}"
    if got == "str" and {"int", "float"} & {*kinds}:
        return "is text. Write it as a number, without quotes"
    needed = " or ".join(_KINDS.get(one, one) for one in kinds)
    return f"is {'a number' if got == 'float' else _KINDS.get(got, got)}. Give {needed}"


def _value(place: str, data: bytes) -> object:
    """Return what stands at a place; None where a key that comes twice hides it."""
    value: Any = msgspec.json.decode(data)
    try:
        for key, index in re.findall(r"(\w+)|\[(\d+)\]", place):
            value = value[key] if key else value[int(index)]
    except (LookupError, TypeError):
        return None
    return value
