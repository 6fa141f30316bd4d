# SPDX-License-Identifier: Apache-2.0
"""Keys of one camera written into a store file, with the rest of it left as it is."""

import os
import shutil
import tomllib
from collections.abc import Mapping
from pathlib import Path

from gateway.config_store import read_store
from gateway.config_toml import ConfigError, Document, Problem, load_document, read_text


def write_camera_keys(store: Path, camera: str, keys: Mapping[str, str | None]) -> Path:
    """Set keys of a camera's table in a store file, or in the piece of it that has the table.

    The file is read again; if it is not as good as before, it is put back.

    Args:
        store: The main store file.
        camera: The camera's name.
        keys: Each key's value as TOML; None removes it.

    Returns:
        The file that was written.

    Raises:
        ConfigError: The table is not there or is written in a way that cannot be edited, the file
            cannot be written, or it would be wrong afterwards.
    """
    document, index = _table_of(store, camera)
    path, text = document.path, read_text(document.path)
    header = document.lines.get(("camera", index))
    lines = text.split("\n")
    if header is None or not lines[header - 1].lstrip().startswith("[[camera]]"):
        raise _wrong(path, header, "is no [[camera]] table of its own", "Paste the lines by hand")
    gone: set[int] = set()
    for key in keys:
        at = document.lines.get(("camera", index, key))
        if at is not None:
            gone |= set(range(at, _end_of(path, lines, at, key) + 1))
    name = document.lines["camera", index, "name"]
    kept: list[str] = []
    for number, line in enumerate(lines, 1):
        if number not in gone:
            kept.append(line)
        if number == name:
            kept += [f"{key} = {value}" for key, value in keys.items() if value is not None]
    _replace(store, path, text, "\n".join(kept))
    return path


def _table_of(store: Path, camera: str) -> tuple[Document, int]:
    """Return the document that has a camera's table, and the table's number in it."""
    main = load_document(store)
    include = main.data.get("include", [])
    names = include if isinstance(include, list) else []
    pieces = [load_document(store.parent / name) for name in names if isinstance(name, str)]
    for document in (main, *pieces):
        tables = document.data.get("camera", [])
        for index, table in enumerate(tables if isinstance(tables, list) else []):
            if isinstance(table, dict) and table.get("name") == camera:
                return document, index
    raise _wrong(store, None, f"has no camera {camera}", "Add [[camera]] with its name and size_px")


def _end_of(path: Path, lines: list[str], start: int, key: str) -> int:
    """Return the last line of a key's value; lines count from 1."""
    if not lines[start - 1].lstrip().startswith((f"{key} ", f"{key}=")):
        raise _wrong(path, start, f"{key} is not written as one key", "Change it by hand")
    for end in range(start, len(lines) + 1):
        try:
            tomllib.loads("\n".join(lines[start - 1 : end]))
        except tomllib.TOMLDecodeError:
            continue
        return end
    raise _wrong(path, start, f"{key} has no end", "Change it by hand")


def _replace(store: Path, path: Path, before: str, after: str) -> None:
    known = {str(problem) for problem in read_store(store).problems}
    _write(path, after)
    problems = read_store(store).problems
    errors = [item for item in problems if item.severity == "error" and _news(item, known)]
    if errors:
        _write(path, before)
        raise ConfigError(errors)


def _news(problem: Problem, known: set[str]) -> bool:
    """Return whether a problem was not there before: its line may have moved."""
    words = {text.partition(": ")[2] for text in known}
    return str(problem).partition(": ")[2] not in words


def _write(path: Path, text: str) -> None:
    fresh = path.with_name(f".{path.name}.new")
    try:
        fresh.write_text(text, "utf-8", newline="\n")
        shutil.copymode(path, fresh)
        with fresh.open("rb") as file:
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        reason = error.strerror or type(error).__name__
        raise _wrong(path, None, f"cannot be written: {reason}", "Check its permissions") from error


def _wrong(path: Path, line: int | None, problem: str, remedy: str) -> ConfigError:
    return ConfigError(
        [Problem(file=str(path), line=line, key="camera", problem=problem, remedy=remedy)]
    )
