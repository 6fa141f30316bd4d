# SPDX-License-Identifier: Apache-2.0
"""The daemon's SQLite file through aiosqlite: events, outbox and durable state.

One connection writes, one reads: a reader on the writer's own connection would see rows before
they are durable, and publish what a power cut takes back.
"""

import asyncio
import logging
import os
import secrets
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Final, Self, TypeVar

import aiosqlite

from gateway import (
    giving_up,
    history,
    losses,
    outbox,
    pages,
    recovery,
    recovery_log,
    room,
    trimming,
    waiting,
)
from gateway.damage import examine, log_kept, text, unreadable
from gateway.database_errors import DatabaseError, damaged, explaining, is_damage
from gateway.database_lock import lock
from gateway.database_setup import prepare
from gateway.domain.effects import Backfill, BackfillAnswer
from gateway.domain.inputs import Recovery, Stamp, StateRow
from gateway.envelope import Source
from gateway.outbox import Acknowledged, Batch, Committed, Epoch, Oldest, Program, Row
from gateway.recovery import MACHINE_ID
from gateway.room import Limits
from gateway.shortage import Measured, Shortage
from gateway.side_files import doubt, doubted, read_side, trust, write_side
from gateway.transactions import BUSY_MS, transaction, truncate_log
from gateway.wear import Wear, note_written

__all__ = ["Acknowledged", "Batch", "Committed", "Database", "DatabaseError", "Epoch", "Limits"]
__all__ += ["Row", "open_database"]

T = TypeVar("T")

log = logging.getLogger(__name__)

DAY_NS: Final = 86_400_000_000_000
TRIM_BITES: Final = 10
RECORD_BITE: Final = 1_000
"""Sequences acknowledged in one transaction."""


async def _nothing() -> None:
    pass


