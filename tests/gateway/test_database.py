# SPDX-License-Identifier: Apache-2.0
"""The database file: what it refuses, what survives, what is erased."""

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import database as database_module
from gateway import outbox, trimming
from gateway.database import Acknowledged, Batch, DatabaseError, Limits, open_database
from gateway.domain.inputs import StateRow
from gateway.domain.output import rfc3339
from gateway.envelope import Source, event_payload, made_from_payload, made_line, with_shopper
from gateway.outbox import Oldest
from tests.brokers import run
from tests.made import lost, rows_waiting, session, started
from tests.schema_check import check_event

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
SECOND_NS = 1_000_000_000
NOW_NS = 1_795_277_998_412_345_678


def opened(folder, **changes):
    return open_database(folder / "a.db", **{"store": "store", "gateway": "gw"} | changes)


def batch(*events, rows=(), online=True, utc_ns=NOW_NS):
    return Batch(events=events, rows=rows, online=online, utc_ns=utc_ns)


def state_row(key, value):
    return StateRow("cart", key, msgspec.Raw(b"null" if value is None else value))


def kept(folder, epoch):
    """Return the sequences of an epoch that the file still holds."""
    with closing(sqlite3.connect(folder / "a.db")) as connection:
        query = "SELECT sequence FROM events WHERE epoch = ? ORDER BY sequence"
        return [sequence for (sequence,) in connection.execute(query, (epoch,))]


# Payloads.


@given(
    data=st.dictionaries(st.text(), st.none() | st.text() | FLOATS),
    subject=st.text(),
    shopper=st.text(),
)
def test_the_engines_part_comes_back_byte_for_byte(data, subject, shopper):
    event = msgspec.structs.replace(
        lost("e", 1), subject=subject, data=msgspec.Raw(msgspec.json.encode(data))
    )
    payload = event_payload(
        event, Source("s", "g"), epoch="e", sequence=7, utc_ns=NOW_NS, online=False
    )
    assert made_from_payload(payload) == made_line(event)
    named = msgspec.json.decode(with_shopper(payload, shopper))
    assert named["data"] == data | {"shopper": shopper}
    del named["data"]
    plain = msgspec.json.decode(payload)
    del plain["data"]
    assert named == plain


def test_an_event_is_a_complete_cloudevent():
    epoch = "0" * 32
    payload = event_payload(
        lost(epoch, 1), Source("s", "g"), epoch=epoch, sequence=7, utc_ns=NOW_NS, online=True
    )
    event = check_event(payload)
    assert event["source"] == "urn:shelfgate:s:g"
    assert event["sequence"] == "00000000000000000007"
    assert event["recordedtime"] == "2026-11-21T16:19:58.412Z"
    assert event["delivery"] == "online"


def test_a_clock_that_has_no_time_yet_is_labelled_all_the_same():
    assert rfc3339(0) == "1970-01-01T00:00:00.000Z"
    assert rfc3339(999_999_999) == "1970-01-01T00:00:00.999Z"


# Commits.


def test_a_commit_waits_for_the_disk(tmp_path):
    async def main():
        async with await opened(tmp_path) as database:
            wanted = {"synchronous": 2, "journal_mode": "wal", "foreign_keys": 1}
            for name, value in wanted.items():
                rows = await database._writer.execute_fetchall(f"PRAGMA {name}")
                assert [*rows] == [(value,)]

    run(main())


def test_events_state_and_sequence_commit_together_and_survive(tmp_path):
    async def main():
        async with await opened(tmp_path) as database:
            epoch = await database.begin_epoch(NOW_NS)
            assert epoch.previous_epoch is None
            assert epoch.previous_sequence is None
            done = await database.commit(
                batch(
                    started(epoch, 1),
                    lost(epoch.epoch, 2),
                    rows=[state_row("c1", b'{"a":1}'), state_row("c2", b"2")],
                )
            )
            assert [row.sequence for row in done.rows] == [0, 1]
            await database.commit(
                batch(rows=[state_row("c1", b"3"), state_row("c1", b"4"), state_row("c2", None)])
            )
            assert await rows_waiting(database, 0, 10) == done.rows
            assert await rows_waiting(database, 0, 1) == done.rows[:1]
            for row in done.rows:
                check_event(row.payload)
        async with await opened(tmp_path) as database:
            assert [bytes(row.value) for row in await database.load_state()] == [b"4"]
            again = await database.begin_epoch(NOW_NS)
            assert again.epoch != epoch.epoch
            assert (again.previous_epoch, again.previous_sequence) == (epoch.epoch, 1)
            assert database.tails == {epoch.epoch: 1}
            [row] = (await database.commit(batch(started(again, 1)))).rows
            assert row.sequence == 0
            assert database.tails == {epoch.epoch: 1, again.epoch: 0}
            assert [one.epoch for one in await rows_waiting(database, 0, 9)] == [
                *(epoch.epoch, epoch.epoch, again.epoch)
            ]

    run(main())


