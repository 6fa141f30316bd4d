# SPDX-License-Identifier: Apache-2.0
"""What is live passes the backlog, each cart keeps its order, and no gap is acknowledged."""

import sqlite3
from itertools import pairwise

import msgspec
import pytest

from gateway import giving_up, live_first, outbox, waiting
from gateway.envelope import Source
from gateway.giving_up import Need
from gateway.outbox import Acknowledged, Batch, run_sync
from gateway.strands import begun_in, names_in, strands_of, ties_in
from gateway.uplink import SECOND_NS, Uplink, UplinkSettings
from gateway.waiting import Fetch
from tests.made import asked, closed, lost, picked, session

NOW = "1" * 32


class Bench:
    """An uplink over the daemon's SQL; a broker that takes one message after the other."""

    def __init__(self, **settings):
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        for migrate in outbox.MIGRATIONS:
            run_sync(self.connection, migrate())
        run_sync(self.connection, outbox.begin_epoch(NOW, 0))
        self.uplink = Uplink(UplinkSettings(**{"window": 4} | settings), lambda: 0.5)
        self.now_ns = 0
        self.number = 0
        self.mid = 0
        self.flying = {}
        self.reads = 0

    def close(self):
        self.connection.close()

    def commit(self, *makes, pending_max=None):
        """Commit an event for each ``(function, arguments…)``; return their positions."""
        events = []
        for make, *arguments in makes:
            self.number += 1
            events.append(make(NOW, self.number, *arguments))
        batch = Batch(events=events, online=True, utc_ns=0)
        source = Source("store", "gw")
        program = outbox.commit(source, NOW, batch)
        if pending_max is not None:
            need = Need(pending_max=pending_max)
            program = giving_up.with_room(program, source, NOW, batch, need)
        done = run_sync(self.connection, program)
        self.number += len(done.rows) - len(events)
        self.uplink.notify(max(row.position for row in done.rows))
        if done.given_up:
            self.uplink.made_room(done.given_up, done.notices)
        return [row.position for row in done.rows]

    def connect(self):
        self.flying = {}
        self.uplink.connected(self.now_ns)
        self.wait(1)

    def disconnect(self):
        self.uplink.disconnected()

    def wait(self, seconds):
        self.now_ns += int(seconds * SECOND_NS)
        self.uplink.tick(self.now_ns)

    def read(self, fetch):
        self.reads += 1
        return run_sync(self.connection, waiting.read(fetch), write=False)

    def send(self, most=1_000):
        """Publish what may be; return the positions."""
        sent = []
        while (fetch := self.uplink.fetch()) is not None:
            self.uplink.offer(fetch, self.read(fetch))
            if self.uplink.fetch() is None:
                sent += self.take(most - len(sent))
        return sent + self.take(most - len(sent))

    def take(self, most):
        sent = []
        while len(sent) < most and (row := self.uplink.take(self.now_ns)) is not None:
            self.mid += 1
            self.uplink.published(self.mid, row, self.now_ns)
            self.flying[self.mid] = row
            sent.append(row.position)
        return sent

    def deliver(self, rounds=1_000):
        """Publish all that may be, each window taken at once; return the positions."""
        sent = []
        for _ in range(rounds):
            some = self.send()
            if not some:
                break
            sent += some
            self.puback()
        return sent

    def puback(self, failing=()):
        """Answer everything in flight; positions in ``failing`` are refused."""
        flying, self.flying = self.flying, {}
        for mid, row in flying.items():
            self.uplink.puback(mid, failure=row.position in failing, now_ns=self.now_ns)

    def ack(self, sequence):
        payload = msgspec.json.encode({"acknowledged": {NOW: str(sequence)}})
        tails = {NOW: self.number - 1}
        return self.uplink.acknowledgement(
            payload, tails, NOW, ends={}, retained=False, now_ns=self.now_ns
        )


@pytest.fixture
def bench():
    one = Bench()
    yield one
    one.close()


def test_what_is_live_passes_the_backlog(bench):
    bench.commit(*[(lost,)] * 20)
    bench.connect()
    assert bench.send() == [1, 2, 3], "a place in the window is kept for what is live"
    bench.commit((session, "anna", "a"), (picked, "a"))
    assert bench.send() == [21]
    bench.puback()
    assert bench.send() == [22, 4, 5, 6]
    bench.puback()
    assert bench.deliver() == list(range(7, 21)), "once each"


