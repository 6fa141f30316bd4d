# SPDX-License-Identifier: Apache-2.0
"""Before a database is opened: is it whole, is it the one that the daemon left, and if not?

A damaged one is set aside, never deleted, and what can be read is carried over into a fresh one.
Which database was left behind is known from a small file beside it, which names the last epoch, and
which machine from a hash in the database itself. The steps are in such an order that a kill between
any two is made good by the next start.
"""

import glob
import logging
import sqlite3
from collections.abc import Iterable
from contextlib import closing, suppress
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Final, Literal

import msgspec

from gateway import outbox
from gateway.damage import damage, damage_at_start
from gateway.database_errors import DatabaseError, anothers, explaining, lacks_table
from gateway.domain.inputs import Recovery
from gateway.envelope import Source
from gateway.losses import RECOVERY
from gateway.mending import (
    APPLICATION_ID,
    CHUNK,
    PARTS,
    beside,
    discard,
    mend,
    open_old,
    sync_directory,
)
from gateway.outbox import Program, Statement
from gateway.side_files import Side, read_side, trust

log = logging.getLogger(__name__)

_ID_AT: Final = slice(68, 72)
MACHINE_ID: Final = Path("/etc/machine-id")
START_S: Final = 30.0
MENDED_BYTES_S: Final = 2e6
"""Mending reads everything and writes it again; a card is far slower than a PC."""
COPY: Final = "copy"
"""Key in ``meta`` of a backup: whoever starts on it was restored from it."""
CUT: Final = "cut"
"""Key in ``meta``: finished epochs that went on beyond their end here, or may have, a JSON list."""
_SQLITE: Final = b"SQLite format 3\0"


def machine(file: Path) -> str | None:
    """Return a name of this machine that tells nothing about it; None when it has no id."""
    try:
        text = file.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return blake2b(text.encode(), digest_size=16, person=b"shelfgate").hexdigest() if text else None


def claim(path: Path, source: Source) -> Program[None]:
    """Write whose database a new one is; refuse another's."""
    found: dict[str, str] = dict((yield Statement("SELECT key, value FROM meta")))
    for key, value in (("store", source.store), ("gateway", source.gateway)):
        if found.get(key, value) != value:
            raise anothers(path, key, found[key], value)
        yield Statement("INSERT OR IGNORE INTO meta (key, value) VALUES (?, ?)", (key, value))


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
    why = damage_at_start(path)
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
    trust(path)
    log.warning(
        "%s: %d events and %d rows of state were carried over%s",
        path,
        done.events,
        done.rows,
        "" if done.complete else "; not everything could be read",
    )


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
