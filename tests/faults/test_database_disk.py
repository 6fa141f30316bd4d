# SPDX-License-Identifier: Apache-2.0
"""The disk refuses: full before, within and after a commit, read-only, torn away under the feet."""

import errno
import os
import resource
import shutil
import sqlite3
import subprocess
import tempfile
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from gateway.database import Batch, DatabaseError, open_database
from gateway.database_errors import explaining
from gateway.domain.inputs import StateRow
from gateway.outbox import MIGRATIONS
from tests.brokers import run
from tests.databases import FOLDER, SOURCE
from tests.faults.children import limited
from tests.faults.database_parts import dump
from tests.faults.power import Images, lay, take
from tests.made import lost, rows_waiting

NOW_NS = 1_795_277_998_412_345_678
NOBODY = 65_534


def opened(path):
    return open_database(path, store="store", gateway="gw")


def batch(epoch, *numbers):
    events = [lost(epoch, number, reason="x" * 600) for number in numbers]
    state = [StateRow("token", "t", msgspec.Raw(b"%d" % numbers[-1]))]
    return Batch(events=events, rows=state, online=True, utc_ns=NOW_NS)


def whole(path, committed):
    """Check that a database holds batches of two up to what was committed, or one more."""
    held = dump(path)
    sequences = [row[2] for row in sorted(held["events"])]
    assert sequences == list(range(len(sequences)))
    assert len(sequences) in {2 * committed, 2 * committed + 2}
    token = [row[2] for row in held["state"]]
    assert token == ([str(len(sequences) - 1)] if sequences else [])
    return len(sequences)


def test_a_full_database_takes_nothing_half_and_goes_on_when_there_is_room(tmp_path):
    path = tmp_path / "a.db"

    async def main():
        async with await opened(path) as database:
            epoch = (await database.begin_epoch(NOW_NS)).epoch
            await database.commit(batch(epoch, 0, 1))
            for pages in range(2):
                [(count,)] = await database._writer.execute_fetchall("PRAGMA page_count")
                await database._writer.execute_fetchall(f"PRAGMA max_page_count = {count + pages}")
                before = dump(path)
                with pytest.raises(DatabaseError, match=r"a\.db: .* is full\. Make room"):
                    await database.commit(batch(epoch, *range(100, 200)))
                assert dump(path) == before
                await database._writer.execute_fetchall("PRAGMA max_page_count = 1000000")
            done = await database.commit(batch(epoch, 2, 3))
            assert [row.sequence for row in done.rows] == [2, 3]

    run(main())
    assert whole(path, 2) == 4


@pytest.mark.parametrize("more", [*range(0, 12_000, 997), 32, 33, 4_152, 4_153])
def test_a_commit_that_runs_out_of_room_at_any_byte_is_not_there(tmp_path, more):
    """The limit stands for the disk: the write that meets it is cut short, as on a full one."""
    path = tmp_path / "a.db"

    async def main():
        async with await opened(path) as database:
            epoch = (await database.begin_epoch(NOW_NS, "0a" * 16)).epoch
            size = path.with_name("a.db-wal").stat().st_size
            resource.setrlimit(resource.RLIMIT_FSIZE, (size + more, resource.RLIM_INFINITY))
            committed = 0
            try:
                while True:
                    await database.commit(batch(epoch, 2 * committed, 2 * committed + 1))
                    committed += 1
            except DatabaseError as error:
                said = str(error)
            await rows_waiting(database, 0, 10)
            assert len(await rows_waiting(database, 0, 99)) == 2 * committed
            resource.setrlimit(resource.RLIMIT_FSIZE, (2**30, resource.RLIM_INFINITY))
            await database.commit(batch(epoch, 2 * committed, 2 * committed + 1))
            return f"{committed + 1} {said}"

    committed, _, said = limited(main, 2**30).partition(" ")
    assert said.startswith(f"{path}: ")
    assert "disk" in said
    assert whole(path, int(committed)) == 2 * int(committed)


