# SPDX-License-Identifier: Apache-2.0
"""Outbox and uplink together under arbitrary crashes, refusals, repeats and lies, in virtual time.

The SQL is the daemon's own, on a file; the broker and the integrator are a model.
"""

import sqlite3
import tempfile
from pathlib import Path

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway import history, outbox, waiting
from gateway.backfills import HistoryRow
from gateway.domain.effects import Backfill
from gateway.envelope import Source
from gateway.outbox import Batch, run_sync
from gateway.strands import names_in
from gateway.uplink import SECOND_NS, Uplink, UplinkSettings
from tests.made import lost, picked, session

SOURCE = Source("store", "gw")
WINDOW = 3
KINDS = st.sampled_from([(), (1,), (1,), (2,), (3,), (1, 2), (1, 3), (9,)])
"""A new cart, or events of carts counted from the newest back; beyond the first: of none."""
RARELY = st.sampled_from([True, False, False, False, False])


class World(RuleBasedStateMachine):
    """What was committed, what a broker took, and what an integrator stored of it."""

    mode = "application"

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.now_ns = 0
        self.number = 0
        self.mid = 0
        self.epochs = []
        self.committed = {}  # epoch -> ids by sequence
        self.stored = {}  # epoch -> sequences that the integrator has
        self.told = {}  # epoch -> highest truthful acknowledgement handed to the uplink
        self.took = set()  # (epoch, sequence) with a successful PUBACK
        self.took_here = set()  # Of them, those in this process
        self.good = set()  # positions with a successful PUBACK on this connection
        self.transit = []  # (mid, row), oldest first
        self.sent = set()  # positions published in this process
        self.sessions = []
        self.promised = set()  # (epoch, sequence) that backfills were accepted for
        self.again = set()  # Of them, those that the broker took again
        self.done = set()  # Commands whose backfill is done
        self.accepted = set()
        self.to_send = 0  # Rows of all accepted backfills; some they share with the live ones.
        self.connection = None
        self.start()

    def teardown(self):
        try:
            self.everything_arrives()
        finally:
            self.connection.close()
            self.folder.cleanup()

    # The daemon's side, as the adapter does it.

    @rule(now=RARELY)
    def restart(self, now):
        if now:
            self.connection.close()
            self.start()

    def start(self):
        path = Path(self.folder.name) / "a.db"
        new = not path.exists()
        self.connection = sqlite3.connect(path, isolation_level=None)
        self.connection.execute("PRAGMA synchronous = OFF")  # Processes are killed here, not power.
        if new:
            for migrate in outbox.MIGRATIONS:
                run_sync(self.connection, migrate())
        self.tails = run_sync(self.connection, outbox.tails(), write=False)
        made = run_sync(
            self.connection, outbox.begin_epoch(f"{len(self.epochs):032x}", self.now_ns)
        )
        expected = next((one for one in reversed(self.epochs) if self.committed[one]), None)
        assert made.previous_epoch == expected
        assert expected is None or made.previous_sequence == len(self.committed[expected]) - 1
        self.epochs.append(made.epoch)
        self.committed[made.epoch] = []
        self.stored.setdefault(made.epoch, set())
        self.uplink = Uplink(UplinkSettings(acknowledge=self.mode, window=WINDOW), lambda: 0.5)
        self.connected = False
        self.transit = []
        self.sent = set()
        self.took_here = set()
        self.good = set()

    @property
    def epoch(self):
        return self.epochs[-1]

    @rule(kinds=st.lists(KINDS, min_size=1, max_size=6))
    def commit(self, kinds):
        events = []
        for kind in kinds:
            self.number += 1
            carts = [self.sessions[-back] for back in kind if back <= len(self.sessions)]
            if kind == ():
                self.sessions.append(f"s{self.number}")
                events.append(session(self.epoch, self.number, None, self.sessions[-1]))
            elif carts:
                events.append(picked(self.epoch, self.number, *carts))
            else:
                events.append(lost(self.epoch, self.number))
        count = len(events)
        batch = Batch(events=events, online=self.connected, utc_ns=self.now_ns)
        done = run_sync(self.connection, outbox.commit(SOURCE, self.epoch, batch))
        first = len(self.committed[self.epoch])
        assert [row.sequence for row in done.rows] == list(range(first, first + count))
        self.committed[self.epoch] += [row.id for row in done.rows]
        self.tails[self.epoch] = done.rows[-1].sequence
        self.uplink.notify(done.rows[-1].position)

    @precondition(lambda self: not self.connected)
    @rule(receive_maximum=st.sampled_from([1, 2, 65_535]))
    def connect(self, receive_maximum):
        self.connected = True
        self.good = set()
        self.window = min(WINDOW, receive_maximum)
        self.uplink.connected(self.now_ns, receive_maximum=receive_maximum)

    @precondition(lambda self: self.connected)
    @rule(now=RARELY)
    def breaks(self, now):
        if now:
            self.disconnect()

    def disconnect(self):
        """The broker may have taken some of what was in transit; nobody will know."""
        self.connected = False
        for _, row in self.transit[::2]:
            self.stored[row.epoch].add(row.sequence)
        self.transit = []
        self.uplink.disconnected()

    @precondition(lambda self: self.connected)
    @rule(meanwhile=st.sampled_from(["nothing", "commit", "refusal", "reconnect"]))
    def turn(self, meanwhile):
        self.uplink.tick(self.now_ns)
        fetch = self.uplink.fetch()
        if fetch is not None:
            found = run_sync(self.connection, waiting.read(fetch), write=False)
            if meanwhile == "commit":
                self.commit([(1,)])
            elif meanwhile == "refusal" and self.transit:
                self.broker_refuses()
            elif meanwhile == "reconnect":
                self.disconnect()
                self.connect(65_535)
            self.uplink.offer(fetch, found)
        again = self.uplink.fetch_history()
        if again is not None:
            found = run_sync(self.connection, history.read(again), write=False)
            if meanwhile == "reconnect" and fetch is None:
                self.disconnect()
                self.connect(65_535)
            self.uplink.backfills.offer(again, found)
        while (row := self.uplink.take(self.now_ns)) is not None:
            self.mid += 1
            if isinstance(row, HistoryRow):
                assert self.all_live_is_sent(), "backfills come last"
                self.uplink.published(self.mid, row, self.now_ns)
                self.transit.append((self.mid, row))
                continue
            assert self.mode != "broker" or row.position not in self.took_here
            self.keeps_the_order_of_its_cart(row)
            self.uplink.published(self.mid, row, self.now_ns)
            self.transit.append((self.mid, row))
            self.sent.add(row.position)
        self.record([])

    def record(self, news):
        landed = self.uplink.landed()
        progress = self.uplink.backfills.progress()
        _, done = run_sync(self.connection, history.record(news, landed, progress))
        self.uplink.recorded(landed)
        self.uplink.backfills.recorded(progress, self.now_ns)
        for one in done:
            assert one.command not in self.done
            self.done.add(one.command)

    def keeps_the_order_of_its_cart(self, row):
        """Nothing earlier of it was never sent; of an event of several carts, for one of them."""
        earlier = [
            set(names_in(strands))
            for position, strands in self.connection.execute(
                "SELECT position, strands FROM events WHERE acknowledged = 0 AND position < ?",
                (row.position,),
            )
            if position not in self.sent
        ]
        names = names_in(row.strands)
        assert not names or any(all(name not in one for one in earlier) for name in names)

    def all_live_is_sent(self):
        rows = self.connection.execute("SELECT position FROM events WHERE acknowledged = 0")
        return {position for (position,) in rows} <= self.sent

    @rule(back=st.integers(0, 2), first=st.integers(0, 5), span=st.integers(0, 5) | st.none())
    def office_asks(self, back, first, span):
        epoch = self.epochs[max(0, len(self.epochs) - 1 - back)]
        command = f"b-{len(self.accepted)}"
        wish = Backfill(command, epoch, first, None if span is None else first + span)
        answer = run_sync(self.connection, history.open_backfill(wish))
        if answer.state != "sending":
            return
        self.accepted.add(command)
        self.to_send += int(answer.last) - first + 1
        rows = self.connection.execute(
            "SELECT epoch, sequence FROM events WHERE epoch = ? AND acknowledged = 1"
            " AND sequence BETWEEN ? AND ?",
            (epoch, first, int(answer.last)),
        ).fetchall()
        self.promised |= set(rows)
        self.again -= set(rows)
        self.uplink.backfills.notify()

    @rule(seconds=st.sampled_from([1, 3, 31, 700]))
    def time_passes(self, seconds):
        self.now_ns += seconds * SECOND_NS
        self.uplink.tick(self.now_ns)

    # The other side.

    @precondition(lambda self: self.transit)
    @rule(arrives=st.booleans())
    def broker_takes(self, arrives):
        """With ``application`` a broker may take a message and lose it."""
        mid, row = self.transit.pop(0)
        if arrives or self.mode == "broker":
            self.stored[row.epoch].add(row.sequence)
        if isinstance(row, HistoryRow):
            self.again.add((row.epoch, row.sequence))
            self.uplink.puback(mid, failure=False, now_ns=self.now_ns)
            return
        self.took.add((row.epoch, row.sequence))
        self.took_here.add(row.position)
        self.good.add(row.position)
        self.uplink.puback(mid, failure=False, now_ns=self.now_ns)

    @precondition(lambda self: self.transit)
    @rule()
    def broker_refuses(self):
        mid, _ = self.transit.pop(0)
        self.uplink.puback(mid, failure=True, now_ns=self.now_ns)

    @rule(mid=st.integers(-3, 0), failure=st.booleans())
    def broker_acknowledges_something_else(self, mid, failure):
        self.uplink.puback(mid, failure=failure, now_ns=self.now_ns)

    def claim(self):
        return {epoch: mark for epoch in self.epochs if (mark := self.mark(epoch)) >= 0}

    def mark(self, epoch):
        return next(n for n in range(-1, 10**6) if n + 1 not in self.stored[epoch])

    def hear(self, claims, *, retained):
        payload = msgspec.json.encode(
            {"acknowledged": {epoch: f"{mark:020d}" for epoch, mark in claims.items()}}
        )
        return self.uplink.acknowledgement(
            payload, self.tails, self.epoch, ends={}, retained=retained, now_ns=self.now_ns
        )

    @precondition(lambda self: self.connected)
    @rule(retained=st.booleans())
    def integrator_acknowledges(self, retained):
        claims = self.claim()
        doubted = self.uplink.counters.unbelievable_acks
        news = self.hear(claims, retained=retained)
        assert self.uplink.counters.unbelievable_acks == doubted, "it is true"
        if self.mode == "application":
            self.told |= claims
        self.record(news)

    @precondition(lambda self: self.connected)
    @rule(beyond=st.sampled_from([1, 1_000, 2**62]), unknown=st.booleans())
    def integrator_lies(self, beyond, unknown):
        false = len(self.committed[self.epoch]) - 1 + beyond
        claims = {"f" * 32: 7} if unknown else {self.epoch: false}
        assert self.hear(claims, retained=True) == []

    @precondition(lambda self: self.connected and self.mode == "application")
    @rule()
    def integrator_acknowledges_the_last_it_saw(self):
        """It takes no heed of gaps: what was never sent stays on the list all the same."""
        last = max(self.stored[self.epoch], default=-1)
        for one in self.hear({self.epoch: last}, retained=True) if last >= 0 else []:
            rows = self.connection.execute(
                "SELECT position FROM events WHERE epoch = ? AND sequence <= ?"
                " AND acknowledged = 0",
                (one.epoch, one.sequence),
            ).fetchall()
            assert {position for (position,) in rows} <= self.sent
            self.stored[one.epoch] |= set(range(one.sequence + 1))
            self.told[one.epoch] = one.sequence
            self.record([one])

    @precondition(lambda self: self.connected)
    @rule(
        payload=st.binary(max_size=40)
        | st.sampled_from(
            [
                b"{}",
                b'{"acknowledged":[]}',
                b'{"acknowledged":{"a":1}}',
                b'{"acknowledged":{"a":"-1"}}',
                b'{"acknowledged":{"a":"\xd9\xa3"}}',
                b'{"acknowledged":{"a":"99999999999999999999"}}',
                b"[" * 100_000,
                b'{"acknowledged":{"a":"1"},"x":"' + bytes(70_000) + b'"}',
            ]
        )
    )
    def integrator_babbles(self, payload):
        news = self.uplink.acknowledgement(
            payload, self.tails, self.epoch, ends={}, retained=False, now_ns=self.now_ns
        )
        assert news == []

    # What holds.

    @invariant()
    def no_row_is_lost_or_renumbered(self):
        rows = self.connection.execute("SELECT epoch, sequence, id FROM events").fetchall()
        assert sorted(rows) == sorted(
            (epoch, sequence, one)
            for epoch, ids in self.committed.items()
            for sequence, one in enumerate(ids)
        )

    @invariant()
    def no_row_is_acknowledged_without_cause(self):
        for epoch, sequence in self.connection.execute(
            "SELECT epoch, sequence FROM events WHERE acknowledged = 1"
        ):
            if self.mode == "application":
                assert sequence <= self.told.get(epoch, -1)
            else:
                assert (epoch, sequence) in self.took

    @invariant()
    def nothing_is_forgotten(self):
        """An idle uplink has sent all that is pending, and each with success."""
        if self.connected and self.uplink.idle:
            rows = self.connection.execute("SELECT position FROM events WHERE acknowledged = 0")
            assert {position for (position,) in rows} <= self.good

    @invariant()
    def the_window_holds(self):
        assert self.uplink.in_flight == len(self.transit)
        assert not self.connected or len(self.transit) <= self.window

    def everything_arrives(self):
        """Faults have stopped: within bounded time, all that was committed is acknowledged."""
        if not self.connected:
            self.connect(65_535)
        pending = outbox.backlog()
        for _ in range(100 + 4 * self.number + 10 * self.to_send):
            self.turn("nothing")
            while self.transit:
                self.broker_takes(arrives=True)
            self.integrator_acknowledges(retained=False)
            [count, _] = run_sync(self.connection, outbox.backlog(), write=False)
            if count == 0 and self.done == self.accepted:
                break
            due_ns = self.uplink.deadline_ns(self.now_ns)
            self.now_ns = max(self.now_ns, due_ns or 0)
        else:
            raise AssertionError(f"still pending: {run_sync(self.connection, pending)}")
        assert self.promised <= self.again, "what was promised was sent"
        if self.mode == "application":
            for epoch, ids in self.committed.items():
                assert self.stored[epoch] == set(range(len(ids)))


class BrokerWorld(World):
    """The same, where the PUBACK is enough."""

    mode = "broker"


World.TestCase.settings = settings(max_examples=100, stateful_step_count=40)
BrokerWorld.TestCase.settings = settings(max_examples=100, stateful_step_count=40)
TestApplication = World.TestCase
TestBroker = BrokerWorld.TestCase
