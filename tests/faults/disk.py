# SPDX-License-Identifier: Apache-2.0
"""The disk of a simulated gateway: the daemon's own SQL on real files, which may be cut off.

``connect`` takes the place of ``aiosqlite.connect``: the same statements run on ``sqlite3`` at
once, with a wait in virtual time where a card would be slow.
"""

import asyncio
import random
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from gateway.backup import back_up
from tests.faults.power import SECTOR, Images, lay, take, torn

Rows = list[tuple[Any, ...]]

CHECK_S = 3.0
"""How long a check beside the daemon takes, in which it may be killed."""


class KilledError(Exception):
    """The process is gone; nothing that it still wants to do happens."""


class Disk:
    """The directory of the database, over all lives of the daemon.

    Attributes:
        dead: No statement reaches the files any more: the present life has ended.
        cut_in: Statements of the writer until the end comes; None: none is due.
        torn: Whether the end is a power cut, at the next COMMIT, and not only a kill.
        full: Whether writes are refused.
    """

    def __init__(
        self, folder: Path, rng: random.Random, committed: Callable[[sqlite3.Connection], None]
    ) -> None:
        self.folder = folder
        self.path = folder / "gateway.db"
        self.dead = False
        self.cut_in: int | None = None
        self.torn = False
        self.full = False
        self.was_full = False
        self.refusal = "database or disk is full"
        self.damage = False
        self.replacement: str | None = None
        self.statements = 0
        self.died = asyncio.Event()
        self._rng = rng
        self._committed = committed
        self._open: list[Connection] = []
        self._image: Images | None = None
        self._opened: Images | None = None

    async def connect(self, path: Path | str, **options: Any) -> "Connection":
        """Open the database as ``aiosqlite.connect`` would."""
        assert Path(path).parent == self.folder
        self._alive()
        if not self._open:
            self._opened = self._images()
        connection = Connection(self, sqlite3.connect(path, **options), writer=not self._open)
        self._open.append(connection)
        return connection

    @property
    def writer(self) -> sqlite3.Connection:
        """The connection that the present life writes through."""
        return next(one.raw for one in self._open if one.writer)

    def revive(self) -> None:
        """Let the next life begin with what the last one left."""
        for connection in self._open:
            connection.raw.close()
        self._open.clear()
        if self._image is not None:
            lay(self._image, self.path)
            self._image = None
        self.dead, self.cut_in, self.torn = False, None, False
        self.died = asyncio.Event()

    def suffer(self) -> bool:
        """Between two lives, let happen to the files what is to happen; tell whether anything."""
        hurt = self.damage or self.replacement is not None
        if self.replacement is not None:
            self._restore(self.replacement)
        if self.damage:
            self._wear()
        self.replacement, self.damage = None, False
        return hurt

    def die(self, *, power: bool = False) -> None:
        """End this life now, between two statements."""
        if self.dead:
            return
        if power:
            self._image = self._images()
            if not self._synchronous():
                assert self._opened is not None
                self._image = torn(self._opened, self._image, self._rng)
        self._end()

    def _end(self) -> None:
        if self._image is None:
            self._image = self._images()  # As the kernel has it: closing would tidy up.
        self.dead = True
        self.died.set()

    def look(self, query: str) -> Rows:
        """Return what a query finds, in a copy: whoever closes a database last tidies it up."""
        if not self.path.exists():
            return []
        copy = self.folder / "look.db"
        lay(self._images(), copy)
        with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
            if not connection.execute(
                "SELECT 1 FROM sqlite_schema WHERE name = 'events'"
            ).fetchall():
                return []
            return connection.execute(query).fetchall()

    def keep(self, name: str) -> None:
        """Set a copy of the database aside, as an operator would."""
        (self.folder / name).unlink(missing_ok=True)
        back_up(self.path, self.folder / name)

    def _wear(self) -> None:
        """Overwrite some sectors of the database, or cut its end off."""
        with (
            suppress(sqlite3.DatabaseError, UnicodeDecodeError),  # It is damaged already.
            closing(sqlite3.connect(self.path)) as connection,
        ):
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # The log would hide it.
        content = bytearray(self.path.read_bytes())
        for _ in range(self._rng.randrange(1, 4)):
            at = self._rng.randrange(max(1, len(content) // SECTOR)) * SECTOR
            content[at : at + SECTOR] = self._rng.randbytes(SECTOR)
        if self._rng.random() < 0.2:
            del content[self._rng.randrange(len(content)) :]
        self.path.write_bytes(content)

    def _restore(self, name: str) -> None:
        for file in self.folder.glob("gateway.db-*"):
            file.unlink()
        shutil.copy(self.folder / name, self.path)

    def _images(self) -> Images:
        return take(self.path)

    def _synchronous(self) -> bool:
        """Return whether each commit is flushed: only then it survives a power cut."""
        writer = next((one for one in self._open if one.writer), None)
        if writer is None:
            return True
        [(level,)] = writer.raw.execute("PRAGMA synchronous").fetchall()
        return bool(level >= 2)

    def _alive(self) -> None:
        if self.dead:
            raise KilledError

    def run(self, connection: "Connection", sql: str, statement: Callable[[], Rows]) -> Rows:
        """Run one statement of a connection, or die of it."""
        self._alive()
        self.statements += 1
        if not connection.writer:
            return statement()
        commit = sql == "COMMIT"
        if self.full and not sql.startswith(("PRAGMA", "SELECT", "BEGIN")):
            raise sqlite3.OperationalError(self.refusal)
        if self.cut_in is not None:
            self.cut_in -= 1
            if self.cut_in <= 0 and (commit or not self.torn):
                self._die_in(statement, commit=commit)
        rows = statement()
        if commit:
            self._committed(connection.raw)
        return rows

    def _die_in(self, statement: Callable[[], Rows], *, commit: bool) -> None:
        """Cut within this statement. A kill leaves it undone, or done and unheard of."""
        if self.torn and commit:
            before = self._images() if self._synchronous() else self._opened
            assert before is not None
            statement()
            self._image = torn(before, self._images(), self._rng)
        elif self._rng.random() < 0.5:
            statement()
        self._end()
        raise KilledError


class Connection:
    """What the daemon sees of ``aiosqlite.Connection``."""

    def __init__(self, disk: Disk, raw: sqlite3.Connection, *, writer: bool) -> None:
        self.raw = raw
        self.writer = writer
        self._disk = disk

    async def execute_fetchall(self, sql: str, parameters: Sequence[Any] = ()) -> Rows:
        rows = self._disk.run(self, sql, lambda: self.raw.execute(sql, parameters).fetchall())
        if "_check" in sql:
            await asyncio.sleep(CHECK_S)
        if sql == "COMMIT" and self.writer:
            await asyncio.sleep(self._disk._rng.choice((0.0, 0.001, 0.02)))
        return rows

    async def executemany(self, sql: str, parameters: Sequence[Sequence[Any]]) -> None:
        self._disk.run(self, sql, lambda: self.raw.executemany(sql, parameters).fetchall())

    @property
    def text_factory(self) -> Callable[[bytes], Any]:
        return self.raw.text_factory

    @text_factory.setter
    def text_factory(self, factory: Callable[[bytes], Any]) -> None:
        self.raw.text_factory = factory

    async def interrupt(self) -> None:
        """No statement runs on while others do."""

    async def rollback(self) -> None:
        if not self._disk.dead:
            self.raw.rollback()

    async def close(self) -> None:
        if not self._disk.dead:
            self.raw.close()
            if self in self._disk._open:
                self._disk._open.remove(self)
