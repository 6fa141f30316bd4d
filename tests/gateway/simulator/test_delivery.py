# SPDX-License-Identifier: Apache-2.0
"""What the integrator stored beside what the gateway committed: every difference has its name."""

from contextlib import closing

import pytest

from gateway.database import Batch, open_database
from gateway.simulator.delivery import FAULTS, compare
from gateway.simulator.integrator import Ledger
from gateway.simulator.screen import Screen
from tests.brokers import run
from tests.made import lost, session, started

NOW_NS = 1_795_277_998_412_345_678


@pytest.fixture
def sent(tmp_path):
    """Commit four events; return them as they are sent."""

    async def main():
        database = await open_database(tmp_path / "gateway.db", store="store", gateway="gw")
        async with database:
            epoch = await database.begin_epoch(NOW_NS)
            events = [started(epoch, 1), session(epoch.epoch, 2, "anna")]
            events += [lost(epoch.epoch, number) for number in (3, 4)]
            batch = Batch(events=events, rows=(), online=True, utc_ns=NOW_NS)
            return [row.payload for row in (await database.commit(batch)).rows]

    return run(main())


@pytest.fixture
def compared(tmp_path):
    def compared(payloads, change=None):
        with closing(Ledger(tmp_path / "integrator.db")) as ledger:
            ledger.store(payloads)
            if change is not None:
                ledger._connection.executescript(change)
        return compare(tmp_path / "gateway.db", tmp_path / "integrator.db")

    return compared


def faults(delivery):
    return {name: count for name, count in delivery.faults.items() if count}


def test_a_repeat_that_is_dropped_is_counted_and_harmless(sent, compared):
    delivery = compared([*sent, sent[1], sent[3], sent[3]])
    assert delivery.good
    assert (delivery.received, delivery.repeated) == (7, 3)
    assert (delivery.stored, delivery.committed) == (4, 4)


@pytest.mark.parametrize("missing", range(4))
def test_a_lost_event_is_seen_wherever_it_was(sent, compared, missing):
    delivery = compared([one for at, one in enumerate(sent) if at != missing])
    assert faults(delivery) == {"lost": 1}
    assert not delivery.good


def test_another_payload_under_one_id_conflicts_whichever_came_first(sent, compared):
    other = sent[2].replace(b"unplugged", b"unplucked")
    assert other != sent[2]
    assert faults(compared([*sent, other])) == {"conflicting": 1}


def test_a_payload_that_is_not_the_committed_one_conflicts(sent, compared):
    sent[2] = sent[2].replace(b"unplugged", b"unplucked")
    assert faults(compared(sent)) == {"conflicting": 1}


def test_one_event_under_two_ids_conflicts_and_the_second_was_never_committed(sent, compared):
    twice = sent[2].replace(b'"id":"', b'"id":"f')
    assert faults(compared([*sent, twice])) == {"conflicting": 1, "unknown": 1}


def test_a_repeat_that_reached_the_books_is_seen(sent, compared):
    copy = "INSERT INTO events SELECT source, 'x', epoch, 9, name, payload FROM events LIMIT 1"
    assert compared(sent, copy).faults["booked twice"] == 1


def test_a_message_that_is_no_event_is_a_fault(sent, compared):
    assert faults(compared([*sent, b"{}"])) == {"malformed": 1}


def test_the_count_is_told_in_words_and_says_what_fails(sent, compared, capsys):
    Screen().counts(compared([*sent[:3], sent[0]]))
    told = capsys.readouterr().out
    assert told.startswith("events received 4, lost 1, repeated 1;")
    head, _, tail = told.partition("any of these fails the run:\n")
    assert "repeated         1  arrived again: dropped by source and id" in head
    assert [line.split("  ")[1] for line in tail.splitlines()] == list(FAULTS)
    assert "lost             1  committed, and not in the books" in tail
