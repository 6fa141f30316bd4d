# SPDX-License-Identifier: Apache-2.0
"""An integrator's books in PostgreSQL, which several consumers of one fleet may keep together.

A batch is one ``INSERT … ON CONFLICT DO NOTHING``. Consumers behind a shared subscription get the
events of one gateway in any order and at once, so how far an epoch is stored is worked out from
what all of them have committed (``advance``), after one's own commit: no acknowledgement reaches
over what another has yet to commit, and whoever looks last sees everything.

It needs the extra ``shelfgate[postgres]``. Not for use from several threads at once.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from hashlib import blake2b
from typing import Any, Final, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict

from drivers.errors import DeviceGoneError
from gateway.simulator.ledger import (
    EPOCHS_TOLD,
    LACKS_SOME,
    BooksError,
    Gone,
    Start,
    Summary,
    acknowledging,
    read_event,
    same_event,
    summary_of,
)
from gateway.simulator.proof import Proof, prove_all
from gateway.simulator.ranges import Range

T = TypeVar("T")

LIMITS: Final = {
    "connect_timeout": 10,  # Seconds.
    "tcp_user_timeout": 30_000,  # Milliseconds.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 4,
}
"""How long a server may be away before it counts as gone, where the conninfo does not say."""
STATEMENT_MS: Final = 30_000
"""Longest that a statement of a consumer may take, where neither conninfo nor server says."""
OUTAGES: Final = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.ReadOnlySqlTransaction,  # A standby, or a server whose disk is full.
)
NAME_MAX: Final = 256
QUIET_S: Final = 5.0
"""How long a gap may be another consumer's to close."""
SETUP_LOCK: Final = 0x5E1F6A7E  # Of those that make the tables: only one at a time can.

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS events (
    rowid      bigint      GENERATED ALWAYS AS IDENTITY,
    source     text        NOT NULL,
    id         text        NOT NULL,
    epoch      text        NOT NULL,
    sequence   bigint      NOT NULL,
    name       text        NOT NULL,
    payload    bytea       NOT NULL,
    stored_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (source, id)
);
CREATE INDEX IF NOT EXISTS events_sequence ON events (source, epoch, sequence);
CREATE TABLE IF NOT EXISTS dropped (
    source text NOT NULL, epoch text NOT NULL, first bigint NOT NULL, last bigint NOT NULL,
    PRIMARY KEY (source, epoch, first)
);
CREATE TABLE IF NOT EXISTS gone (LIKE dropped INCLUDING ALL);
CREATE TABLE IF NOT EXISTS gateways (source text PRIMARY KEY, epoch text NOT NULL);
CREATE TABLE IF NOT EXISTS reached (
    source text NOT NULL, epoch text NOT NULL, sequence bigint NOT NULL,
    PRIMARY KEY (source, epoch)
);
CREATE TABLE IF NOT EXISTS epochs (
    rowid              bigint  GENERATED ALWAYS AS IDENTITY,
    source             text    NOT NULL,
    epoch              text    NOT NULL,
    stored             bigint  NOT NULL DEFAULT -1,  -- Everything up to here is here.
    previous_epoch     text,
    previous_sequence  bigint,
    PRIMARY KEY (source, epoch)
);
-- Whether a later start names the end of an epoch is asked with each acknowledgement.
CREATE INDEX IF NOT EXISTS epochs_previous ON epochs (source, previous_epoch);
CREATE TABLE IF NOT EXISTS counters (
    consumer text NOT NULL, name text NOT NULL, value bigint NOT NULL,
    PRIMARY KEY (consumer, name)
);
-- Whoever runs this has committed its events before: of several at once, the one that looks last
-- sees the events of all, and a mark never goes back.
CREATE OR REPLACE FUNCTION advance(of_source text, of_epoch text) RETURNS boolean
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    mark bigint;
    before bigint;
    upto bigint;
    one bigint;
BEGIN
    SELECT stored INTO mark FROM epochs WHERE source = of_source AND epoch = of_epoch;
    LOOP
        before := mark;
        FOR one IN
            SELECT sequence FROM events
            WHERE source = of_source AND epoch = of_epoch AND sequence > before
            ORDER BY sequence LIMIT 1000
        LOOP
            EXIT WHEN one > mark + 1;
            mark := one;
        END LOOP;
        SELECT max(last) INTO upto
        FROM (SELECT * FROM dropped UNION ALL SELECT * FROM gone) AS away
        WHERE source = of_source AND epoch = of_epoch AND first <= mark + 1 AND last > mark;
        mark := coalesce(upto, mark);
        EXIT WHEN mark = before;
    END LOOP;
    UPDATE epochs SET stored = mark
    WHERE source = of_source AND epoch = of_epoch AND stored < mark;
    RETURN FOUND;
