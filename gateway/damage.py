# SPDX-License-Identifier: Apache-2.0
"""Is a database whole? All of it is read before the daemon begins, or beside it if it is large.

SQLite has no checksums, and a card may lose or alter what it had flushed. But to read a large
database takes longer than a shopper stands at a door. So its start looks only at what it rests on
itself: log, schema, durable state, the newest events. A mark beside the file says that it is
unchecked, and the daemon reads the rest while it runs (``Database.check``). Until that is done

- every event is compared with its checksum as it is read for sending: nothing wrong goes out;
- nothing moves from the write-ahead log into the file, which stays as it was left: what could be
  carried over at the start still can;
- damage, found by the check or met by chance, ends the daemon with the mark in place; a start that
  finds the mark, after a kill too, reads everything first and mends.

Programs as in ``gateway.outbox``.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Final

from gateway import outbox
from gateway.database_errors import is_damage
from gateway.log_check import log_damage
from gateway.mending import APPLICATION_ID, beside, contiguous, open_old
from gateway.outbox import Program, Statement, run_sync
from gateway.salvage import decodes
from gateway.side_files import doubt, doubted, read_side, trust

AT_ONCE_BYTES_MAX: Final = 64_000_000
"""Up to here a start reads everything: a third of a second on a PC."""
THOROUGH_BYTES_MAX: Final = 2**28
"""Up to here indexes are compared with their tables too, which takes half as long again."""
NEWEST: Final = 5_000
"""Events that every start reads: a power cut hurts what was written last."""
BITE: Final = 500
"""Events read in one statement."""
TABLES: Final = ("meta", "epochs", "events", "state")
SMALL: Final = ("schema_version", "meta", "epochs", "state", "backfills")
"""Tables that every start checks as a whole."""
_EVENTS: Final = (
    "SELECT position, epoch, sequence, CASE WHEN crc IS NOT NULL THEN payload END, crc,"
    " id, name, shopper, strands FROM events"
)
_OLD_EVENTS: Final = "SELECT position, epoch, sequence, NULL, NULL, id, name, shopper FROM events"
"""Of another version: at first events had no checksum."""


def damage_at_start(path: Path) -> str | None:
    """Return what is wrong with a database as ``damage`` does, as far as its start waits for it.

    Raises:
        sqlite3.Error: The disk refused.
        OSError: Likewise.
    """
    if _size(path) > AT_ONCE_BYTES_MAX and not doubted(path):
        doubt(path)
        return _damage(path, examine(_size(path), newest=NEWEST))
    why = damage(path)
    if why is None:
        trust(path)
    return why


def damage(path: Path) -> str | None:
    """Return what is wrong with a database file; None when it is whole, or not there.

    Raises:
        sqlite3.Error: The disk refused.
        OSError: Likewise.
    """
    return _damage(path, examine(_size(path)))


def examine(size: int, *, newest: int | None = None) -> Program[str | None]:
    """Return what is wrong with a database; None: nothing.

    Args:
        size: Of its file, in bytes.
        newest: None: look at everything; else at what a start rests on, and so many events.
    """
    [(application_id,)] = yield Statement("PRAGMA application_id")
    tables = {name for (name,) in (yield Statement("SELECT name FROM sqlite_schema"))}
    if application_id != APPLICATION_ID and tables:
        return None  # Another program's: for the caller to refuse.
    check = "integrity_check" if size <= THOROUGH_BYTES_MAX else "quick_check"
    small = [f"PRAGMA quick_check({name})" for name in SMALL if name in tables]
    wrong = yield from _form([f"PRAGMA {check}(1)"] if newest is None else small)
    versions: list[int] = []
    if wrong is None and "schema_version" in tables:
        rows = yield Statement("SELECT version FROM schema_version ORDER BY version")
        versions = [version for (version,) in rows]
    lacking = set(TABLES) - tables
    if not contiguous(versions):
        wrong = "names schema versions that do not follow one another"
    elif versions and lacking:
        wrong = f"has no table {min(lacking)}"
    if wrong is not None or not versions:
        return wrong
    current = len(versions) == len(outbox.MIGRATIONS)
    if newest is not None and not current:
        return (yield from examine(size))  # A migration reads and writes all of it.
    return (yield from _misread(newest, current=current))


@contextmanager
def log_kept(path: Path, *, kept: bool) -> Iterator[None]:
    """Let the last connections to a database close and leave its write-ahead log as it is.

    SQLite moves the log into the file as the last connection closes, but for one that only reads.
    """
    with ExitStack() as stack:
        if kept:
            with suppress(sqlite3.Error):  # What cannot be opened is as damaged as it is.
                uri = f"{path.absolute().as_uri()}?mode=ro"
                last = stack.enter_context(closing(sqlite3.connect(uri, uri=True)))
                last.execute("SELECT 1 FROM sqlite_schema").fetchall()
        yield


def text(data: bytes) -> str:
    """Read a text as it is: sqlite3 gives a damaged one the type of errors that a disk makes."""
    return data.decode()


def unreadable(error: UnicodeDecodeError) -> str:
    """Say what is wrong where ``text`` failed."""
    return f"holds a text that is no UTF-8: {error.reason}"


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _damage(path: Path, looking: Program[str | None]) -> str | None:
    wal = beside(path, "-wal")
    if not _size(path):
        # SQLite would take it for a new one, and delete the log.
        if wal.exists() and wal.stat().st_size:
            return "is empty, and its write-ahead log is not"
        return "is empty" if path.exists() and read_side(path) else None
    wrong = log_damage(wal)
    if wrong is not None:
        return wrong
    try:
        with closing(open_old(path)) as connection:
            connection.text_factory = text
            return run_sync(connection, looking, write=False)
    except UnicodeDecodeError as error:
        return unreadable(error)
    except sqlite3.DatabaseError as error:
        if is_damage(error):
            return str(error)
        raise


def _form(checks: Sequence[str]) -> Program[str | None]:
    """Return what SQLite finds wrong with the form of its pages."""
    for check in checks:
        for (found,) in (yield Statement(check)):
            if found != "ok":
                return " ".join(str(found).split())
    return None


def _misread(newest: int | None, *, current: bool) -> Program[str | None]:
    """Read every text that the daemon will read: one that is no UTF-8 would end it then.

    A sector may read as something else and nothing would tell.

    Args:
        newest: How many events to read; None: all.
        current: Whether rows are as this version writes them.

    Returns:
        Which row is not what was written, though its page has the right form.
    """
    yield Statement("SELECT * FROM meta")
    yield Statement("SELECT * FROM epochs")
    for kind, key, value in (yield Statement("SELECT kind, key, value FROM state")):
        if current and not decodes(kind, value):
            return f"holds a row {kind} {key} that cannot be read"
    after = -(2**63)
    if newest is not None:
        [(after,)] = yield Statement("SELECT coalesce(max(position), 0) - ? FROM events", (newest,))
    query = _EVENTS if current else _OLD_EVENTS
    while events := (
        yield Statement(
            f"{query} WHERE position > ? ORDER BY position LIMIT ?",
            (after, BITE),
        )
    ):
        after = events[-1][0]
        for _, epoch, sequence, payload, crc, *_ in events:
            if crc is not None and not outbox.is_sound(payload, crc):
                return f"holds an event {sequence} of epoch {epoch} that has changed"
    return None
