# SPDX-License-Identifier: Apache-2.0
"""Another database than the daemon left behind: restored, copied, gone."""

import resource
import shutil
import sqlite3
import stat
from contextlib import closing

import pytest

from gateway import database, recovery, recovery_log
from gateway.backup import back_up
from gateway.database import Batch, DatabaseError, open_database
from gateway.domain.inputs import Recovery
from gateway.outbox import run_sync
from gateway.side_files import doubted, read_side
from tests.brokers import run
from tests.databases import FOLDER, SOURCE, make
from tests.faults.children import limited
from tests.faults.power import take
from tests.made import lost, started

NOW_NS = 1_795_277_998_412_345_678
PARTS = ("", "-wal", "-shm")


@pytest.fixture
def here(tmp_path):
    """Return a folder with a machine's id."""
    (tmp_path / "machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    return tmp_path


class StoppedError(Exception):
    pass


def life(folder, events=1, *, name="a.db", stop_at=None):
    """Start a daemon's database, commit, end; return the recovery it told, and the epoch."""

    async def main():
        async with await open_database(
            folder / name, store="store", gateway="gw", machine_id=folder / "machine-id"
        ) as database:
            if stop_at == "opened":
                raise StoppedError
            epoch = await database.begin_epoch(NOW_NS)
            if stop_at == "begun":
                raise StoppedError
            for number in range(events):
                event = lost(epoch.epoch, number) if number else started(epoch, number)
                await database.commit(Batch(events=[event], online=True, utc_ns=NOW_NS))
            return database.recovery, epoch

    try:
        return run(main())
    except StoppedError:
        return None


def said(caplog):
    """Return level and words of what was logged about databases."""
    return [(one.levelname, one.getMessage()) for one in caplog.records if "a.db" in one.message]


def remove(path):
    for part in PARTS:
        path.with_name(path.name + part).unlink(missing_ok=True)


def test_starts_on_what_was_left_behind_are_no_recovery(here):
    for _ in range(3):
        assert life(here)[0] is None
    assert life(here, events=0)[0] is None
    assert life(here)[0] is None


@pytest.mark.parametrize("newer", [1, 2, 3])
def test_a_copy_from_before_the_last_start_is_restored(here, newer):
    life(here)
    shutil.copyfile(here / "a.db", here / "old.db")
    for _ in range(newer):
        life(here)
    remove(here / "a.db")
    shutil.copyfile(here / "old.db", here / "a.db")
    recovered, _ = life(here)
    assert (recovered.reason, recovered.complete) == ("restored", False)
    assert life(here)[0] is None


def test_a_backup_is_restored_even_within_the_same_epoch(here, caplog):
    async def main():
        async with await open_database(
            here / "a.db", store="store", gateway="gw", machine_id=here / "machine-id"
        ) as database:
            epoch = await database.begin_epoch(NOW_NS)
            await database.commit(Batch(events=[lost(epoch.epoch, 1)], online=True, utc_ns=1))
            done = back_up(here / "a.db", here / "copy.db")
            await database.commit(Batch(events=[lost(epoch.epoch, 2)], online=True, utc_ns=1))
            return epoch.epoch, done

    epoch, done = run(main())
    assert (done.epoch, done.sequence) == (epoch, 0)
    assert read_side(here / "a.db").epoch == epoch
    remove(here / "a.db")
    shutil.copyfile(here / "copy.db", here / "a.db")
    caplog.clear()
    recovered, begun = life(here)
    assert (recovered.reason, recovered.complete) == ("restored", False)
    assert (begun.previous_epoch, begun.previous_sequence) == (epoch, 0)
    [(level, words)] = said(caplog)
    assert level == "WARNING"
    assert words.startswith(
        f"{here}/a.db: is an older copy: its last event is 0 of epoch {epoch}; visits that end "
    )
    assert "Send planogram, prices and erasures of shoppers again" in words
    caplog.clear()
    assert life(here)[0] is None
    assert said(caplog) == []


@pytest.mark.parametrize("lacks", [0, 1, 2])
def test_a_copy_of_the_same_epoch_is_restored_when_the_daemon_was_stopped_well(here, lacks):
    """Somebody copied it while it ran, with other means, and puts that back."""

    async def main():
        async with await open_database(
            here / "a.db", store="store", gateway="gw", machine_id=here / "machine-id"
        ) as database:
            epoch = (await database.begin_epoch(NOW_NS)).epoch
            await database.commit(Batch(events=[lost(epoch, 1)], online=True, utc_ns=1))
            with (
                closing(sqlite3.connect(here / "a.db")) as source,
                closing(sqlite3.connect(here / "copy.db")) as copy,
            ):
                source.backup(copy)
            for number in range(lacks):
                event = lost(epoch, 2 + number)
                await database.commit(Batch(events=[event], online=True, utc_ns=1))

    run(main())
    remove(here / "a.db")
    shutil.copyfile(here / "copy.db", here / "a.db")
    recovered, _ = life(here)
    assert (recovered is not None) == (lacks > 0)
    assert life(here)[0] is None


def test_a_database_that_is_gone_is_told(here, caplog):
    life(here)
    remove(here / "a.db")
    assert said(caplog) == []
    recovered, begun = life(here)
    assert (recovered.reason, recovered.complete) == ("restored", False)
    assert begun.previous_epoch is None
    [(level, words)] = said(caplog)
    assert level == "ERROR"
    assert words.startswith(f"{here}/a.db: was not there, and a new one is begun. ")
    assert "restore a backup" in words


def test_a_copy_on_another_machine_is_told_once(here, caplog):
    epoch = life(here, events=3)[1].epoch
    (here / "machine-id").write_text("f" * 32 + "\n")
    recovered, _ = life(here)
    assert (recovered.reason, recovered.complete) == ("copied", True)
    assert life(here)[0] is None
    [(level, words)] = said(caplog)
    assert level == "WARNING"
    assert f"comes from another machine: its last event is 2 of epoch {epoch};" in words
    assert "see that the other machine does not run" in words


def test_after_a_recovery_no_end_is_known_of_what_was_before(here):
    """Acknowledgements of more than is here were told already, and may come for ever."""

    async def ends():
        async with await open_database(
            here / "a.db", store="store", gateway="gw", machine_id=here / "machine-id"
        ) as database:
            await database.begin_epoch(NOW_NS)
            return dict(database.ends)

    first = life(here)[1].epoch
    assert run(ends()) == {first: 0}
    back_up(here / "a.db", here / "copy.db")
    remove(here / "a.db")
    shutil.copyfile(here / "copy.db", here / "a.db")
    second = life(here, events=2)[1].epoch
    assert run(ends()) == {second: 1}
    with closing(sqlite3.connect(here / "a.db")) as connection, connection:
        connection.execute("UPDATE meta SET value = '[' WHERE key = 'cut'")
    assert run(ends()) == {first: 0, second: 1}


def test_the_log_counts_the_visits_that_end(here, caplog):
    make(here / "a.db")
    with closing(sqlite3.connect(here / "a.db", isolation_level=None)) as connection:
        [(visits,)] = connection.execute("SELECT count(*) FROM state WHERE kind = 'session'")
        run_sync(connection, recovery_log.tell(here / "a.db", Recovery(reason="restored")))
    assert visits > 0
    assert f"visits that end without a receipt: {visits};" in caplog.text


def test_a_machine_without_an_id_is_not_another(here):
    life(here)
    (here / "machine-id").unlink()
    assert life(here)[0] is None
    (here / "machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    assert life(here)[0] is None


def test_the_machines_id_itself_is_not_kept(here):
    life(here)
    with closing(sqlite3.connect(here / "a.db")) as connection:
        meta = dict(connection.execute("SELECT key, value FROM meta"))
    assert len(meta["machine"]) == 32
    assert meta["machine"] not in (here / "machine-id").read_text()
    assert recovery.machine(here / "machine-id") == meta["machine"]


def test_an_upgrade_is_no_recovery(tmp_path):
    shutil.copyfile(FOLDER / "schema-1.db", tmp_path / "a.db")

    async def main():
        async with await open_database(
            tmp_path / "a.db", store=SOURCE.store, gateway=SOURCE.gateway
        ) as database:
            await database.begin_epoch(NOW_NS)
            return database.recovery

    assert run(main()) is None
    assert run(main()) is None


@pytest.mark.parametrize("made", [0, 1])
@pytest.mark.parametrize("kills", [1, 2, 3])
def test_a_kill_between_the_epoch_and_the_note_of_it_is_no_recovery(here, made, kills):
    life(here)
    life(here, events=made)

    def killed(*_):
        raise StoppedError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "write_side", killed)
        for _ in range(kills):
            assert life(here) is None
    assert life(here)[0] is None


@pytest.mark.parametrize("stop_at", ["opened", "begun"])
def test_a_recovery_is_told_until_the_start_that_tells_it_is_committed(here, stop_at):
    life(here)
    (here / "machine-id").write_text("f" * 32 + "\n")
    for _ in range(2):
        life(here, stop_at=stop_at)
    assert life(here)[0].reason == "copied"
    assert life(here)[0] is None


def test_a_note_that_cannot_be_read_is_written_anew(here, caplog):
    life(here)
    (here / "a.db.epoch").write_bytes(b"{")
    _, epoch = life(here)
    assert "a.db.epoch" in caplog.text
    assert read_side(here / "a.db").epoch == epoch.epoch


def test_systemd_is_asked_for_time_by_what_there_is_to_mend(here):
    assert recovery.longest_start_s(here / "a.db") == recovery.START_S
    with (here / "a.db").open("wb") as file:
        file.truncate(100_000_000)
    assert recovery.longest_start_s(here / "a.db") == recovery.START_S + 50.0


# Backups.


def test_a_backup_is_whole_for_its_owner_alone_and_overwrites_nothing(here):
    life(here, events=5)
    done = back_up(here / "a.db", here / "copy.db")
    assert done.size == (here / "copy.db").stat().st_size
    assert done.sequence == 4
    assert stat.S_IMODE((here / "copy.db").stat().st_mode) == 0o600
    assert {path.name for path in here.iterdir()} >= {"copy.db"}
    assert not [path for path in here.iterdir() if path.name.startswith("copy.db.")]
    before = take(here / "copy.db")
    with pytest.raises(DatabaseError, match=r"copy\.db: is there already"):
        back_up(here / "a.db", here / "copy.db")
    assert take(here / "copy.db") == before


def test_a_backup_of_nothing_or_to_nowhere_is_refused_and_leaves_nothing(here):
    with pytest.raises(DatabaseError, match="no such database"):
        back_up(here / "a.db", here / "copy.db")
    with closing(sqlite3.connect(here / "theirs.db")) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    with pytest.raises(DatabaseError, match="of another program"):
        back_up(here / "theirs.db", here / "copy.db")
    life(here)
    with pytest.raises(DatabaseError, match=r"no/copy\.db: its folder does not exist\. Create it$"):
        back_up(here / "a.db", here / "no" / "copy.db")
    assert not [path for path in here.iterdir() if path.name.startswith("copy")]


@pytest.mark.parametrize("at", [0.0, 0.25, 0.5, 0.75])
def test_a_backup_of_a_damaged_database_names_that_and_what_mends_it(here, at):
    life(here, events=200)
    size = (here / "a.db").stat().st_size
    with (here / "a.db").open("r+b") as file:
        file.seek(int(size * at) + 100)
        file.write(bytes(size // 4))
    with pytest.raises(DatabaseError) as refused:
        back_up(here / "a.db", here / "copy.db")
    words = str(refused.value)
    assert words.startswith(f"{here}/a.db: ")
    assert "copy.db" not in words
    assert words.endswith("no backup was made. " + MENDS)
    assert not [path for path in here.iterdir() if path.name.startswith("copy")]


MENDS = "Restart the daemon, which mends it as it starts: systemctl restart shelfgate"


def test_a_backup_is_none_where_a_single_letter_has_changed(here):
    life(here, events=5)
    whole = (here / "a.db").read_bytes()
    changed = whole.replace(b'"device":"shelf/1"', b'"device":"shelf/9"', 1)
    assert changed != whole
    (here / "a.db").write_bytes(changed)
    with pytest.raises(DatabaseError, match=r"a\.db: holds an event \d of epoch .* changed") as no:
        back_up(here / "a.db", here / "copy.db")
    assert str(no.value).endswith("no backup was made. " + MENDS)
    assert not [path for path in here.iterdir() if path.name.startswith("copy")]
    assert doubted(here / "a.db"), "a start reads all of a large one then"


def test_a_backup_into_a_folder_says_to_name_a_file_in_it(here):
    life(here)
    with pytest.raises(DatabaseError, match=r"is a folder\. Name a file in it, such as .*/a\.db$"):
        back_up(here / "a.db", here)


def test_a_backup_without_room_says_that_there_is_none(here):
    life(here, events=200)

    async def main():
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, resource.RLIM_INFINITY))
        try:
            back_up(here / "a.db", here / "copy.db")
        except DatabaseError as error:
            return str(error)
        return "made"

    said_here = limited(main, 2**30)
    assert said_here.startswith(f"{here}/copy.db: ")
    assert said_here.endswith(". No backup was made")
    assert ".part" not in said_here
    assert not [path for path in here.iterdir() if path.name.startswith("copy")]
