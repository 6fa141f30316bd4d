# SPDX-License-Identifier: Apache-2.0
"""Tables read into frozen structs, with every problem found and not the first alone."""

import difflib
import math
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec.structs import FieldInfo

from gateway.config_toml import Problems, Where
from gateway.config_words import faults, needed

ITEMS_MAX: Final = 10_000

T = TypeVar("T", bound=msgspec.Struct)


class _Bad(Exception):  # noqa: N818 - never leaves this module.
    """A value could not be read; the problem is already noted."""


Decoded = tuple[Where, msgspec.Struct]
Check = Callable[[Where, Any, Problems], None]


@dataclass(frozen=True)
class _Reading:
    problems: Problems
    checks: Mapping[type, Check]
    decoded: list[Decoded]
    others: Mapping[str, type[Any] | None]


def read_table(
    cls: type[T],
    where: Where,
    problems: Problems,
    value: object = None,
    *,
    checks: Mapping[type, Check] | None = None,
    decoded: list[Decoded] | None = None,
    others: Mapping[str, type[Any] | None] | None = None,
) -> T | None:
    """Read one table into a frozen struct.

    Every key is tried, so that one call finds every problem. A field's remedy is the
    ``description`` in its ``msgspec.Meta``.

    Args:
        cls: What to read; nested structs and tuples of them are read likewise.
        where: The table's place.
        problems: Takes what is wrong.
        value: The table; the whole document when absent.
        checks: What else to look at in each struct of a class, once its keys are right.
        decoded: Takes each struct that could be read, with its place, whatever is wrong elsewhere.
        others: Further members of tagged unions, by tag; None: why there is none is told already.

    Returns:
        The struct, or None when a key of the table was wrong.
    """
    table = where.document.data if value is None else value
    decoded = [] if decoded is None else decoded
    try:
        result = _read_struct(
            cls, table, where, _Reading(problems, checks or {}, decoded, others or {})
        )
    except _Bad:
        return None
    assert isinstance(result, cls)
    return result


def _read_struct(cls: type[Any], table: object, where: Where, reading: _Reading) -> msgspec.Struct:
    if not isinstance(table, dict):
        reading.problems.add(where, "must be a table", "Write it as [table] or { key = value }")
        raise _Bad
    fields, valid, simple = _shape(cls)
    bad = False
    meant: set[str | None] = set()
    for key in table:
        if key not in valid:
            reading.problems.add(where.at(key), "unknown key", nearest(key, valid))
            meant.add(closest(key, valid))
            bad = True
    result = None if bad or not simple else _read_at_once(cls, table)
    if result is None:
        result = cls(**_read_fields(fields, table, where, reading, meant=meant, bad=bad))
    if cls in reading.checks:
        reading.checks[cls](where, result, reading.problems)
    reading.decoded.append((where, result))
    return result


_Shape = tuple[dict[str, FieldInfo], tuple[str, ...], bool]
_SHAPES: Final[dict[type[Any], _Shape]] = {}


def _shape(cls: type[Any]) -> _Shape:
    """Return a struct's fields by key, all valid keys, and whether it is a flat one without files.

    Looking at annotations is slow, and a store file has thousands of tables.
    """
    if cls in _SHAPES:
        return _SHAPES[cls]
    fields = {item.encode_name: item for item in msgspec.structs.fields(cls)}
    tag = cls.__struct_config__.tag_field
    simple = True
    for item in fields.values():
        plain, metas = _strip(item.type)
        inner = [plain, *(_strip(argument)[0] for argument in typing.get_args(plain))]
        nested = any(True for part in inner for _ in _structs_of(part))
        simple &= not nested and not any((meta.extra or {}).get("file") for meta in metas)
    _SHAPES[cls] = fields, ((*fields, tag) if tag else tuple(fields)), simple
    return _SHAPES[cls]


def _read_at_once(cls: type[Any], table: dict[str, object]) -> msgspec.Struct | None:
    """Return the struct when nothing is wrong with the table; None when something is."""
    if not all(map(_finite, table.values())):
        return None
    try:
        result: msgspec.Struct = msgspec.convert(table, cls, strict=True)
    except (msgspec.ValidationError, OverflowError):
        return None
    return result


