# SPDX-License-Identifier: Apache-2.0
"""An integrator's database: each event once, and how far each epoch is stored without a gap.

It shares no code with the daemon's outbox, so that it can be a witness: it counts what came, what
came again, and what is missing.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Final, Protocol

import msgspec

from gateway.domain.event_types import name_of
from gateway.simulator.ranges import Asked, Range, ranges_here, size, without

EPOCHS_TOLD: Final = 16  # Finished epochs stay in the acknowledgement a while: one may get lost.

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS events (
    source    TEXT    NOT NULL,
    id        TEXT    NOT NULL,
    epoch     TEXT    NOT NULL,
    sequence  INTEGER NOT NULL,
    name      TEXT    NOT NULL,
    payload   BLOB    NOT NULL,
    PRIMARY KEY (source, id)
) STRICT;
CREATE INDEX IF NOT EXISTS events_sequence ON events (source, epoch, sequence);
CREATE TABLE IF NOT EXISTS dropped (  -- Ranges that the gateway gave up, and said so.
    source  TEXT    NOT NULL,
    epoch   TEXT    NOT NULL,
    first   INTEGER NOT NULL,
    last    INTEGER NOT NULL,
    PRIMARY KEY (source, epoch, first)
) STRICT;
CREATE TABLE IF NOT EXISTS gone (  -- Ranges that the gateway, asked for them, no longer had.
    source  TEXT    NOT NULL,
    epoch   TEXT    NOT NULL,
    first   INTEGER NOT NULL,
    last    INTEGER NOT NULL,
    PRIMARY KEY (source, epoch, first)
) STRICT;
CREATE TABLE IF NOT EXISTS gateways (  -- The epoch that each said last to be in.
    source  TEXT PRIMARY KEY,
    epoch   TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS reached (  -- How far an epoch had come, as the gateway's status said.
    source    TEXT    NOT NULL,
    epoch     TEXT    NOT NULL,
    sequence  INTEGER NOT NULL,
    PRIMARY KEY (source, epoch)
) STRICT;
CREATE TABLE IF NOT EXISTS epochs (
    source             TEXT    NOT NULL,
    epoch              TEXT    NOT NULL,
    stored             INTEGER NOT NULL,  -- Everything up to here is here; -1: nothing.
    previous_epoch     TEXT,
    previous_sequence  INTEGER,
    PRIMARY KEY (source, epoch)
) STRICT;
CREATE INDEX IF NOT EXISTS epochs_previous ON epochs (source, previous_epoch);
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
"""


LACKS_SOME: Final = """
SELECT EXISTS (
    SELECT 1 FROM epochs AS one
    WHERE stored < (SELECT max(sequence) FROM events
                    WHERE source = one.source AND epoch = one.epoch)
) OR EXISTS (
    SELECT 1 FROM epochs AS later
    LEFT JOIN epochs AS one
        ON one.source = later.source AND one.epoch = later.previous_epoch
    WHERE later.previous_sequence > coalesce(one.stored, -1)
) OR EXISTS (
    SELECT 1 FROM (
        SELECT source, epoch, 0 AS sequence FROM gateways
        UNION ALL SELECT source, epoch, sequence FROM reached
    ) AS said LEFT JOIN epochs AS one USING (source, epoch)
    WHERE said.sequence > coalesce(one.stored, -1)
)
"""


class BooksError(Exception):
    """The books cannot be kept, and to try again would not help; says why and what to do."""


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What an integrator's database holds."""

    received: int
    """Events that came in, repeats included."""
    repeated: int
    """Of them, those that were here already; they changed nothing."""
    lost: int
    """Sequences missing within an epoch, and at the end that a later start or a status names."""
    conflicting: int
    """Events beyond the first under one sequence of an epoch (an event sent under two ids), and
    repeats with another payload than the first (two events under one id)."""
    malformed: int
    events: int
    """Stored, each once."""


class Event(msgspec.Struct, frozen=True):
    """What an integrator reads of a CloudEvent."""

    id: str
    source: str
    type: str
    sequence: str
    epoch: str
    data: msgspec.Raw

    @property
    def name(self) -> str:
        """Return the last part of the type, without version."""
        return name_of(self.type)