END
$$;
"""

# Only a schema that is another is made again: that waits for all who write, and takes the rights
# of the tables' owner, which a consumer need not have.
SCHEMA_IS: Final = "SELECT obj_description(to_regprocedure('advance(text, text)'), 'pg_proc')"
SCHEMA_DIGEST: Final = blake2b(SCHEMA.encode(), digest_size=8).hexdigest()
NOTE_SCHEMA: Final = f"COMMENT ON FUNCTION advance(text, text) IS '{SCHEMA_DIGEST}'"

LIMIT_STATEMENTS: Final = """
SELECT set_config(name, %s, false) FROM pg_settings
WHERE name = 'statement_timeout' AND source = 'default'
"""
REACHED: Final = "See that it runs and has such a database; its log tells more"
REMEDY: Final = "Name the database of an integrator, and let its user use the tables"

# In order of keys, here and below, and the order is Python's, whatever the database sorts by:
# consumers may wait for one another, but never in a circle.
INSERT: Final = """
INSERT INTO events (source, id, epoch, sequence, name, payload)
SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::bigint[], %s::text[], %s::bytea[])
    AS came (source, id, epoch, sequence, name, payload)
ORDER BY source COLLATE "C", id COLLATE "C"
ON CONFLICT (source, id) DO NOTHING
RETURNING source, id
"""
KNOW_EPOCHS: Final = """
INSERT INTO epochs (source, epoch)
SELECT * FROM unnest(%s::text[], %s::text[]) AS came (source, epoch)
WHERE NOT EXISTS (SELECT 1 FROM epochs AS one
                  WHERE one.source = came.source AND one.epoch = came.epoch)
