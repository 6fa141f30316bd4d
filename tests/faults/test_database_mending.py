# SPDX-License-Identifier: Apache-2.0
"""Mending a damaged database: what it refuses, what it carries over, and kills in its midst."""

import os
import resource
import shutil
import signal
import sqlite3
from contextlib import closing
from zlib import crc32

import msgspec
import pytest

from gateway import mending, outbox, recovery
from gateway.database import Batch, DatabaseError
from gateway.losses import Lost, missing
from gateway.outbox import run_sync
from gateway.side_files import write_side
from tests.databases import FOLDER, SOURCE, make
from tests.faults.children import in_child, limited
from tests.faults.database_parts import (
    NOW_NS,
    PAGE,
    aside,
    held,
    opened,
    root,
    spoilt,
    start,
)
from tests.faults.power import Images, lay, take
from tests.made import lost
from tests.schema_check import check_event


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """Return a database with open carts, of the current schema, and what it holds."""
    path = tmp_path_factory.mktemp("story") / "a.db"
    make(path)
    return take(path), held(path)


# What is carried over.


def test_a_damaged_index_costs_nothing(story, tmp_path):
    images, was = story
    path = tmp_path / "a.db"
    for name in ("sqlite_autoindex_events_1", "sqlite_autoindex_events_2", "events_waiting"):
        lay(spoilt(images, root(images, name)), path)
        found, epoch, rows = start(path)
        assert (found.reason, found.complete) == ("corrupt", True), name
        assert found.events_kept == len(was["events"])
        assert found.rows_kept == len(was["state"])
        assert (epoch.previous_epoch, epoch.previous_sequence) == ("00000002" * 4, 1)
        assert len(rows) == 1, "no loss is told"
        now = held(path)
        assert [row for row in now["events"] if row in was["events"]] == was["events"]
        assert now["state"] == was["state"]
        for file in tmp_path.iterdir():
            file.unlink()


def test_a_first_page_that_is_gone_is_made_anew(story, tmp_path):
    images, was = story
    path = tmp_path / "a.db"
    for size in (16, 100, 512, PAGE):
        lay(Images(bytes(size) + images.db[size:]), path)
        write_side(path, SOURCE, "00000002" * 4)
        found, epoch, _ = start(path)
        assert found.events_kept == len(was["events"])
        assert found.rows_kept == len(was["state"])
        assert (epoch.previous_epoch, epoch.previous_sequence) == ("00000002" * 4, 1)
        for file in tmp_path.iterdir():
            file.unlink()


def test_lost_events_are_named_and_the_epochs_end_is_known_from_the_bytes(story, tmp_path, caplog):
    """The root of the table is gone: what hung on it cannot be reached, but it can be counted."""
    images, was = story
    path = tmp_path / "a.db"
    lay(spoilt(images, root(images, "events")), path)
    found, epoch, rows = start(path)
    assert (found.complete, found.events_kept) == (False, 0)
    assert found.rows_kept == len(was["state"])
    assert (epoch.previous_epoch, epoch.previous_sequence) == ("00000002" * 4, 1)
    dropped = [check_event(row.payload)["data"] for row in rows[1:]]
    lost_here = {
        (one["epoch"], number)
        for one in dropped
        for ranged in one["ranges"]
        for number in range(int(ranged["first"]), int(ranged["last"]) + 1)
    }
    assert lost_here == {(row[1], row[2]) for row in was["events"]}
    assert sum(one["count"] for one in dropped) == len(lost_here)
    [words] = [one.message for one in caplog.records if "lost with the damage" in one.message]
    assert words.startswith(f"{path}: {len(was['events'])} events are lost with the damage: ")
    for epoch_lost in {row[1] for row in was["events"]}:
        last = max(row[2] for row in was["events"] if row[1] == epoch_lost)
        assert f"{last + 1} of epoch {epoch_lost} (0 to {last})" in words
    assert "Look for events.dropped" in words
    caplog.clear()
    assert start(path)[2][1:] == [], "they are named once"
    assert "lost with" not in caplog.text