@pytest.mark.parametrize("more", range(0, 9_000, 997))
def test_a_daemon_that_ends_for_want_of_room_starts_again(tmp_path, more):
    """It closes without room, and the next start finds every commit that was reported."""
    path = tmp_path / "a.db"

    async def main():
        committed = 0
        try:
            async with await opened(path) as database:
                epoch = (await database.begin_epoch(NOW_NS, "0a" * 16)).epoch
                size = path.with_name("a.db-wal").stat().st_size
                resource.setrlimit(resource.RLIMIT_FSIZE, (size + more, resource.RLIM_INFINITY))
                while True:
                    await database.commit(batch(epoch, 2 * committed, 2 * committed + 1))
                    committed += 1
        except DatabaseError:
            return str(committed)

    committed = int(limited(main, 2**30))
    reached = whole(path, committed)

    async def again():
        async with await opened(path) as database:
            assert database.recovery is None
            epoch = await database.begin_epoch(NOW_NS)
            assert len(await rows_waiting(database, 0, 99)) == reached
            if reached:
                assert (epoch.previous_epoch, epoch.previous_sequence) == ("0a" * 16, reached - 1)
            await database.commit(batch(epoch.epoch, 0, 1))

    run(again())


@pytest.mark.parametrize("room", [0, 1, 100, 4_096, 10_000])
def test_a_start_without_room_says_so_and_harms_nothing(tmp_path, room):
    path = tmp_path / "a.db"

    async def committed():
        async with await opened(path) as database:
            epoch = (await database.begin_epoch(NOW_NS)).epoch
            await database.commit(batch(epoch, 0, 1))

    run(committed())
    before = dump(path)

    async def main():
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
        try:
            async with await opened(path) as database:
                await database.begin_epoch(NOW_NS)
        except DatabaseError as error:
            return str(error)
        return "started"

    said = limited(main, 2**30)
    assert said.startswith(str(path))
    assert ". " in said, "a remedy follows"
    after = dump(path)
    assert {name: after[name] for name in ("events", "state")} == {
        name: before[name] for name in ("events", "state")
    }
    run(committed())


@pytest.mark.parametrize("old", sorted(FOLDER.glob("schema-*.db")), ids=lambda old: old.stem)
@pytest.mark.parametrize(
    ("room", "copies", "reached"),
    [(0, 0, 0), (40_000, 20, 2), (60_000, 0, len(MIGRATIONS))],
    ids=["none", "not for all that waits", "not for what follows"],
)
def test_a_new_version_without_room_makes_each_change_whole_or_not_at_all(
    tmp_path, old, room, copies, reached
):
    path = tmp_path / "a.db"
    shutil.copyfile(old, path)
    with closing(sqlite3.connect(path, isolation_level=None)) as one:
        columns = "epoch, name, payload, committed_utc_ns, acknowledged"
        for nth in range(1, copies + 1):
            one.execute(
                f"INSERT INTO events (position, sequence, id, {columns}) SELECT"
                f" position + 1000 * {nth}, sequence + 1000 * {nth}, id || {nth}, {columns}"
                " FROM events WHERE position < 1000"
            )
    before = dump(path)

    def start():
        return open_database(path, store=SOURCE.store, gateway=SOURCE.gateway)

    async def main():
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
        try:
            async with await start():
                return "started"
        except DatabaseError as error:
            return str(error)

    said = limited(main, 2**30)
    assert said.startswith(f"{path}: ")
    assert ". " in said, "a remedy follows"
    after = dump(path)
    versions = len(before["schema_version"])
    assert len(after["schema_version"]) == max(versions, reached)
    assert after["state"] == before["state"]
    if reached <= versions:
        assert after == before, "which the version before made, and runs on"

    async def again():
        async with await start() as database:
            assert database.recovery is None

    run(again())
    ids = [sorted(row[3] for row in rows["events"]) for rows in (before, dump(path))]
    assert ids[0] == ids[1]


