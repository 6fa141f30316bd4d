# SPDX-License-Identifier: Apache-2.0
"""Events waiting to go upstream, and the durable state beside them: as SQL, without I/O.

A *program* is a generator that yields statements and is sent their rows. The daemon drives it
through aiosqlite, a simulation through sqlite3 in virtual time: the SQL is the same.

Rows are ordered by ``position``, which grows over all epochs; ``(epoch, sequence)`` is what the
integrator sees. The newest row of an epoch is never trimmed while the epoch may still grow, so
that a sequence can always be continued.
"""

import sqlite3
from collections.abc import Generator, Sequence
from typing import Any, Final, Self, TypeVar
from zlib import crc32

import msgspec

from gateway import schema
from gateway.database_errors import damaged
from gateway.domain.events import Event
from gateway.domain.inputs import StateRow
from gateway.envelope import Source, event_payload, with_shopper, without_shopper
from gateway.strands import strands_of

T = TypeVar("T")

DROPPED: Final = "events.dropped"
"""Its rows stand in the places of what they tell of, older than their sequence."""
STRANDS_BITE: Final = 1_000  # Rows at once while they are named.

COLUMNS: Final = "position, epoch, sequence, id, name, payload, shopper, committed_utc_ns, strands"
"""What a ``Row`` is made of."""
PAYLOAD: Final = 5
"""Which of them the payload is."""
CHECKED: Final = f"{COLUMNS}, crc"
"""What a ``Row`` is read from: its checksum too."""


class Statement(msgspec.Struct, frozen=True):
    """One step of a program."""

    sql: str
    parameters: Sequence[Any] = ()
    many: bool = False
    """``parameters`` is a list of parameter lists; no rows come back."""


Number = tuple[str, int]
"""Epoch and sequence: which event it is. Its position may be another's once it was given up."""

Program = Generator[Statement, list[tuple[Any, ...]], T]
"""Yields statements, is sent the rows of each, returns a result."""


class Epoch(msgspec.Struct, frozen=True):
    """One start of the daemon, and the last start before it that made events."""

    epoch: str
    """128 random bits, hex."""
    previous_epoch: str | None
    previous_sequence: int | None
    """Its last sequence; None when there is no previous epoch."""