class _Started(msgspec.Struct, frozen=True):
    previous_epoch: str | None = None
    previous_sequence: str | None = None


class _Range(msgspec.Struct, frozen=True):
    first: str
    last: str


class _Dropped(msgspec.Struct, frozen=True):
    epoch: str
    ranges: list[_Range]
    count: int


class Start(msgspec.Struct, frozen=True):
    """The epoch before a start, and where it ended."""

    epoch: str
    sequence: int


class Gone(msgspec.Struct, frozen=True):
    """Sequences given up, as (first, last), both included."""

    epoch: str
    ranges: list[Range]


class Books(Protocol):
    """What an integrator stores events in; ``Ledger`` is one in SQLite."""

    def ready(self) -> None:
        """Raise ``DriverError`` while nothing can be stored, so that nothing is taken either."""

    def store(self, payloads: Iterable[bytes]) -> set[str]:
        """Store events; return the sources that are to hear what is stored of them."""

    def acknowledgements(self, sources: Iterable[str]) -> dict[str, bytes]:
        """Return the message for each of these gateways that says what is stored of it."""

    def note_birth(self, source: str, epoch: str, sequence: int | None = None) -> bool:
        """Note what a gateway's status says; return whether its epoch changed."""

    def note_gone(self, source: str, epoch: str, ranges: Sequence[Range]) -> None:
        """Note what a gateway no longer has."""

    def lacks_some(self) -> bool:
        """Tell quickly whether any epoch has a gap that nobody explained."""

    def close(self) -> None:
        """Close it."""


