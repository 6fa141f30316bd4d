# SPDX-License-Identifier: Apache-2.0
"""Before a database is opened: is it whole, is it the one that the daemon left, and if not?

A damaged one is set aside, never deleted, and what can be read is carried over into a fresh one.
Which database was left behind is known from a small file beside it, which names the last epoch, and
which machine from a hash in the database itself. The steps are in such an order that a kill between
any two is made good by the next start.
"""

import glob
import logging
import os
import sqlite3
from collections.abc import Iterable
from contextlib import closing, suppress
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Final, Literal
from zlib import crc32

import msgspec

from gateway import outbox
from gateway.database_errors import DatabaseError, explaining, is_damage, lacks_table
from gateway.domain.inputs import Recovery
from gateway.envelope import Source
from gateway.log_check import log_damage
from gateway.losses import RECOVERY
from gateway.mending import (
    APPLICATION_ID,
    CHUNK,
    PARTS,
    beside,
    contiguous,
    discard,
    mend,
    open_old,
    owners_alone,
    sync_directory,
    versions_of,
)
from gateway.outbox import Program, Statement
from gateway.salvage import decodes

log = logging.getLogger(__name__)

_ID_AT: Final = slice(68, 72)
MACHINE_ID: Final = Path("/etc/machine-id")
THOROUGH_BYTES_MAX: Final = 2**28
"""Up to here indexes are compared with their tables too, which takes half as long again."""
START_S: Final = 30.0
MENDED_BYTES_S: Final = 2e6
"""Mending reads everything and writes it again; a card is far slower than a PC."""
COPY: Final = "copy"
"""Key in ``meta`` of a backup: whoever starts on it was restored from it."""
CUT: Final = "cut"
"""Key in ``meta``: finished epochs that went on beyond their end here, or may have, a JSON list."""
_SQLITE: Final = b"SQLite format 3\0"
_EVENTS: Final = (
    "SELECT epoch, sequence, CASE WHEN crc IS NOT NULL THEN payload END, crc, id, name, shopper"
    " FROM events"
)
_OLD_EVENTS: Final = "SELECT epoch, NULL, NULL, NULL, id, name, shopper FROM events"
"""Of another version: at first events had no checksum."""


class Side(msgspec.Struct, frozen=True):
    """What the file beside the database says."""

    store: str
    gateway: str
    epoch: str
    """The last that began."""
    sequence: int = -1
    """How far it went at least."""


# The file beside the database, and the machine.


def read_side(path: Path) -> Side | None:
    """Return what is known beside a database; None: nothing."""
    try:
        return msgspec.json.decode(beside(path, ".epoch").read_bytes(), type=Side)
    except FileNotFoundError:
        return None
    except ValueError as error:
        log.warning("%s: %s. It is written anew", beside(path, ".epoch"), error)
        return None


