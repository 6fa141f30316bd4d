# SPDX-License-Identifier: Apache-2.0
"""Mends a damaged database: makes a fresh one beside it, with what can be read of it."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from shutil import copyfileobj
from typing import Final

import msgspec

from gateway import outbox
from gateway.database_errors import DatabaseError, anothers
from gateway.domain.inputs import Recovery
from gateway.envelope import Source
from gateway.losses import RECOVERY
from gateway.outbox import run_sync
from gateway.salvage import Salvaged, salvage, seen_in
from gateway.schema import CHECKSUMS

APPLICATION_ID: Final = 0x73686766  # "shgf"; what `file` and other programs see.
CHUNK: Final = 2**22
PARTS: Final = ("", "-wal", "-journal")
PAGE_BYTES: Final = 4_096
TREES: Final = (b"\x02", b"\x05", b"\x0a", b"\x0d")
"""First bytes of pages of indexes and tables."""
STRANDS_SINCE: Final = 3
"""Schema from which on rows name their strands; a migration to it names them itself."""


def mend(path: Path, source: Source, name: str, begun: str | None) -> Salvaged:
    """Make a fresh database beside the damaged one, with what can be read of that.

    Args:
        path: Of the damaged one, which stays as it is.
        source: Whose it has to be.
        name: Under which the damaged one will be set aside.
        begun: The last epoch that is known to have begun.

    Raises:
        DatabaseError: It is another's, or a newer version made it.
        sqlite3.Error: The disk refused.
        OSError: Likewise.
    """
    draft, copy = beside(path, ".mending-new"), beside(path, ".mending-old")
    for leftover in (draft, copy, beside(path, ".mending")):
        discard(leftover)
    try:
        done = _salvaged(path, source, name, begun, draft)
        draft.replace(beside(path, ".mending"))
        sync_directory(path.parent)
    finally:
        # They hold all that the database holds, and take its room.
        for leftover in (draft, copy):
            discard(leftover)
    return done


def _salvaged(path: Path, source: Source, name: str, begun: str | None, draft: Path) -> Salvaged:
    """Carry over into ``draft`` what can be read."""
    os.close(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    seen = seen_in(path, beside(path, "-wal"))
    with (
        closing(_readable(path)) as old,
        closing(sqlite3.connect(draft, isolation_level=None)) as new,
    ):
        version = _known_version(old, path)
        _refuse_others(old, path, source)
        new.execute("PRAGMA auto_vacuum = INCREMENTAL")
        new.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        new.execute("CREATE TABLE schema_version (version INTEGER PRIMARY KEY) STRICT")
        for number in range(version):
            run_sync(new, outbox.MIGRATIONS[number]())
            new.execute("INSERT INTO schema_version (version) VALUES (?)", (number + 1,))
        new.execute("BEGIN")
        done = salvage(
            old,
            new,
            source,
            seen=seen,
            begun=begun,
            current=version == len(outbox.MIGRATIONS),
        )
        found = Recovery(
            reason="corrupt",
            set_aside=name,
            events_kept=done.events,
            rows_kept=done.rows,
            complete=done.complete,
        )
        value = msgspec.json.encode(found).decode()
        new.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (RECOVERY, value))
        new.execute("COMMIT")
        if version >= STRANDS_SINCE:
            run_sync(new, outbox.name_strands(history=True))
    return done


def _readable(path: Path) -> sqlite3.Connection:
    """Open a damaged database; where that fails, a copy of it with another first page.

    SQLite opens no file that is shorter than its first page says. With what the file is in its
    place that page serves; only where it does not is one made anew.
    """
    there = path.exists() and path.stat().st_size > 0
    connection = _with_schema(path) if there else None
    if connection is not None:
        return connection
    copy = beside(path, ".mending-old")
    anew = _first_page(gives_back=not _has_tree(path) if there else True)
    own = b""
    with open(copy, "wb", opener=owners_alone) as new:
        if there:
            with path.open("rb") as old:
                own = old.read(len(anew))
                new.write(_sized_by_file(own))
                copyfileobj(old, new, CHUNK)
    wal = beside(path, "-wal")
    if wal.exists():
        with wal.open("rb") as old, open(beside(copy, "-wal"), "wb", opener=owners_alone) as new:
            copyfileobj(old, new, CHUNK)
    if len(own) == len(anew):
        connection = _with_schema(copy)
        if connection is not None:
            return connection
        beside(copy, "-shm").unlink(missing_ok=True)
    with copy.open("r+b") as new:
        new.write(anew)
    return open_old(copy)


def _with_schema(path: Path) -> sqlite3.Connection | None:
    """Open a database if it tells which tables it has."""
    connection = open_old(path)
    try:
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
    except (sqlite3.DatabaseError, UnicodeDecodeError):  # The latter from SQLite's own words.
        connection.close()
        return None
    return connection


def _has_tree(path: Path) -> bool:
    """Tell whether the second page is of a table or index: not in a file that gives pages back."""
    with path.open("rb") as file:
        file.seek(PAGE_BYTES)
        return file.read(1) in TREES


def _first_page(*, gives_back: bool) -> bytes:
    """Return the first page of a database: tables stay where they were made.

    What later versions added stands elsewhere in a database that was migrated; but columns stand
    in their rows, and the checksums are needed.

    Args:
        gives_back: Whether the file gives pages back: its tables stand one page further on.
    """
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as fresh:
        if gives_back:
            fresh.execute("PRAGMA auto_vacuum = INCREMENTAL")
        fresh.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        fresh.execute("CREATE TABLE schema_version (version INTEGER PRIMARY KEY) STRICT")
        run_sync(fresh, outbox.MIGRATIONS[0]())
        fresh.execute(CHECKSUMS)
        page = bytearray(fresh.serialize()[:PAGE_BYTES])
    page[18:20] = b"\x02\x02"  # With a write-ahead log.
    return _sized_by_file(page)


def _sized_by_file(page: bytes | bytearray) -> bytes:
    """Return a first page that leaves the size of the database to the file."""
    return bytes(page[:28]) + bytes(4) + bytes(page[32:])


def _known_version(old: sqlite3.Connection, path: Path) -> int:
    known = len(outbox.MIGRATIONS)
    try:
        versions = versions_of(old)
    except sqlite3.DatabaseError:
        return known
    if not versions or not contiguous(versions):
        return known
    if len(versions) > known:
        remedy = "Install that version again"
        raise DatabaseError(f"{path}: damaged, and made by a newer version. {remedy}")
    return len(versions)


def _refuse_others(old: sqlite3.Connection, path: Path, source: Source) -> None:
    try:
        found = dict(old.execute("SELECT key, value FROM meta WHERE key IN ('store', 'gateway')"))
    except sqlite3.DatabaseError:
        return
    for key, value in (("store", source.store), ("gateway", source.gateway)):
        if found.get(key, value) != value:
            raise anothers(path, key, found[key], value, state="damaged, and ")


def open_old(path: Path) -> sqlite3.Connection:
    """Open a file without changing it, unless a rollback journal has to be played back."""
    mode = "rw" if beside(path, "-journal").exists() else "ro"
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None
    )


def versions_of(connection: sqlite3.Connection) -> list[int]:
    """Return the schema versions that a database has had, one for each migration."""
    rows = connection.execute("SELECT version FROM schema_version ORDER BY version")
    return [version for (version,) in rows]


def contiguous(versions: list[int]) -> bool:
    """Tell whether schema versions follow one another from 1, as every migration leaves them.

    Of those that a newer version added behind all of this one's nothing is known.
    """
    known = versions[: len(outbox.MIGRATIONS)]
    return known == list(range(1, len(known) + 1))


def sync_directory(folder: Path) -> None:
    """Make names in a directory durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def discard(path: Path) -> None:
    """Remove a database that is no longer of use, and what belongs to it."""
    for part in (*PARTS, "-shm"):
        beside(path, part).unlink(missing_ok=True)


def beside(path: Path, suffix: str) -> Path:
    """Return the path of a file that stands beside another, by its suffix."""
    return path.with_name(path.name + suffix)


def owners_alone(path: str, flags: int) -> int:
    """Open a file as ``open`` asks; one that is made is for its owner alone."""
    return os.open(path, flags | os.O_CLOEXEC, 0o600)