ORDER BY source COLLATE "C", epoch COLLATE "C"
ON CONFLICT DO NOTHING
"""
ADVANCE: Final = """
SELECT source, advance(source, epoch) FROM (
    SELECT * FROM unnest(%s::text[], %s::text[]) AS came (source, epoch)
    ORDER BY source COLLATE "C", epoch COLLATE "C"
) AS came
"""
ACKNOWLEDGE: Final = """
SELECT source, epoch, stored FROM (
    SELECT *, row_number() OVER (PARTITION BY source ORDER BY rowid DESC) AS age
    FROM epochs WHERE source = ANY(%s)
) AS one
WHERE stored >= 0 AND (
    age <= %s
    OR NOT EXISTS (  -- Unfinished: no later start names its end, or it lacks some.
        SELECT 1 FROM epochs AS later
        WHERE later.source = one.source AND later.previous_epoch = one.epoch
          AND one.stored >= later.previous_sequence
    )
)
"""

Key = tuple[str, str]
"""A source with an id, or with an epoch."""


class _Batch:
    """Events that came in together, each once, and what they say about sequences."""

    def __init__(self, payloads: Iterable[bytes]) -> None:
        self.counts = {"received": 0, "repeated": 0, "altered": 0, "malformed": 0}
        self.rows: dict[Key, tuple[str, int, str, bytes]] = {}
        self.again: list[tuple[Key, bytes]] = []
        self.epochs: set[Key] = set()
        self.starts: dict[Key, Start] = {}
        self.dropped: set[tuple[str, str, int, int]] = set()
        for payload in payloads:
            self._take(payload)

    def _take(self, payload: bytes) -> None:
        try:
            event, sequence, note = read_event(payload)
        except (ValueError, RecursionError):
            self.counts["malformed"] += 1
            return
        named = note.epoch if note is not None else ""
        if not _fit(event.source, event.id, event.epoch, event.name, named):
            self.counts["malformed"] += 1
            return
        self.counts["received"] += 1
        key, epoch = (event.source, event.id), (event.source, event.epoch)
        self.epochs.add(epoch)
        if key in self.rows:
            self.again.append((key, payload))
            return
        self.rows[key] = (event.epoch, sequence, event.name, payload)
        if isinstance(note, Start):
            self.starts[epoch] = note
        elif isinstance(note, Gone):
            self.epochs.add((event.source, note.epoch))
            self.dropped |= {(event.source, note.epoch, *one) for one in note.ranges}

    def columns(self) -> list[list[Any]]:
        """Return what ``INSERT`` takes."""
        keys = [list(column) for column in zip(*self.rows, strict=True)]
        return keys + [list(column) for column in zip(*self.rows.values(), strict=True)]


class PostgresLedger:
    """Books that several consumers keep together."""

    def __init__(
        self,
        conninfo: str,
        consumer: str,
        *,
        reads: bool = False,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare; the first use connects, and makes tables and function what they are here.

        Args:
            conninfo: As libpq takes it; a password belongs into a password file.
            consumer: Name under which this one counts.
            reads: Only read, for as long as it takes, and make nothing.
            now_s: Monotonic time, in seconds.

        Raises:
            BooksError: The conninfo is none.
        """
        try:
            self._server: dict[str, Any] = LIMITS | conninfo_to_dict(conninfo)
        except psycopg.ProgrammingError as error:  # Its words may name a password.
            problem = "postgresql: this is no conninfo. Write host=127.0.0.1 dbname=events"
            raise BooksError(problem) from error
        self._reads = reads
        self._now_s = now_s
        self._quiet: dict[str, float] = {}
        self._consumer = consumer
        self._open: psycopg.Connection[Any] | None = None

    def ready(self) -> None:
        """Connect, if that is to be done.

        Raises:
            DeviceGoneError: The database is not there, or refuses.
            BooksError: It has other tables, or gives too few rights.
        """
        self._with(lambda one: one.execute("SELECT 1"))

    def close(self) -> None:
        """Close the connection."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def store(self, payloads: Iterable[bytes]) -> set[str]:
        """Store events in one transaction, and move the marks of their epochs in a second one.

        A mark only says what is committed, so that it may be lost by a crash: the repeat of an
        event, which comes without an acknowledgement, moves it.

        Returns:
            The sources of which something new is stored without a gap, which sent what was here,
            or of which nothing new came for ``QUIET_S``. To tell the others, whose gap another
            consumer is about to close, would only make them send all of it again.

        Raises:
            DeviceGoneError: The database is not there, or refuses. Nothing is to be acknowledged.
        """
        batch = _Batch(payloads)

        def stored(connection: psycopg.Connection[Any]) -> set[str]:
            with connection.transaction():
                again = self._insert(connection, batch)
            moved = connection.execute(ADVANCE, _columns(sorted(batch.epochs))).fetchall()
            return again | {source for source, forward in moved if forward}

        news = self._with(stored)
        return self._to_hear({source for source, _ in batch.epochs}, news)

    def acknowledgements(self, sources: Iterable[str]) -> dict[str, bytes]:
        """Return the message for each of these gateways that says what is stored of it."""
        told: dict[str, list[tuple[str, int]]] = {source: [] for source in sources}
        if not told:
            return {}
        for source, epoch, mark in self._with(
            lambda one: one.execute(ACKNOWLEDGE, (list(told), EPOCHS_TOLD)).fetchall()
        ):
            told[source].append((epoch, mark))
        return {source: acknowledging(marks) for source, marks in told.items()}

    def note_birth(self, source: str, epoch: str, sequence: int | None = None) -> bool:
        """Note what a gateway's status says, as ``Ledger.note_birth`` does."""
        if not _fit(source, epoch):
            return False

        def noted(connection: psycopg.Connection[Any]) -> bool:
            with connection.transaction():
                known = connection.execute(
                    "SELECT epoch FROM gateways WHERE source = %s FOR UPDATE", (source,)
                ).fetchall()
                if known != [(epoch,)]:
                    connection.execute("DELETE FROM gone WHERE source = %s", (source,))
                    connection.execute(
                        "INSERT INTO gateways VALUES (%s, %s)"
                        " ON CONFLICT (source) DO UPDATE SET epoch = excluded.epoch",
                        (source, epoch),
                    )
                if sequence is not None:
                    connection.execute(
                        "INSERT INTO reached VALUES (%s, %s, %s) ON CONFLICT (source, epoch)"
                        " DO UPDATE SET sequence = excluded.sequence"
                        " WHERE reached.sequence < excluded.sequence",
                        (source, epoch, sequence),
                    )
            return known != [(epoch,)]

        return self._with(noted)

    def note_gone(self, source: str, epoch: str, ranges: Sequence[Range]) -> None:
        """Note what a gateway no longer has: nothing to wait for, though it stays missing."""

        def noted(connection: psycopg.Connection[Any]) -> None:
            with connection.transaction():
                connection.execute(KNOW_EPOCHS, ([source], [epoch]))
                rows = {(source, epoch, first, last) for first, last in ranges}
                _note_ranges(connection, "gone", rows)
            connection.execute(ADVANCE, ([source], [epoch]))

        self._with(noted)

    def lacks_some(self) -> bool:
        """Tell quickly whether any epoch has a gap that nobody explained."""
        [(lacks,)] = self._with(lambda one: one.execute(LACKS_SOME).fetchall())
        return bool(lacks)

    def prove(self) -> list[Proof]:
        """Return what is proved of each gateway."""
        return self._with(lambda one: prove_all(_Asked(one)))

    def summary(self) -> Summary:
        """Count what the books hold."""
        return self._with(lambda one: summary_of(_Asked(one)))

    def _to_hear(self, sources: set[str], news: set[str]) -> set[str]:
        """Return those of the sources that have news, or have had none for long."""
        now_s = self._now_s()
        told = set()
        for source in sources:
            since_s = self._quiet.setdefault(source, now_s)
            if source in news or now_s - since_s >= QUIET_S:
                del self._quiet[source]
                told.add(source)
        return told

    def _insert(self, connection: psycopg.Connection[Any], batch: _Batch) -> set[str]:
        """Insert a batch and what it says; return the sources of what was here already."""
        again = list(batch.again)
        if batch.rows:
            new = set(connection.execute(INSERT, batch.columns()).fetchall())
            again += [(key, row[3]) for key, row in batch.rows.items() if key not in new]
            connection.execute(KNOW_EPOCHS, _columns(sorted(batch.epochs)))
            for (source, epoch), start in sorted(batch.starts.items(), key=lambda one: one[0]):
                connection.execute(
                    "UPDATE epochs SET previous_epoch = %s, previous_sequence = %s"
                    " WHERE source = %s AND epoch = %s AND previous_epoch IS NULL",
                    (start.epoch, start.sequence, source, epoch),
                )
            _note_ranges(connection, "dropped", batch.dropped)
        if again:
            batch.counts["repeated"] = len(again)
            batch.counts["altered"] = _altered(connection, again)
        counted = [(self._consumer, name, value) for name, value in batch.counts.items()]
        with connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO counters VALUES (%s, %s, %s) ON CONFLICT (consumer, name)"
                " DO UPDATE SET value = counters.value + excluded.value",
                counted,
            )
        return {source for (source, _), _ in again}

    def _with(self, work: Callable[[psycopg.Connection[Any]], T]) -> T:
        """Do something with an open connection.

        Raises:
            DeviceGoneError: The database is not there, or refuses.
            BooksError: It has other tables, or gives too few rights.
        """
        try:
            if self._open is None or self._open.closed:
                self._open = self._connect()
            return work(self._open)
        except OUTAGES as error:
            with suppress(psycopg.Error):
                self.close()
            raise DeviceGoneError("postgresql", _problem(error), REACHED) from error
        except psycopg.ProgrammingError as error:
            raise BooksError(f"postgresql: {_problem(error)}. {REMEDY}") from error

    def _connect(self) -> psycopg.Connection[Any]:
        connection = psycopg.connect(autocommit=True, **self._server)
        try:
            if not self._reads:
                connection.execute(LIMIT_STATEMENTS, (str(STATEMENT_MS),))
                _make(connection)
        except BaseException:
            connection.close()
            raise
        return connection