class Oldest(msgspec.Struct, frozen=True):
    """Of the events that wait, the one that was committed first."""

    epoch: str
    sequence: int
    committed_utc_ns: int


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """What one transaction commits."""

    events: Sequence[Event] = ()
    rows: Sequence[StateRow] = ()
    """The last row of a key wins."""
    online: bool
    """By the last link input stepped before this commit."""
    utc_ns: int


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A committed event as it is published."""

    position: int
    epoch: str
    sequence: int
    id: str
    name: str
    payload: bytes
    """The complete CloudEvent; of ``session.started`` with the shopper unless erased."""
    committed_utc_ns: int
    strands: str = ""
    """As in ``gateway.strands``."""

    @property
    def number(self) -> Number:
        """Return epoch and sequence."""
        return self.epoch, self.sequence

    def without(self, shopper: str) -> Self:
        """Return the same row once a shopper was erased."""
        payload = without_shopper(self.payload, shopper)
        return self if payload is self.payload else msgspec.structs.replace(self, payload=payload)


class Committed(msgspec.Struct, frozen=True):
    """What a commit made."""

    rows: list[Row]
    given_up: frozenset[Number] = frozenset()
    """Pending events that made room."""
    classes: tuple[str, ...] = ()
    """Of which classes they were."""
    freed_bytes: int = 0
    """What they took, less what tells of them."""
    holes_bytes: int = 0
    """How much of that was, and is, in pages of the file that hold something else too."""
    notices: tuple[Row, ...] = ()
    """Those of ``rows`` that tell of it: each an ``events.dropped`` in the place of one of them."""

    @property
    def dropped(self) -> int:
        """How many were given up."""
        return len(self.given_up)


class Acknowledged(msgspec.Struct, frozen=True):
    """An acknowledgement: everything up to ``sequence`` of ``epoch`` is stored."""

    epoch: str
    sequence: int
    after: int = -1
    """Up to there it was recorded before: what is not looked at again costs nothing."""


def run_sync(connection: sqlite3.Connection, program: Program[T], *, write: bool = True) -> T:
    """Drive a program on a plain connection, in one transaction.

    Args:
        connection: Opened with ``isolation_level=None``: transactions are explicit.
        program: What to run.
        write: Whether to take the write lock at once.

    Raises:
        sqlite3.Error: A statement failed; the transaction is rolled back.
    """
    assert connection.isolation_level is None, "transactions are explicit here"
    connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
    try:
        statement = next(program)
        while True:
            if statement.many:
                connection.executemany(statement.sql, statement.parameters)
                rows: list[tuple[Any, ...]] = []
            else:
                rows = connection.execute(statement.sql, statement.parameters).fetchall()
            statement = program.send(rows)
    except StopIteration as stop:
        connection.execute("COMMIT")
        result: T = stop.value
        return result
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


# Programs.


def migrate_1() -> Program[None]:
    """Create the tables."""
    for sql in schema.SCHEMA_1:
        yield Statement(sql)


def migrate_2() -> Program[None]:
    """Create the table of backfills, and a checksum for each event to come."""
    for sql in schema.SCHEMA_2:
        yield Statement(sql)


def migrate_3() -> Program[None]:
    """Name the strands of each event that waits."""
    for sql in schema.SCHEMA_3:
        yield Statement(sql)
    yield from name_strands()


MIGRATIONS: Final = (migrate_1, migrate_2, migrate_3)
"""In order; the schema's version is how many have been applied."""


def migration(number: int) -> Program[None]:
    """Bring the schema from one version, counted from 0, to the next."""
    yield from MIGRATIONS[number]()
    yield Statement("INSERT INTO schema_version (version) VALUES (?)", (number + 1,))


def begin_epoch(epoch: str, utc_ns: int) -> Program[Epoch]:
    """Begin a sequence, and close the one before.

    A start that committed no event leaves nothing to account for: the chain leaves it out.
    """
    yield Statement(
        "UPDATE epochs SET last_sequence = (SELECT max(sequence) FROM events"
        " WHERE events.epoch = epochs.epoch) WHERE last_sequence IS NULL"
    )
    yield Statement("DELETE FROM epochs WHERE last_sequence IS NULL")
    rows = yield Statement("SELECT epoch, last_sequence FROM epochs ORDER BY ordinal DESC LIMIT 1")
    previous_epoch, previous_sequence = rows[0] if rows else (None, None)
    yield Statement(
        "INSERT INTO epochs (epoch, started_utc_ns, previous_epoch) VALUES (?, ?, ?)",
        (epoch, utc_ns, previous_epoch),
    )
    return Epoch(epoch, previous_epoch, previous_sequence)


def load_state() -> Program[list[StateRow]]:
    """Return the durable state in a fixed order."""
    rows = yield Statement("SELECT kind, key, value FROM state ORDER BY kind, key")
    return [StateRow(kind, key, msgspec.Raw(value.encode())) for kind, key, value in rows]


def commit(source: Source, epoch: str, batch: Batch, *, above: int = 0) -> Program[Committed]:
    """Append events and change the durable state.

    Args:
        source: Whose events these are.
        epoch: The current one; sequences continue in it.
        batch: What to commit.
        above: The last position that was taken, though its row may be given up by now: whoever
            reads on behind it would miss another in its place.
    """
    [(position, sequence)] = yield Statement(
        "SELECT max(?, (SELECT coalesce(max(position), 0) FROM events)),"
        " (SELECT coalesce(max(sequence), -1) FROM events WHERE epoch = ?)",
        (above, epoch),
    )
    inserts = [
        insert_of(Place(source, epoch, position + nth, sequence + nth), batch, event)
        for nth, event in enumerate(batch.events, 1)
    ]
    if inserts:
        yield insertion(inserts)
    yield from _change_state(batch.rows)
    return Committed([row_of(insert) for insert in inserts])


