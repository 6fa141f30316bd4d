# SPDX-License-Identifier: Apache-2.0
"""Before a database is opened: is it whole, is it the one that the daemon left, and if not?

A damaged one is set aside, never deleted, and what can be read is carried over into a fresh one.
Which database was left behind is known from a small file beside it, which names the last epoch, and
which machine from a hash in the database itself. The steps are in such an order that a kill between
any two is made good by the next start.
"""

import logging
import os
import sqlite3
from contextlib import closing, suppress
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Final, Literal
from zlib import crc32

import msgspec

from gateway import outbox
from gateway.database_errors import DatabaseError, is_damage
from gateway.domain.inputs import Recovery
from gateway.envelope import Source
from gateway.log_check import log_damage
from gateway.losses import RECOVERY
from gateway.outbox import Program, Statement, run_sync
from gateway.salvage import Salvaged, decodes, salvage, seen_in

log = logging.getLogger(__name__)

APPLICATION_ID: Final = 0x73686766  # "shgf"; what `file` and other programs see.
_ID_AT: Final = slice(68, 72)
MACHINE_ID: Final = Path("/etc/machine-id")
THOROUGH_BYTES_MAX: Final = 2**28
"""Up to here indexes are compared with their tables too: 0.3 s instead of 0.2 s for 100 MB."""
START_S: Final = 30.0
MENDED_BYTES_S: Final = 2e6
"""Mending reads everything and writes it again: 40 MB in a second on a PC, far less on a card."""
NEWER_MAX: Final = 20
"""A schema further ahead than this is not a newer one, but damage."""
PARTS: Final = ("", "-wal", "-journal")
COPY: Final = "copy"
"""Key in ``meta`` of a backup: whoever starts on it was restored from it."""
_SQLITE: Final = b"SQLite format 3\0"
_CHUNK: Final = 2**22


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
        return msgspec.json.decode(_beside(path, ".epoch").read_bytes(), type=Side)
    except FileNotFoundError:
        return None
    except ValueError as error:
        log.warning("%s: %s. It is written anew", _beside(path, ".epoch"), error)
        return None


def write_side(path: Path, source: Source, epoch: str, sequence: int = -1) -> None:
    """Note which epoch began last, and how far it went at least, durably.

    Raises:
        OSError: The disk refused; the note before stands.
    """
    target, draft = _beside(path, ".epoch"), _beside(path, ".epoch-new")
    side = Side(source.store, source.gateway, epoch, sequence)
    with open(draft, "wb", opener=_owners_alone) as file:
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
        found = msgspec.structs.replace(found or Recovery(reason=reason), reason=reason)
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
    if begun.previous_sequence is not None and begun.previous_sequence < 0:
        return msgspec.structs.replace(begun, previous_sequence=None)
    return begun


def _keep(key: str, value: str) -> Statement:
    return Statement("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (key, value))


# Damage.


def longest_start_s(path: Path) -> float:
    """Return how long ``prepare`` may take on a slow card, in seconds."""
    size = 0
    for part in (path, _beside(path, "-wal")):
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
    _finish(path)
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
    done = _mend(path, source, name, side)
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
    wal = _beside(path, "-wal")
    if not path.exists() or path.stat().st_size == 0:
        # SQLite would take it for a new one, and delete the log.
        if wal.exists() and wal.stat().st_size:
            return "is empty, and its write-ahead log is not"
        return "is empty" if path.exists() and read_side(path) else None
    wrong = log_damage(wal)
    if wrong is not None:
        return wrong
    try:
        with closing(_open_old(path)) as connection:
            connection.text_factory = _text
            return _examine(connection, path.stat().st_size)
    except UnicodeDecodeError as error:
        return f"holds a text that is no UTF-8: {error.reason}"
    except sqlite3.DatabaseError as error:
        if is_damage(error):
            return str(error)
        raise


def _open_old(path: Path) -> sqlite3.Connection:
    """Open a file without changing it, unless a rollback journal has to be played back."""
    mode = "rw" if _beside(path, "-journal").exists() else "ro"
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None
    )


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
    version = _version(connection) if "schema_version" in tables else 0
    lacking = {"meta", "epochs", "events", "state"} - tables
    if version and lacking:
        return f"has no table {min(lacking)}"
    if version:
        _read_texts(connection)
    return _changed(connection) if version == len(outbox.MIGRATIONS) else None


def _changed(connection: sqlite3.Connection) -> str | None:
    """Return which row is not what was written, though its page has the right form.

    SQLite has no checksums: a sector may read as something else and nothing would tell.
    """
    for kind, key, value in connection.execute("SELECT kind, key, value FROM state"):
        if not decodes(kind, value):
            return f"holds a row {kind} {key} that cannot be read"
    query = "SELECT epoch, sequence, payload, crc FROM events WHERE crc IS NOT NULL"
    for epoch, sequence, payload, crc in connection.execute(query):
        if not isinstance(payload, bytes) or crc32(payload) != crc:
            return f"holds an event {sequence} of epoch {epoch} that has changed"
    return None


def _read_texts(connection: sqlite3.Connection) -> None:
    """Read every text that the daemon will read: one that is no UTF-8 would end it then."""
    for query in (
        "SELECT * FROM meta",
        "SELECT * FROM epochs",
        "SELECT kind, key, value FROM state",
        "SELECT epoch, id, name, shopper FROM events",
    ):
        rows = connection.execute(query)
        while rows.fetchmany(1_000):
            pass