class Database:
    """Events, outbox and durable state. Made by ``open_database``."""

    def __init__(
        self,
        path: Path,
        source: Source,
        *,
        limits: Limits,
        writer: aiosqlite.Connection,
        reader: aiosqlite.Connection,
        lock_fd: int,
        machine: str | None,
        found: Recovery | None,
        untold: bool,
        unchecked: bool,
    ) -> None:
        self.path = path
        self.source = source
        self.epoch: Epoch | None = None
        self.recovery = found
        """Why this is not the database that the daemon left behind; None when it is."""
        self._untold = untold
        self._unchecked = unchecked
        self._machine = machine
        self._limits = limits
        self._writer = writer
        self._reader = reader
        self._lock_fd = lock_fd
        self._writing = asyncio.Lock()
        self._reading = asyncio.Lock()
        self._tails: dict[str, int] = {}
        self._ends: dict[str, int] = {}
        self._recorded: dict[str, int] = {}  # Of each epoch, up to where it is acknowledged.
        self._position = 0  # The last that this process gave a row.
        self._waiting = 0  # Pending rows, kept because counting them costs with each commit.
        self._walk = trimming.Walk()
        self._shortage = Shortage(path, limits.free_bytes_min)
        self.wear = Wear()
        """What was written, and for how many events."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def tails(self) -> Mapping[str, int]:
        """The last committed sequence of the current epoch and of each with pending rows."""
        return MappingProxyType(self._tails)

    @property
    def ends(self) -> Mapping[str, int]:
        """The last sequence of each finished epoch whose end is known here."""
        return MappingProxyType(self._ends)

    @property
    def all_stored(self) -> bool:
        """Whether no event waits."""
        return not self._waiting

    async def begin_epoch(self, utc_ns: int, epoch: str | None = None) -> Epoch:
        """Draw a random epoch and make it durable; sequences begin at 0 in it.

        Args:
            utc_ns: Now.
            epoch: 32 hex digits instead of random ones, for a simulation.
        """
        epoch = secrets.token_hex(16) if epoch is None else epoch
        self._tails = await self._read(outbox.tails())
        self._waiting, _ = await self.backlog()
        self._shortage.holes_bytes = await self._read(giving_up.holes())
        side = read_side(self.path)
        begun = await self._write(recovery.begin_epoch(epoch, utc_ns, side, self._machine))
        # After the commit and before any event: a kill in between leaves the epoch before noted.
        with explaining(self.path):
            write_side(self.path, self.source, epoch)
        self._ends = await self._read(recovery.ends())
        self.epoch = begun
        return begun

    async def load_state(self) -> list[StateRow]:
        """Return the durable state."""
        return await self._read(outbox.load_state())

    async def commit(self, batch: Batch) -> Committed:
        """Commit events and changed state rows in one transaction, durable on return.

        Returns:
            The rows as they will be published, in sequence.

        Raises:
            DatabaseError: The disk refused, or is full; nothing was committed.
        """
        assert self.epoch is not None, "begin_epoch comes first"
        epoch = self.epoch.epoch
        program = outbox.commit(self.source, epoch, batch, above=self._position)
        crowded = self._waiting + len(batch.events) > self._limits.pending_max
        if batch.events and (crowded or self._shortage.short_bytes):
            need = self._shortage.need(self._limits.pending_max)
            program = giving_up.with_room(program, self.source, epoch, batch, need)
        if self._untold and batch.events:
            program = losses.told_with(program, self.source, epoch, batch)
        committed = await self._write(program)
        self._untold = self._untold and not batch.events
        self._waiting += len(committed.rows) - committed.dropped
        self.wear.events += len(committed.rows)
        self._shortage.gave_up(committed, crowded=crowded)
        if committed.rows:
            self._position = max(row.position for row in committed.rows)
            self._tails[epoch] = max(row.sequence for row in committed.rows)
        return committed

    async def waiting(self, fetch: waiting.Fetch) -> waiting.Found:
        """Return unacknowledged rows, oldest first."""
        return await self._read(waiting.read(fetch))

    async def acknowledge(self, epoch: str, up_to_sequence: int) -> int:
        """Mark an epoch's rows up to a sequence as stored upstream; return how many were not."""
        count, _ = await self.record([Acknowledged(epoch, up_to_sequence)], (), ())
        return count

    async def record(
        self,
        upto: Sequence[Acknowledged],
        ids: Sequence[str],
        progress: Sequence[history.Progress],
        *,
        between: Callable[[], Awaitable[None]] = _nothing,
    ) -> tuple[int, list[history.Done]]:
        """Record acknowledgements, and how far backfills have come, as ``history.record`` does.

        Many at once are recorded in several transactions, between which commits find their turn,
        and ``between`` is done.
        """
        ends = {one.epoch: one.sequence for one in upto}
        count = 0
        while True:
            known = {epoch: self._recorded.get(epoch, -1) for epoch in ends}
            bite = {epoch: min(end, known[epoch] + RECORD_BITE) for epoch, end in ends.items()}
            last = bite == ends
            news = [Acknowledged(epoch, end, known[epoch]) for epoch, end in bite.items()]
            rest = (ids, progress) if last else ((), ())
            marked, done = await self._write(history.record(news, *rest))
            count += marked
            self._waiting -= marked
            self._walk.acknowledged()
            self._recorded.update({one.epoch: max(one.after, one.sequence) for one in news})
            if last:
                return count, done
            await between()

    async def note_cut(self, epochs: Sequence[str]) -> None:
        """Note finished epochs that were acknowledged beyond their end here."""
        await self._write(recovery.note_cut(epochs))

    async def backfill(self, wish: Backfill) -> BackfillAnswer:
        """Accept a backfill, or say how one stands that was accepted before."""
        return await self._write(history.open_backfill(wish))

    async def read_history(self, fetch: history.Fetch) -> history.Read:
        """Read what a backfill sends next."""
        return await self._read(history.read(fetch))

    async def backlog(self) -> tuple[int, Oldest | None]:
        """Return how many events wait, and the oldest of them."""
        return await self._read(outbox.backlog())

    async def oldest(self) -> Oldest | None:
        """Return the oldest of the events that wait, without counting them."""
        return await self._read(outbox.oldest())

    @property
    def shortage(self) -> tuple[str, ...]:
        """What is being given up for want of room, as parts that do not work as they should."""
        return self._shortage.parts

    async def keep_within(self, now: Stamp) -> None:
        """Give way where there is too little room: history first, then what waits, by its class.

        What waits goes with the next commit of events, which says so. What was written to the card
        is noted too, now and then.
        """
        if self.wear.due(now.mono_ns):
            await self._write(note_written(*self.wear.take(now)))
        size = await self._read(pages.measure())
        with explaining(self.path):
            free = room.free_bytes(self.path)
        bound = self._limits.for_history(size.file_bytes, free)
        limit = None if bound is None else bound.bytes
        trimmed, before = 0, size
        for _ in range(TRIM_BITES):
            if limit is None or size.used_bytes <= limit or self._walk.exhausted:
                break
            trimmed += (await self._look(0, 0)).gone
            size = await self._read(pages.measure())
        self._shortage.measured(
            Measured(
                used_bytes=size.used_bytes,
                for_history=bound,
                for_waiting=self._limits.for_waiting(size.file_bytes, free),
                free_bytes=free,
                trimmed=trimmed > 0,
                trimmed_bytes=max(0, before.used_bytes - size.used_bytes),
                history=not self._walk.exhausted,
            )
        )
        spare = pages.to_give_back(size, limit)
        if spare:
            await self._write(pages.give_back(spare))

    async def check(self) -> None:
        """Read all that the start left unread; return once it is known to be whole.

        Raises:
            DatabaseError: It is damaged; the next start mends it.
        """
        if not self._unchecked:
            return
        with self._explaining():
            checker = await aiosqlite.connect(self.path, isolation_level=None)
            try:
                checker.text_factory = text
                for pragma in ("query_only = ON", "cache_size = -256"):  # It reads all once.
                    await checker.execute_fetchall(f"PRAGMA {pragma}")
                examining = examine(self.path.stat().st_size)
                wrong = await transaction(checker, examining, "BEGIN", interrupt=True)
                if wrong is not None:
                    raise damaged(wrong)
                trust(self.path)
                # The log may be long by now, and this way no commit waits for it.
                await checker.execute_fetchall("PRAGMA wal_checkpoint(PASSIVE)")
            except UnicodeDecodeError as error:
                raise damaged(unreadable(error)) from error
            finally:
                await checker.close()
        self._unchecked = False
        await self.empty_log()
        log.info("%s: the check in the background found nothing wrong", self.path)

    async def trim(self, utc_ns: int) -> int:
        """Delete some history beyond the limits; return how many rows went.

        Args:
            utc_ns: Now; 0 when that is not known well enough to delete by age.
        """
        limits = self._limits
        before_utc_ns = utc_ns - int(limits.history_days * DAY_NS)
        gone = 0
        for _ in range(TRIM_BITES):
            look = await self._look(before_utc_ns, limits.history_rows, utc_ns or 2**63 - 1)
            gone += look.gone
            if look.through:
                break
        return gone

    async def erase_shopper(self, shopper: str) -> int:
        """Forget a shopper in every event kept; return how many named them.

        The name is off the disk when ``empty_log`` has said so after that.
        """
        return await self._write(outbox.erase_shopper(shopper))

    async def empty_log(self) -> bool:
        """Move the write-ahead log into the file; return whether nothing of it is left.

        Something is while the check runs, or another program reads what the log holds.

        Raises:
            DatabaseError: The disk refused, or the database is damaged.
        """
        if self._unchecked:
            return False
        async with self._reading, self._writing:
            with self._explaining():
                return await truncate_log(self._writer)

    async def note_wear(self, now: Stamp) -> None:
        """Note what was written to the card until now: the daemon is about to stop."""
        await self.empty_log()  # That is written too.
        await self._write(note_written(*self.wear.take(now)))

    async def close(self) -> None:
        """Move the log into the file, if that is known to be whole, and close; safe to repeat."""
        if self._lock_fd < 0:
            return
        lock_fd, self._lock_fd = self._lock_fd, -1
        # Whatever fails here, both threads of aiosqlite must end, or the process would not.
        with explaining(self.path), log_kept(self.path, kept=self._unchecked):
            try:
                async with self._reading:
                    await self._reader.close()
                async with self._writing:
                    if not self._unchecked:
                        await self._writer.execute_fetchall("PRAGMA wal_checkpoint(TRUNCATE)")
                if self.epoch is not None:
                    # An older copy of the same epoch may be here at the next start.
                    epoch = self.epoch.epoch
                    write_side(self.path, self.source, epoch, self._tail())
            finally:
                try:
                    await self._reader.close()
                    await self._writer.close()
                finally:
                    os.close(lock_fd)

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        """As ``explaining``; and the next start reads everything first where damage shows."""
        try:
            with explaining(self.path):
                yield
        except DatabaseError as error:
            if error.__cause__ is not None and is_damage(error.__cause__):
                with suppress(OSError):
                    doubt(self.path)
            raise

    def _tail(self) -> int:
        assert self.epoch is not None
        return self._tails.get(self.epoch.epoch, -1)

    async def _look(
        self, before_utc_ns: int, keep_rows: int, now_utc_ns: int = 2**63 - 1
    ) -> trimming.Look:
        program = trimming.trim(before_utc_ns, keep_rows, now_utc_ns, after=self._walk.after)
        look = await self._write(program)
        self._walk.looked(look)
        return look

    async def _write(self, program: Program[T]) -> T:
        async with self._writing:
            with self._explaining():
                return await transaction(self._writer, program, "BEGIN IMMEDIATE")

    async def _read(self, program: Program[T]) -> T:
        async with self._reading:
            with self._explaining():
                return await transaction(self._reader, program, "BEGIN")


