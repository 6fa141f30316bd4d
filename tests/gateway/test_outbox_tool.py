# SPDX-License-Identifier: Apache-2.0
"""``shelfgate outbox``: what it says, what it writes, and what the next start tells of a purge."""

import asyncio
import shutil
import sqlite3
import stat
from contextlib import closing

import pytest

from gateway.cli import main
from gateway.database import Batch, open_database
from gateway.outbox import Statement, run_sync
from gateway.outbox_tool import SEEN, Standing, purge
from gateway.side_files import doubt
from gateway.wear import note_written
from tests.databases import FOLDER
from tests.made import closed, lost, picked, rows_waiting, session, started
from tests.schema_check import check_event

HOUR_NS = 3_600_000_000_000


@pytest.fixture
def settings(tmp_path):
    path = tmp_path / "settings.toml"
    path.write_text('gateway = "gw"\ndatabase = "gateway.db"\n')
    return path


async def opened(folder):
    return await open_database(folder / "gateway.db", store="store", gateway="gw")


def made(folder):
    """Make a database with a visit, two devices' states and history; return its epoch."""

    async def main():
        async with await opened(folder) as database:
            epoch = (await database.begin_epoch(1)).epoch
            events = [
                session(epoch, 0, "anna", "a"),
                lost(epoch, 1),
                picked(epoch, 2, "a"),
                lost(epoch, 3),
                picked(epoch, 4, "open"),
                closed(epoch, 5, "a"),
                lost(epoch, 6),
            ]
            for hour, event in enumerate(events):
                await database.commit(Batch(events=[event], online=True, utc_ns=hour * HOUR_NS))
            await database.acknowledge(epoch, 0)
            await database._write(note_written("2026-11-28", 2_000_000, 100))
            await database._write(note_written("2026-11-28", 1_000_000, 100))
            return epoch

    return asyncio.run(main())


def run(settings, *words):
    return main(["outbox", *words, "--settings", str(settings)])


def test_it_shows_depth_age_bytes_and_how_long_an_outage_may_last(settings, capsys):
    made(settings.parent)
    assert run(settings, "show") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("6 events wait, the oldest for ")
    assert lines[1] == "1 events are kept as history"
    assert "MB used of 2000 MB at most" in lines[2]
    assert lines[3].startswith("room for ")
    assert "at 1 events an hour" in lines[3]
    assert lines[4] == "2026-11-28: 3.0 MB written, 15.0 kB an event"


@pytest.mark.parametrize(
    ("waiting", "used", "limit", "per_hour", "hours"),
    [
        (0, 0, 10_000, 10.0, 1.0),
        (5, 5_000, 10_000, 10.0, 0.5),
        (5, 6_000, 10_000, 10.0, 0.5),
        (10, 10_000, 10_000, 10.0, 0.0),
        (10, 20_000, 10_000, 10.0, 0.0),
        (40, 0, None, 10.0, 6.0),
        (0, 0, 10_000, None, None),
    ],
)
def test_the_forecast_is_what_fits_once_history_has_given_way(
    waiting, used, limit, per_hour, hours
):
    events = used // 1_000
    found = Standing(
        waiting=waiting,
        oldest_utc_ns=None,
        events=max(events, waiting),
        file_bytes=used,
        used_bytes=max(used, 1_000 * waiting),
        limit_bytes=limit,
        event_bytes=1_000.0,
        per_hour=per_hour,
    )
    assert found.forecast_h(100) == hours
    assert SEEN > 1


def test_an_export_holds_what_waits_whole_and_for_its_owner_alone(settings, capsys):
    made(settings.parent)
    target = settings.parent / "waiting.jsonl"
    assert run(settings, "export", str(target)) == 0
    assert "6 events" in capsys.readouterr().out
    lines = target.read_bytes().splitlines()
    assert [int(check_event(line)["sequence"]) for line in lines] == [1, 2, 3, 4, 5, 6]
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert run(settings, "export", str(target)) == 1, "it overwrites nothing"


