# SPDX-License-Identifier: Apache-2.0
"""The power goes: whatever part of the last writes arrived, transactions are whole."""

import random
import shutil
import sqlite3
from contextlib import closing

import msgspec
import pytest

from gateway import outbox
from gateway.damage import damage
from gateway.database import Batch, open_database
from gateway.domain.inputs import StateRow
from gateway.outbox import run_sync
from tests.brokers import run
from tests.databases import SOURCE
from tests.faults.database_parts import dump
from tests.faults.power import Images, cut_short, lay, take, torn
from tests.made import lost

NOW_NS = 1_795_277_998_412_345_678
EPOCH = "0a" * 16
IMAGES = 100


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """Return a database that an epoch has begun in."""
    path = tmp_path_factory.mktemp("power") / "a.db"

    async def main():
        async with await open_database(path, store="corner", gateway="gw") as database:
            await database.begin_epoch(NOW_NS, EPOCH)

    run(main())
    return path


class Life:
    """A connection set up as the daemon's, and the images of all its moments."""

    def __init__(self, started, folder):
        self.path = folder / "a.db"
        shutil.copyfile(started, self.path)
        self.connection = sqlite3.connect(self.path, isolation_level=None)
        self.connection.execute("PRAGMA synchronous = FULL")
        self.connection.execute("PRAGMA secure_delete = ON")
        self.connection.execute("PRAGMA wal_autocheckpoint = 0")
        self.number = 0

    def commit(self, events=3):
        """Commit, and return the moment before and the one after."""
        before = take(self.path)
        made = [lost(EPOCH, self.number + nth, reason="x" * 900) for nth in range(events)]
        self.number += events
        state = [StateRow("token", "t", msgspec.Raw(b"%d" % self.number))]
        batch = Batch(events=made, rows=state, online=True, utc_ns=NOW_NS)
        run_sync(self.connection, outbox.commit(SOURCE, EPOCH, batch))
        return before, take(self.path)

    def checkpoint(self, mode):
        before = take(self.path)
        self.connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchall()
        return before, take(self.path)


@pytest.fixture
def life(started, tmp_path):
    one = Life(started, tmp_path)
    with closing(one.connection):
        yield one


class Judge:
    """Lays images down and reads them as the next start would."""

    def __init__(self, folder, rng):
        folder.mkdir()
        self.path = folder / "cut.db"
        self.rng = rng

    def holds(self, images):
        # What is left of the log's index is of no moment: it is never flushed.
        lay(images, self.path, shm=self.rng.choice((b"", self.rng.randbytes(32_768))))
        assert damage(self.path) is None, "a cut is no damage"
        return dump(self.path)


def judged(life, moments, images, rng):
    """Check that images show the moment before or the one after; return how many the latter."""
    judge = Judge(life.path.parent / "next", rng)
    before, after = map(judge.holds, moments)
    found = [judge.holds(one) for one in images]
    assert all(one in (before, after) for one in found), "never a part of it"
    return before != after, sum(one == after for one in found), len(found)


def test_a_commit_of_which_any_sectors_arrived(life):
    rng = random.Random("torn commit")
    for _ in range(4):
        life.commit()
    moments = life.commit()
    images = [torn(*moments, rng) for _ in range(IMAGES)]
    differ, after, count = judged(life, moments, images, rng)
    assert differ
    assert 0 < after < count


def test_a_commit_whose_log_is_cut_short_anywhere(life):
    rng = random.Random("cut short")
    life.commit()
    moments = life.commit()
    images = cut_short(*moments, rng, step=577)
    differ, after, count = judged(life, moments, images, rng)
    assert differ
    assert (after, count > 100) == (0, True), "the last frame makes it a commit"


def test_the_first_commit_after_the_log_began_anew(life):
    """The log's old frames lie behind the new ones, with other salts."""
    rng = random.Random("anew")
    for _ in range(5):
        life.commit()
    life.checkpoint("RESTART")
    moments = life.commit(events=1)
    assert moments[0].wal[:32] != moments[1].wal[:32]
    assert len(moments[0].wal) == len(moments[1].wal)
    images = [torn(*moments, rng) for _ in range(IMAGES)]
    differ, after, count = judged(life, moments, images, rng)
    assert differ
    assert 0 < after < count


@pytest.mark.parametrize("mode", ["PASSIVE", "TRUNCATE"])
def test_a_checkpoint_of_which_any_sectors_arrived_changes_nothing(life, mode):
    rng = random.Random(f"checkpoint {mode}")
    for _ in range(6):
        life.commit()
    moments = life.checkpoint(mode)
    assert moments[0].db != moments[1].db
    images = [torn(*moments, rng) for _ in range(IMAGES)]
    assert any(one.db not in (moments[0].db, moments[1].db) for one in images)
    differ, _, _ = judged(life, moments, images, rng)
    assert not differ


def test_what_was_flushed_is_never_lost(life):
    """Cut at every commit of a series: all earlier ones are there."""
    rng = random.Random("series")
    judge = Judge(life.path.parent / "next", rng)
    for number in range(1, 40):
        moments = life.commit(events=1)
        if number % 9 == 0:
            moments = life.checkpoint(rng.choice(("PASSIVE", "RESTART", "TRUNCATE")))
            assert len(judge.holds(torn(*moments, rng))["events"]) == number
            continue
        count = len(judge.holds(torn(*moments, rng))["events"])
        assert count in (number - 1, number)


def test_a_log_that_lost_what_was_flushed_is_damage(life):
    """SQLite would take the log up to there, and never say that there was more."""
    life.commit()
    _, after = life.commit(events=8)
    broken = bytearray(after.wal)
    broken[60] ^= 1  # In the first commit.
    path = life.path.parent / "liar.db"
    lay(Images(after.db, bytes(broken)), path)
    assert damage(path) == "committed transactions in its write-ahead log are damaged"
    broken = bytearray(after.wal)
    broken[10] ^= 1
    lay(Images(after.db, bytes(broken)), path)
    assert damage(path) == "the header of its write-ahead log is damaged"
    lay(after, path)
    assert damage(path) is None
