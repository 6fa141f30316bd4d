# SPDX-License-Identifier: Apache-2.0
"""A mended database that was never put in its place, and of no use; copies made while mending."""

import os
import sqlite3
from contextlib import closing

import msgspec
import pytest

from gateway import mending
from gateway.database import DatabaseError
from gateway.domain.inputs import Recovery
from gateway.losses import RECOVERY
from gateway.side_files import write_side
from tests.databases import SOURCE, make
from tests.faults.database_parts import PAGE, aside, held, root, spoilt, start
from tests.faults.power import Images, lay, take


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """Return a database with open carts, of the current schema, and what it holds."""
    path = tmp_path_factory.mktemp("story") / "a.db"
    make(path)
    return take(path), held(path)


def empty(_images):
    return b""


def rubbish(_images):
    return b"\xa5" * 20_000


def damaged_within(images):
    return spoilt(images, root(images, "events")).db


def theirs(_images):
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE theirs (x)")
        return connection.serialize()


def without_a_name(images):
    return images.db


def mended_for(gateway, aside_name):
    def made(images):
        with closing(sqlite3.connect(":memory:")) as connection:
            connection.deserialize(images.db[:18] + b"\x01\x01" + images.db[20:])
            value = msgspec.json.encode(Recovery(reason="corrupt", set_aside=aside_name)).decode()
            connection.execute("INSERT INTO meta VALUES (?, ?)", (RECOVERY, value))
            connection.execute("UPDATE meta SET value = ? WHERE key = 'gateway'", (gateway,))
            connection.commit()
            return connection.serialize()

    return made


USELESS = {
    "empty": empty,
    "rubbish": rubbish,
    "damaged": damaged_within,
    "theirs": theirs,
    "nameless": without_a_name,
    "another": mended_for("gw-2", "a.db.corrupt-1"),
    "elsewhere": mended_for(SOURCE.gateway, "../a.db.corrupt-1"),
    "late": mended_for(SOURCE.gateway, "a.db.corrupt-1"),
}


@pytest.mark.parametrize("kind", USELESS)
def test_a_useless_mended_one_beside_a_whole_database_is_removed(story, tmp_path, kind):
    images, was = story
    path = tmp_path / "a.db"
    lay(images, path)
    (tmp_path / "a.db.mending").write_bytes(USELESS[kind](images))
    assert start(path)[0] is None
    assert not aside(path)
    assert not list(tmp_path.glob("*.mending*"))
    assert [row for row in held(path)["events"] if row in was["events"]] == was["events"]


@pytest.mark.parametrize("kind", [name for name in USELESS if name != "late"])
def test_a_useless_mended_one_beside_a_damaged_database_is_made_anew(story, tmp_path, kind):
    images, was = story
    path = tmp_path / "a.db"
    damaged = spoilt(images, root(images, "events_waiting"))
    lay(damaged, path)
    (tmp_path / "a.db.mending").write_bytes(USELESS[kind](images))
    found, _, _ = start(path)
    assert (found.reason, found.complete) == ("corrupt", True)
    assert found.events_kept == len(was["events"])
    assert [take(one) for one in aside(path)] == [damaged]
    assert not list(tmp_path.glob("*.mending*"))


@pytest.mark.parametrize("kind", ["empty", "rubbish", "damaged", "nameless"])
def test_a_useless_mended_one_alone_is_refused_with_what_to_do(story, tmp_path, kind):
    """Killed between the renames, and the card spoilt what it had flushed."""
    images, was = story
    path, mended = tmp_path / "a.db", tmp_path / "a.db.mending"
    lay(Images(b"x"), tmp_path / "a.db.corrupt-20200101T000000Z")
    newest = tmp_path / "a.db.corrupt-20260101T000000Z"
    lay(spoilt(images, root(images, "events_waiting")), newest)
    os.utime(tmp_path / "a.db.corrupt-20200101T000000Z", (1, 1))
    mended.write_bytes(USELESS[kind](images))
    before = mended.read_bytes()
    for _ in range(2):
        with pytest.raises(DatabaseError) as refused:
            start(path)
        assert str(refused.value).startswith(f"{mended}: cannot be read, and {path} is not there.")
        assert f"rename {newest} to {path} " in str(refused.value)
        assert mended.read_bytes() == before
    mended.unlink()
    newest.rename(path)
    assert start(path)[0].events_kept == len(was["events"])


def test_a_useless_mended_one_with_nothing_beside_it_asks_for_a_backup(tmp_path):
    (tmp_path / "a.db.mending").write_bytes(b"")
    with pytest.raises(DatabaseError, match=r"a\.db\.mending: .*put a backup in the place"):
        start(tmp_path / "a.db")


def test_copies_made_while_mending_are_the_owners_alone_and_go_when_it_refuses(story, tmp_path):
    """They hold pseudonyms, as the database does."""
    images, _ = story
    path = tmp_path / "a.db"
    seen = {}

    def refused(*_):
        seen.update((one.name, one.stat().st_mode & 0o777) for one in tmp_path.glob("*.mending*"))
        raise DatabaseError("refused")

    lay(Images(bytes(PAGE) + images.db[PAGE:], rubbish(images)), path)
    write_side(path, SOURCE, "00000002" * 4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mending, "_refuse_others", refused)
        with pytest.raises(DatabaseError, match="refused"):
            start(path)
    assert {"a.db.mending-new", "a.db.mending-old", "a.db.mending-old-wal"} <= seen.keys()
    assert set(seen.values()) == {0o600}
    assert not list(tmp_path.glob("*.mending*"))