def test_an_open_cart_is_promoted_whole_and_in_order(bench):
    bench.commit((lost,), (session, None, "a"), (session, None, "b"), (picked, "a"))
    bench.commit((picked, "b"), (picked, "a", "b"), (picked, "b"), *[(lost,)] * 6)
    bench.connect()
    assert bench.send() == [1, 2, 3]
    bench.puback()
    bench.commit((closed, "a"))
    assert bench.deliver() == [4, 5, 6, 14, *range(7, 14)], "b's own go before what it shares"


def test_what_is_promoted_brings_no_cart_along_that_began_after_it(bench):
    bench.commit((lost,), *[(lost,)] * 2, (session, None, "a"), (picked, "a", "b"))
    bench.commit((session, None, "c"), (picked, "c"), (picked, "a", "c"), (picked, "b"))
    bench.connect()
    assert bench.send() == [1, 2, 3]
    bench.puback()
    bench.commit((closed, "a"))
    assert bench.deliver() == [4, 5, 6, 7, 8, 10, 9], "all of c's, and b's up to the one with a"


def test_a_review_goes_with_each_cart_that_it_names_and_brings_no_other_along(bench):
    bench.commit((lost,), *[(lost,)] * 2, (session, None, "a"), (session, None, "b"), (picked, "b"))
    bench.commit((asked, "r", "a", "b"), (asked, "q", "b"), (picked, "b"))
    bench.connect()
    assert bench.send() == [1, 2, 3]
    bench.puback()
    bench.commit((closed, "a"))
    assert bench.deliver() == [4, 7, 10, 5, 6, 8, 9]


def chained(bench, count):
    """Let each cart share a change with the next, the last ones first."""
    carts = [f"c{number}" for number in range(count)]
    bench.commit(*[(lost,)] * 10, *((session, None, name) for name in carts))
    bench.commit(*((picked, *both) for both in reversed([*pairwise(carts)])))
    bench.commit(*((picked, name) for name in carts))


def test_a_chain_of_carts_is_found_in_few_statements_however_long_it_is(bench):
    chained(bench, 300)
    bench.connect()
    bench.send()
    bench.puback()
    seen = []
    bench.connection.set_trace_callback(seen.append)
    bench.commit((closed, "c0"))
    fetch = bench.uplink.fetch()
    found = bench.read(fetch)
    bench.uplink.offer(fetch, found)
    assert len([sql for sql in seen if "INDEXED BY" in sql]) <= 2
    assert {row.position for row in found.promoted} == {*range(11, 611)}
    sent = bench.deliver()
    assert sorted(sent) == sorted({*sent})


def test_a_chain_is_followed_as_far_as_there_is_room(bench, monkeypatch):
    monkeypatch.setattr(waiting, "ALONG_MAX", 10)
    chained(bench, 300)
    bench.connect()
    bench.send()
    bench.puback()
    bench.commit((closed, "c0"))
    fetch = bench.uplink.fetch()
    found = bench.read(fetch)
    assert 10 < len(found.promoted) < 30
    bench.uplink.offer(fetch, found)
    sent = bench.deliver()
    assert sorted(sent) == [*range(4, 910), 910]


def test_a_new_cart_needs_no_look_at_the_backlog(bench):
    bench.commit(*[(picked, "old")] * 20)
    bench.connect()
    bench.send()
    bench.commit((session, None, "a"), (picked, "a"))
    seen = []
    bench.connection.set_trace_callback(seen.append)
    bench.puback()
    bench.send()
    assert not [sql for sql in seen if "INDEXED BY" in sql]


def test_a_look_ends_where_the_cart_begins(bench, monkeypatch):
    monkeypatch.setattr(waiting, "SCAN", 2)
    bench.commit(*[(lost,)] * 20)
    bench.commit((session, None, "a"), (picked, "a"))
    bench.connect()
    bench.send()
    bench.puback()
    seen = []
    bench.connection.set_trace_callback(seen.append)
    bench.commit((picked, "a"))
    assert bench.send()[:3] == [21, 22, 23]
    assert len([sql for sql in seen if "INDEXED BY" in sql]) == 2


