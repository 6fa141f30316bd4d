# SPDX-License-Identifier: Apache-2.0
"""Backfills as SQL: what is accepted, what is here, how far they have come, what they keep."""

import sqlite3
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import history, outbox, trimming
from gateway.domain.effects import Backfill
from gateway.envelope import Source
from gateway.history import Fetch, Progress
from gateway.outbox import Acknowledged, Batch, run_sync
from gateway.upstream_desk import backfill_reply
from tests.made import lost

SOURCE = Source("store", "gw")
OLD, NOW = "0" * 32, "1" * 32


class Bench:
    """An outbox with a finished epoch and the current one."""

    def __init__(self, old=10, now=10, *, acknowledged=True):
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        for migrate in outbox.MIGRATIONS:
            self.run(migrate())
        self.number = 0
        for epoch, count in ((OLD, old), (NOW, now)):
            self.run(outbox.begin_epoch(epoch, 0))
            self.commit(epoch, count)
            if acknowledged:
                self.run(outbox.acknowledge([Acknowledged(epoch, count)]))

    def run(self, program):
        return run_sync(self.connection, program)

    def commit(self, epoch, count, *, utc_ns=0):
        for _ in range(count):
            self.number += 1
            self.run(
                outbox.commit(
                    SOURCE,
                    epoch,
                    Batch(events=[lost(epoch, self.number)], online=True, utc_ns=utc_ns),
                )
            )

    def forget(self, epoch, *sequences):
        self.connection.executemany(
            "DELETE FROM events WHERE epoch = ? AND sequence = ?",
            [(epoch, sequence) for sequence in sequences],
        )

    def open(self, epoch, first, last=None, *, command="b"):
        return self.run(history.open_backfill(Backfill(command, epoch, first, last)))

    def read(self, *, after=0, limit=100):
        return self.run(history.read(Fetch(None, 0, after, limit, 0)))

    def record(self, ordinal, mark):
        return self.run(history.record([], [], [Progress(ordinal, mark)]))

    def kept(self, epoch):
        rows = self.connection.execute(
            "SELECT sequence FROM events WHERE epoch = ? ORDER BY sequence", (epoch,)
        )
        return [sequence for (sequence,) in rows]


@pytest.fixture
def bench():
    one = Bench()
    with closing(one.connection):
        yield one


def told(answer):
    ranges = [(int(one.first), int(one.last)) for one in answer.missing]
    return answer.state, None if answer.last is None else int(answer.last), answer.count, ranges


def test_both_ends_belong_to_the_range(bench):
    assert told(bench.open(OLD, 3, 5)) == ("sending", 5, 3, [])
    assert [row.sequence for row in bench.read().rows] == [3, 4, 5]


def test_without_an_end_it_goes_to_what_the_epoch_has_now(bench):
    assert told(bench.open(NOW, 7)) == ("sending", 9, 3, [])
    bench.commit(NOW, 2)
    assert [row.sequence for row in bench.read().rows] == [7, 8, 9], "what is newer is live"


def test_what_is_not_here_is_named_exactly(bench):
    bench.forget(OLD, 0, 1, 4, 8, 9)
    assert told(bench.open(OLD, 0, command="1")) == ("sending", 9, 5, [(0, 1), (4, 4), (8, 9)])
    assert told(bench.open(OLD, 5, 7, command="2")) == ("sending", 7, 3, [])
    # Of an epoch that is over, what is beyond its end will never be here.
    assert told(bench.open(OLD, 7, 12, command="3")) == ("sending", 9, 1, [(8, 12)])
    assert told(bench.open(OLD, 20, 30, command="4")) == ("refused", 9, 0, [(20, 30)])


def test_what_is_yet_to_come_is_not_missing(bench):
    assert told(bench.open(NOW, 8, 50)) == ("sending", 9, 2, [])
    assert told(bench.open(NOW, 10, 50, command="2")) == ("refused", 9, 0, [])


def test_nothing_of_an_unknown_epoch_is_here(bench):
    assert told(bench.open("f" * 32, 3, 5)) == ("refused", None, 0, [(3, 5)])
    assert told(bench.open("f" * 32, 3)) == ("refused", None, 0, [])


@pytest.mark.parametrize(
    ("epoch", "first", "last", "words"),
    [
        (OLD, 20, 30, "the epoch has only up to 9"),
        (OLD, 10, None, "the epoch has only up to 9"),
        (NOW, 10, 50, "the epoch has only up to 9"),
        (OLD, 0, 2, "nothing of the range is in the history any more"),
        ("f" * 32, 3, 5, "the epoch is unknown here"),
    ],
)
def test_a_refusal_says_why_and_up_to_where_the_epoch_has_something(
    bench, epoch, first, last, words
):
    bench.forget(OLD, 0, 1, 2)
    reply = backfill_reply("b", bench.open(epoch, first, last))
    assert (reply.status, reply.message) == ("error", f"nothing to send: {words}")


def test_an_epoch_whose_events_are_all_gone_is_still_known(bench):
    bench.forget(OLD, *range(10))
    assert told(bench.open(OLD, 2, 5)) == ("refused", 5, 0, [(2, 5)])
    assert told(bench.open(OLD, 2)) == ("refused", 9, 0, [(2, 9)])