def _finite(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return all(map(_finite, value)) if isinstance(value, list) else True


def _read_fields(
    fields: dict[str, FieldInfo],
    table: dict[str, object],
    where: Where,
    reading: _Reading,
    *,
    meant: set[str | None],
    bad: bool,
) -> dict[str, object]:
    """Read key by key, so that every problem is found."""
    values = {}
    for key, item in fields.items():
        if key not in table:
            if item.required and key not in meant:
                reading.problems.add(where.at(key), "missing", _remedy(item.type, key))
                bad = True
            continue
        try:
            values[item.name] = _read_value(item.type, table[key], where.at(key), reading)
        except _Bad:
            bad = True
    if bad:
        raise _Bad
    return values


def _read_value(wanted: object, value: object, where: Where, reading: _Reading) -> object:
    plain, metas = _strip(wanted)
    structs = list(_structs_of(plain))
    if structs and isinstance(value, dict):
        return _read_struct(_choose(structs, value, where, reading), value, where, reading)
    arguments = typing.get_args(plain)
    if (
        isinstance(value, list)
        and typing.get_origin(plain) in (tuple, list)
        and list(_structs_of(_strip(arguments[0])[0]))
    ):
        return _read_many(plain, metas, value, where, reading)
    _check_finite(value, where, reading)
    try:
        result = msgspec.convert(value, wanted, strict=True)
    except (msgspec.ValidationError, OverflowError) as error:
        described = _described(wanted)
        for path, problem, part in faults(value, wanted):
            remedy = described or _remedy(part, where.path[-1])
            reading.problems.add(where.at(*path), problem, remedy)
        raise _Bad from error
    return _located(result, metas, where) if isinstance(result, str) else result


def _located(text: str, metas: list[msgspec.Meta], where: Where) -> str:
    """Make a path absolute, from the folder of the file that names it."""
    extra = next((meta.extra for meta in metas if meta.extra and meta.extra.get("file")), None)
    if extra is None or text.startswith(extra.get("verbatim", "\0")):
        return text
    return str(where.document.path.parent.absolute() / text)


def _read_many(
    plain: object, metas: list[msgspec.Meta], value: list[Any], where: Where, reading: _Reading
) -> object:
    item_type = typing.get_args(plain)[0]
    limit = next((meta.max_length for meta in metas if meta.max_length is not None), ITEMS_MAX)
    if len(value) > limit:
        reading.problems.add(where, f"has {len(value)} entries", f"Give at most {limit}")
        raise _Bad
    items, bad = [], False
    for index, item in enumerate(value):
        try:
            items.append(_read_value(item_type, item, where.at(index), reading))
        except _Bad:
            bad = True
    if bad:
        raise _Bad
    return tuple(items) if typing.get_origin(plain) is tuple else items


def _strip(wanted: object) -> tuple[object, list[msgspec.Meta]]:
    """Take the annotations off a type; those of a union's members count as its own."""
    if typing.get_origin(wanted) is Annotated:
        plain, *metas = typing.get_args(wanted)
        return plain, [meta for meta in metas if isinstance(meta, msgspec.Meta)]
    if typing.get_origin(wanted) in (typing.Union, types.UnionType):
        members = typing.get_args(wanted)
        return wanted, [meta for member in members for meta in _strip(member)[1]]
    return wanted, []


def _structs_of(wanted: object) -> Iterator[type[Any]]:
    if isinstance(wanted, type) and issubclass(wanted, msgspec.Struct):
        yield wanted
    elif typing.get_origin(wanted) in (typing.Union, types.UnionType):
        for member in typing.get_args(wanted):
            yield from _structs_of(_strip(member)[0])


def _choose(
    structs: list[type[Any]], table: dict[str, Any], where: Where, reading: _Reading
) -> type[Any]:
    """Pick the member of a tagged union that a table names."""
    tag_field = structs[0].__struct_config__.tag_field
    if tag_field is None:
        return structs[0]
    by_tag = {str(item.__struct_config__.tag): item for item in structs}
    if tag_field not in table:
        reading.problems.add(where.at(tag_field), "missing", f"Give one of: {', '.join(by_tag)}")
        raise _Bad
    tag = str(table[tag_field])
    chosen = by_tag.get(tag) or reading.others.get(tag)
    if chosen is None and tag in reading.others:
        raise _Bad
    if chosen is None:
        reading.problems.add(where.at(tag_field), f"unknown {tag_field}", nearest(tag, by_tag))
        raise _Bad
    return chosen


def _check_finite(value: object, where: Where, reading: _Reading) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        reading.problems.add(where, f"is {value}", "Give a finite number")
        raise _Bad
    if isinstance(value, list):
        for index, item in enumerate(value):
            _check_finite(item, where.at(index), reading)


def _described(wanted: object) -> str | None:
    found = next((meta.description for meta in _strip(wanted)[1] if meta.description), None)
    return f"Give {found}" if found else None


def _remedy(wanted: object, key: str | int) -> str:
    described = _described(wanted)
    if described is not None:
        return described
    plain = _strip(wanted)[0]
    if typing.get_origin(plain) is typing.Literal:
        return f"Give one of: {', '.join(map(str, typing.get_args(plain)))}"
    kinds = needed(wanted)
    if kinds is not None:
        return f"Give {kinds}; docs/settings.md explains {key}"
    return f"See what docs/settings.md says of {key}"


def closest(word: str, valid: Iterable[str]) -> str | None:
    """Return the valid word that was probably meant; None when none is near."""
    cutoff = 0.6 if len(word) > 2 else 0.5  # One letter of two may be wrong.
    near = difflib.get_close_matches(word, list(valid), n=1, cutoff=cutoff)
    return near[0] if near else None


def nearest(word: str, valid: Iterable[str]) -> str:
    """Return a remedy that names the nearest valid word, or all of them when none is near."""
    names = list(valid)
    near = closest(word, names)
    if near is not None:
        return f"Did you mean {near}?"
    if not names:
        return "Remove it"
    return f"Valid here: {', '.join(sorted(names)[:40])}"
