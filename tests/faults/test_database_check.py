# SPDX-License-Identifier: Apache-2.0
"""A database too large to be read before the start: it is checked while the daemon runs."""

import asyncio
import sqlite3
from contextlib import closing

import pytest

from gateway import damage
from gateway.database import Batch, DatabaseError, open_database
from gateway.side_files import doubt, doubted
from tests.brokers import run
from tests.made import lost, rows_waiting, session

NOW_NS = 1_795_277_998_412_345_678
PAGE = 4_096


@pytest.fixture(autouse=True)
def large(monkeypatch):
    """Take every database for a large one, of which a start reads little."""
    monkeypatch.setattr(damage, "AT_ONCE_BYTES_MAX", 0)
    monkeypatch.setattr(damage, "NEWEST", 10)


def opened(path):
    return open_database(path, store="store", gateway="gw")


async def filled(path, events=200):
    async with await opened(path) as database:
        epoch = (await database.begin_epoch(NOW_NS)).epoch
        batch = [lost(epoch, number, reason="x" * 700) for number in range(events)]
        await database.commit(Batch(events=batch, online=True, utc_ns=NOW_NS))


def alter(path, old=b'"device":"shelf/3"', new=b'"device":"shelf/4"'):
    """Let a letter of an event read as another, in the file itself."""
    data = path.read_bytes()
    assert data.count(old) == 1
    path.write_bytes(data.replace(old, new))


def test_a_whole_one_is_trusted_once_all_of_it_was_read(tmp_path):
    path = tmp_path / "a.db"

    async def main():
        await filled(path)
        async with await opened(path) as database:
            assert doubted(path)
            await database.check()
            assert not doubted(path)
            await database.check()  # There is nothing more to do.
        async with await opened(path) as database:
            assert doubted(path), "the next start checks anew"

    run(main())


def test_damage_that_the_start_did_not_see_ends_the_daemon_and_the_next_start_mends(tmp_path):
    path = tmp_path / "a.db"

    async def main():
        await filled(path)
        alter(path)
        async with await opened(path) as database:
            assert database.recovery is None
            with pytest.raises(DatabaseError, match=r"event 3 of .*changed\. The next start sets"):
                await database.check()
            assert doubted(path)
        async with await opened(path) as database:
            assert database.recovery.reason == "corrupt"
            assert database.recovery.events_kept == 199
            assert not doubted(path), "all of the mended one was written a moment ago"

    run(main())


def test_what_has_changed_is_not_sent_before_the_check_gets_there(tmp_path):
    path = tmp_path / "a.db"

    async def main():
        await filled(path)
        alter(path)
        async with await opened(path) as database:
            with pytest.raises(DatabaseError, match=r"event 3 of .* has changed"):
                await rows_waiting(database)
        async with await opened(path) as database:
            assert database.recovery.reason == "corrupt"

    run(main())


