# SPDX-License-Identifier: Apache-2.0
"""What is written to the card is counted, and noted by the day."""

import sqlite3

import msgspec

from gateway import outbox, wear
from gateway.domain.inputs import Stamp
from gateway.outbox import run_sync
from gateway.wear import NOTE_EVERY_NS, Wear

DAY_NS = 86_400_000_000_000
NOON_NS = 1_795_262_400_000_000_000  # 2026-11-21 12:00 UTC.


def at(mono_ns):
    return Stamp(mono_ns, NOON_NS + mono_ns, True, 1, "b")


def test_it_is_noted_every_ten_minutes_in_which_something_happened(tmp_path):
    io = tmp_path / "io"
    io.write_text("rchar: 5\nwrite_bytes: 1000\ncancelled_write_bytes: 7\n")
    one = Wear(io)
    assert not one.due(0)
    assert not one.due(NOTE_EVERY_NS), "nothing was committed"
    io.write_text("rchar: 5\nwrite_bytes: 5000\ncancelled_write_bytes: 7\n")
    one.events += 3
    assert one.due(NOTE_EVERY_NS)
    assert one.written_bytes() == 4_000
    assert one.take(at(NOTE_EVERY_NS)) == ("2026-11-21", 4_000, 3)
    assert not one.due(3 * NOTE_EVERY_NS)
    one.events += 1
    assert not one.due(2 * NOTE_EVERY_NS - 1)
    assert one.take(at(2 * NOTE_EVERY_NS)) == ("2026-11-21", 0, 1)


def test_a_kernel_that_does_not_count_is_no_trouble(tmp_path):
    one = Wear(tmp_path / "nothing")
    assert one.written_bytes() == 0


def test_the_last_days_are_kept():
    connection = sqlite3.connect(":memory:", isolation_level=None)
    for migrate in outbox.MIGRATIONS:
        run_sync(connection, migrate())
    for number in range(12):
        for _ in range(2):
            run_sync(connection, wear.note_written(f"day {number:02}", 10, 1))
    found = run_sync(connection, wear.days())
    assert [one.day for one in found] == [f"day {number:02}" for number in range(4, 12)]
    assert msgspec.to_builtins(found[-1]) == ["day 11", 20, 2]
    connection.execute("UPDATE meta SET value = 'x'")
    assert run_sync(connection, wear.days()) == []
    connection.close()
