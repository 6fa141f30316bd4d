# SPDX-License-Identifier: Apache-2.0
"""The process is killed at every statement of every transaction: all of it is there, or nothing."""

import os
import shutil
import signal
import sqlite3
from contextlib import closing

import aiosqlite
import msgspec
import pytest

from gateway.damage import damage
from gateway.database import Acknowledged, Batch, Epoch, Limits, open_database
from gateway.domain.effects import Backfill
from gateway.domain.inputs import StateRow
from gateway.history import Progress
from gateway.outbox import MIGRATIONS
from gateway.side_files import read_side, write_side
from tests.brokers import run
from tests.databases import FOLDER, SOURCE
from tests.faults.children import in_child
from tests.faults.database_parts import dump
from tests.faults.power import lay, take
from tests.made import lost, session

NOW_NS = 1_795_277_998_412_345_678
DAY_NS = 86_400_000_000_000
EPOCH, NEXT = "0a" * 16, "0b" * 16
LIMITS = Limits(pending_max=30, history_days=1.0)


def opened(path):
    return open_database(path, store=SOURCE.store, gateway=SOURCE.gateway, limits=LIMITS)


def rows(*values):
    return [StateRow("token", f"t{n}", msgspec.Raw(value)) for n, value in enumerate(values)]


class Killer:
    """Counts the statements of aiosqlite, and kills the process before or after one of them."""

    def __init__(self, at, after):
        self.at = at
        self.after = after
        self.count = 0

    def install(self):
        for name in ("execute_fetchall", "executemany"):
            setattr(aiosqlite.Connection, name, self._killing(getattr(aiosqlite.Connection, name)))

    def _killing(self, method):
        async def killing(connection, *arguments):
            self.count += 1
            due = self.count == self.at
            if due and not self.after:
                os.kill(os.getpid(), signal.SIGKILL)
            result = await method(connection, *arguments)
            if due:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return killing


def kills(sides=(False, True)):
    """Yield killers for every statement, until the caller sends that the work came to its end.

    Args:
        sides: Whether before a statement, after it, or either.
    """
    at = 0
    while True:
        at += 1
        for after in sides:
            if (yield Killer(at, after)):
                return


async def commit(database):
    events = [session(EPOCH, 100, "bert"), lost(EPOCH, 101)]
    state = rows(b"null", b"7", b"8")
    await database.commit(Batch(events=events, rows=state, online=True, utc_ns=NOW_NS))


async def commit_that_makes_room(database):
    events = [lost(EPOCH, 200 + number) for number in range(20)]
    done = await database.commit(Batch(events=events, online=True, utc_ns=NOW_NS))
    assert done.dropped


async def commit_that_tells_a_loss(database):
    database._untold = True
    done = await database.commit(Batch(events=[lost(EPOCH, 1_000)], online=True, utc_ns=NOW_NS))
    assert [row.name for row in done.rows] == ["device.lost", "events.dropped"]


async def begin_epoch(database):
    await database.begin_epoch(NOW_NS, NEXT)


async def acknowledge(database):
    ids = [lost(EPOCH, number).id for number in (9, 10)]
    count, _ = await database.record([Acknowledged(EPOCH, 8)], ids, ())
    assert count == 8


async def trim(database):
    assert await database.trim(NOW_NS + 3 * DAY_NS) == 2


async def backfill(database):
    wish = Backfill(command="b2", epoch=EPOCH, first=0, last=2)
    assert (await database.backfill(wish)).state == "sending"


async def record(database):
    ids = [lost(EPOCH, 10).id]
    count, [done] = await database.record([Acknowledged(EPOCH, 8)], ids, [Progress(1, 1)])
    assert (count, done.command) == (7, "b1")


async def erase(database):
    assert await database.erase_shopper("anna") == 1


OPERATIONS = (
    commit,
    commit_that_makes_room,
    commit_that_tells_a_loss,
    begin_epoch,
    acknowledge,
    backfill,
    record,
    trim,
    erase,
)
STATEMENTS_MIN = 3
"""BEGIN, one at least, COMMIT."""


@pytest.fixture
def used(tmp_path):
    """Return a database in use, and its images."""
    path = tmp_path / "a.db"

    async def main():
        async with await opened(path) as database:
            await database.begin_epoch(NOW_NS, EPOCH)
            events = [session(EPOCH, 0, "anna"), *(lost(EPOCH, n) for n in range(1, 20))]
            state = rows(b"1", b"2")
            await database.commit(Batch(events=events, rows=state, online=True, utc_ns=NOW_NS))
            await database.acknowledge(EPOCH, 2)
            wish = Backfill(command="b1", epoch=EPOCH, first=0, last=0)
            assert (await database.backfill(wish)).state == "sending"

    run(main())
    told = '[["0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c",3,9]]'
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO meta VALUES ('lost', ?)", (told,))
    return path, take(path)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: one.__name__)
def test_a_transaction_is_there_as_a_whole_or_not_at_all(used, operation):
    path, images = used

    def at_work(killer):
        async def main():
            database = await opened(path)
            database.epoch = Epoch(EPOCH, None, None)
            database._waiting, _ = await database.backlog()
            killer.install()
            await operation(database)
            if killer.count >= killer.at:
                raise AssertionError("nobody was killed")
            os._exit(0)  # As a kill would end it: closing is not the matter here.

        return main

    before = dump(path)
    lay(images, path)
    assert in_child(at_work(Killer(10**6, after=False)))
    after = dump(path)
    assert after != before
    found, sides, killing = [], [], kills()
    killer = next(killing)
    while True:
        lay(images, path)
        write_side(path, SOURCE, EPOCH)
        ended = in_child(at_work(killer))
        assert damage(path) is None
        found.append(dump(path))
        sides.append(read_side(path).epoch)
        try:
            killer = killing.send(ended)
        except StopIteration:
            break
    assert len(found) > 2 * STATEMENTS_MIN
    assert all(one in (before, after) for one in found), "never a part of it"
    changed = [one == after for one in found]
    assert changed == sorted(changed)
    assert not changed[0]
    assert changed[-1]
    # The note beside is never ahead of the database.
    assert all(side == EPOCH for side, done in zip(sides, changed, strict=True) if not done)


@pytest.mark.parametrize("version", [0, *range(1, len(MIGRATIONS))])
def test_a_start_that_is_killed_anywhere_starts_the_next_time(tmp_path, version):
    """Setting up, migrating, claiming and recognising: each start finds what was there."""
    path, old = tmp_path / "a.db", FOLDER / f"schema-{version}.db"

    def start(killer):
        async def main():
            killer.install()
            async with await opened(path) as database:
                await database.begin_epoch(NOW_NS, NEXT)

        return main

    def fresh():
        for file in tmp_path.iterdir():
            file.unlink()
        if version:
            shutil.copyfile(old, path)

    fresh()
    assert in_child(start(Killer(10**6, after=False)))
    wanted = dump(path)
    killing, count = kills((False,)), 0
    killer = next(killing)
    while True:
        fresh()
        ended = in_child(start(killer))
        assert damage(path) is None
        if not begun(path):
            assert in_child(start(Killer(10**6, after=False)))
        assert dump(path) == wanted
        count += 1
        try:
            killer = killing.send(ended)
        except StopIteration:
            break
    assert count > 20


def begun(path):
    """Tell whether the start had come so far that it need not be repeated to compare."""
    with closing(sqlite3.connect(path)) as connection:
        try:
            return connection.execute("SELECT 1 FROM epochs WHERE epoch = ?", (NEXT,)).fetchall()
        except sqlite3.OperationalError:
            return []