class Ledger:
    """The integrator's database. Not for use from several threads at once."""

    def __init__(self, path: Path | str) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA busy_timeout = 5000")
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.executescript(SCHEMA)

    def ready(self) -> None:
        """Do nothing: the file is open."""

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def store(self, payloads: Iterable[bytes]) -> set[str]:
        """Store events in one transaction.

        Returns:
            The sources that events came from.
        """
        counts = {"received": 0, "repeated": 0, "altered": 0, "malformed": 0}
        touched: set[tuple[str, str]] = set()
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            for payload in payloads:
                self._store(payload, counts, touched)
            for source, epoch in touched:
                self._advance(source, epoch)
            for name, value in counts.items():
                self._connection.execute(
                    "INSERT INTO counters VALUES (?, ?)"
                    " ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
                    (name, value),
                )
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")
        return {source for source, _ in touched}

    def acknowledgements(self, sources: Iterable[str]) -> dict[str, bytes]:
        """Return the message for each of these gateways that says what is stored of it."""
        return {source: self.acknowledgement(source) for source in sources}

    def acknowledgement(self, source: str) -> bytes:
        """Return the message that says what is stored of a gateway."""
        rows = self._connection.execute(
            """
            SELECT epoch, stored FROM epochs AS one
            WHERE source = ?1 AND stored >= 0 AND (
                rowid IN (SELECT rowid FROM epochs WHERE source = ?1 ORDER BY rowid DESC LIMIT ?2)
                OR NOT EXISTS (  -- Unfinished: no later start names its end, or it lacks some.
                    SELECT 1 FROM epochs AS later
                    WHERE later.source = ?1 AND later.previous_epoch = one.epoch
                      AND one.stored >= later.previous_sequence
                )
            )
            """,
            (source, EPOCHS_TOLD),
        )
        return acknowledging(rows)

    def note_birth(self, source: str, epoch: str, sequence: int | None = None) -> bool:
        """Note what a gateway's status says: its epoch, and the last sequence committed in it.

        What it no longer had is forgotten when its epoch changes: it may have another database now.

        Returns:
            Whether its epoch changed. Then look at everything again.
        """
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            before = self._connection.execute(
                "SELECT epoch FROM gateways WHERE source = ?", (source,)
            ).fetchall()
            if before != [(epoch,)]:
                self._connection.execute("DELETE FROM gone WHERE source = ?", (source,))
            self._connection.execute(
                "INSERT INTO gateways VALUES (?, ?)"
                " ON CONFLICT (source) DO UPDATE SET epoch = excluded.epoch",
                (source, epoch),
            )
            if sequence is not None:
                self._connection.execute(
                    "INSERT INTO reached VALUES (?, ?, ?) ON CONFLICT (source, epoch)"
                    " DO UPDATE SET sequence = max(sequence, excluded.sequence)",
                    (source, epoch, sequence),
                )
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")
        return before != [(epoch,)]

    def note_gone(self, source: str, epoch: str, ranges: Sequence[Range]) -> None:
        """Note what a gateway no longer has: nothing to wait for, though it stays missing."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            self._know_epoch(source, epoch)
            self._connection.executemany(
                "INSERT INTO gone VALUES (?, ?, ?, ?)"
                " ON CONFLICT (source, epoch, first) DO UPDATE SET last = max(last, excluded.last)",
                [(source, epoch, first, last) for first, last in ranges],
            )
            self._advance(source, epoch)
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def lacks_some(self) -> bool:
        """Tell quickly whether any epoch has a gap that nobody explained."""
        [(lacks,)] = self._connection.execute(LACKS_SOME)
        return bool(lacks)

    def _store(self, payload: bytes, counts: dict[str, int], touched: set[tuple[str, str]]) -> None:
        try:
            event, sequence, note = read_event(payload)
        except (ValueError, RecursionError):
            counts["malformed"] += 1
            return
        counts["received"] += 1
        cursor = self._connection.execute(
            "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (event.source, event.id, event.epoch, sequence, event.name, payload),
        )
        touched.add((event.source, event.epoch))
        if cursor.rowcount == 0:
            counts["repeated"] += 1
            [(stored,)] = self._connection.execute(
                "SELECT payload FROM events WHERE source = ? AND id = ?", (event.source, event.id)
            )
            counts["altered"] += not same_event(stored, payload)
            return
        self._know_epoch(event.source, event.epoch)
        if isinstance(note, Start):
            self._connection.execute(
                "UPDATE epochs SET previous_epoch = ?, previous_sequence = ?"
                " WHERE source = ? AND epoch = ?",
                (note.epoch, note.sequence, event.source, event.epoch),
            )
        elif note is not None:
            self._know_epoch(event.source, note.epoch)
            touched.add((event.source, note.epoch))
            self._connection.executemany(
                "INSERT INTO dropped VALUES (?, ?, ?, ?)"
                " ON CONFLICT (source, epoch, first) DO UPDATE SET last = max(last, excluded.last)",
                [(event.source, note.epoch, first, last) for first, last in note.ranges],
            )

    def _know_epoch(self, source: str, epoch: str) -> None:
        self._connection.execute(
            "INSERT INTO epochs (source, epoch, stored) VALUES (?, ?, -1) ON CONFLICT DO NOTHING",
            (source, epoch),
        )

    def _advance(self, source: str, epoch: str) -> None:
        """Move an epoch's mark over everything contiguous, whether stored or given up."""
        [(stored,)] = self._connection.execute(
            "SELECT stored FROM epochs WHERE source = ? AND epoch = ?", (source, epoch)
        )
        mark = _contiguous(self._connection, source, epoch, stored)
        self._connection.execute(
            "UPDATE epochs SET stored = ? WHERE source = ? AND epoch = ?", (mark, source, epoch)
        )


def acknowledging(stored: Iterable[tuple[str, int]]) -> bytes:
    """Return the message that says up to where epochs are stored."""
    return msgspec.json.encode({"acknowledged": {epoch: f"{mark:020d}" for epoch, mark in stored}})


def same_event(one: bytes, other: bytes) -> bool:
    """Return whether two payloads are the same event: equal, but for an erased shopper."""
    if one == other:
        return True
    first, second = msgspec.json.decode(one), msgspec.json.decode(other)
    parts = [event["data"] for event in (first, second)]
    names = [data.pop("shopper", None) for data in parts if isinstance(data, dict)]
    return bool(first == second) and None in names