@pytest.fixture
def small_disk(tmp_path):
    """Mount a disk of one megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount(8)")
    if done.returncode:
        pytest.skip("mounting is not allowed here; the tests with limits hold the same")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_real_disk_that_is_full(small_disk):
    path = small_disk / "a.db"

    async def fill():
        committed = 0
        async with await opened(path) as database:
            epoch = (await database.begin_epoch(NOW_NS, "0a" * 16)).epoch
            (small_disk / "others").write_bytes(bytes(200_000))
            said = ""
            while not said:
                try:
                    await database.commit(batch(epoch, 2 * committed, 2 * committed + 1))
                    committed += 1
                except DatabaseError as error:
                    said = str(error)
            assert "Make room" in said
            (small_disk / "others").unlink()
            await database.commit(batch(epoch, 2 * committed, 2 * committed + 1))
            return committed + 1

    committed = run(fill())
    assert committed > 10
    assert whole(path, committed) == 2 * committed


def test_a_real_disk_that_turned_read_only(small_disk):
    path = small_disk / "a.db"

    async def main():
        async with await opened(path) as database:
            epoch = (await database.begin_epoch(NOW_NS, "0a" * 16)).epoch
            await database.commit(batch(epoch, 0, 1))

    run(main())
    before = take(path)
    remount = ["mount", "-o", "remount,ro", str(small_disk)]
    subprocess.run(remount, check=True)
    with pytest.raises(DatabaseError, match=rf"{path}: Read-only file system\. "):
        run(main())
    assert take(path) == before


def test_a_place_without_permission_says_so():
    """As a user who may read but not write."""
    folder = Path(tempfile.mkdtemp())
    try:
        path = folder / "a.db"

        async def main():
            async with await opened(path) as database:
                epoch = (await database.begin_epoch(NOW_NS)).epoch
                await database.commit(batch(epoch, 0, 1))

        run(main())
        before = take(path)
        for file in folder.iterdir():
            file.chmod(0o444)
        folder.chmod(0o555)

        async def as_nobody():
            if os.geteuid() == 0:
                os.setresuid(NOBODY, NOBODY, NOBODY)
            try:
                await main()
            except DatabaseError as error:
                return str(error)
            return "started"

        said = limited(as_nobody, 2**30)
        assert said.startswith(f"{path}: Permission denied. ")
        assert take(path) == before
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


def test_damage_that_shows_while_running_ends_it_and_the_next_start_mends(tmp_path):
    path = tmp_path / "a.db"

    async def main():
        async with await opened(path) as database:
            epoch = (await database.begin_epoch(NOW_NS)).epoch
            await database.commit(batch(epoch, *range(200)))
        async with await opened(path) as database:
            size = path.stat().st_size
            with path.open("r+b") as file:
                file.seek(size // 3)
                file.write(b"\xa5" * (size // 3))
            with pytest.raises(DatabaseError, match=r"malformed\. The next start sets it aside"):
                await rows_waiting(database, 0, 1_000)
        async with await opened(path) as database:
            assert database.recovery.reason == "corrupt"
            assert 0 < database.recovery.events_kept < 200
            assert not database.recovery.complete

    run(main())


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "Make room"),
        (errno.EROFS, "writable"),
        (errno.EIO, "dmesg"),
        (errno.EACCES, "permissions"),
    ],
)
def test_what_the_file_system_refuses_comes_with_a_remedy(number, words):
    with pytest.raises(DatabaseError, match=rf"^a\.db: .*\. .*{words}"), explaining("a.db"):
        raise OSError(number, os.strerror(number))


def test_a_read_only_connection_and_bugs(tmp_path):
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        connection.execute("CREATE TABLE t (x UNIQUE)")
    with closing(sqlite3.connect(f"file:{tmp_path}/a.db?mode=ro", uri=True)) as connection:
        with (
            pytest.raises(DatabaseError, match=r"readonly database\. Make the file"),
            explaining("a.db"),
        ):
            connection.execute("INSERT INTO t VALUES (1)")
        with pytest.raises(sqlite3.ProgrammingError), explaining("a.db"):
            connection.execute("SELECT ?", ())
    lay(Images(b"x" * 5_000), tmp_path / "b.db")
    with (
        closing(sqlite3.connect(tmp_path / "b.db")) as connection,
        pytest.raises(DatabaseError, match="not a database"),
        explaining("b.db"),
    ):
        connection.execute("SELECT * FROM sqlite_schema")