def no_text(path):
    """Let a text be none that could be read."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("UPDATE events SET name = CAST(x'ff' AS TEXT) WHERE position = 4")


@pytest.mark.parametrize(
    ("damaging", "words"),
    [(alter, "has changed"), (no_text, r"UTF-8 .*\. The next start sets it aside")],
)
def test_damage_met_after_the_check_is_remembered(tmp_path, damaging, words):
    path = tmp_path / "a.db"

    async def main():
        await filled(path)
        async with await opened(path) as database:
            await database.check()
            damaging(path)
            with pytest.raises(DatabaseError, match=words):
                await rows_waiting(database)
            assert doubted(path)

    run(main())


def test_after_a_kill_before_the_check_was_done_the_start_reads_everything(tmp_path):
    path = tmp_path / "a.db"

    async def main():
        await filled(path)
        alter(path)
        doubt(path)
        async with await opened(path) as database:
            assert database.recovery.reason == "corrupt"

    run(main())


def test_nothing_moves_into_the_file_before_the_check_is_done(tmp_path):
    path = tmp_path / "a.db"

    async def busy(database, numbers):
        epoch = database.epoch.epoch
        for number in numbers:
            event = lost(epoch, number, reason="y" * 3_000)
            await database.commit(Batch(events=[event], online=True, utc_ns=NOW_NS))

    async def main():
        await filled(path)
        before = path.read_bytes()
        async with await opened(path) as database:
            await database.begin_epoch(NOW_NS)
            await busy(database, range(300))
            assert path.with_name("a.db-wal").stat().st_size > 1_500 * PAGE
            assert path.read_bytes() == before
            await database.check()
            assert path.read_bytes() != before
            assert path.with_name("a.db-wal").stat().st_size == 0
            await busy(database, range(300, 600))
            assert path.with_name("a.db-wal").stat().st_size < 1_500 * PAGE

    run(main())


@pytest.mark.parametrize("damaged", [False, True])
def test_a_stop_before_the_check_is_done_moves_nothing_either(tmp_path, damaged):
    path = tmp_path / "a.db"

    async def main():
        await filled(path)
        if damaged:
            alter(path)
        before = path.read_bytes()
        async with await opened(path) as database:
            epoch = (await database.begin_epoch(NOW_NS)).epoch
            await database.commit(Batch(events=[lost(epoch, 0)], online=True, utc_ns=NOW_NS))
            if damaged:
                with pytest.raises(DatabaseError, match="has changed"):
                    await database.check()
        assert path.read_bytes() == before
        assert path.with_name("a.db-wal").stat().st_size > 0
        async with await opened(path) as database:
            kept = {row.sequence for row in await rows_waiting(database) if row.epoch == epoch}
            assert 0 in kept, "what the log holds is there"
            assert (database.recovery is not None) == damaged

    run(main())


@pytest.fixture
def endless(monkeypatch):
    """Let the check run until it is cancelled; return what begins it and waits until it runs."""
    numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"

    def examine(_size):
        yield damage.Statement("SELECT count(*) FROM events")
        yield damage.Statement(f"{numbers} SELECT 'begun' UNION ALL SELECT max(i) FROM n")

    async def begin(database):
        begun, loop = asyncio.Event(), asyncio.get_running_loop()

        def text(data):
            loop.call_soon_threadsafe(begun.set)
            return data.decode()

        monkeypatch.setattr("gateway.database.text", text)
        check = asyncio.create_task(database.check())
        await begun.wait()
        return check

    monkeypatch.setattr("gateway.database.examine", examine)
    return begin


def test_a_check_that_is_cancelled_ends_at_once_and_leaves_the_mark(tmp_path, endless):
    path = tmp_path / "a.db"

    async def main():
        await filled(path)
        async with await opened(path) as database:
            check = await endless(database)
            check.cancel()
            with pytest.raises(asyncio.CancelledError):
                await check
            assert doubted(path)

    run(main())


def test_whoever_erases_a_name_does_not_wait_for_the_check(tmp_path, endless, monkeypatch):
    monkeypatch.setattr("gateway.transactions.BUSY_MS", 600_000)
    path = tmp_path / "a.db"

    async def main():
        async with await opened(path) as database:
            epoch = await database.begin_epoch(NOW_NS)
            event = session(epoch.epoch, 0, "somebody-known")
            await database.commit(Batch(events=[event], online=True, utc_ns=NOW_NS))
        async with await opened(path) as database:
            check = await endless(database)
            assert await database.erase_shopper("somebody-known") == 1
            assert not await database.empty_log(), "which is kept as it is until then"
            check.cancel()

    run(main())


def test_a_name_that_is_erased_meanwhile_is_off_the_disk_after_the_check(tmp_path):
    path = tmp_path / "a.db"

    async def main():
        async with await opened(path) as database:
            epoch = await database.begin_epoch(NOW_NS)
            event = session(epoch.epoch, 0, "somebody-known")
            await database.commit(Batch(events=[event], online=True, utc_ns=NOW_NS))
        async with await opened(path) as database:
            assert await database.erase_shopper("somebody-known") == 1
            await database.check()
            files = [one.read_bytes() for one in tmp_path.iterdir()]
            assert not any(b"somebody-known" in data for data in files)

    run(main())