def name_strands(*, history: bool = False) -> Program[None]:
    """Name the strands of rows that came without them: of an earlier schema, or mended.

    Args:
        history: Whether of more than what waits, to which alone they matter. To write a million
            rows of history anew takes as much room again as the database has.
    """
    which = "WHERE" if history else "INDEXED BY events_waiting WHERE acknowledged = 0 AND"
    after = 0
    while True:
        rows = yield Statement(
            f"SELECT position, name, payload FROM events {which}"  # noqa: S608
            " strands = '' AND position > ? ORDER BY position LIMIT ?",
            (after, STRANDS_BITE),
        )
        if not rows:
            return
        after = rows[-1][0]
        named = [(_strands_in(name, payload), position) for position, name, payload in rows]
        yield Statement("UPDATE events SET strands = ? WHERE position = ?", named, many=True)


def acknowledge(upto: Sequence[Acknowledged], ids: Sequence[str] = ()) -> Program[int]:
    """Mark rows as stored upstream: up to a sequence of an epoch, or one by one.

    One by one means by id: where a row was given up, another may have taken its position.

    Returns:
        How many rows were pending until now. Acknowledging twice is harmless.
    """
    changed = 0
    for one in upto:
        yield Statement(
            "UPDATE events SET acknowledged = 1"
            " WHERE epoch = ? AND sequence > ? AND sequence <= ? AND acknowledged = 0",
            (one.epoch, one.after, one.sequence),
        )
        [(count,)] = yield Statement("SELECT changes()")
        changed += count
    for one_id in ids:
        yield Statement(
            "UPDATE events SET acknowledged = 1 WHERE id = ? AND acknowledged = 0", (one_id,)
        )
        [(count,)] = yield Statement("SELECT changes()")
        changed += count
    return changed


def tails() -> Program[dict[str, int]]:
    """Return the last committed sequence of each epoch that has pending rows.

    An epoch's rows stand together, so one look for each is enough, however many wait. Only notices
    of what was given up may stand among an older epoch's; their names are in the index.
    """
    rows = yield Statement(
        "SELECT DISTINCT epoch FROM events INDEXED BY events_waiting"
        " WHERE acknowledged = 0 AND name = ?",
        (DROPPED,),
    )
    waiting = {epoch for (epoch,) in rows}
    after = -1
    while rows := (
        yield Statement(
            "SELECT position, epoch FROM events INDEXED BY events_waiting"
            " WHERE acknowledged = 0 AND name <> ? AND position > ? ORDER BY position LIMIT 1",
            (DROPPED, after),
        )
    ):
        [(position, epoch)] = rows
        waiting.add(epoch)
        [(last,)] = yield Statement(
            "SELECT position FROM events WHERE epoch = ? AND name <> ?"
            " ORDER BY sequence DESC LIMIT 1",
            (epoch, DROPPED),
        )
        after = max(position, last)
    found = {}
    for epoch in waiting:
        [(last,)] = yield Statement("SELECT max(sequence) FROM events WHERE epoch = ?", (epoch,))
        found[epoch] = last
    return found


def backlog() -> Program[tuple[int, Oldest | None]]:
    """Return how many events wait, and the oldest of them."""
    [(count,)] = yield Statement("SELECT count(*) FROM events WHERE acknowledged = 0")
    return int(count), (yield from oldest())


def oldest() -> Program[Oldest | None]:
    """Return which of the events that wait was committed first; None: none waits.

    A notice of what was given up stands in a place that is older than it is. Behind the first event
    that is none, nothing is older than that.
    """
    rows = yield Statement(
        "SELECT events.epoch, sequence, committed_utc_ns"
        " FROM events LEFT JOIN epochs ON epochs.epoch = events.epoch"
        " WHERE acknowledged = 0 AND position <= coalesce((SELECT position FROM events"
        " WHERE acknowledged = 0 AND name <> ? ORDER BY position LIMIT 1), ?)"
        " ORDER BY ordinal, sequence LIMIT 1",
        (DROPPED, 2**63 - 1),
    )
    return Oldest(*rows[0]) if rows else None