def _version(connection: sqlite3.Connection) -> int:
    [(version,)] = connection.execute("SELECT coalesce(max(version), 0) FROM schema_version")
    return int(version)


def _is_ours(path: Path, source: Source) -> bool:
    """Tell a damaged database of this gateway from a file that was named by mistake."""
    urn = f'"{source.urn}"'.encode()
    for part in (path, _beside(path, "-wal")):
        if not part.exists():
            continue
        with part.open("rb") as file:
            head = file.read(100)
            if head.startswith(_SQLITE) and head[_ID_AT] == APPLICATION_ID.to_bytes(4, "big"):
                return True
            tail = head
            while chunk := file.read(_CHUNK):
                if urn in tail + chunk:
                    return True
                tail = chunk[-len(urn) :]
    return False


# Mending.


def _mend(path: Path, source: Source, name: str, side: Side | None) -> Salvaged:
    """Make a fresh database beside the damaged one, with what can be read of that."""
    draft, finished = _beside(path, ".mending-new"), _beside(path, ".mending")
    for leftover in (draft, finished, _beside(path, ".mending-old")):
        for part in PARTS:
            _beside(leftover, part).unlink(missing_ok=True)
    os.close(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    seen = seen_in(path, _beside(path, "-wal"))
    with (
        closing(_readable(path)) as old,
        closing(sqlite3.connect(draft, isolation_level=None)) as new,
    ):
        version = _known_version(old, path)
        _refuse_others(old, path, source)
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
            begun=None if side is None else side.epoch,
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
    draft.replace(finished)
    sync_directory(path.parent)
    for part in (*PARTS, "-shm"):
        _beside(_beside(path, ".mending-old"), part).unlink(missing_ok=True)
    return done


def _readable(path: Path) -> sqlite3.Connection:
    """Open a damaged database; where not even its first page can be used, a copy with a new one."""
    there = path.exists() and path.stat().st_size > 0
    connection = _open_old(path) if there else None
    if connection is not None:
        try:
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
        except (sqlite3.DatabaseError, UnicodeDecodeError):  # The latter from SQLite's own words.
            connection.close()
        else:
            return connection
    copy = _beside(path, ".mending-old")
    os.close(os.open(copy, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    page = _first_page()
    with copy.open("r+b") as new:
        new.write(page)
        if there:
            with path.open("rb") as old:
                old.seek(len(page))
                while chunk := old.read(_CHUNK):
                    new.write(chunk)
    wal = _beside(path, "-wal")
    if wal.exists():
        _beside(copy, "-wal").write_bytes(wal.read_bytes())
    return _open_old(copy)


def _first_page() -> bytes:
    """Return the first page of a database of schema 1: tables stay where they were made."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as fresh:
        fresh.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        fresh.execute("CREATE TABLE schema_version (version INTEGER PRIMARY KEY) STRICT")
        run_sync(fresh, outbox.MIGRATIONS[0]())
        page = bytearray(fresh.serialize()[:4_096])
    page[18:20] = b"\x02\x02"  # With a write-ahead log.
    page[28:32] = bytes(4)  # The size is that of the file.
    return bytes(page)


def _known_version(old: sqlite3.Connection, path: Path) -> int:
    known = len(outbox.MIGRATIONS)
    try:
        version = _version(old)
    except sqlite3.DatabaseError:
        return known
    if known < version <= known + NEWER_MAX:
        remedy = "Install that version again"
        raise DatabaseError(f"{path}: damaged, and made by a newer version. {remedy}")
    return version if 0 < version <= known else known


def _refuse_others(old: sqlite3.Connection, path: Path, source: Source) -> None:
    try:
        found = dict(old.execute("SELECT key, value FROM meta WHERE key IN ('store', 'gateway')"))
    except sqlite3.DatabaseError:
        return
    for key, value in (("store", source.store), ("gateway", source.gateway)):
        if found.get(key, value) != value:
            raise DatabaseError(
                f"{path}: damaged, and belongs to {key} {found[key]!r}, not {value!r}. "
                "Name another file, or correct the settings"
            )


def _finish(path: Path) -> None:
    """Go on where a kill interrupted the exchange of a damaged database for the mended one."""
    mended = _beside(path, ".mending")
    if not mended.exists():
        return
    with closing(_open_old(mended)) as connection:
        query = "SELECT value FROM meta WHERE key = ?"
        [(value,)] = connection.execute(query, (RECOVERY,)).fetchall()
    name = msgspec.json.decode(value, type=Recovery).set_aside
    assert name is not None
    if path.exists() and path.with_name(name).exists():
        mended.unlink()  # Somebody put another one there meanwhile.
    else:
        _swap(path, name)


def _swap(path: Path, name: str) -> None:
    """Set the damaged database aside and put the mended one in its place."""
    for part in PARTS:
        if _beside(path, part).exists():
            _beside(path, part).rename(path.with_name(name + part))
    _beside(path, "-shm").unlink(missing_ok=True)
    sync_directory(path.parent)
    _beside(path, ".mending").rename(path)
    sync_directory(path.parent)


def _label(path: Path) -> str:
    """Return a name under which nothing is set aside yet; the clock may be wrong."""
    base = f"{path.name}.corrupt-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    name, number = base, 2
    while any(path.with_name(name + part).exists() for part in PARTS):
        name, number = f"{base}-{number}", number + 1
    return name


def sync_directory(folder: Path) -> None:
    """Make names in a directory durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _owners_alone(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)