@pytest.mark.parametrize(("kind", "gone"), [("devices", [1, 3]), ("items", [2])])
def test_what_is_purged_is_told_by_the_next_start_with_its_reason(settings, capsys, kind, gone):
    epoch = made(settings.parent)
    assert run(settings, "purge", kind, "--reason", "a loose plug") == 0
    assert f"{len(gone)} events of the class {kind}" in capsys.readouterr().out
    assert run(settings, "purge", kind, "--reason", "again") == 0

    async def start():
        async with await opened(settings.parent) as database:
            assert database.recovery is None, "it is no other database for that"
            begun = await database.begin_epoch(1)
            assert (begun.previous_epoch, begun.previous_sequence) == (epoch, 6)
            await database.commit(Batch(events=[started(begun, 0)], online=False, utc_ns=1))
            return await rows_waiting(database)

    rows = asyncio.run(start())
    assert [row.sequence for row in rows if row.epoch == epoch] == [
        number for number in range(1, 7) if number not in gone
    ]
    [notice] = [row for row in rows if row.name == "events.dropped"]
    data = check_event(notice.payload)["data"]
    assert data["reason"] == "given up by hand: a loose plug"
    assert data["epoch"] == epoch
    assert [int(one["first"]) for one in data["ranges"]] == gone


def test_a_purge_writes_no_more_for_what_is_gone_already(settings):
    """Of a class whose events stand alone, each a range of its own."""
    made(settings.parent)
    written = []

    async def fill():
        async with await opened(settings.parent) as database:
            epoch = (await database.begin_epoch(1)).epoch
            events = [(lost, closed)[n % 2](epoch, n, *["a"] * (n % 2)) for n in range(200)]
            await database.commit(Batch(events=events, online=True, utc_ns=1))

    def traced(sql):
        if "INTO meta" in sql:
            written.append(len(sql))

    asyncio.run(fill())
    with closing(sqlite3.connect(settings.parent / "gateway.db", isolation_level=None)) as one:
        one.set_trace_callback(traced)
        for _ in range(8):
            assert run_sync(one, purge("devices", "by hand", bite=10)) == 10
    assert len(written) == 8
    assert max(written) < 1.5 * min(written)


def test_a_purge_leaves_the_file_of_an_unchecked_database_as_it_is(settings, monkeypatch):
    made(settings.parent)
    path = settings.parent / "gateway.db"
    doubt(path)
    before = path.read_bytes()
    seen = []

    def counted(*arguments):
        program = purge(*arguments)
        gone = yield from program
        [(pages,)] = yield Statement("PRAGMA wal_autocheckpoint")
        seen.append(pages)
        return gone

    monkeypatch.setattr("gateway.outbox_tool.purge", counted)
    assert run(settings, "purge", "devices", "--reason", "a loose plug") == 0
    assert path.read_bytes() == before
    assert path.with_name("gateway.db-wal").stat().st_size > 0
    assert set(seen) == {0}, "nor meanwhile"

    async def start():
        async with await opened(settings.parent) as database:
            begun = await database.begin_epoch(1)
            await database.commit(Batch(events=[started(begun, 0)], online=False, utc_ns=1))
            return [row.sequence for row in await rows_waiting(database)]

    assert asyncio.run(start()) == [2, 4, 5, 6, 0, 1], "the start, and what it tells of the rest"


def test_nothing_is_purged_under_a_running_daemon_or_without_a_reason(settings, capsys):
    made(settings.parent)

    async def running():
        async with await opened(settings.parent):
            return await asyncio.to_thread(run, settings, "purge", "devices", "--reason", "x")

    assert asyncio.run(running()) == 1
    assert "another daemon uses it" in capsys.readouterr().err
    assert run(settings, "purge", "devices", "--reason", " ") == 2
    with pytest.raises(SystemExit):
        run(settings, "purge", "receipts", "--reason", "x")


def test_nothing_is_purged_of_a_database_that_is_not_migrated(settings, capsys):
    shutil.copyfile(FOLDER / "schema-2.db", settings.parent / "gateway.db")
    assert run(settings, "show") == 0
    assert run(settings, "purge", "devices", "--reason", "too much") == 1
    assert "another version (schema 2). Start the daemon once" in capsys.readouterr().err


def test_a_check_finds_what_has_changed(settings, capsys):
    made(settings.parent)
    assert run(settings, "check") == 0
    assert "whole, 7 events of 1 epochs" in capsys.readouterr().out
    path = settings.parent / "gateway.db"
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"device":"shelf/1"', b'"device":"shelf/9"'))
    assert run(settings, "check") == 1
    assert "has changed" in capsys.readouterr().err


def test_no_database_is_a_message(settings, capsys):
    assert run(settings, "show") == 1
    assert "no such database" in capsys.readouterr().err