def test_events_that_left_nothing_but_their_place_in_an_index_are_named(story, tmp_path):
    """The first ones: without the index they would pass for history that was trimmed."""
    images, was = story
    path = tmp_path / "a.db"
    first = was["events"][0][1]
    damaged = images
    for number in range(2):
        said = f'"sequence":"{number:020d}","epoch":"{first}"'.encode()
        page = damaged.db.find(said) // PAGE + 1
        damaged = spoilt(damaged, page) if page else damaged  # Both may stand on one.
    assert said not in damaged.db
    lay(damaged, path)
    found, _, rows = start(path)
    assert found.events_kept
    now = {(row[1], row[2]) for row in held(path)["events"]}
    named = {
        (one["epoch"], number)
        for one in (check_event(row.payload)["data"] for row in rows[1:])
        for ranged in one["ranges"]
        for number in range(int(ranged["first"]), int(ranged["last"]) + 1)
    }
    assert {(first, 0), (first, 1)} <= named
    assert named == {(row[1], row[2]) for row in was["events"]} - now


def _without_first_page(images):
    return Images(bytes(PAGE) + images.db[PAGE:])


def _cut_off(images):
    """Return it as if its last page, an empty one, were gone."""
    pages = len(images.db) // PAGE + 1
    return Images(images.db[:28] + pages.to_bytes(4, "big") + images.db[32:])


def _without_an_index(images):
    return spoilt(images, root(images, "events_waiting"))


