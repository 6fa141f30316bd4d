# SPDX-License-Identifier: Apache-2.0
"""Backfills beside live events: behind them, paced, in their window, and durable."""

import sqlite3
from contextlib import closing

import pytest

from gateway import history, outbox, waiting
from gateway.backfills import HistoryRow
from gateway.domain.effects import Backfill
from gateway.envelope import Source
from gateway.outbox import Batch, run_sync
from gateway.uplink import SECOND_NS, Uplink, UplinkSettings
from gateway.waiting import Found
from tests.made import lost, session

NOW = "1" * 32


class Bench:
    """An uplink and an outbox whose first rows are history."""

    def __init__(self, count=40, **settings):
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        for migrate in outbox.MIGRATIONS:
            self.run(migrate())
        self.run(outbox.begin_epoch(NOW, 0))
        self.settings = UplinkSettings(**{"acknowledge": "broker", "window": 8} | settings)
        self.number = 0
        self.mid = 0
        self.now_ns = 0
        self.flying = {}
        self.begin()
        self.commit(count)
        self.run(outbox.acknowledge([outbox.Acknowledged(NOW, count - 1)]))

    def begin(self):
        self.uplink = Uplink(self.settings, lambda: 0.5)

    def run(self, program):
        return run_sync(self.connection, program)

    def commit(self, count=1):
        for _ in range(count):
            self.number += 1
            batch = Batch(events=[lost(NOW, self.number)], online=True, utc_ns=0)
            self.run(outbox.commit(Source("store", "gw"), NOW, batch))
        self.uplink.notify()

    def ask(self, first, last=None, *, command="b"):
        self.run(history.open_backfill(Backfill(command, NOW, first, last)))
        self.uplink.backfills.notify()

    def connect(self, **options):
        self.flying = {}
        self.uplink.connected(self.now_ns, **options)

    def turn(self):
        """Read and publish what may be now; return ``(sequences live, sequences again)``."""
        uplink = self.uplink
        uplink.tick(self.now_ns)
        while (fetch := uplink.fetch()) is not None:
            uplink.offer(fetch, self.run(waiting.read(fetch)))
        live, again = [], []
        while True:
            while (wanted := uplink.fetch_history()) is not None:
                uplink.backfills.offer(wanted, self.run(history.read(wanted)))
            row = uplink.take(self.now_ns)
            if row is None:
                return live, again
            self.mid += 1
            uplink.published(self.mid, row, self.now_ns)
            self.flying[self.mid] = row
            (again if isinstance(row, HistoryRow) else live).append(row.sequence)

    def puback(self, *mids, failure=False):
        for mid in mids or list(self.flying):
            del self.flying[mid]
            self.uplink.puback(mid, failure=failure, now_ns=self.now_ns)

    def record(self):
        progress = self.uplink.backfills.progress()
        landed = self.uplink.landed()
        _, done = self.run(history.record([], landed, progress))
        self.uplink.recorded(landed)
        self.uplink.backfills.recorded(progress, self.now_ns)
        return [one.command for one in done]

    def wait(self, seconds):
        self.now_ns += round(seconds * SECOND_NS)

    def all_again(self, limit_s=100.0):
        """Let time pass until nothing is due; return the sequences sent again, and how long."""
        began_ns, sent = self.now_ns, []
        while self.now_ns - began_ns < limit_s * SECOND_NS:
            _, again = self.turn()
            sent += again
            self.puback()
            due_ns = self.uplink.deadline_ns(self.now_ns)
            if due_ns is None and not again:
                return sent, (self.now_ns - began_ns) / SECOND_NS
            self.now_ns = max(self.now_ns, due_ns or 0)
        raise AssertionError(f"still {sent}")


@pytest.fixture
def bench():
    one = Bench()
    with closing(one.connection):
        yield one


def test_live_events_go_first_and_history_only_when_none_is_ready(bench):
    bench.connect(receive_maximum=2)
    bench.ask(0)
    bench.commit(5)
    sent = []
    for _ in range(12):
        sent.append(bench.turn())
        bench.puback()
        bench.record()
        bench.wait(0.1)
    assert sent[:4] == [([40, 41], []), ([42, 43], []), ([44], [0]), ([], [1])]
    bench.commit(2)
    assert bench.turn() == ([45, 46], [])


def test_history_is_sent_at_most_so_fast_and_all_of_it(bench):
    bench.connect()
    bench.ask(5, 34)
    sent, took_s = bench.all_again()
    assert sent == list(range(5, 35))
    burst, gap_s = 10, 1 / 50
    assert took_s == pytest.approx((30 - burst - 1) * gap_s, abs=2 * gap_s)
    assert bench.uplink.counters.backfilled == 30


def test_history_takes_at_most_half_of_the_window(bench):
    bench.connect()
    bench.ask(0)
    assert bench.turn() == ([], [0, 1, 2, 3])
    bench.wait(10)
    assert bench.turn() == ([], [])
    assert bench.uplink.deadline_ns(bench.now_ns) == 30 * SECOND_NS, "a PUBACK has to come first"
    bench.commit(9)
    assert bench.turn() == ([40, 41, 42, 43], []), "the rest of the window is for what is live"


def test_a_history_event_without_puback_means_offline_too(bench):
    bench.connect()
    bench.ask(0, 0)
    bench.turn()
    bench.wait(2)
    assert not bench.uplink.online(bench.now_ns)
    bench.wait(28)
    assert bench.uplink.stalled(bench.now_ns)