def test_a_start_without_events_leaves_the_chain_whole(tmp_path):
    async def main():
        async with await opened(tmp_path) as database:
            first = await database.begin_epoch(NOW_NS)
            await database.commit(batch(lost(first.epoch, 1)))
            await database.begin_epoch(NOW_NS)
            third = await database.begin_epoch(NOW_NS)
            assert (third.previous_epoch, third.previous_sequence) == (first.epoch, 0)

    run(main())


def test_a_commit_that_fails_leaves_nothing_and_the_next_continues(tmp_path):
    async def main():
        async with await opened(tmp_path) as database:
            epoch = (await database.begin_epoch(NOW_NS)).epoch
            await database.commit(batch(lost(epoch, 1)))
            with pytest.raises(sqlite3.IntegrityError):
                await database.commit(
                    batch(lost(epoch, 2), lost(epoch, 1), rows=[state_row("c", b"1")])
                )
            assert await database.load_state() == []
            [row] = (await database.commit(batch(lost(epoch, 3)))).rows
            assert row.sequence == 1

    run(main())


def test_a_cancelled_commit_is_whole_or_not_at_all(tmp_path):
    async def main():
        async with await opened(tmp_path) as database:
            epoch = (await database.begin_epoch(NOW_NS)).epoch
            for turns in range(30):
                events = [lost(epoch, turns, index=0), lost(epoch, turns, index=1)]
                task = asyncio.create_task(database.commit(batch(*events)))
                for _ in range(turns // 2):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            rows = (await database.commit(batch(lost(epoch, 99)))).rows
            pending = await rows_waiting(database, 0, 100)
            assert [row.sequence for row in pending] == list(range(len(pending)))
            assert len(pending) % 2 == 1
            assert pending[-1:] == rows

    run(main())


def test_a_reader_never_sees_what_is_not_durable(tmp_path):
    async def main():
        async with await opened(tmp_path) as database:
            epoch = (await database.begin_epoch(NOW_NS)).epoch
            commit = asyncio.create_task(
                database.commit(batch(*(lost(epoch, number) for number in range(300))))
            )
            seen = set()
            while not commit.done():
                seen.add(len(await rows_waiting(database, 0, 1_000)))
            assert seen <= {0, 300}

    run(main())


# Acknowledgements, history.


def test_acknowledging_is_cumulative_and_twice_is_harmless(tmp_path):
    async def main():
        async with await opened(tmp_path) as database:
            epoch = (await database.begin_epoch(NOW_NS)).epoch
            for number in range(4):
                await database.commit(batch(lost(epoch, number), utc_ns=NOW_NS + number))
            assert await database.backlog() == (4, Oldest(epoch, 0, NOW_NS))
            assert await database.acknowledge(epoch, 1) == 2
            assert await database.acknowledge(epoch, 1) == 0
            assert await database.acknowledge("f" * 32, 1) == 0
            assert await database.backlog() == (2, Oldest(epoch, 2, NOW_NS + 2))
            ids = [None, None, *(row.id for row in await rows_waiting(database, 0, 9))]
            assert (await database.record([], [ids[3]], ()))[0] == 1
            assert [row.sequence for row in await rows_waiting(database, 0, 9)] == [2]
            assert database.tails == {epoch: 3}

    run(main())


def test_a_commit_waits_for_no_more_than_a_bite_of_acknowledgements(tmp_path, monkeypatch):
    monkeypatch.setattr(database_module, "RECORD_BITE", 10)

    async def main():
        async with await opened(tmp_path) as database:
            epoch = (await database.begin_epoch(NOW_NS)).epoch
            await database.commit(batch(*(lost(epoch, number) for number in range(100))))
            done = []

            async def told(what, work):
                await work
                done.append(what)

            recorded = database.record([Acknowledged(epoch, 94)], (), ())
            async with asyncio.TaskGroup() as group:
                group.create_task(told("acknowledged", recorded))
                group.create_task(told("committed", database.commit(batch(lost(epoch, 100)))))
            assert done == ["committed", "acknowledged"]
            assert (await database.backlog())[0] == 6
            assert [row.sequence for row in await rows_waiting(database)] == list(range(95, 101))

    run(main())


def test_history_is_trimmed_by_age_and_never_what_waits(tmp_path):
    async def main():
        limits = Limits(history_days=1)
        day_ns = 86_400 * SECOND_NS
        async with await opened(tmp_path, limits=limits) as database:
            old = (await database.begin_epoch(NOW_NS)).epoch
            for number in range(3):
                await database.commit(batch(lost(old, number)))
            await database.acknowledge(old, 1)
            new = (await database.begin_epoch(NOW_NS)).epoch
            await database.commit(batch(lost(new, 1), lost(new, 2)))
            await database.acknowledge(new, 1)
            assert await database.trim(NOW_NS + day_ns) == 0
            assert await database.trim(NOW_NS + 2 * day_ns) == 3
            assert kept(tmp_path, old) == [2]
            assert kept(tmp_path, new) == [1]
            [row] = (await database.commit(batch(lost(new, 3)))).rows
            assert row.sequence == 2, "the sequence goes on from a row that is never trimmed"

    run(main())


def test_history_is_trimmed_by_rows_in_bites(tmp_path, monkeypatch):
    monkeypatch.setattr(trimming, "BITE", 3)

    async def main():
        async with await opened(tmp_path, limits=Limits(history_rows=4)) as database:
            epoch = (await database.begin_epoch(NOW_NS)).epoch
            await database.commit(batch(*(lost(epoch, number) for number in range(10))))
            await database.acknowledge(epoch, 9)
            assert [await database.trim(NOW_NS) for _ in range(2)] == [6, 0]
            assert kept(tmp_path, epoch) == [6, 7, 8, 9]

    run(main())


def test_what_waits_beyond_the_limit_is_given_up_and_told(tmp_path):
    async def main():
        async with await opened(tmp_path, limits=Limits(pending_max=5)) as database:
            epoch = await database.begin_epoch(NOW_NS)
            await database.commit(batch(*(lost(epoch.epoch, number) for number in range(5))))
            done = await database.commit(batch(lost(epoch.epoch, 5), lost(epoch.epoch, 6)))
            assert done.dropped == 2
            assert [row.sequence for row in done.rows] == [5, 6, 7]
            notice = check_event(done.rows[-1].payload)
            assert notice["data"]["epoch"] == epoch.epoch
            assert notice["data"]["ranges"] == [{"first": f"{0:020d}", "last": f"{1:020d}"}]
            assert notice["data"]["count"] == 2
            pending = await rows_waiting(database, 0, 99)
            assert [row.sequence for row in pending] == [7, 2, 3, 4, 5, 6], "the notice goes first"
            assert database.tails == {epoch.epoch: 7}
            # The notice has the newest sequence and an old place: trimming repeats neither.
            await database.acknowledge(epoch.epoch, 7)
            assert await database.trim(NOW_NS + 100 * 86_400 * SECOND_NS) == 4
            [row] = (await database.commit(batch(lost(epoch.epoch, 7)))).rows
            assert row.sequence == 8
            assert row.position > max(one.position for one in pending)

    run(main())


def test_receipts_are_given_up_last(tmp_path):
    async def main():
        async with await opened(tmp_path, limits=Limits(pending_max=2)) as database:
            epoch = (await database.begin_epoch(NOW_NS)).epoch
            receipt = msgspec.structs.replace(lost(epoch, 0), type="org.shelfgate.cart.closed.v1")
            await database.commit(batch(receipt, lost(epoch, 1)))
            await database.commit(batch(lost(epoch, 2), lost(epoch, 3)))
            names = [row.name for row in await rows_waiting(database, 0, 99)]
            assert "cart.closed" in names
            assert "events.dropped" in names

    run(main())


# Whose it is.


def test_only_the_session_names_the_shopper_and_erasing_leaves_no_trace(tmp_path):
    async def main():
        async with await opened(tmp_path) as database:
            epoch = (await database.begin_epoch(NOW_NS)).epoch
            [row] = (await database.commit(batch(session(epoch, 1, "pseudonym-4711")))).rows
            assert check_event(row.payload)["data"]["shopper"] == "pseudonym-4711"
            assert await database.erase_shopper("somebody-else") == 0
            assert await database.erase_shopper("pseudonym-4711") == 1
            assert await database.empty_log()
            [row] = await rows_waiting(database, 0, 9)
            assert "shopper" not in check_event(row.payload)["data"]
            files = b"".join(path.read_bytes() for path in tmp_path.iterdir())
            assert b"pseudonym-4711" not in files

    run(main())


def test_the_file_is_the_owners_alone(tmp_path):
    async def main():
        (tmp_path / "a.db").touch(mode=0o644)
        async with await opened(tmp_path) as database:
            await database.begin_epoch(NOW_NS)
            for path in tmp_path.iterdir():
                assert stat.S_IMODE(path.stat().st_mode) == 0o600, path

    run(main())


def test_two_daemons_cannot_share_a_file(tmp_path):
    async def main():
        async with await opened(tmp_path):
            with pytest.raises(DatabaseError, match=f"uses it .process {os.getpid()}.. Stop that"):
                await opened(tmp_path)
        async with await opened(tmp_path):
            pass

    run(main())


@pytest.mark.parametrize("other", [{"store": "elsewhere"}, {"gateway": "gw-2"}])
def test_another_gateways_file_is_refused(tmp_path, other):
    async def main():
        async with await opened(tmp_path):
            pass
        with pytest.raises(DatabaseError, match=r"belongs to .* correct the settings"):
            await opened(tmp_path, **other)

    run(main())


def test_a_newer_file_is_refused(tmp_path):
    async def main():
        async with await opened(tmp_path):
            pass
        with closing(sqlite3.connect(tmp_path / "a.db")) as connection, connection:
            connection.execute("INSERT INTO schema_version VALUES (99)")
        with pytest.raises(DatabaseError, match=r"schema 99.*Install that version"):
            await opened(tmp_path)

    run(main())


def test_other_files_are_refused(tmp_path):
    (tmp_path / "a.db").write_bytes(b"no database at all, whatever its name says" * 100)
    with pytest.raises(DatabaseError, match="not a database"):
        run(opened(tmp_path))
    (tmp_path / "a.db").unlink()
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    with pytest.raises(DatabaseError, match="of another program"):
        run(opened(tmp_path))


def test_a_place_that_cannot_be_written_is_refused():
    with pytest.raises(DatabaseError, match="Choose a writable place"):
        run(open_database("/proc/nowhere/a.db", store="s", gateway="g"))


def test_a_migration_that_fails_leaves_the_version_before(tmp_path, monkeypatch):
    def broken():
        yield outbox.Statement("CREATE TABLE half (x) STRICT")

    async def main():
        async with await opened(tmp_path):
            pass
        monkeypatch.setattr(outbox, "MIGRATIONS", (*outbox.MIGRATIONS, broken))
        with pytest.raises(DatabaseError):
            await opened(tmp_path)
        monkeypatch.undo()
        async with await opened(tmp_path):
            pass

    run(main())


WRITER = """
import asyncio, sys
from gateway.database import Batch, open_database
from gateway.domain.inputs import StateRow
from gateway.domain.output import rfc3339
from tests.made import lost
import msgspec

async def main():
    database = await open_database(sys.argv[1], store="store", gateway="gw")
    epoch = (await database.begin_epoch(1)).epoch
    for number in range(100_000):
        rows = [StateRow("n", "n", msgspec.Raw(b"%d" % number))]
        await database.commit(Batch(events=[lost(epoch, number)], rows=rows, online=True, utc_ns=1))
        print(epoch, number, flush=True)

asyncio.run(main())
"""


def test_what_a_killed_process_committed_is_there_and_nothing_half(tmp_path):
    path = tmp_path / "a.db"
    said = {}
    for kills in (1, 20, 60):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
        ) as writer:
            for _ in range(kills):
                epoch, number = writer.stdout.readline().split()
                said[epoch] = int(number)
            writer.kill()
            for line in writer.stdout:
                epoch, number = line.split()
                said[epoch] = int(number)

    async def main():
        async with await opened(tmp_path) as database:
            await database.begin_epoch(NOW_NS)
            rows = await rows_waiting(database, 0, 10**6)
            for epoch, number in said.items():
                sequences = [row.sequence for row in rows if row.epoch == epoch]
                assert sequences == list(range(len(sequences)))
                assert len(sequences) - (number + 1) in {0, 1}
                last = len(sequences) - 1
            [row] = await database.load_state()
            assert bytes(row.value) == b"%d" % last

    run(main())