@pytest.mark.parametrize("harm", [_without_first_page, _cut_off, _without_an_index])
def test_what_rots_after_a_mending_is_seen(story, tmp_path, harm):
    """The checksums come over too, and what had none gets one."""
    images, was = story
    path = tmp_path / "a.db"
    lay(images, path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE events SET crc = NULL WHERE position = 2")
    lay(harm(take(path)), path)
    write_side(path, SOURCE, "00000002" * 4)
    assert start(path)[0].events_kept == len(was["events"])
    with closing(sqlite3.connect(path)) as connection, connection:
        events = connection.execute("SELECT payload, crc FROM events").fetchall()
        assert all(crc == crc32(payload) for payload, crc in events)
        rot = "CAST(replace(CAST(payload AS TEXT), 'subject', 'subjekt') AS BLOB)"
        connection.execute(f"UPDATE events SET payload = {rot} WHERE position = 3")
        [(epoch, sequence)] = connection.execute(
            "SELECT epoch, sequence FROM events WHERE position = 3"
        )
    found, _, rows = start(path)
    assert (found.reason, found.events_kept) == ("corrupt", len(events) - 1)
    data = check_event(rows[-1].payload)["data"]
    name = f"{sequence:020d}"
    assert (data["epoch"], data["ranges"]) == (epoch, [{"first": name, "last": name}])


def test_a_checksum_is_compared_where_the_first_page_is_gone_too(story, tmp_path):
    images, was = story
    path = tmp_path / "a.db"
    lay(images, path)
    with closing(sqlite3.connect(path)) as connection, connection:
        rot = "CAST(replace(CAST(payload AS TEXT), 'subject', 'subjekt') AS BLOB)"
        changed = f"UPDATE events SET payload = {rot} WHERE name = 'gateway.started'"
        number = connection.execute(changed).rowcount
    lay(_without_first_page(take(path)), path)
    write_side(path, SOURCE, "00000002" * 4)
    assert number
    assert start(path)[0].events_kept == len(was["events"]) - number


def test_a_file_that_is_cut_off_keeps_what_later_versions_added(story, tmp_path):
    images, _ = story
    path = tmp_path / "a.db"
    lay(images, path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO backfills VALUES (1, 'c', 'e', 2, 5, '{}')")
    lay(_cut_off(take(path)), path)
    start(path)
    assert held(path)["backfills"] == [(1, "c", "e", 2, 5, "{}")]


def test_epochs_that_cannot_be_read_come_from_their_events(story, tmp_path):
    images, was = story
    path = tmp_path / "a.db"
    lay(spoilt(images, root(images, "epochs")), path)
    found, epoch, _ = start(path)
    assert not found.complete
    assert found.events_kept == len(was["events"])
    assert (epoch.previous_epoch, epoch.previous_sequence) == ("00000002" * 4, 1)
    names = [row[1:] for row in sorted(held(path)["epochs"])]
    assert [name for name, *_ in names[:2]] == [row[1] for row in was["epochs"]]
    assert names[0][3] == was["epochs"][0][4]


def test_an_epoch_of_which_only_the_name_is_left_is_named(tmp_path):
    path = tmp_path / "a.db"
    lay(Images(b"\xa5" * 20_000), path)
    write_side(path, SOURCE, "0d" * 16)
    found, epoch, _ = start(path)
    assert (found.events_kept, found.rows_kept, found.complete) == (0, 0, False)
    assert (epoch.previous_epoch, epoch.previous_sequence) == ("0d" * 16, None)
    assert start(path)[1].previous_epoch == epoch.epoch


def test_a_row_of_state_that_does_not_decode_is_left_out(story, tmp_path):
    images, was = story
    path = tmp_path / "a.db"
    lay(images, path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE state SET value = '{\"session\":' WHERE kind = 'session'")
    found, _, _ = start(path)
    assert (found.reason, found.complete) == ("corrupt", False)
    assert found.rows_kept == len(was["state"]) - 1
    assert found.events_kept == len(was["events"])
    assert {row[0] for row in held(path)["state"]} == {row[0] for row in was["state"]} - {"session"}


@pytest.mark.parametrize(
    "change",
    [
        "meta SET value = CAST(x'ff' AS TEXT) WHERE key = 'store'",
        "state SET value = CAST(x'22ff22' AS TEXT) WHERE kind = 'command'",
        "events SET shopper = CAST(x'ff' AS TEXT) WHERE name = 'session.started'",
    ],
)
def test_a_text_that_is_no_utf8_is_left_out(story, tmp_path, change):
    """Its reader would fail on it, at every start."""
    images, was = story
    path = tmp_path / "a.db"
    lay(images, path)
    with closing(sqlite3.connect(path)) as connection, connection:
        changed = connection.execute(f"UPDATE {change}").rowcount
    found, _, _ = start(path)
    assert (found.reason, found.complete) == ("corrupt", False)
    kept = found.events_kept + found.rows_kept
    lacks = 0 if change.startswith("meta") else changed
    assert kept == len(was["events"]) + len(was["state"]) - lacks


@pytest.mark.parametrize(
    "change",
    [
        "sequence = sequence + 100",
        "id = 'another'",
        "name = 'device.lost'",
        "payload = substr(payload, 1, 100)",
        "payload = CAST(replace(CAST(payload AS TEXT), 'corner:gw', 'corner:gx') AS BLOB)",
    ],
)
def test_an_event_that_contradicts_itself_is_left_out_and_named(story, tmp_path, change):
    images, was = story
    path = tmp_path / "a.db"
    lay(images, path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        [(epoch, sequence)] = connection.execute(
            "SELECT epoch, sequence FROM events WHERE position = 3"
        )
        connection.execute(f"UPDATE events SET {change} WHERE position = 3")
    lay(spoilt(take(path), root(images, "events_waiting")), path)
    found, _, rows = start(path)
    assert (found.complete, found.events_kept) == (False, len(was["events"]) - 1)
    ranges = check_event(rows[-1].payload)["data"]["ranges"]
    assert {"first": f"{sequence:020d}", "last": f"{sequence:020d}"} in ranges
    assert check_event(rows[-1].payload)["data"]["epoch"] == epoch


def test_a_damaged_database_of_an_earlier_schema_is_mended_and_migrated(tmp_path):
    for old in sorted(FOLDER.glob("schema-*.db")):
        path = tmp_path / old.stem / "a.db"
        path.parent.mkdir()
        shutil.copyfile(old, path)
        images = take(path)
        lay(spoilt(images, root(images, "sqlite_autoindex_events_1")), path)
        found, _, _ = start(path)
        assert (found.reason, found.events_kept, found.complete) == ("corrupt", 10, True)
        with closing(sqlite3.connect(path)) as connection:
            query = "SELECT max(version) FROM schema_version"
            assert connection.execute(query).fetchall() == [(len(outbox.MIGRATIONS),)]
        path.unlink()


def test_a_backfill_that_was_going_on_goes_on(story, tmp_path):
    images, _ = story
    path = tmp_path / "a.db"
    lay(images, path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO backfills VALUES (1, 'c', 'e', 2, 5, '{}')")
    lay(spoilt(take(path), root(images, "events_waiting")), path)
    assert start(path)[0].complete
    assert held(path)["backfills"] == [(1, "c", "e", 2, 5, "{}")]


# What is not mended.


def test_a_file_that_is_not_ours_is_refused_and_stays(tmp_path):
    path = tmp_path / "a.db"
    path.write_bytes(b"minutes of the last meeting\n" * 400)
    before = take(path)
    for _ in range(2):
        with pytest.raises(DatabaseError, match=r"a\.db: .*not a database\. Name another"):
            start(path)
    assert take(path) == before
    assert not aside(path)


@pytest.mark.parametrize("other", [{"store": "elsewhere"}, {"gateway": "gw-2"}])
def test_anothers_damaged_database_is_refused_and_stays(story, tmp_path, other):
    images, _ = story
    path = tmp_path / "a.db"
    damaged = spoilt(images, root(images, "sqlite_autoindex_events_1"))
    lay(damaged, path)
    with pytest.raises(DatabaseError, match=r"damaged, and belongs to .* correct the settings"):
        start(path, **other)
    assert take(path) == damaged
    assert not aside(path)


def test_a_damaged_database_of_a_newer_version_is_refused_and_stays(story, tmp_path):
    images, _ = story
    path = tmp_path / "a.db"
    lay(images, path)
    with closing(sqlite3.connect(path)) as connection, connection:
        number = len(outbox.MIGRATIONS) + 1
        connection.execute("INSERT INTO schema_version VALUES (?)", (number,))
    damaged = spoilt(take(path), root(images, "sqlite_autoindex_events_1"))
    lay(damaged, path)
    with pytest.raises(DatabaseError, match=r"newer version\. Install that version"):
        start(path)
    assert take(path) == damaged


@pytest.mark.parametrize("elsewhere", [False, True], ids=["whole", "damaged elsewhere too"])
@pytest.mark.parametrize("number", [-3, 3, 15, 9_000])
def test_a_version_that_cannot_be_is_damage_and_no_newer_one(story, tmp_path, number, elsewhere):
    """Every migration adds the next number: one that stands alone has rotted."""
    images, _ = story
    path = tmp_path / "a.db"
    lay(images, path)
    known = len(outbox.MIGRATIONS)
    with closing(sqlite3.connect(path)) as connection, connection:
        changed = "UPDATE schema_version SET version = ? WHERE version = ?"
        connection.execute(changed, (known + number, known))
    if elsewhere:
        lay(spoilt(take(path), root(images, "sqlite_autoindex_events_1")), path)
    start(path)
    assert len(aside(path)) == 1


def test_what_is_set_aside_is_never_overwritten(story, tmp_path):
    images, _ = story
    path = tmp_path / "a.db"
    kept = []
    for number in range(3):
        damaged = spoilt(images, root(images, "events_waiting"), bytes([number + 1]) * PAGE)
        for part in ("", "-wal"):
            path.with_name(path.name + part).unlink(missing_ok=True)
        lay(damaged, path)
        found, _, _ = start(path)
        kept.append((path.with_name(found.set_aside), damaged))
    assert len({name for name, _ in kept}) == 3
    assert all(take(name) == damaged for name, damaged in kept)


@pytest.mark.parametrize("empty", [True, False], ids=["empty", "gone"])
def test_a_log_without_its_database_is_not_thrown_away(tmp_path, empty):
    """SQLite deletes the log of an empty file. Everything may be in it."""
    path = tmp_path / "a.db"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(f"PRAGMA application_id = {mending.APPLICATION_ID}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute("CREATE TABLE schema_version (version INTEGER PRIMARY KEY) STRICT")
    for number, migrate in enumerate(outbox.MIGRATIONS, 1):
        run_sync(connection, migrate())
        connection.execute("INSERT INTO schema_version VALUES (?)", (number,))
    run_sync(connection, outbox.begin_epoch("0a" * 16, NOW_NS))
    events = [lost("0a" * 16, number) for number in range(20)]
    batch = Batch(events=events, online=True, utc_ns=NOW_NS)
    run_sync(connection, outbox.commit(SOURCE, "0a" * 16, batch))
    images = take(path)
    connection.close()
    lay(Images(b"", images.wal), path)
    if not empty:
        path.unlink()
    write_side(path, SOURCE, "0a" * 16)
    found, epoch, _ = start(path)
    assert found.events_kept == 20
    assert (epoch.previous_epoch, epoch.previous_sequence) == ("0a" * 16, 19)
    assert path.with_name(f"{found.set_aside}-wal").read_bytes() == images.wal


# Kills and no room in the midst of it.


CALLS = ("replace", "rename", "unlink", "fsync")


def test_a_kill_anywhere_in_the_mending_loses_nothing(story, tmp_path):
    """Killed before each call that changes a name or flushes; the next start goes on."""
    images, was = story
    path = tmp_path / "a.db"
    damaged = spoilt(images, root(images, "events_waiting"))
    ends = 0
    for at in range(1, 100):
        for file in tmp_path.iterdir():
            file.unlink()
        lay(damaged, path)
        write_side(path, SOURCE, "00000002" * 4)

        async def main(at=at):
            counted = 0

            def killing(call):
                def counts(*arguments, **options):
                    nonlocal counted
                    counted += 1
                    if counted == at:
                        os.kill(os.getpid(), signal.SIGKILL)
                    return call(*arguments, **options)

                return counts

            for name in CALLS:
                setattr(os, name, killing(getattr(os, name)))
            async with await opened(path):
                os._exit(0)

        ends += in_child(main)
        found, epoch, _ = start(path)
        assert (found.reason, found.complete) == ("corrupt", True), at
        assert found.events_kept == len(was["events"])
        assert [take(one) for one in aside(path)] == [damaged], at
        assert (epoch.previous_epoch, epoch.previous_sequence) == ("00000002" * 4, 1)
        assert not list(tmp_path.glob("*.mending*"))
        if ends:
            break
    assert at > 8


def test_a_disk_too_full_to_mend_leaves_everything_where_it_is(story, tmp_path):
    images, was = story
    path = tmp_path / "a.db"
    damaged = spoilt(images, root(images, "events_waiting"))
    lay(damaged, path)

    async def main():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
        try:
            await opened(path)
        except DatabaseError as error:
            return str(error)
        return "started"

    said = limited(main, 2**30)
    assert said.startswith(f"{path}: ")
    assert "space" in said
    assert take(path) == damaged
    assert not aside(path)
    assert start(path)[0].events_kept == len(was["events"])


def test_another_file_in_the_place_of_the_damaged_one_is_left_alone(story, tmp_path):
    """Killed between the renames; then an operator put a backup there."""
    images, _ = story
    path = tmp_path / "a.db"
    damaged = spoilt(images, root(images, "events_waiting"))
    lay(damaged, path)

    async def main():
        recovery.prepare(path, SOURCE)

    def killed(one, name):
        (one.parent / "said").write_text(name)
        one.rename(one.with_name(name))
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recovery, "_swap", killed)
        assert not in_child(main)
    lay(images, path)
    found, _, _ = start(path)
    assert found is None
    assert take(path.with_name((tmp_path / "said").read_text())) == damaged
    assert not list(tmp_path.glob("*.mending*"))


# The arithmetic of what lacks.


def test_what_lacks_is_what_is_neither_there_nor_explained():
    assert missing("e", {0, 1, 2}, [], 0, 2) == []
    assert missing("e", {1, 4}, [(2, 2)], 0, 6) == [
        Lost("e", 0, 0),
        Lost("e", 3, 3),
        Lost("e", 5, 6),
    ]
    assert missing("e", (), [], 3, 5) == [Lost("e", 3, 5)]
    assert missing("e", {9}, [], 3, 5) == [Lost("e", 3, 5)]
    assert missing("e", {5, 6}, [(0, 100)], 2, 9) == []
    assert missing("e", {0, 1, 7}, [], 5, 8) == [Lost("e", 5, 6), Lost("e", 8, 8)]
    assert missing("e", {3}, [], 0, -1) == []
    encoded = msgspec.json.encode([Lost("e", 1, 2)])
    assert msgspec.json.decode(encoded, type=list[Lost]) == [Lost("e", 1, 2)]