def erase_shopper(shopper: str) -> Program[int]:
    """Forget who a shopper was, in every event kept.

    Returns:
        How many events named them.
    """
    yield Statement("UPDATE events SET shopper = NULL WHERE shopper = ?", (shopper,))
    [(count,)] = yield Statement("SELECT changes()")
    return int(count)


# Parts of programs.


class Place(msgspec.Struct, frozen=True):
    """Where a row goes."""

    source: Source
    epoch: str
    position: int
    sequence: int


class _Whole(msgspec.Struct, frozen=True):
    """A CloudEvent as it is stored, of which the data is wanted."""

    data: msgspec.Raw


def _strands_in(name: str, payload: bytes) -> str:
    """Return the strands of a stored event; none where it has rotted before it had a checksum."""
    try:
        return strands_of(name, msgspec.json.decode(payload, type=_Whole).data)
    except (ValueError, RecursionError):
        return ""


def insert_of(place: Place, batch: Batch, event: Event) -> tuple[Any, ...]:
    """Return the columns of a new event."""
    payload = event_payload(
        event,
        place.source,
        epoch=place.epoch,
        sequence=place.sequence,
        utc_ns=batch.utc_ns,
        online=batch.online,
    )
    return (
        place.position,
        place.epoch,
        place.sequence,
        event.id,
        event.name,
        payload,
        event.shopper,
        batch.utc_ns,
        strands_of(event.name, event.data),
    )


def insertion(inserts: Sequence[tuple[Any, ...]]) -> Statement:
    """Return the statement that appends rows of ``COLUMNS``, each with its checksum."""
    sql = f"INSERT INTO events ({COLUMNS}, crc) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
    return Statement(sql, [(*one, crc32(one[PAYLOAD])) for one in inserts], many=True)


def row_of(columns: tuple[Any, ...]) -> Row:
    """Return the row of ``COLUMNS`` as it is published."""
    position, epoch, sequence, name_id, name, payload, shopper, committed_utc_ns, strands = columns
    return Row(
        position=position,
        epoch=epoch,
        sequence=sequence,
        id=name_id,
        name=name,
        payload=payload if shopper is None else with_shopper(payload, shopper),
        committed_utc_ns=committed_utc_ns,
        strands=strands,
    )


def row_read(columns: tuple[Any, ...]) -> Row:
    """Return the row of ``CHECKED``.

    Raises:
        sqlite3.DatabaseError: It is not what was written.
    """
    *others, crc = columns
    if crc is not None and not is_sound(others[PAYLOAD], crc):
        _, epoch, sequence, *_ = others
        raise damaged(f"event {sequence} of epoch {epoch} has changed")
    return row_of(tuple(others))


def is_sound(payload: Any, crc: int) -> bool:  # noqa: ANN401  A column of a damaged table.
    """Tell whether a payload is what was written with its checksum."""
    return isinstance(payload, bytes) and crc32(payload) == crc


def _change_state(rows: Sequence[StateRow]) -> Program[None]:
    last = {(row.kind, row.key): row for row in rows}
    sets = [(*key, bytes(row.value).decode()) for key, row in last.items() if not row.deletes]
    deletes = [key for key, row in last.items() if row.deletes]
    if sets:
        yield Statement(
            "INSERT INTO state (kind, key, value) VALUES (?, ?, ?)"
            " ON CONFLICT (kind, key) DO UPDATE SET value = excluded.value",
            sets,
            many=True,
        )
    if deletes:
        yield Statement("DELETE FROM state WHERE kind = ? AND key = ?", deletes, many=True)
