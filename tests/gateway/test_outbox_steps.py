# SPDX-License-Identifier: Apache-2.0
"""What is done again and again goes through no more of the outbox than it changes."""

import sqlite3
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import outbox
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


def test_trimming_does_not_go_through_a_backlog(connection):
    count, steps = steps_of(connection, outbox.trim(2, 0))
    assert count == 0
    assert steps < 4 * outbox.FEW_WAIT + FEW
    run_sync(connection, outbox.acknowledge([Acknowledged(EPOCH, 100)]))
    assert run_sync(connection, outbox.trim(2, 0)) == 101, "history before it is found"


def test_history_behind_a_few_that_wait_is_trimmed(connection):
    run_sync(connection, outbox.acknowledge([Acknowledged(EPOCH, ROWS)]))
    connection.execute("UPDATE events SET acknowledged = 0 WHERE position = 1")
    assert run_sync(connection, outbox.trim(2, 0)) == outbox.TRIM_BITE


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