def _make(connection: psycopg.Connection[Any]) -> None:
    """Make tables and function, or make those of another version this one's."""
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (SETUP_LOCK,))
        if connection.execute(SCHEMA_IS).fetchall() != [(SCHEMA_DIGEST,)]:
            connection.execute(SCHEMA)
            connection.execute(NOTE_SCHEMA.encode())


def _problem(error: psycopg.Error) -> str:
    problem = error.diag.message_primary or str(error)
    told = "; ".join(" ".join(line.split()) for line in problem.splitlines() if line.strip())
    return told.rstrip(".?") or type(error).__name__


class _Asked:
    """A connection that takes ``?`` for a parameter, as SQLite does: questions stand once."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> psycopg.Cursor[Any]:
        return self._connection.execute(sql.replace("?", "%s").encode(), parameters)


def _note_ranges(
    connection: psycopg.Connection[Any], table: str, rows: set[tuple[str, str, int, int]]
) -> None:
    assert table in {"dropped", "gone"}
    for row in sorted(rows):
        connection.execute(
            f"INSERT INTO {table} VALUES (%s, %s, %s, %s) ON CONFLICT (source, epoch, first)"  # noqa: S608
            f" DO UPDATE SET last = greatest({table}.last, excluded.last)".encode(),
            row,
        )


def _altered(connection: psycopg.Connection[Any], again: Iterable[tuple[Key, bytes]]) -> int:
    """Count repeats that are not the event that is here."""
    came = list(again)
    here = {
        (source, one): payload
        for source, one, payload in connection.execute(
            "SELECT source, id, payload FROM events"
            " JOIN (SELECT * FROM unnest(%s::text[], %s::text[]) AS came (source, id)) AS came"
            " USING (source, id)",
            _columns([key for key, _ in came]),
        )
    }
    return sum(not same_event(here[key], payload) for key, payload in came)


def _fit(*names: str) -> bool:
    """Tell whether PostgreSQL takes names: its text has no NUL, and its index a limit."""
    return all(len(name) <= NAME_MAX and "\0" not in name for name in names)


def _columns(keys: Sequence[Key]) -> tuple[list[str], list[str]]:
    return [one for one, _ in keys], [other for _, other in keys]
