# SPDX-License-Identifier: Apache-2.0
"""Carries over, row by row, what can be read of a damaged database.

A row comes over whole or not at all: an event whose payload agrees with its columns, a row of the
durable state that decodes. Which events there were is looked for in the index of their sequences
and in the bytes of the files too, so that what is lost can be named.
"""

import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise, product
from pathlib import Path
from typing import Any, Final
from zlib import crc32

import msgspec

from gateway.domain.event_types import type_of
from gateway.domain.events import SequenceRange
from gateway.domain.inputs import Stamp
from gateway.domain.state import ROW_TYPES
from gateway.envelope import Source, sequence_text
from gateway.losses import LOST, Lost, is_note, missing

__all__ = ["Salvaged", "decodes", "salvage", "seen_in"]

PROBES_MAX: Final = 200_000
"""Events looked for one by one where their table cannot be walked."""
FEW: Final = 5_000
"""Rows of other tables, likewise."""
REFUSED_MAX: Final = 20_000
"""Rows looked for in vain, one after the other: more than hang on any one page."""
STEPS: Final = ("", *("".join(pair) for pair in product("0123456789abcdef", repeat=2)), "g", "~")
"""Where keys of the durable state may begin; most are hexadecimal."""
UNKNOWN: Final = -1
"""Last sequence of an epoch of which nothing is known but its name."""
TYPES: Final = {**ROW_TYPES, "alive": Stamp}
SEEN: Final = re.compile(rb'"sequence":"(\d{20})","epoch":"([0-9a-f]{32})"')
JUMP_MAX: Final = 1_000_000
"""What can be missing between two sequences of an epoch that stand in the same file."""
CHUNK: Final = 2**22
OVERLAP: Final = 128

_EVENT: Final = (
    "position, epoch, sequence, id, name, payload, shopper, committed_utc_ns, acknowledged"
)
_FIELDS: Final = 9
_PAYLOAD: Final = 5


class Salvaged(msgspec.Struct):
    """What was carried over."""

    events: int = 0
    rows: int = 0
    complete: bool = True


class _Envelope(msgspec.Struct, frozen=True):
    """What an event's payload says that its columns say too."""

    id: str
    source: str
    type: str
    sequence: str
    epoch: str
    data: msgspec.Raw


class _Dropped(msgspec.Struct, frozen=True):
    """Data of an ``events.dropped``."""

    epoch: str
    ranges: list[SequenceRange]


def decodes(kind: Any, value: Any) -> bool:  # noqa: ANN401  Columns of a damaged table.
    """Tell whether a row of the durable state is what its kind says; others need only be JSON."""
    if not isinstance(kind, str) or not isinstance(value, str):
        return False
    try:
        msgspec.json.decode(value, type=TYPES.get(kind, Any))
    except (ValueError, RecursionError):
        return False
    return True


def seen_in(*paths: Path) -> dict[str, set[int]]:
    """Return the sequences, by epoch, that stand anywhere in files, in reach of SQL or not."""
    seen: dict[str, set[int]] = {}
    for path in paths:
        if not path.exists():
            continue
        with path.open("rb") as file:
            tail = b""
            while chunk := file.read(CHUNK):
                data = tail + chunk
                for sequence, epoch in SEEN.findall(data):
                    seen.setdefault(epoch.decode(), set()).add(int(sequence))
                tail = data[-OVERLAP:]
    return seen


def salvage(
    old: sqlite3.Connection,
    new: sqlite3.Connection,
    source: Source,
    *,
    seen: dict[str, set[int]],
    begun: str | None,
    current: bool,
) -> Salvaged:
    """Carry over everything that can be read, within the transaction that ``new`` has open.

    Args:
        old: The damaged database, opened read-only.
        new: A fresh one with the same schema.
        source: Whose events belong here.
        seen: Sequences that stand in the old files, by epoch.
        begun: The last epoch that is known to have begun.
        current: Whether the durable state is as this version writes it; otherwise a migration
            follows, and its values need only be JSON.
    """
    job = _Salvage(old, new, source, current=current)
    job.meta()
    job.epochs(begun)
    job.events()
    job.chain(seen)
    job.state()
    job.others()
    return job.done


