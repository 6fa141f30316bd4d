# SPDX-License-Identifier: Apache-2.0
"""``shelfgate why`` from a gateway's database, with a journal beside it and without."""

import hashlib
import json
import sqlite3
from contextlib import closing

import msgspec
import pytest

from gateway.database import Batch, open_database
from tests.brokers import run
from tests.gateway.why.conftest import write_segment

SETTINGS = """\
gateway = "gw"
database = "gateway.db"
[broker]
embedded = true
port = 18883
[uplink]
host = "127.0.0.1"
port = 1883
"""
JOURNAL = '[journal]\ndirectory = "journal"\n'
S = 1_000_000_000


@pytest.fixture
def kept(day, tmp_path):
    """Return the settings of a daemon that has kept that day, and keeps its database open."""

    async def keep():
        opened = await open_database(tmp_path / "gateway.db", store="corner", gateway="gw")
        async with opened as database:
            await database.begin_epoch(S, "0" * 32)
            events = [made.event for made in day.scene.events]
            rows = list(day.scene.rows.values())
            await database.commit(Batch(events=events, rows=rows, online=True, utc_ns=2 * S))

    run(keep())
    settings = tmp_path / "settings.toml"
    settings.write_text(SETTINGS)
    return settings


def with_journal(settings, day, *, first=0):
    """Let the daemon have kept a journal, too."""
    settings.write_text(SETTINGS + JOURNAL)
    folder = settings.parent / "journal"
    folder.mkdir()
    write_segment(folder / "0000000000.jsonl.gz", day.scene.inputs[first:])
    return folder


def test_the_database_alone_tells_what_was_said_and_how_to_know_more(day, kept, why):
    status, words, err = why(day.event("item.picked").event.id[:10], "--settings", kept)
    assert (status, err) == (0, "")
    assert "item.picked, revision 0" in words
    assert "attribution.revised, revision 1 (later evidence)" in words
    assert "g1.s1.p2 felt -240" in words
    assert "weights and hands are not kept without a journal" in words
    assert "[journal]" in words


def test_a_review_and_its_receipts_are_in_the_database(day, kept, why):
    asked = day.event("review.requested").data
    change = asked["change"]
    status, out, _ = why(change, "--settings", kept, "--json")
    told = json.loads(out)
    assert status == 0
    status, words, _ = why(asked["review"][:8], "--settings", kept)
    assert (status, words.split()[0]) == (0, "review.requested")
    assert [one["name"] for one in told["tellings"]][-2:] == [
        "review.resolved",
        "attribution.revised",
    ]
    [receipt] = [one for one in told["receipts"] if one["lines"]]
    assert receipt["session"] == day.bert
    assert receipt["lines"][0]["changes"] == [change]
    assert "shopper" not in out


def test_a_journal_that_covers_it_tells_as_much_as_a_journal_alone(day, kept, why, story):
    with_journal(kept, day)
    for made in day.scene.events:
        status, out, err = why(made.event.id, "--settings", kept, "--json")
        assert (status, err) == (0, "")
        told, alone = json.loads(out), story(made.event.id)
        assert told["notes"] == []
        for key in ("evidence", "tellings", "receipts", "cause", "names"):
            assert told[key] == alone[key], (made.name, key)


def test_a_journal_that_has_lost_it_says_so(day, kept, why):
    folder = with_journal(kept, day)
    path = folder / "0000000000.jsonl.gz"
    path.unlink()
    status, words, _ = why(day.event("item.picked").event.id, "--settings", kept)
    assert status == 0
    words = " ".join(words.split())
    assert "no longer covers it. Raise megabytes or hours of [journal]" in words
    path.write_text("hello\n")
    status, words, _ = why(day.event("item.picked").event.id, "--settings", kept)
    words = " ".join(words.split())
    assert status == 0
    assert "cannot be replayed" in words


def test_a_journal_that_tells_it_otherwise_is_noted(day, kept, why):
    with_journal(kept, day)
    wanted = day.event("item.picked").event.id
    with closing(sqlite3.connect(kept.parent / "gateway.db")) as connection:
        [(payload,)] = connection.execute("SELECT payload FROM events WHERE id = ?", (wanted,))
        changed = payload.replace(b'"quantity":1', b'"quantity":2')
        assert changed != payload
        connection.execute("UPDATE events SET payload = ? WHERE id = ?", (changed, wanted))
        connection.commit()
    status, words, _ = why(wanted, "--settings", kept)
    assert status == 0
    assert "tells it otherwise than it was told" in " ".join(words.split())


def test_the_database_is_only_read_and_may_be_in_use(day, kept, why):
    path = kept.parent / "gateway.db"
    before = hashlib.sha256(path.read_bytes()).digest()
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        status, _, err = why(day.event("item.picked").event.id, "--settings", kept)
        writer.execute("ROLLBACK")
    assert (status, err) == (0, "")
    assert hashlib.sha256(path.read_bytes()).digest() == before


def test_what_is_not_in_the_database_is_said(kept, why):
    status, _, err = why("0123456789", "--settings", kept)
    assert status == 1
    assert "gateway.db has no such event, change or review" in err
    (kept.parent / "gateway.db").unlink()
    status, _, err = why("0123456789", "--settings", kept)
    assert status == 1
    assert "no such database" in err


def test_a_file_of_another_program_is_refused(kept, why):
    path = kept.parent / "gateway.db"
    path.unlink()
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE t (x)")
        other.commit()
    status, _, err = why("0123456789", "--settings", kept)
    assert status == 1
    assert "a database of another program" in err
    path.write_bytes(b"no database at all" * 100)
    status, _, err = why("0123456789", "--settings", kept)
    assert status == 1
    assert "gateway.db" in err


def test_names_come_from_receipts_and_from_the_durable_state(day, kept, why):
    _, out, _ = why(day.event("item.picked").event.id, "--settings", kept, "--json")
    names = msgspec.json.decode(out)["names"]
    assert set(names.values()) <= {"019", "026", "033", "040"}
