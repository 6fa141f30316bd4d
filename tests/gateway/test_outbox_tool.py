# SPDX-License-Identifier: Apache-2.0
"""``shelfgate outbox``: what it says, what it writes, and what the next start tells of a purge."""

import asyncio
import json
import re
import resource
import shutil
import signal
import sqlite3
import stat
import time
from contextlib import closing

import msgspec
import pytest

from gateway.classes import EARLY
from gateway.cli import main
from gateway.database import Batch, open_database
from gateway.mending import APPLICATION_ID
from gateway.outbox import Statement, run_sync
from gateway.outbox_standing import Standing
from gateway.outbox_tool import purge
from gateway.room import Limits
from gateway.side_files import doubt, doubted
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
    waits = [
        re.fullmatch(r"  (\w+): (\d) events?, \d\.\d kB", line).groups() for line in lines[1:5]
    ]
    # The pick of an open cart goes with what is left of a visit.
    assert waits == [("devices", "3"), ("items", "1"), ("visits", "1"), ("receipts", "1")]
    assert lines[5] == "1 event kept as history"
    assert "MB used of 2000 MB at most" in lines[6]
    assert lines[6].endswith(" MB free on the card")
    assert lines[7].startswith("room for ")
    assert "at 1 event an hour" in lines[7]
    assert lines[8] == "  (that rate is of 7 events in 6.0 h)"
    assert lines[9] == "2026-11-28: 3.0 MB written, 15.0 kB an event"


def test_what_a_purge_gives_up_is_what_was_shown(settings, capsys):
    made(settings.parent)
    assert run(settings, "show", "--json") == 0
    shown = json.loads(capsys.readouterr().out)["classes"]
    for kind in EARLY:
        assert run(settings, "purge", kind, "--reason", "x") == 0
        said = capsys.readouterr().out
        gone = shown.get(kind, {"events": 0})["events"]
        # The newest event stays: where the epoch ends has to stay known.
        newest = kind == "devices"
        assert said.startswith(f"{gone - newest} event" if gone else f"{kind}: none")
    assert sum(one["events"] for one in shown.values()) == 6


def test_it_says_what_was_given_up_and_is_not_told_yet(settings, capsys):
    made(settings.parent)
    assert run(settings, "purge", "devices", "--reason", "a fan") == 0

    async def start():
        async with await opened(settings.parent) as database:
            begun = await database.begin_epoch(1)
            await database.commit(Batch(events=[started(begun, 0)], online=False, utc_ns=1))

    asyncio.run(start())
    assert run(settings, "show") == 0
    said = capsys.readouterr().out
    assert "  notices: 1 event, " in said
    assert "2 events given up, which is not told upstream yet\n" in said


def test_a_fresh_daemon_has_noted_nothing_yet(settings, capsys):
    async def start():
        async with await opened(settings.parent) as database:
            begun = await database.begin_epoch(1)
            batch = Batch(events=[started(begun, 0)], online=False, utc_ns=time.time_ns())
            await database.commit(batch)

    asyncio.run(start())
    assert run(settings, "show") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "1 event waits, the oldest for 0 min"
    assert lines[-1].startswith("written to the card: not noted yet")


OTHERS = {"free_bytes_min": 200 * 10**6, "pending_max": 10**6}