def test_an_acknowledgement_across_a_gap_counts_for_nothing(bench):
    """As of an integrator that acknowledges the last event it saw, and not the last without gap."""
    bench.commit(*[(lost,)] * 9)
    bench.connect()
    assert bench.send() == [1, 2, 3]
    bench.commit((session, None, "a"))
    assert bench.send() == [10]
    bench.puback()
    assert bench.ack(9) == []
    assert bench.uplink.counters.unbelievable_acks == 1
    assert bench.ack(2) == [Acknowledged(NOW, 2)]
    assert bench.ack(3) == []
    assert bench.deliver() == [4, 5, 6, 7, 8, 9]
    assert bench.ack(9) == [Acknowledged(NOW, 9)]


def test_an_acknowledgement_of_what_was_promoted_counts_while_the_backlog_waits_for_the_line():
    one = Bench(bandwidth_kbit_s=8)
    one.commit((session, None, "a"), (picked, "a"), *[(lost,)] * 40)
    one.connect()
    one.uplink.offer(fetch := one.uplink.fetch(), one.read(fetch))
    one.commit((closed, "a"))
    sent = one.deliver()
    assert sent[:3] == [1, 2, 43]
    assert 42 not in sent
    reached = max(position for position in range(1, 43) if {*range(1, position + 1)} <= {*sent})
    assert one.ack(reached - 1) == [Acknowledged(NOW, reached - 1)]
    assert one.ack(reached) == []
    one.close()


def test_what_was_sent_ahead_on_an_earlier_connection_closes_the_gap(bench):
    bench.commit(*[(lost,)] * 9)
    bench.connect()
    bench.send()
    bench.commit((session, None, "a"), (picked, "a"))
    bench.puback()
    assert bench.send() == [10, 11, 4, 5]
    bench.puback()
    bench.disconnect()
    bench.commit((lost,), (lost,))
    bench.connect()
    assert bench.ack(4) == [Acknowledged(NOW, 4)]
    bench.commit((lost,))
    assert bench.ack(13) == [], "never sent"
    assert bench.send() == [14, 6, 7, 8]
    assert bench.ack(10) == [], "its ninth was never sent"
    bench.puback()
    assert bench.send() == [9, 10, 11]
    assert bench.ack(10) == [Acknowledged(NOW, 10)]
    assert bench.ack(13) == []
    bench.puback()
    assert bench.deliver() == [12, 13]
    assert bench.ack(13) == [Acknowledged(NOW, 13)]


def test_what_is_refused_goes_before_what_is_behind_it_in_its_cart(bench):
    bench.commit(*[(lost,)] * 9, (session, None, "a"), (picked, "a"))
    bench.connect()
    bench.send()
    bench.commit((picked, "a"))
    bench.puback()
    assert bench.send() == [10, 11, 12, 4]
    bench.puback(failing=(11, 12))
    bench.commit((picked, "a"))
    assert bench.send() == [], "a refusal holds everything a moment"
    bench.wait(1)
    assert bench.deliver() == [11, 12, 13, *range(5, 10)]


def test_what_was_read_of_a_cart_waits_for_what_is_refused_of_it_in_the_backlog(bench):
    bench.commit((session, None, "a"), (picked, "a"), *[(lost,)] * 9)
    bench.connect()
    assert bench.send() == [1, 2, 3]
    bench.commit((picked, "a"), (picked, "a"), (closed, "a"))
    assert bench.send() == [12]
    bench.puback(failing=(2,))
    bench.wait(1)
    sent = bench.deliver()
    assert sent[:3] == [2, 13, 14], "its receipt comes after what it bills"
    assert sorted(sent) == [2, *range(4, 12), 13, 14]


def test_a_row_of_the_backlog_that_is_refused_is_promoted_again(bench):
    bench.commit((session, None, "a"), (picked, "a"), *[(lost,)] * 9)
    bench.connect()
    assert bench.send() == [1, 2, 3]
    bench.commit((picked, "a"))
    assert bench.send() == [12]
    bench.puback(failing=(2,))
    bench.commit((picked, "a"))
    bench.wait(1)
    assert bench.send() == [2, 13, 4, 5]