def test_a_refused_history_event_is_tried_again_and_holds_up_nothing_live(bench):
    bench.connect()
    bench.ask(0, 5)
    assert bench.turn() == ([], [0, 1, 2, 3])
    bench.puback(2, failure=True)
    assert bench.uplink.refusing
    bench.puback(1, 3, 4)
    assert bench.turn() == ([], []), "it waits before it tries again"
    bench.commit(1)
    assert bench.turn() == ([40], [])
    bench.puback()
    bench.record()
    assert bench.uplink.backfills.progress() == [], "the mark stays before it"
    sent, _ = bench.all_again()
    assert sent == [1, 4, 5]
    assert not bench.uplink.refusing
    assert bench.record() == ["b"]


def test_a_refused_event_that_leaves_the_history_is_no_trouble_any_more(bench):
    bench.connect()
    bench.ask(0, 0)
    assert bench.turn() == ([], [0])
    bench.puback(1, failure=True)
    assert bench.uplink.refusing
    bench.uplink.disconnected()
    bench.connection.execute("DELETE FROM events WHERE sequence = 0")
    bench.connect()
    assert bench.turn() == ([], [])
    assert not bench.uplink.refusing


def test_it_goes_on_where_it_was_after_a_reconnect(bench):
    bench.connect()
    bench.ask(0, 11)
    bench.turn()
    bench.puback(1, 2, 4)
    bench.uplink.disconnected()
    bench.wait(5)
    bench.connect()
    assert bench.turn() == ([], [2, 3, 4, 5])
    bench.puback()
    sent, _ = bench.all_again()
    assert sent == [6, 7, 8, 9, 10, 11]
    assert bench.record() == ["b"]


def test_it_goes_on_where_it_was_recorded_after_a_kill(bench):
    bench.connect()
    bench.ask(0, 11)
    bench.ask(20, 21, command="b-2")
    bench.turn()
    bench.puback()
    bench.record()
    bench.wait(1)
    bench.turn()
    bench.puback()  # Not recorded: repeats of a few are the price of few writes.
    bench.begin()
    bench.wait(1)
    bench.connect()
    sent, _ = bench.all_again()
    assert sent == [*range(4, 12), 20, 21]
    assert bench.record() == ["b", "b-2"]
    bench.begin()
    bench.connect()
    assert bench.all_again()[0] == [], "done is done"


def test_a_backfill_opened_while_the_history_is_read_is_found(bench):
    bench.connect()
    bench.uplink.offer(bench.uplink.fetch(), Found([]))
    wanted = bench.uplink.fetch_history()
    found = bench.run(history.read(wanted))
    bench.ask(0, 2)
    bench.uplink.backfills.offer(wanted, found)
    assert bench.turn() == ([], [0, 1, 2])


def test_progress_is_written_rarely_and_an_end_at_once(bench):
    bench.connect()
    bench.ask(0, 7)
    bench.turn()
    assert bench.uplink.backfills.progress_due_ns() is None
    bench.puback()
    assert bench.uplink.backfills.progress_due_ns() == 5 * SECOND_NS
    bench.all_again()
    assert bench.uplink.backfills.progress_due_ns() == 0


def test_events_that_went_meanwhile_are_passed_over(bench):
    bench.connect()
    bench.ask(0, 9)
    bench.connection.execute("DELETE FROM events WHERE sequence IN (1, 2, 9)")
    sent, _ = bench.all_again()
    assert sent == [0, *range(3, 9)]
    assert bench.record() == ["b"]


def test_a_daemon_that_stops_begins_nothing_of_the_history(bench):
    bench.connect()
    bench.ask(0)
    bench.turn()
    bench.uplink.stop_backfills()
    bench.puback()
    bench.wait(1)
    assert bench.turn() == ([], [])
    assert bench.uplink.idle
    assert bench.uplink.deadline_ns(bench.now_ns) is None


def test_acknowledgements_and_repeats_know_nothing_of_history():
    bench = Bench(acknowledge="application")
    with closing(bench.connection):
        for sequence in range(40):
            bench.uplink._sent.add(NOW, sequence)  # Or it would not be history.
        bench.connect()
        bench.wait(1)
        bench.commit(2)
        assert bench.turn()[0] == [40, 41]
        bench.puback()
        bench.ask(0, 2)
        assert bench.turn() == ([], [0, 1, 2])
        bench.puback()
        tails = {NOW: 41}
        told = b'{"acknowledged":{"%b":"%b"}}'

        def hear(sequence):
            payload = told % (NOW.encode(), sequence)
            return bench.uplink.acknowledgement(
                payload, tails, NOW, ends={}, retained=False, now_ns=bench.now_ns
            )

        assert hear(b"2") == [outbox.Acknowledged(NOW, 2)]
        assert hear(b"42") == [], "a backfill does not make believe what was never sent"
        assert [one.sequence for one in hear(b"41")] == [41]


def test_what_was_read_of_the_history_names_nobody_who_was_erased_meanwhile(bench):
    name = "pseudonym-4711"
    bench.connect()
    assert bench.turn() == ([], [])
    batch = Batch(events=[session(NOW, 100, name, "visit")], online=True, utc_ns=0)
    bench.run(outbox.commit(Source("store", "gw"), NOW, batch))
    bench.run(outbox.acknowledge([outbox.Acknowledged(NOW, 40)]))
    bench.ask(40)
    wanted = bench.uplink.fetch_history()
    bench.uplink.backfills.offer(wanted, bench.run(history.read(wanted)))
    bench.uplink.erase(name)
    row = bench.uplink.take(bench.now_ns)
    assert row.sequence == 40
    assert name.encode() not in row.payload