@pytest.mark.parametrize(
    ("waiting", "used", "limits", "free", "expected"),
    [
        (0, 0, {"bytes_max": 10_000}, 10**6, (1.0, "megabytes")),
        (5, 5_000, {"bytes_max": 10_000}, 10**6, (0.5, "megabytes")),
        (5, 6_000, {"bytes_max": 10_000}, 10**6, (0.5, "megabytes")),
        (10, 20_000, {"bytes_max": 10_000}, 10**6, (0.0, "megabytes")),
        (40, 0, {}, 10**6, (6.0, "100 events wait")),
        (0, 0, {}, 10_000, (1.0, "the card is full")),
        (0, 5_000, {}, 10_000, (1.0, "the card is full")),
        (0, 0, OTHERS, 195 * 10**6, (5_000.0, "the card has too little free")),
        (0, 0, OTHERS, 300 * 10**6, (10_000.0, "the card has too little free")),
        (0, 0, OTHERS, 10_000, (1.0, "the card has too little free")),
    ],
)
def test_the_forecast_is_what_fits_and_says_what_is_full_then(
    waiting, used, limits, free, expected
):
    found = Standing(
        waiting=waiting,
        oldest_utc_ns=None,
        events=max(used // 1_000, waiting),
        file_bytes=max(used, 1_000 * waiting),
        used_bytes=max(used, 1_000 * waiting),
        free_bytes=free,
        limits=Limits(**{"pending_max": 100, **limits}),
        event_bytes=1_000.0,
        per_hour=10.0,
    )
    hours, bound = expected
    assert found.forecast().hours == hours
    assert bound in found.forecast().bound
    assert msgspec.structs.replace(found, per_hour=None).forecast() is None


def test_an_export_holds_what_waits_whole_and_for_its_owner_alone(settings, capsys):
    made(settings.parent)
    target = settings.parent / "waiting.jsonl"
    assert run(settings, "export", str(target)) == 0
    assert "6 events" in capsys.readouterr().out
    lines = target.read_bytes().splitlines()
    assert [int(check_event(line)["sequence"]) for line in lines] == [1, 2, 3, 4, 5, 6]
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert run(settings, "export", str(target)) == 1, "it overwrites nothing"
    assert "is there already" in capsys.readouterr().err
    assert run(settings, "export", str(settings.parent)) == 1
    assert "is a folder. Name a file in it" in capsys.readouterr().err
    assert run(settings, "export", str(target / "no" / "e.jsonl")) == 1
    assert "e.jsonl: its folder does not exist. Create it\n" in capsys.readouterr().err


def test_an_export_to_standard_output_is_the_events_alone(settings, capsysbinary, monkeypatch):
    made(settings.parent)
    monkeypatch.chdir(settings.parent)
    assert run(settings, "export", "-") == 0
    told, said = capsysbinary.readouterr()
    assert [int(check_event(line)["sequence"]) for line in told.splitlines()] == [1, 2, 3, 4, 5, 6]
    assert said == b"-: 6 events\n"
    assert not (settings.parent / "-").exists()


def test_an_export_of_what_has_changed_is_none(settings, capsys):
    made(settings.parent)
    path = settings.parent / "gateway.db"
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"device":"shelf/1"', b'"device":"shelf/9"'))
    assert run(settings, "export", str(settings.parent / "waiting.jsonl")) == 1
    said = capsys.readouterr().err
    assert re.search(r"gateway\.db: event \d of epoch \w+ has changed; no whole export", said)
    assert said.endswith("Restart the daemon, which mends it as it starts\n")
    assert not list(settings.parent.glob("waiting*"))
    assert doubted(path), "a start reads all of a large one then"
    assert run(settings, "export", "-") == 1


def test_an_export_that_fails_leaves_nothing(settings, capsys):
    made(settings.parent)

    async def fill():
        async with await opened(settings.parent) as database:
            epoch = (await database.begin_epoch(1)).epoch
            events = [lost(epoch, number) for number in range(500)]
            await database.commit(Batch(events=events, online=True, utc_ns=1))

    asyncio.run(fill())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        assert run(settings, "export", str(settings.parent / "waiting.jsonl")) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert "waiting.jsonl: File too large. Make room on the disk" in capsys.readouterr().err
    assert not list(settings.parent.glob("waiting*"))


def test_an_export_of_the_first_version_has_no_checksums_to_compare(settings, capsys):
    shutil.copyfile(FOLDER / "schema-1.db", settings.parent / "gateway.db")
    assert run(settings, "export", str(settings.parent / "waiting.jsonl")) == 0
    assert " events\n" in capsys.readouterr().out


@pytest.mark.parametrize(("kind", "gone"), [("devices", [1, 3]), ("items", [2])])
def test_what_is_purged_is_told_by_the_next_start_with_its_reason(settings, capsys, kind, gone):
    epoch = made(settings.parent)
    assert run(settings, "purge", kind, "--reason", "a loose plug") == 0
    assert capsys.readouterr().out.startswith(f"{len(gone)} event")
    assert run(settings, "purge", kind, "--reason", "again") == 0
    assert f"{kind}: none of this class waits" in capsys.readouterr().out
    assert run(settings, "show", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["untold"] == len(gone)
    assert shown["per_hour"] == 1.0, "what was given up came as often as it came"

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
    assert len(told(settings.parent)) == 1, "and by none after that"


def told(folder):
    """Start, let what is not told yet be told, and return it: reason, epoch, ranges."""

    async def start():
        async with await opened(folder) as database:
            begun = await database.begin_epoch(1)
            await database.commit(Batch(events=[started(begun, 0)], online=False, utc_ns=1))
            return await rows_waiting(database)

    found = []
    for row in asyncio.run(start()):
        if row.name == "events.dropped":
            data = check_event(row.payload)["data"]
            ranges = [(int(one["first"]), int(one["last"])) for one in data["ranges"]]
            found.append((data["reason"], data["epoch"], ranges))
    return found


def test_what_was_purged_is_told_once_with_its_reason_whatever_is_damaged_after_that(
    settings, caplog
):
    epoch, path = made(settings.parent), settings.parent / "gateway.db"

    def rot(sequence):
        with closing(sqlite3.connect(path, isolation_level=None)) as one:
            of = "WHERE epoch = ? AND sequence = ?"
            one.execute(f"UPDATE events SET payload = x'00' {of}", (epoch, sequence))

    async def mended():
        async with await opened(settings.parent) as database:
            return database.recovery

    assert run(settings, "purge", "items", "--reason", "a loose plug") == 0
    rot(3)
    assert asyncio.run(mended()).events_kept == 5
    rot(5)
    assert asyncio.run(mended()).events_kept == 4, "which nobody has told yet"
    caplog.clear()
    damage = "could not be read from a damaged database"
    assert sorted(told(settings.parent)) == [
        (damage, epoch, [(3, 3), (5, 5)]),
        ("given up by hand: a loose plug", epoch, [(2, 2)]),
    ]
    assert "2 events are lost with the damage: " in caplog.text
    rot(0)
    assert (damage, epoch, [(0, 0)]) in told(settings.parent), "and nothing else anew"
    assert len(told(settings.parent)) == 3


def test_what_a_note_that_cannot_be_read_names_is_told_as_lost(settings):
    epoch, path = made(settings.parent), settings.parent / "gateway.db"
    assert run(settings, "purge", "items", "--reason", "a loose plug") == 0
    with closing(sqlite3.connect(path, isolation_level=None)) as one:
        one.execute("UPDATE meta SET value = '[[' WHERE key GLOB 'lost/*'")
        one.execute("UPDATE events SET payload = x'00' WHERE sequence = 4")
    damage = "could not be read from a damaged database"
    assert told(settings.parent) == [(damage, epoch, [(2, 2), (4, 4)])]


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


def test_time_between_two_runs_is_no_time_without_events(settings, capsys):
    made(settings.parent)

    async def later():
        async with await opened(settings.parent) as database:
            begun = await database.begin_epoch(1)
            for hour, event in enumerate([started(begun, 0), lost(begun.epoch, 1)]):
                at_ns = (1_000 + hour) * HOUR_NS
                await database.commit(Batch(events=[event], online=True, utc_ns=at_ns))

    asyncio.run(later())
    assert run(settings, "show", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["per_hour"], shown["seen_events"], shown["seen_hours"]) == (1.0, 9, 7.0)


def test_a_step_of_the_clock_is_no_time_that_passed(settings, capsys):
    async def main():
        async with await opened(settings.parent) as database:
            begun = await database.begin_epoch(1)
            for number, hour in enumerate([0, 1, 500_000, 500_001, 499_000, 499_001]):
                event = lost(begun.epoch, number)
                await database.commit(
                    Batch(events=[event], online=True, utc_ns=(hour + 1) * HOUR_NS)
                )

    asyncio.run(main())
    assert run(settings, "show", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["seen_events"], shown["seen_hours"]) == (6, 3.0)


def test_nothing_is_told_of_seconds(settings, capsys):
    async def main():
        async with await opened(settings.parent) as database:
            begun = await database.begin_epoch(1)
            for number in range(3):
                at_ns = HOUR_NS + number * 20_000_000_000
                event = lost(begun.epoch, number)
                await database.commit(Batch(events=[event], online=True, utc_ns=at_ns))

    asyncio.run(main())
    assert run(settings, "show") == 0
    assert "too few events to tell how long an outage may last" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words", [["show"], ["export", "-"], ["check"], ["purge", "devices", "--reason", "x"]]
)
def test_another_gateways_database_is_left_alone(settings, capsys, words):
    made(settings.parent)
    settings.write_text('gateway = "other"\ndatabase = "gateway.db"\n')
    assert run(settings, *words) == 1
    told = capsys.readouterr()
    assert "belongs to gateway 'gw', not 'other'. Name another file, or" in told.err
    assert not told.out


def test_a_database_that_was_only_begun_is_told_as_that(settings, capsys):
    with closing(sqlite3.connect(settings.parent / "gateway.db")) as begun:
        begun.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        begun.execute("CREATE TABLE other (x)")
        begun.commit()
    assert run(settings, "show") == 1
    assert "gateway.db: was begun and is empty. Start the daemon" in capsys.readouterr().err


def test_nothing_is_purged_under_a_running_daemon_or_without_a_reason(settings, capsys):
    made(settings.parent)

    async def running():
        async with await opened(settings.parent):
            return await asyncio.to_thread(run, settings, "purge", "devices", "--reason", "x")

    assert asyncio.run(running()) == 1
    assert "a daemon uses it" in capsys.readouterr().err
    for reason, problem in ((" ", "empty"), ("x" * 201, "201 letters"), ("a\x1b[31m", "printed")):
        assert run(settings, "purge", "devices", "--reason", reason) == 2
        assert problem in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run(settings, "purge", "visits", "--reason", "x")
    told = "visits is not given up by hand: what is left would not be true without it. Name one"
    assert told in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run(settings, "purge", "x", "--reason", "x")
    assert "x is no class. Name one of diagnostics" in capsys.readouterr().err


def test_nothing_is_purged_of_a_database_that_is_not_migrated(settings, capsys):
    shutil.copyfile(FOLDER / "schema-2.db", settings.parent / "gateway.db")
    assert run(settings, "show") == 0
    assert run(settings, "purge", "devices", "--reason", "too much") == 1
    assert "another version (schema 2). Start the daemon once" in capsys.readouterr().err


def test_a_check_finds_what_has_changed(settings, capsys):
    made(settings.parent)
    assert run(settings, "check") == 0
    assert "whole, 7 events of 1 epoch\n" in capsys.readouterr().out
    path = settings.parent / "gateway.db"
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"device":"shelf/1"', b'"device":"shelf/9"'))
    assert run(settings, "check") == 1
    assert "has changed" in capsys.readouterr().err


def test_no_database_is_a_message(settings, capsys):
    assert run(settings, "show") == 1
    assert "no such database" in capsys.readouterr().err