def test_a_row_that_is_refused_while_others_are_read_goes_before_them(bench):
    bench.commit((session, None, "a"), (picked, "a"), *[(lost,)] * 9)
    bench.connect()
    assert bench.send() == [1, 2, 3]
    bench.commit((picked, "a"))
    fetch = bench.uplink.fetch()
    found = bench.read(fetch)
    bench.puback(failing=(2,))
    bench.uplink.offer(fetch, found)
    bench.wait(1)
    assert bench.send() == [2, 12, 4, 5]


def test_the_backlog_fills_what_is_left_of_the_line():
    one = Bench(bandwidth_kbit_s=64, window=100)
    one.commit(*[(lost,)] * 400)
    one.connect()
    sent, seconds = 0, 0
    while sent < 60:
        sent += len(one.deliver())
        one.commit((session, None, f"s{one.number}"))
        assert len(one.send()) == 1, "what is live does not wait for the line"
        one.puback()
        due_ns = one.uplink.deadline_ns(one.now_ns)
        seconds += (due_ns - one.now_ns) / SECOND_NS
        one.now_ns = due_ns
    bits = 8 * (sent + one.number - 400) * 850
    assert 0.5 < bits / (64_000 * seconds) < 1.5
    one.close()


def test_a_line_that_is_free_by_now_is_due_and_a_broker_without_room_is_not_asked():
    one = Bench(bandwidth_kbit_s=64, window=64)
    one.commit(*[(lost,)] * 200)
    one.connect()
    one.deliver()
    one.now_ns = one.uplink.deadline_ns(one.now_ns)
    for late_ns in (0, 1_000, SECOND_NS):
        assert one.uplink.deadline_ns(one.now_ns + late_ns) <= one.now_ns + late_ns
        without = one.uplink.deadline_ns(one.now_ns + late_ns, room=False)
        assert without is None or without > one.now_ns + late_ns
    one.close()


def test_what_is_remembered_is_bounded_and_what_is_forgotten_comes_twice(bench, monkeypatch):
    monkeypatch.setattr(live_first, "REMEMBERED_MAX", 2)
    bench.commit(*[(lost,)] * 12, (session, None, "a"), (picked, "a"), (picked, "a"))
    bench.connect()
    assert bench.deliver(rounds=1) == [1, 2, 3]
    bench.commit((picked, "a"))
    assert bench.deliver(rounds=1) == [13, 14, 15, 16]
    bench.commit((session, None, "b"))
    rest = bench.deliver()
    assert sorted(set(rest)) == [*range(4, 16), 17], "nothing is left out"
    assert bench.ack(16) == [Acknowledged(NOW, 16)]


def test_gaps_of_many_short_connections_are_remembered(bench):
    bench.commit((lost,))
    for _ in range(5):
        bench.connect()
        bench.commit((lost,))
        bench.commit((lost,))
        assert bench.send(most=1) == [bench.number - 1]
        bench.disconnect()
    assert len(bench.uplink._sent._firsts[NOW]) == 5
    bench.connect()
    assert bench.ack(1) == []
    assert bench.send(most=1) == [1]
    assert bench.ack(1) == [Acknowledged(NOW, 1)]
    assert bench.deliver() == [*range(3, 12)]
    assert bench.ack(10) == [Acknowledged(NOW, 10)]


@pytest.mark.parametrize(
    ("name", "data", "strands"),
    [
        ("device.lost", {"device": "shelf/1"}, ""),
        ("session.started", {"session": "a"}, "+a"),
        ("item.picked", {"acts": [{"session": "a"}, {"session": None}]}, "a"),
        ("attribution.revised", {"acts": [{"session": "b"}, {"session": "a"}]}, "b a"),
        ("attribution.revised", {"acts": [{"session": "b"}], "sessions": ["a", "b"]}, "a b"),
        ("review.requested", {"review": "r", "sessions": ["a", "b"]}, "~a ~b +r"),
        ("review.requested", {"review": "r", "reason": "no-camera", "sessions": ["a"]}, "~a r"),
        ("review.resolved", {"review": "r", "acts": []}, "r"),
        ("shelf.changed-unattended", {"review": "r", "reason": "no-camera"}, "+r"),
        ("shelf.changed-unattended", {"review": None, "weights": []}, ""),
        ("cart.adjusted", {"session": "a", "open": ["r"]}, "a"),
    ],
)
def test_an_event_belongs_to_the_carts_and_the_review_that_it_names(name, data, strands):
    found = strands_of(name, msgspec.json.encode(data))
    assert found == strands
    assert {f"+{one}" for one in begun_in(found)} <= set(found.split())
    assert names_in(found) == [one.strip("+~") for one in found.split()]
    assert ties_in(found) == [one.strip("+") for one in found.split() if one[0] != "~"]