def summary(database_path: Path | str) -> Summary:
    """Read what an integrator's database holds; it may be in use."""
    with closing(sqlite3.connect(database_path, isolation_level=None)) as connection:
        connection.execute("PRAGMA busy_timeout = 5000")
        connection.execute("BEGIN")
        return summary_of(connection)


def summary_of(connection: Asked) -> Summary:
    """Count what an open database of an integrator holds."""
    counts = dict(connection.execute("SELECT name, sum(value) FROM counters GROUP BY name"))
    [(events,)] = connection.execute("SELECT count(*) FROM events")
    [(distinct,)] = connection.execute(
        "SELECT count(*) FROM (SELECT DISTINCT source, epoch, sequence FROM events) AS places"
    )
    return Summary(
        received=int(counts.get("received", 0)),
        repeated=int(counts.get("repeated", 0)),
        lost=_lost(connection),
        conflicting=events - distinct + int(counts.get("altered", 0)),
        malformed=int(counts.get("malformed", 0)),
        events=events,
    )


def _lost(connection: Asked) -> int:
    """Count sequences that are neither stored nor given up, up to each epoch's known end."""
    ends = connection.execute(
        "SELECT source, epoch, max(sequence) FROM ("
        "SELECT source, epoch, sequence FROM events"
        " UNION ALL SELECT source, epoch, last FROM dropped"
        " UNION ALL SELECT source, epoch, sequence FROM reached"
        " UNION ALL SELECT source, previous_epoch, previous_sequence FROM epochs"
        " WHERE previous_epoch IS NOT NULL) AS ends GROUP BY source, epoch"
    ).fetchall()
    lost = 0
    for source, epoch, end in ends:
        dropped = connection.execute(
            "SELECT first, last FROM dropped WHERE source = ? AND epoch = ?", (source, epoch)
        ).fetchall()
        lost += size(without([(0, end)], [*ranges_here(connection, source, epoch), *dropped]))
    return lost


def _contiguous(connection: sqlite3.Connection, source: str, epoch: str, mark: int) -> int:
    """Return the last sequence of an unbroken run that begins behind ``mark``."""
    while True:
        before = mark
        for (sequence,) in connection.execute(
            "SELECT DISTINCT sequence FROM events"
            " WHERE source = ? AND epoch = ? AND sequence > ? ORDER BY sequence",
            (source, epoch, mark),
        ):
            if sequence != mark + 1:
                break
            mark = sequence
        [(last,)] = connection.execute(
            "SELECT max(last) FROM (SELECT * FROM dropped UNION ALL SELECT * FROM gone)"
            " WHERE source = ? AND epoch = ? AND first <= ? AND last > ?",
            (source, epoch, mark + 1, mark),
        )
        mark = mark if last is None else last
        if mark == before:
            return mark


def read_event(payload: bytes) -> tuple[Event, int, Start | Gone | None]:
    """Read an event, and what it says about sequences; ``ValueError`` says that it is none."""
    event = msgspec.json.decode(payload, type=Event)
    note: Start | Gone | None = None
    if event.name == "gateway.started":
        started = msgspec.json.decode(event.data, type=_Started)
        if started.previous_epoch is not None and started.previous_sequence is not None:
            note = Start(started.previous_epoch, number(started.previous_sequence))
    elif event.name == "events.dropped":
        dropped = msgspec.json.decode(event.data, type=_Dropped)
        ranges = [(number(one.first), number(one.last)) for one in dropped.ranges]
        ascending = all(first <= last for first, last in ranges)
        apart = all(one[1] < next_one[0] for one, next_one in pairwise(ranges))
        if not (ascending and apart and dropped.count == size(ranges)):
            raise ValueError("ranges ascend, do not overlap, and hold as many as are counted")
        note = Gone(dropped.epoch, ranges)
    return event, number(event.sequence), note


def number(text: str) -> int:
    """Read a sequence.

    Raises:
        ValueError: It is none, or so great that none could follow it.
    """
    if not (text.isascii() and text.isdigit() and len(text) <= 20 and int(text) < 2**63 - 1):
        raise ValueError("a sequence is up to 20 digits and below 2^63 - 1")
    return int(text)
