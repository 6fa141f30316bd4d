# SPDX-License-Identifier: Apache-2.0
"""What is done again and again goes through no more of the outbox than it changes."""

import sqlite3
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import outbox, trimming
from gateway.envelope import Source
from gateway.outbox import Acknowledged, Batch, run_sync
from tests.made import lost

EPOCH = "0a" * 16
ROWS = 20_000
FEW = 5_000
"""Steps of SQLite's machine; a walk through all rows takes more of them than there are rows."""


@pytest.fixture
def connection():
    """Return a database in which many events wait."""
    made = sqlite3.connect(":memory:", isolation_level=None)
    for migration in outbox.MIGRATIONS:
        run_sync(made, migration())
    run_sync(made, outbox.begin_epoch(EPOCH, 1))
    events = [lost(EPOCH, number) for number in range(ROWS)]
    run_sync(
        made, outbox.commit(Source("s", "g"), EPOCH, Batch(events=events, online=True, utc_ns=1))
    )
    yield made
    made.close()


def steps_of(connection, program):
    """Drive a program; return its result, and how many steps SQLite took, in hundreds."""
    hundreds = []
    connection.set_progress_handler(lambda: hundreds.append(1), 100)
    result = run_sync(connection, program)
    connection.set_progress_handler(None, 0)
    return result, 100 * len(hundreds)


def test_an_acknowledgement_does_not_go_through_the_history(connection):
    run_sync(connection, outbox.acknowledge([Acknowledged(EPOCH, ROWS - 100)]))
    news = Acknowledged(EPOCH, ROWS - 90, after=ROWS - 100)
    count, steps = steps_of(connection, outbox.acknowledge([news]))
    assert count == 10
    assert steps < FEW


def test_trimming_goes_over_no_more_of_a_backlog_than_a_look(connection, monkeypatch):
    monkeypatch.setattr(trimming, "LOOK", 1_000)
    look, steps = steps_of(connection, trimming.trim(2, 0))
    assert (look.gone, look.through) == (0, False)
    assert steps < 5 * trimming.LOOK + FEW
    run_sync(connection, outbox.acknowledge([Acknowledged(EPOCH, 100)]))
    assert run_sync(connection, trimming.trim(2, 0)).gone == 101, "history before it is found"


def trimmed(connection, *arguments):
    """Trim until there is no more to do; return how many rows went, in how many looks."""
    gone, looks, look = 0, 0, trimming.Look(0)
    while not looks or not look.through:
        look = run_sync(connection, trimming.trim(*arguments, after=look.after))
        gone, looks = gone + look.gone, looks + 1
    return gone, looks


@pytest.mark.parametrize("look", [1, 7, 1_000, 100_000])
def test_history_is_found_wherever_it_stands_in_a_backlog(connection, monkeypatch, look):
    """As where the broker's word is enough: what is live is history before the backlog is."""
    monkeypatch.setattr(trimming, "LOOK", look)
    connection.execute("DELETE FROM events WHERE position > 1000")
    connection.execute("DELETE FROM events WHERE position % 5 = 0 AND position < 900")
    connection.execute(
        "UPDATE events SET acknowledged = 1"
        " WHERE position < 10 OR position % 3 = 0 OR position > 500"
    )
    waits = connection.execute(
        "SELECT position FROM events WHERE acknowledged = 0 ORDER BY position"
    ).fetchall()
    [(history,)] = connection.execute("SELECT count(*) FROM events WHERE acknowledged = 1")
    assert len(waits) > 200
    gone, _ = trimmed(connection, 2, 0)
    assert gone == history - 1, "the newest of an epoch stays"
    left = connection.execute("SELECT position FROM events ORDER BY position").fetchall()
    assert left == [*waits, (1_000,)]


def test_the_oldest_goes_first_and_nothing_is_looked_for_behind_what_may_stay(
    connection, monkeypatch
):
    monkeypatch.setattr(trimming, "BITE", 10)
    monkeypatch.setattr(trimming, "LOOK", 1_000)
    run_sync(connection, outbox.acknowledge([Acknowledged(EPOCH, 29)]))
    connection.execute("UPDATE events SET acknowledged = 1 WHERE position > 15000")
    look = run_sync(connection, trimming.trim(0, ROWS - 10))
    assert (look.gone, look.after, look.through) == (10, 0, False)
    look = run_sync(connection, trimming.trim(0, ROWS - 10))
    assert (look.gone, look.through, look.kept) == (0, True, True)
    gone, looks = trimmed(connection, 0, 0)
    assert gone == 20 + 4_999
    assert looks > 500


def test_a_start_does_not_go_through_the_history(connection):
    run_sync(connection, outbox.acknowledge([Acknowledged(EPOCH, ROWS - 10)]))
    tails, steps = steps_of(connection, outbox.tails())
    assert tails == {EPOCH: ROWS - 1}
    assert steps < FEW


EPOCHS = [f"{number:032x}" for number in range(4)]


@given(
    pending=st.lists(st.lists(st.booleans(), max_size=6), min_size=1, max_size=4),
    notices=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30), st.booleans()), max_size=4),
)
def test_the_ends_of_what_waits_are_found_wherever_notices_stand(pending, notices):
    """Rows of an epoch stand together, notices about what was given up where that was."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as made:
        for migration in outbox.MIGRATIONS:
            run_sync(made, migration())
        position = 0
        for epoch, waits in zip(EPOCHS, pending, strict=False):
            made.execute("INSERT INTO epochs (epoch, started_utc_ns) VALUES (?, 1)", (epoch,))
            for sequence, one in enumerate(waits):
                position += 1
                insert(made, 2 * position, epoch, sequence, "device.lost", waits=one)
        for sequence, (nth, place, waits) in enumerate(notices, 100):
            epoch = EPOCHS[nth % len(pending)]
            if (place,) not in made.execute("SELECT position FROM events").fetchall():
                insert(made, place, epoch, sequence, outbox.DROPPED, waits=waits)
        expected = made.execute(
            "SELECT epoch, (SELECT max(sequence) FROM events WHERE events.epoch = epochs.epoch)"
            " FROM epochs WHERE EXISTS (SELECT 1 FROM events"
            " WHERE events.epoch = epochs.epoch AND acknowledged = 0)"
        )
        assert run_sync(made, outbox.tails()) == dict(expected.fetchall())


def insert(made, position, epoch, sequence, name, *, waits):
    made.execute(
        "INSERT INTO events (position, epoch, sequence, id, name, payload, committed_utc_ns,"
        " acknowledged) VALUES (?, ?, ?, ?, ?, x'', 1, ?)",
        (position, epoch, sequence, f"{epoch}/{sequence}", name, not waits),
    )