def test_rows_of_an_earlier_schema_are_named(bench, monkeypatch):
    monkeypatch.setattr(outbox, "STRANDS_BITE", 2)
    bench.commit((session, None, "a"), (picked, "a"), (lost,), (picked, "a"), (closed, "a"))
    bench.connection.execute("UPDATE events SET strands = ''")
    run_sync(bench.connection, outbox.name_strands())
    rows = bench.connection.execute("SELECT strands FROM events ORDER BY position").fetchall()
    assert [strands for (strands,) in rows] == ["+a", "a", "", "a", "a"]


def test_what_was_promoted_on_an_earlier_connection_closes_the_gap_at_once(bench):
    bench.commit(*[(lost,)] * 6, (session, None, "a"), (picked, "a"), (lost,))
    bench.connect()
    assert bench.send() == [1, 2, 3]
    bench.commit((closed, "a"))
    bench.puback()
    assert bench.send()[:3] == [7, 8, 10]
    bench.puback()
    bench.disconnect()
    bench.connect()
    assert bench.deliver(rounds=2) == [1, 2, 3, 4, 5, 6]
    assert bench.ack(8) == [], "the ninth was never sent"
    assert bench.ack(7) == [Acknowledged(NOW, 7)], "all of that was sent by now"
    assert bench.deliver() == [9, 10]
    assert bench.ack(9) == [Acknowledged(NOW, 9)]


@pytest.mark.parametrize("reconnects", [False, True])
def test_a_notice_that_was_not_sent_is_acknowledged_by_nobody(bench, reconnects):
    """It has the newest sequence and an old place, which was gone over before."""
    bench.connect()
    bench.commit(*[(lost,)] * 6)
    assert bench.deliver() == [1, 2, 3, 4, 5, 6]
    assert bench.commit((lost,), pending_max=5) == [7, 1]
    if reconnects:
        bench.disconnect()
        bench.connect()
        bench.commit((lost,))
        assert bench.send(most=1) == [8]
    else:
        assert bench.send(most=1) == [7]
        bench.commit((lost,))
        assert bench.send(most=1) == [8]
    assert bench.ack(8) == []
    assert bench.ack(7) == [], "that is the notice"
    assert bench.send(most=1) == [1], "which stands where the first stood"
    bench.puback()
    assert bench.ack(7) == ([] if reconnects else [Acknowledged(NOW, 7)])
    bench.deliver()
    assert bench.ack(8) == [Acknowledged(NOW, 8)]


def in_place_of(bench, position):
    """Put a notice into the place of a row that is given up; return it."""
    bench.connection.execute(
        "UPDATE events SET id = 'notice', sequence = 99, strands = '' WHERE position = ?",
        (position,),
    )
    [row] = bench.read(Fetch(after=position - 1, limit=1)).rows
    return row


def sent_twice(bench, count):
    """Send so many events, and all of them once more, since nobody acknowledges them."""
    bench.commit(*[(lost,)] * count)
    bench.connect()
    bench.deliver()
    bench.wait(31)
    assert bench.deliver() == [*range(1, count + 1)], "all of it, once"


def test_giving_up_sends_its_notice_and_nothing_again(bench):
    bench.commit(*[(lost,)] * 20)
    bench.connect()
    assert [*bench.deliver(rounds=4), *bench.send()] == [*range(1, 16)]
    assert bench.commit((lost,), pending_max=16) == [21, 1]
    assert bench.commit((lost,), pending_max=16) == [22, 6]
    bench.puback()
    assert bench.deliver() == [21, 22, 1, 6, *range(16, 21)]
    assert bench.ack(23) == [Acknowledged(NOW, 23)]


