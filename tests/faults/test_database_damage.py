# SPDX-License-Identifier: Apache-2.0
"""A damaged database: set aside, mended from what can be read, and told."""

import random
import sqlite3
from contextlib import closing

import msgspec
import pytest

from gateway import outbox
from gateway.damage import damage
from gateway.database import Batch, DatabaseError, open_database
from gateway.domain.inputs import StateRow
from gateway.domain.state import Holding
from gateway.envelope import Source
from gateway.outbox import Acknowledged, run_sync
from gateway.pipeline import alive_row
from gateway.side_files import doubted, write_side
from tests.brokers import run
from tests.faults.power import Images, lay, take
from tests.made import lost, rows_waiting, session, started
from tests.schema_check import check_event
from tests.small_store import stamp

SOURCE = Source("store", "gw")
NOW_NS = 1_795_277_998_412_345_678
OLD, NEW = "0a" * 16, "0b" * 16
OLD_LAST, NEW_LAST = 149, 119
COLUMNS = "position, epoch, sequence, id, name, payload, shopper, committed_utc_ns"


def fill(connection):
    """Commit two epochs: of the first everything was acknowledged, of the second half."""
    for epoch, last in ((OLD, OLD_LAST), (NEW, NEW_LAST)):
        run_sync(connection, outbox.begin_epoch(epoch, NOW_NS))
        for number in range(last + 1):
            event = lost(epoch, number, reason="x" * 700)
            if number == 3:
                event = session(epoch, number, f"shopper-{epoch}")
            value = msgspec.json.encode(Holding(weighed_g=1.5 * number))
            rows = [StateRow("holding", f"p{number}", msgspec.Raw(value)), alive_row(stamp())]
            batch = Batch(events=[event], rows=rows, online=True, utc_ns=NOW_NS)
            run_sync(connection, outbox.commit(SOURCE, epoch, batch))
    upto = [Acknowledged(OLD, OLD_LAST), Acknowledged(NEW, NEW_LAST // 2)]
    run_sync(connection, outbox.acknowledge(upto))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return images of a healthy database: all in the file, and the end of it in the log."""
    path = tmp_path_factory.mktemp("whole") / "a.db"

    async def main():
        async with await open_database(path, store="store", gateway="gw"):
            pass

    run(main())
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        fill(connection)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        moved = take(path)
        assert not moved.wal
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        for number in range(NEW_LAST + 1, NEW_LAST + 11):
            event = lost(NEW, number, reason="y" * 700)
            batch = Batch(events=[event], online=True, utc_ns=NOW_NS)
            run_sync(connection, outbox.commit(SOURCE, NEW, batch))
        logged = take(path)
    assert len(logged.wal) > 40_000
    return moved, logged


def contents(path):
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        events = connection.execute(f"SELECT {COLUMNS} FROM events ORDER BY position").fetchall()
        state = connection.execute("SELECT kind, key, value FROM state").fetchall()
    return events, {(kind, key): value for kind, key, value in state}


async def begun(path, **other):
    """Start on a database as the daemon does; return what it found and what it committed."""
    options = {"store": "store", "gateway": "gw"} | other
    async with await open_database(path, **options) as database:
        state = {(row.kind, row.key): bytes(row.value) for row in await database.load_state()}
        pending = await rows_waiting(database, 0, 10_000)
        epoch = await database.begin_epoch(NOW_NS)
        done = await database.commit(Batch(events=[started(epoch, 1)], online=True, utc_ns=NOW_NS))
        return database.recovery, state, pending, epoch, done.rows


def opened_again(path, before, originals, *, content=True):
    """Open what was damaged; check all that has to hold whatever the damage; return the rest."""
    events, durable = originals
    recovery, state, pending, epoch, rows = run(begun(path))
    kept = [row for row in contents(path)[0] if row[1] in (OLD, NEW)]
    # SQLite has no checksums: a changed letter in a text is not to be seen, nor another position.
    part = slice(None) if content else slice(1, 5)
    assert {row[part] for row in kept} <= {row[part] for row in events}, "nothing is made up"
    moved = {row[:5] for row in kept} - {row[:5] for row in events}
    assert len(moved) <= (0 if content else 1), "a flipped bit moves one event at most"
    found = {key: value.decode() for key, value in state.items()}
    if content:
        assert found.items() <= durable.items()
    else:
        assert len(found.keys() - durable.keys()) <= 1, "nor a changed letter of a row's key"
    for row in rows:
        check_event(row.payload)
    if recovery is not None:
        aside = path.with_name(recovery.set_aside)
        if (path.parent / f"{recovery.set_aside}-shm").exists():
            raise AssertionError("somebody wrote beside what was set aside")
        assert take(aside) == before, "what is set aside is not touched"
        assert (recovery.events_kept, recovery.rows_kept) == (len(kept), len(state))
        if recovery.complete:
            assert (len(kept), len(state)) == (len(events), len(durable))
        explained(kept, epoch, rows)
    again = run(begun(path))
    assert again[0] is None, "a recovery is told once"
    assert again[3].previous_epoch == epoch.epoch
    assert again[1] == state
    return recovery, pending, epoch, rows, kept


def explained(kept, epoch, rows):
    """Every sequence of the chain up to where it is known is there or named as lost."""
    have = {(row[1], row[2]) for row in kept}
    for row in rows:
        data = msgspec.json.decode(row.payload)["data"]
        for one in data.get("ranges", ()):
            numbers = range(int(one["first"]), int(one["last"]) + 1)
            lost_here = {(data["epoch"], number) for number in numbers}
            assert not lost_here & have
            have |= lost_here
    last = {OLD: OLD_LAST, epoch.previous_epoch: epoch.previous_sequence}
    if kept and epoch.previous_epoch == NEW:
        first = kept[0][1:3]
        for name, number in last.items():
            begin = first[1] if first[0] == name else 0
            if number is None or (first[0] == NEW and name == OLD):
                continue
            assert {(name, one) for one in range(begin, number + 1)} <= have


PAGE = 4_096


@pytest.mark.parametrize("seed", range(60))
def test_damage_anywhere_never_makes_anything_up_and_is_told(whole, tmp_path, seed):
    rng = random.Random(f"damage {seed}")
    moved, logged = whole
    path = tmp_path / "a.db"
    lay(logged, path)
    originals = contents(path)
    images = rng.choice((moved, logged))
    if images is moved:
        lay(moved, path)
        originals = contents(path)
    data = bytearray(images.db)
    kind = rng.choice(("zeros", "rubbish", "cut", "flip", "head", "swap"))
    if kind == "cut":
        del data[rng.randrange(1, len(data)) :]
    elif kind == "flip":
        for _ in range(20):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == "head":
        data[: rng.choice((16, 100, 512, PAGE))] = bytes(rng.choice((16, 100, 512, PAGE)))
    else:
        for _ in range(rng.choice((1, 1, 3, 10))):
            at = PAGE * rng.randrange(len(data) // PAGE)
            other = PAGE * rng.randrange(len(data) // PAGE)
            new = {"zeros": bytes(PAGE), "rubbish": rng.randbytes(PAGE)}
            data[at : at + PAGE] = new.get(kind) or data[other : other + PAGE]
    damaged = Images(bytes(data), images.wal)
    lay(damaged, path)
    write_side(path, SOURCE, NEW)
    opened_again(path, damaged, originals, content=kind != "flip")


@pytest.mark.parametrize("seed", range(30))
def test_damage_anywhere_in_a_large_one_is_found_while_it_runs(whole, tmp_path, monkeypatch, seed):
    """By the start, or by the check beside the daemon, and then the next start mends."""
    monkeypatch.setattr("gateway.damage.AT_ONCE_BYTES_MAX", 0)
    monkeypatch.setattr("gateway.damage.NEWEST", 10)
    rng = random.Random(f"large {seed}")
    moved, _ = whole
    path = tmp_path / "a.db"
    lay(moved, path)
    originals = contents(path)
    data = bytearray(moved.db)
    for _ in range(rng.choice((1, 1, 3))):
        at, other = (PAGE * rng.randrange(len(data) // PAGE) for _ in range(2))
        page = rng.choice((bytes(PAGE), rng.randbytes(PAGE), data[other : other + PAGE]))
        data[at : at + PAGE] = page
    damaged = Images(bytes(data), b"")
    lay(damaged, path)
    write_side(path, SOURCE, NEW)
    found = damage(path)
    waited, seen = run(checked(path))
    if found is None or not waited:
        assert (seen, doubted(path)) == (found is not None, False)
        return
    assert seen
    assert doubted(path)
    recovery, *_ = opened_again(path, take(path), originals)
    assert recovery.reason == "corrupt"


async def checked(path):
    """Start on a database, and check it; return whether the check found damage, or the start."""
    try:
        async with await open_database(path, store="store", gateway="gw") as database:
            if database.recovery is not None:
                return False, True
            await database.check()
            return True, False
    except DatabaseError:
        return True, True