def test_a_command_is_accepted_once_and_its_repeat_told_how_it_stands(bench):
    first = bench.open(OLD, 3, 5)
    assert bench.open(OLD, 3, 5) == first
    assert bench.open(NOW, 0, 1) == first, "whatever it asks for under the same id"
    assert bench.record(1, 5) == (0, [])
    assert bench.open(OLD, 3, 5) == first
    [done] = bench.record(1, 6)[1]
    assert (done.command, done.answer.state) == ("b", "done")
    assert bench.record(1, 6) == (0, []), "told once"
    assert bench.open(OLD, 3, 5).state == "done"
    assert bench.read().job is None


def test_progress_goes_on_where_it_was_and_never_back(bench):
    bench.open(OLD, 3, 9)
    bench.record(1, 6)
    bench.record(1, 4)
    assert [row.sequence for row in bench.read().rows] == [6, 7, 8, 9]


def test_backfills_go_one_after_the_other(bench):
    bench.open(OLD, 3, 4, command="1")
    bench.open(NOW, 0, 1, command="2")
    first = bench.read()
    assert (first.job.epoch, first.job.ordinal) == (OLD, 1)
    second = bench.read(after=1)
    assert (second.job.epoch, second.job.ordinal) == (NOW, 2)
    assert bench.read(after=2).job is None


def test_too_many_are_refused_until_one_is_done(bench):
    for number in range(history.OPEN_MAX):
        assert bench.open(OLD, 0, command=str(number)).state == "sending"
    assert bench.open(OLD, 0, command="more").state == "busy"
    assert bench.open(OLD, 0, command="0").state == "sending", "a repeat takes no room"
    bench.record(1, 10)
    assert bench.open(OLD, 0, command="more").state == "sending"


def test_answers_kept_are_bounded_and_open_backfills_stay(bench):
    bench.open(OLD, 0, command="open")
    for number in range(2, history.FINISHED_KEPT + 10):
        assert bench.open(OLD, 0, 0, command=str(number)).state == "sending"
        bench.record(number, 1)
    [(count,)] = bench.connection.execute("SELECT count(*) FROM backfills")
    assert count <= history.FINISHED_KEPT + 2
    assert bench.read().job.ordinal == 1


def test_a_range_too_long_for_once_ends_earlier_and_says_where(bench, monkeypatch):
    monkeypatch.setattr(history, "SPAN_MAX", 4)
    assert told(bench.open(OLD, 0, command="1")) == ("sending", 3, 4, [])
    bench.forget(OLD, 0, 1, 2)
    assert told(bench.open(OLD, 0, 99, command="2")) == ("sending", 6, 4, [(0, 2)])


def test_too_many_gaps_for_one_answer_end_it_before_the_next(bench, monkeypatch):
    monkeypatch.setattr(history, "MISSING_MAX", 2)
    bench.forget(OLD, 1, 3, 5, 7)
    assert told(bench.open(OLD, 0, 99)) == ("sending", 4, 3, [(1, 1), (3, 3)])


def test_what_waits_for_its_first_acknowledgement_is_not_sent_twice():
    bench = Bench(acknowledged=False)
    with closing(bench.connection):
        bench.run(outbox.acknowledge([Acknowledged(OLD, 4)]))
        assert told(bench.open(OLD, 3, 6)) == ("sending", 6, 4, [])
        assert [row.sequence for row in bench.read().rows] == [3, 4]


def test_what_a_backfill_promised_stays_in_the_history_up_to_twice_its_limit(bench):
    bench.open(OLD, 3, 5)
    bench.run(trimming.trim(1, 1_000))
    assert bench.kept(OLD) == [3, 4, 5], "too old but for the backfill"
    bench.record(1, 5)
    bench.run(trimming.trim(1, 1_000))
    assert bench.kept(OLD) == [5]
    bench.commit(NOW, 20)
    bench.run(trimming.trim(0, 18))
    assert bench.kept(OLD) == [5], "too many but for the backfill"
    bench.run(trimming.trim(0, 17))
    assert bench.kept(OLD) == [], "nothing grows without limit"


def test_labels_of_a_clock_that_was_ahead_do_not_keep_the_rest(bench):
    bench.forget(OLD, *range(10))
    bench.forget(NOW, *range(9))
    far_ns = 10**18
    bench.commit(NOW, trimming.BITE + 5, utc_ns=far_ns)
    bench.commit(NOW, 5, utc_ns=5)
    bench.run(outbox.acknowledge([Acknowledged(NOW, 10_000)]))
    bench.run(trimming.trim(100, 10_000, 1_000))
    assert len(bench.kept(NOW)) == trimming.BITE + 5 + 1, "the last one stays"


@settings(max_examples=80)
@given(
    gone=st.sets(st.integers(0, 11)), first=st.integers(0, 14), last=st.none() | st.integers(0, 14)
)
def test_the_answer_is_what_sets_say(gone, first, last):
    if last is not None and last < first:
        first, last = last, first
    bench = Bench(12, 1)
    with closing(bench.connection):
        bench.forget(OLD, *gone)
        answer = bench.open(OLD, first, last)
        asked = set(range(first, (11 if last is None else last) + 1))
        here = asked & (set(range(12)) - gone)
        missing = {n for one in answer.missing for n in range(int(one.first), int(one.last) + 1)}
        assert missing == asked - here
        assert answer.count == len(here)
        assert (answer.state == "sending") == bool(here)
        assert {row.sequence for row in bench.read().rows} == here
