# SPDX-License-Identifier: Apache-2.0
"""A consistent copy of a database that a daemon may be using."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec

from gateway.damage import damage
from gateway.database_errors import DatabaseError, explaining, is_damage
from gateway.mending import APPLICATION_ID
from gateway.new_file import new_file
from gateway.recovery import COPY
from gateway.side_files import doubt

BUSY_MS: Final = 10_000


class Copied(msgspec.Struct, frozen=True):
    """What a copy holds."""

    size: int
    """Bytes."""
    epoch: str | None
    """The newest."""
    sequence: int | None
    """Its last committed one; None when it has none."""


def back_up(path: Path, target: Path) -> Copied:
    """Copy a database in one read transaction, check the copy as a start does, and name it.

    Writers go on meanwhile; only their write-ahead log grows until this is done. The copy says that
    it is one, so that a daemon which starts on it tells that it was restored.

    Raises:
        DatabaseError: There is no database, the target exists, there is no room, or the copy is
            damaged, and so is the original then.
    """
    if not path.is_file():
        raise DatabaseError(f"{path}: no such database. Name the settings of a daemon that has run")
    with _making(path, target), new_file(target, path.name) as draft:
        _copy(path, draft)
        return _look(path, draft)


@contextmanager
def _making(path: Path, target: Path) -> Iterator[None]:
    """Say of trouble which file it is in, never the draft, and that there is no backup."""
    try:
        with explaining(target):
            yield
    except DatabaseError as error:
        if error.__cause__ is None:
            raise
        if is_damage(error.__cause__):
            raise _damaged(path, str(error.__cause__)) from error.__cause__
        raise DatabaseError(f"{error}. No backup was made") from error.__cause__


def _damaged(path: Path, why: str) -> DatabaseError:
    """Say that the original is damaged, for what its copy lacks; the next start reads all of it."""
    with suppress(OSError):  # Where it may not be noted, the check in the background finds it.
        doubt(path)
    remedy = "Restart the daemon, which mends it as it starts: systemctl restart shelfgate"
    return DatabaseError(f"{path}: {why}; no backup was made. {remedy}")


def _copy(path: Path, draft: Path) -> None:
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as source:
        with explaining(path):
            source.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
            [(application_id,)] = source.execute("PRAGMA application_id")
        if application_id != APPLICATION_ID:
            raise DatabaseError(f"{path}: a database of another program. Look at the settings")
        with closing(sqlite3.connect(draft, isolation_level=None)) as copy:
            # All at once: between steps a writer would make it begin again.
            source.backup(copy, pages=-1)
            copy.execute("PRAGMA journal_mode = DELETE")
            copy.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, '1')", (COPY,))
    file = os.open(draft, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _look(path: Path, draft: Path) -> Copied:
    why = damage(draft)
    if why is not None:  # So is the original then.
        raise _damaged(path, why)
    with closing(sqlite3.connect(f"{draft.absolute().as_uri()}?mode=ro", uri=True)) as copy:
        newest = copy.execute("SELECT epoch FROM epochs ORDER BY ordinal DESC LIMIT 1").fetchall()
        epoch = newest[0][0] if newest else None
        query = "SELECT max(sequence) FROM events WHERE epoch = ?"
        [(sequence,)] = copy.execute(query, (epoch,))
    return Copied(draft.stat().st_size, epoch, sequence)