async def open_database(
    path: Path | str,
    *,
    store: str,
    gateway: str,
    limits: Limits | None = None,
    machine_id: Path = MACHINE_ID,
) -> Database:
    """Open or create the database of one gateway, mend it, and bring its schema up to date.

    Args:
        path: Of the database; other files stand beside it.
        store: Whose it is.
        gateway: Likewise.
        limits: What it may hold.
        machine_id: Says which machine this is, if it is there.

    Raises:
        DatabaseError: Another daemon uses it, it belongs to another gateway, a newer version made
            it, it is no database of ours, or the disk refused; says what to do.
    """
    path, source = Path(path), Source(store, gateway)
    machine = recovery.machine(machine_id)
    lock_fd = lock(path)
    connections: list[aiosqlite.Connection] = []
    try:
        with explaining(path):
            recovery.prepare(path, source)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            path.chmod(0o600)
            connections.append(await aiosqlite.connect(path, isolation_level=None))
            writer = connections[0]
            await prepare(writer, path, source)
            recognise = recovery.recognise(read_side(path), machine)
            found = await transaction(writer, recognise, "BEGIN IMMEDIATE")
            if found is not None:
                await transaction(writer, recovery_log.tell(path, found), "BEGIN")
            untold = found is not None or await transaction(writer, losses.untold(), "BEGIN")
            connections.append(await aiosqlite.connect(path, isolation_level=None))
            for pragma in (f"busy_timeout = {BUSY_MS}", "query_only = ON"):
                await connections[1].execute_fetchall(f"PRAGMA {pragma}")
    except BaseException:
        with log_kept(path, kept=doubted(path)):
            for connection in connections:
                await connection.close()
        os.close(lock_fd)
        raise
    return Database(
        path,
        source,
        limits=limits or Limits(),
        writer=writer,
        reader=connections[1],
        lock_fd=lock_fd,
        machine=machine,
        found=found,
        untold=untold,
        unchecked=doubted(path),
    )