class _Salvage:
    """One salvage."""

    def __init__(
        self, old: sqlite3.Connection, new: sqlite3.Connection, source: Source, *, current: bool
    ) -> None:
        self.done = Salvaged()
        self._old = old
        self._new = new
        self._source = source
        self._current = current
        self._chain: list[tuple[str, int, str | None, int | None]] = []
        self._have: dict[str, set[int]] = {}
        self._first: dict[str, int] = {}  # Position of the first event of each epoch.
        self._explained: dict[str, list[tuple[int, int]]] = {}

    def meta(self) -> None:
        for _, key, value in self._walk("meta", "rowid", "key, value", FEW):
            if not (isinstance(key, str) and isinstance(value, str)):
                continue
            if is_note(key):
                try:
                    self._explain(msgspec.json.decode(value, type=list[Lost]))
                except (ValueError, RecursionError):
                    self.done.complete = False
                    continue  # What it names lacks, and is found as that.
            self._insert("meta", "key, value", (key, value))

    def epochs(self, begun: str | None) -> None:
        for _, epoch, started, previous, last in self._walk(
            "epochs", "ordinal", "epoch, started_utc_ns, previous_epoch, last_sequence", FEW
        ):
            names = isinstance(epoch, str) and isinstance(previous, str | None)
            if names and isinstance(started, int) and isinstance(last, int | None):
                self._chain.append((epoch, started, previous, last))
            else:
                self.done.complete = False
        known = {epoch for epoch, *_ in self._chain}
        before = dict(self._new.execute("SELECT key, value FROM meta")).get("epoch_before")
        if begun is not None and begun not in known and begun != before:
            self.done.complete = False
            self._chain.append((begun, 0, self._newest(), UNKNOWN))

    def events(self) -> None:
        read = f"{_EVENT}, crc" if self._has_crc(self._old) else _EVENT
        sums = self._has_crc(self._new)
        columns = f"{_EVENT}, crc" if sums else _EVENT
        for row in self._walk("events", "position", read.partition(", ")[2], PROBES_MAX):
            if not self._fits(row[:_FIELDS], *row[_FIELDS:]):
                self.done.complete = False
                continue
            epoch, sequence = row[1], row[2]
            if all(epoch != known for known, *_ in self._chain):
                self._adopt(epoch, row[0])
            # One that had no checksum gets one: what rots from now on is seen.
            sealed = (*row[:_FIELDS], crc32(row[_PAYLOAD])) if sums else row[:_FIELDS]
            if self._insert("events", columns, sealed):
                self.done.events += 1
                self._have.setdefault(epoch, set()).add(sequence)
                self._first[epoch] = min(row[0], self._first.get(epoch, row[0]))

    def chain(self, seen: dict[str, set[int]]) -> None:
        """Write the epochs with how far each went, and what of them is lost."""
        lost: list[Lost] = []
        older = False
        indexed = self._indexed()
        for ordinal, (epoch, started, previous, told) in enumerate(self._chain, 1):
            have = self._have.get(epoch, set())
            traces = _plausible(have | seen.get(epoch, set()) | indexed.get(epoch, set()))
            reached = max((*traces, UNKNOWN if told is None else told))
            # An epoch that is known to have made nothing leaves the chain.
            nothing = told is None and reached == UNKNOWN and self.done.complete
            last = None if nothing else reached
            self._new.execute(
                "INSERT INTO epochs VALUES (?, ?, ?, ?, ?)",
                (ordinal, epoch, started, previous, last),
            )
            if last is not None:
                begin = 0 if older else min(traces, default=last + 1)
                lost += missing(epoch, have, self._explained.get(epoch, ()), begin, last)
            older = older or bool(have)
        if lost:
            self.done.complete = False
            self._note_lost(lost)

    def state(self) -> None:
        try:
            found = self._old.execute("SELECT kind, key, value FROM state").fetchall()
        except sqlite3.DatabaseError:
            self.done.complete = False
            found = [
                (kind, key, value)
                for kind in TYPES
                for start, end in pairwise((*STEPS, None))
                for key, value in self._keys(kind, start or "", end)
            ]
        rows = {(kind, key): value for kind, key, value in found}
        for (kind, key), value in rows.items():
            if self._is_state(kind, value):
                self.done.rows += self._insert("state", "kind, key, value", (kind, key, value))
            else:
                self.done.complete = False

    def others(self) -> None:
        """Carry over tables of which nothing more is known here."""
        special = ("schema_version", "meta", "epochs", "events", "state")
        names = self._new.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        ).fetchall()
        for (table,) in names:
            if table in special:
                continue
            info = self._new.execute("SELECT name FROM pragma_table_info(?)", (table,))
            columns = ", ".join(f'"{name}"' for (name,) in info)
            for row in self._walk(table, "rowid", columns, FEW):
                self._insert(table, columns, row[1:])

    # Reading.

    def _walk(self, table: str, key: str, columns: str, most: int) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a table, their integer key first.

        What a walk from either end reaches, then what is found one by one in between.
        """
        query = f"SELECT {key}, {columns} FROM {table}"  # noqa: S608  Names of our own.
        last = first = None
        try:
            for row in self._old.execute(f"{query} ORDER BY {key}"):
                last = row[0]
                yield row
        except sqlite3.DatabaseError:
            self.done.complete = False
        else:
            return
        low = -(2**63) if last is None else last + 1
        try:
            for row in self._old.execute(f"{query} WHERE {key} >= ? ORDER BY {key} DESC", (low,)):
                first = row[0]
                yield row
        except sqlite3.DatabaseError:
            pass
        else:
            return
        yield from self._probe(f"{query} WHERE {key} = ?", last, first, most)

    def _probe(
        self, query: str, last: int | None, first: int | None, most: int
    ) -> Iterator[tuple[Any, ...]]:
        """Look for rows one by one behind the last that was reached, before the first."""
        low = 1 if last is None else last + 1
        if last is None and first is not None:
            low = max(first - most, 1)
        high = low + most if first is None else min(first, low + most)
        refused = 0  # In a row: where the root of a table is damaged there is nothing to find.
        for number in range(low, high):
            try:
                row = self._old.execute(query, (number,)).fetchone()
            except sqlite3.DatabaseError:
                refused += 1
                if refused > REFUSED_MAX:
                    return
                continue
            refused = 0
            if row is not None:
                yield row

    def _keys(self, kind: str, start: str, end: str | None) -> Iterator[tuple[str, Any]]:
        query = "SELECT key, value FROM state WHERE kind = ? AND key >= ?"
        values: Sequence[str] = (kind, start)
        if end is not None:
            query, values = query + " AND key < ?", (kind, start, end)
        for order in (" ORDER BY key", " ORDER BY key DESC"):
            try:
                yield from self._old.execute(query + order, values)
            except sqlite3.DatabaseError:
                self.done.complete = False
            else:
                return

    def _indexed(self) -> dict[str, set[int]]:
        """Return the sequences, by epoch, that the index names: it may outlive their events."""
        found: dict[str, set[int]] = {}
        for order in ("", " DESC"):
            query = f"SELECT epoch, sequence FROM events ORDER BY epoch{order}, sequence{order}"  # noqa: S608
            try:
                for epoch, sequence in self._old.execute(query):
                    if isinstance(epoch, str) and isinstance(sequence, int) and sequence >= 0:
                        found.setdefault(epoch, set()).add(sequence)
            except sqlite3.DatabaseError:  # Of itself it costs nothing.
                continue
            break
        return found

    def _has_crc(self, database: sqlite3.Connection) -> bool:
        """Tell whether a database keeps checksums."""
        query = "SELECT 1 FROM pragma_table_info('events') WHERE name = 'crc'"
        try:
            return database.execute(query).fetchone() is not None
        except sqlite3.DatabaseError:
            return False

    # Judging.

    def _fits(self, row: Sequence[Any], crc: int | None = None) -> bool:
        """Tell whether an event's payload agrees with its columns, and with its checksum if any."""
        position, epoch, sequence, name_id, name, payload, shopper, utc_ns, acknowledged = row
        numbers = (position, sequence, utc_ns)
        if not (isinstance(payload, bytes) and isinstance(shopper, str | None)):
            return False
        right = all(isinstance(number, int) for number in numbers) and acknowledged in (0, 1)
        if not right or (crc is not None and crc32(payload) != crc):
            return False
        try:
            envelope = msgspec.json.decode(payload, type=_Envelope)
        except (ValueError, RecursionError):
            return False
        said = (envelope.id, envelope.epoch, envelope.sequence, envelope.source)
        if said != (name_id, epoch, sequence_text(sequence), self._source.urn):
            return False
        if envelope.type != type_of(name):
            return False
        if name == "events.dropped":
            found = msgspec.json.decode(envelope.data, type=_Dropped)
            self._explain(Lost(found.epoch, int(one.first), int(one.last)) for one in found.ranges)
        return True

    def _explain(self, gone: Iterable[Lost]) -> None:
        """Remember what was given up or lost before: it is told, or noted to be told."""
        for one in gone:
            self._explained.setdefault(one.epoch, []).append((one.first, one.last))

    def _is_state(self, kind: Any, value: Any) -> bool:  # noqa: ANN401
        return decodes(kind if self._current or not isinstance(kind, str) else "", value)

    # Writing.

    def _insert(self, table: str, columns: str, row: Sequence[Any]) -> bool:
        """Insert a row unless one is there; a damaged table may show a row twice."""
        marks = ", ".join("?" * len(row))
        try:
            done = self._new.execute(
                f"INSERT OR IGNORE INTO {table} ({columns}) VALUES ({marks})",  # noqa: S608
                tuple(row),
            )
        except sqlite3.IntegrityError:  # A type that the column does not take.
            self.done.complete = False
            return False
        return done.rowcount == 1

    def _note_lost(self, lost: Sequence[Lost]) -> None:
        """Note what is to be told, behind what an earlier mending noted and no start has told."""
        rows = self._new.execute("SELECT value FROM meta WHERE key = ?", (LOST,)).fetchall()
        before = [one for (value,) in rows for one in msgspec.json.decode(value, type=list[Lost])]
        value = msgspec.json.encode([*before, *lost]).decode()
        self._new.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (LOST, value))

    def _newest(self) -> str | None:
        return self._chain[-1][0] if self._chain else None

    def _adopt(self, epoch: str, position: int) -> None:
        """Put an epoch that has events and no row of its own into the chain."""
        self.done.complete = False
        place = next(
            (
                number
                for number, (known, *_) in enumerate(self._chain)
                if self._first.get(known, position) > position or known not in self._first
            ),
            len(self._chain),
        )
        before = self._chain[place - 1][0] if place else None
        self._chain.insert(place, (epoch, 0, before, None))


def _plausible(sequences: set[int]) -> list[int]:
    """Return sequences in order, up to a jump that only a damaged digit explains."""
    found: list[int] = []
    for number in sorted(sequences):
        if found and number - found[-1] > JUMP_MAX:
            break
        found.append(number)
    return found