def test_what_was_read_and_is_given_up_before_it_is_sent_is_not(bench):
    bench.commit(*[(lost,)] * 10)
    bench.connect()
    assert bench.send() == [1, 2, 3]
    bench.connection.execute("DELETE FROM events WHERE position = 5")
    bench.uplink.made_room({(NOW, 4)}, [])
    bench.puback()
    assert bench.deliver() == [4, 6, 7, 8, 9, 10]


def test_a_notice_behind_what_is_repeated_is_sent(bench):
    sent_twice(bench, 10)
    bench.wait(1_000)  # From now on a part only.
    bench.uplink.made_room({(NOW, 8)}, [in_place_of(bench, 9)])
    assert bench.deliver() == [9, 1, 2, 3, 4, 5, 6, 7, 8]


def test_what_lacks_behind_many_notices_is_repeated_too(bench):
    """Notices stand before what lacks first, and are acknowledged after it."""
    bench.commit(*[(lost,)] * 20)
    for _ in range(6):
        bench.commit((lost,), pending_max=12)
    bench.connect()
    assert bench.deliver()[:5] == [1, 10, 12, 14, 16], "notices"
    assert bench.ack(18) == [Acknowledged(NOW, 18)]
    for _ in range(2):  # All of it once, then the oldest, while nobody hears it.
        bench.wait(31)
        assert 20 in bench.deliver()
    bench.wait(31)
    assert bench.deliver()[:4] == [1, 10, 12, 14]


def test_whatever_lacks_is_repeated_in_its_turn(bench):
    sent_twice(bench, 50)
    repeated = set()
    for _ in range(12):
        bench.wait(31)
        sent = bench.deliver()
        assert sent[:4] == [1, 2, 3, 4]
        assert len(sent) <= 8
        repeated.update(sent)
    assert repeated == {*range(1, 51)}


def test_of_many_notices_few_are_kept(bench, monkeypatch):
    monkeypatch.setattr(live_first, "NOTICES_MAX", 3)
    bench.commit(*[(lost,)] * 40)
    bench.connect()
    bench.deliver()
    for _ in range(8):
        bench.commit((lost,), pending_max=30)
        assert len(bench.uplink._rows._notices) <= 3
    waits = [at for (at,) in bench.connection.execute("SELECT position FROM events")]
    assert sorted({*bench.deliver()}) == sorted(waits), "all is gone through again"


def test_a_notice_that_was_read_before_it_was_told_of_is_sent_once(bench):
    """Another connection reads what a commit wrote before the commit's caller goes on."""
    bench.commit(*[(lost,)] * 20)
    bench.connect()
    notice = in_place_of(bench, 15)
    while 15 not in [row.position for row in bench.uplink._rows._backlog]:
        bench.send()
        bench.puback()
    bench.uplink.made_room({(NOW, 14)}, [notice])
    assert bench.deliver().count(15) == 1


def test_a_notice_in_the_place_of_what_was_promoted_is_sent(bench):
    """What is promoted is left out in its turn; what takes its place is not."""
    bench.commit(*[(lost,)] * 20, (session, None, "a"), (lost,))
    bench.connect()
    assert bench.send() == [1, 2, 3]
    bench.commit((picked, "a"))
    assert bench.send() == [21], "promoted"
    bench.uplink.made_room({(NOW, 20)}, [in_place_of(bench, 21)])
    bench.puback()
    assert bench.deliver() == [23, *range(4, 23)]


def test_what_was_given_up_before_it_was_sent_leaves_no_gap(bench):
    bench.commit(*[(lost,)] * 4)
    bench.commit((lost,), pending_max=4)
    bench.connect()
    assert bench.deliver() == [1, 2, 3, 4, 5], "the notice stands where the first stood"
    assert bench.ack(5) == [Acknowledged(NOW, 5)]


def test_what_was_given_up_in_flight_and_is_refused_leaves_no_gap(bench):
    bench.commit(*[(lost,)] * 4)
    bench.connect()
    assert bench.send() == [1, 2, 3]
    bench.commit((lost,), pending_max=4)
    bench.puback(failing={1, 2, 3})
    bench.wait(30)
    bench.deliver()
    assert bench.ack(5) == [Acknowledged(NOW, 5)], "the notice says what is gone"