def write_side(path: Path, source: Source, epoch: str, sequence: int = -1) -> None:
    """Note which epoch began last, and how far it went at least, durably.

    Raises:
        OSError: The disk refused; the note before stands.
    """
    target, draft = beside(path, ".epoch"), beside(path, ".epoch-new")
    side = Side(source.store, source.gateway, epoch, sequence)
    with open(draft, "wb", opener=owners_alone) as file:
        file.write(msgspec.json.encode(side) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(target)
    sync_directory(path.parent)


def machine(file: Path) -> str | None:
    """Return a name of this machine that tells nothing about it; None when it has no id."""
    try:
        text = file.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return blake2b(text.encode(), digest_size=16, person=b"shelfgate").hexdigest() if text else None


def recognise(side: Side | None, here: str | None) -> Program[Recovery | None]:
    """Find out whether this is the database that the daemon left on this machine.

    The answer is kept until the start that tells it is committed.

    Args:
        side: What the file beside it says.
        here: This machine.
    """
    meta: dict[str, str] = dict((yield Statement("SELECT key, value FROM meta")))
    newest = yield Statement(
        "SELECT epoch, previous_epoch FROM epochs ORDER BY ordinal DESC LIMIT 1"
    )
    ours = {meta.get("epoch"), meta.get("epoch_before"), *(newest[0] if newest else ())}
    older = False
    if side is not None:
        query = "SELECT coalesce(max(sequence), -1) FROM events WHERE epoch = ?"
        [(reached,)] = yield Statement(query, (side.epoch,))
        older = side.epoch not in ours or reached < side.sequence
    told = meta.get(RECOVERY)
    found = None if told is None else msgspec.json.decode(told, type=Recovery)
    reason: Literal["copied", "restored"] | None = None
    if here is not None and meta.get("machine", here) != here:
        reason = "copied"
    elif COPY in meta or (found is None and older):
        reason = "restored"
    if reason is not None:
        # What came after a copy was made is known to nobody here.
        complete = (found is None or found.complete) and not (COPY in meta or older)
        found = found or Recovery(reason=reason)
        found = msgspec.structs.replace(found, reason=reason, complete=complete)
        yield _keep(RECOVERY, msgspec.json.encode(found).decode())
    if COPY in meta:
        yield Statement("DELETE FROM meta WHERE key = ?", (COPY,))
    return found


def begin_epoch(
    epoch: str, utc_ns: int, side: Side | None, here: str | None
) -> Program[outbox.Epoch]:
    """Begin an epoch as ``outbox.begin_epoch`` does, and note it and the machine."""
    begun = yield from outbox.begin_epoch(epoch, utc_ns)
    # However often the daemon is killed before it gets to the file beside: that still says this.
    if side is not None:
        yield _keep("epoch_before", side.epoch)
    yield _keep("epoch", epoch)
    if here is not None:
        yield _keep("machine", here)
    if (yield Statement("SELECT 1 FROM meta WHERE key = ?", (RECOVERY,))):
        # Whatever is acknowledged of what was before: this has been told.
        before = yield Statement("SELECT epoch FROM epochs WHERE last_sequence IS NOT NULL")
        yield from note_cut([one for (one,) in before])
    if begun.previous_sequence is not None and begun.previous_sequence < 0:
        return msgspec.structs.replace(begun, previous_sequence=None)
    return begun


def note_cut(epochs: Iterable[str]) -> Program[None]:
    """Note finished epochs that went on beyond their end here, or may have."""
    noted = (yield from _cut()).union(epochs)
    rows = yield Statement("SELECT epoch FROM epochs")
    yield _keep(CUT, msgspec.json.encode([one for (one,) in rows if one in noted]).decode())


def ends() -> Program[dict[str, int]]:
    """Return the last sequence of each finished epoch, where that is known for certain."""
    cut = yield from _cut()
    rows = yield Statement("SELECT epoch, last_sequence FROM epochs WHERE last_sequence >= 0")
    return {epoch: last for epoch, last in rows if epoch not in cut}


def _cut() -> Program[set[str]]:
    rows = yield Statement("SELECT value FROM meta WHERE key = ?", (CUT,))
    try:
        return {epoch for (value,) in rows for epoch in msgspec.json.decode(value, type=list[str])}
    except ValueError:  # Damage that SQLite does not see; what was told is told once more.
        return set()


def _keep(key: str, value: str) -> Statement:
    return Statement("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (key, value))


# Damage.


def longest_start_s(path: Path) -> float:
    """Return how long ``prepare`` may take on a slow card, in seconds."""
    size = 0
    for part in (path, beside(path, "-wal")):
        with suppress(OSError):  # What is wrong with it is told when it is opened.
            size += part.stat().st_size
    return START_S + size / MENDED_BYTES_S


def prepare(path: Path, source: Source) -> None:
    """See to it that a database can be opened: mend it if it is damaged.

    Raises:
        DatabaseError: It is damaged and not ours.
        sqlite3.Error: The disk refused.
        OSError: Likewise.
    """
    _finish(path, source)
    why = damage(path)
    if why is None:
        return
    side = read_side(path)
    if side is not None and (side.store, side.gateway) != (source.store, source.gateway):
        side = None
    if side is None and not _is_ours(path, source):
        remedy = "Name another file, or restore this one from a backup"
        raise DatabaseError(f"{path}: {why}. {remedy}")
    name = _label(path)
    log.error("%s: %s. It is set aside as %s, and what can be read carried over", path, why, name)
    done = mend(path, source, name, None if side is None else side.epoch)
    _swap(path, name)
    log.warning(
        "%s: %d events and %d rows of state were carried over%s",
        path,
        done.events,
        done.rows,
        "" if done.complete else "; not everything could be read",
    )


def damage(path: Path) -> str | None:
    """Return what is wrong with a database file; None when it is whole, or not there.

    Raises:
        sqlite3.Error: The disk refused.
        OSError: Likewise.
    """
    wal = beside(path, "-wal")
    if not path.exists() or path.stat().st_size == 0:
        # SQLite would take it for a new one, and delete the log.
        if wal.exists() and wal.stat().st_size:
            return "is empty, and its write-ahead log is not"
        return "is empty" if path.exists() and read_side(path) else None
    wrong = log_damage(wal)
    if wrong is not None:
        return wrong
    try:
        with closing(open_old(path)) as connection:
            connection.text_factory = _text
            return _examine(connection, path.stat().st_size)
    except UnicodeDecodeError as error:
        return f"holds a text that is no UTF-8: {error.reason}"
    except sqlite3.DatabaseError as error:
        if is_damage(error):
            return str(error)
        raise


def _text(data: bytes) -> str:
    """Read a text as it is: sqlite3 gives a damaged one the type of errors that a disk makes."""
    return data.decode()


def _examine(connection: sqlite3.Connection, size: int) -> str | None:
    [(application_id,)] = connection.execute("PRAGMA application_id").fetchall()
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
    if application_id != APPLICATION_ID and tables:
        return None  # Another program's: for the caller to refuse.
    check = "integrity_check" if size <= THOROUGH_BYTES_MAX else "quick_check"
    for (found,) in connection.execute(f"PRAGMA {check}(1)"):
        if found != "ok":
            return " ".join(str(found).split())
    versions = versions_of(connection) if "schema_version" in tables else []
    if not contiguous(versions):
        return "names schema versions that do not follow one another"
    version = len(versions)
    lacking = {"meta", "epochs", "events", "state"} - tables
    if version and lacking:
        return f"has no table {min(lacking)}"
    return _misread(connection, current=version == len(outbox.MIGRATIONS)) if version else None


def _misread(connection: sqlite3.Connection, *, current: bool) -> str | None:
    """Read every text that the daemon will read: one that is no UTF-8 would end it then.

    SQLite has no checksums: a sector may read as something else and nothing would tell.

    Args:
        connection: To a database of ours.
        current: Whether its rows are as this version writes them.

    Returns:
        Which row is not what was written, though its page has the right form.
    """
    wrong = None
    for query in ("SELECT * FROM meta", "SELECT * FROM epochs"):
        for _ in connection.execute(query):
            pass
    for kind, key, value in connection.execute("SELECT kind, key, value FROM state"):
        if current and wrong is None and not decodes(kind, value):
            wrong = f"holds a row {kind} {key} that cannot be read"
    events = connection.execute(_EVENTS if current else _OLD_EVENTS)
    for epoch, sequence, payload, crc, *_ in events:
        if crc is None or wrong is not None:
            continue
        if not isinstance(payload, bytes) or crc32(payload) != crc:
            wrong = f"holds an event {sequence} of epoch {epoch} that has changed"
    return wrong


def _is_ours(path: Path, source: Source) -> bool:
    """Tell a damaged database of this gateway from a file that was named by mistake."""
    urn = f'"{source.urn}"'.encode()
    for part in (path, beside(path, "-wal")):
        if not part.exists():
            continue
        with part.open("rb") as file:
            head = file.read(100)
            if head.startswith(_SQLITE) and head[_ID_AT] == APPLICATION_ID.to_bytes(4, "big"):
                return True
            tail = head
            while chunk := file.read(CHUNK):
                if urn in tail + chunk:
                    return True
                tail = chunk[-len(urn) :]
    return False


# Mending.


def _finish(path: Path, source: Source) -> None:
    """Go on where a kill interrupted the exchange of a damaged database for the mended one."""
    mended = beside(path, ".mending")
    if not mended.exists():
        return
    with explaining(mended):
        name = _aside_name(path, mended, source)
    there = path.exists()
    if name is None:
        if not there:
            raise DatabaseError(_unfinished(path, mended))
        log.warning("%s: cannot be used, and is removed. %s is still there", mended, path)
        discard(mended)
    elif there and (path.with_name(name).exists() or _is_whole(path)):
        discard(mended)  # Somebody put another one there meanwhile.
    else:
        _swap(path, name)


def _is_whole(path: Path) -> bool:
    return path.stat().st_size > 0 and damage(path) is None


def _aside_name(path: Path, mended: Path, source: Source) -> str | None:
    """Return as what the damaged database is to be set aside; None: the mended one is of no use."""
    if damage(mended) is not None:
        return None
    try:
        with closing(open_old(mended)) as connection:
            [(application_id,)] = connection.execute("PRAGMA application_id").fetchall()
            meta = dict(connection.execute("SELECT key, value FROM meta"))
        found = msgspec.json.decode(meta[RECOVERY], type=Recovery)
    except (sqlite3.OperationalError, KeyError, ValueError) as error:
        if isinstance(error, sqlite3.OperationalError) and not lacks_table(error):
            raise
        return None
    theirs = (meta.get("store", source.store), meta.get("gateway", source.gateway))
    ours = application_id == APPLICATION_ID and theirs == (source.store, source.gateway)
    name = found.set_aside or ""
    fits = name.startswith(f"{path.name}.corrupt-") and "/" not in name
    return name if ours and fits else None


def _unfinished(path: Path, mended: Path) -> str:
    """Say what a person has to do where neither the mended one nor the damaged one is there."""
    aside = [
        one
        for one in path.parent.glob(f"{glob.escape(path.name)}.corrupt-*")
        if not one.name.endswith(PARTS[1:])
    ]
    why = f"{mended}: cannot be read, and {path} is not there"
    if not aside:
        return f"{why}. Remove the former, and put a backup in the place of the latter"
    newest = max(aside, key=lambda one: (one.stat().st_mtime_ns, one.name))
    return (
        f"{why}. Remove the former and rename {newest} to {path} (and {newest}-wal, if there is"
        f" one, to {path}-wal): the next start mends it anew"
    )


def _swap(path: Path, name: str) -> None:
    """Set the damaged database aside and put the mended one in its place."""
    for part in PARTS:
        if beside(path, part).exists():
            beside(path, part).rename(path.with_name(name + part))
    beside(path, "-shm").unlink(missing_ok=True)
    sync_directory(path.parent)
    beside(path, ".mending").rename(path)
    sync_directory(path.parent)


def _label(path: Path) -> str:
    """Return a name under which nothing is set aside yet; the clock may be wrong."""
    base = f"{path.name}.corrupt-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    name, number = base, 2
    while any(path.with_name(name + part).exists() for part in PARTS):
        name, number = f"{base}-{number}", number + 1
    return name
