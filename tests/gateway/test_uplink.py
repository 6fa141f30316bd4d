# SPDX-License-Identifier: Apache-2.0
"""The uplink's protocol, case by case; ``test_outbox`` holds it together with the SQL."""

import math

import msgspec
import pytest

from gateway.outbox import Acknowledged, Row
from gateway.uplink import SECOND_NS, Uplink, UplinkSettings
from gateway.waiting import Found

OLD, NOW, DONE = "0" * 32, "1" * 32, "2" * 32
TAILS = {OLD: 9, NOW: 99}
ENDS = {OLD: 9, DONE: 3}


def row(position, epoch=NOW):
    return Row(
        position=position,
        epoch=epoch,
        sequence=position - 1,
        id=str(position),
        name="device.lost",
        payload=b"{}",
        committed_utc_ns=0,
    )


class Bench:
    """An uplink, an outbox that is a list, and packet ids counted from 1."""

    def __init__(self, count, **settings):
        self.uplink = Uplink(UplinkSettings(**settings), lambda: 0.5)
        self.rows = [row(position) for position in range(1, count + 1)]
        self.mid = 0
        self.now_ns = 0

    def connect(self, **options):
        self.uplink.connected(self.now_ns, **options)

    def send(self, limit=1_000):
        """Publish what may be; return the positions."""
        self.uplink.tick(self.now_ns)
        while (fetch := self.uplink.fetch()) is not None:
            last = math.inf if fetch.upto is None else fetch.upto
            rows = [one for one in self.rows if fetch.after < one.position <= last]
            self.uplink.offer(fetch, Found(rows[: fetch.limit]))
        sent = []
        while len(sent) < limit and (one := self.uplink.take(self.now_ns)) is not None:
            self.mid += 1
            self.uplink.published(self.mid, one, self.now_ns)
            sent.append(one.position)
        return sent

    def deliver(self):
        """Publish all that may be, each taken by the broker at once; return the positions."""
        sent = []
        while positions := self.send():
            sent += positions
            self.puback(*range(self.mid - len(positions) + 1, self.mid + 1))
        return sent

    def puback(self, *mids, failure=False):
        for mid in mids:
            self.uplink.puback(mid, failure=failure, now_ns=self.now_ns)

    def ack(self, claims, *, retained=False):
        payload = msgspec.json.encode({"acknowledged": claims})
        return self.uplink.acknowledgement(
            payload, TAILS, NOW, ends=ENDS, retained=retained, now_ns=self.now_ns
        )

    def wait(self, seconds):
        self.now_ns += int(seconds * SECOND_NS)


def broker_bench(count, **settings):
    bench = Bench(count, acknowledge="broker", **settings)
    bench.connect()
    return bench


def test_the_window_is_the_smaller_of_ours_and_the_brokers():
    bench = Bench(10, acknowledge="broker", window=4)
    bench.connect(receive_maximum=3)
    assert bench.send() == [1, 2, 3]
    bench.puback(2)
    assert bench.send() == [4]


def test_nothing_is_handed_out_without_a_link():
    bench = Bench(1)
    assert bench.uplink.fetch() is None
    assert bench.uplink.take(0) is None
    assert not bench.uplink.online(0)
    assert bench.uplink.deadline_ns(0) is None


def test_a_second_refusal_does_not_forget_the_first():
    bench = broker_bench(3)
    assert bench.send() == [1, 2, 3]
    bench.puback(1, failure=True)
    bench.wait(1)
    assert bench.send() == [1]
    bench.puback(2, failure=True)
    bench.send()
    bench.puback(3, failure=True)
    bench.wait(30)
    assert bench.send() == [2, 3]
    assert bench.uplink.counters.refused == 3


def test_a_refused_row_waits_longer_each_time_and_all_behind_it_wait_too():
    bench = broker_bench(2, window=1, retry_first_s=1.0)
    assert bench.send() == [1]
    bench.puback(1, failure=True)
    assert bench.send() == []
    assert bench.uplink.deadline_ns(0) == 0.75 * SECOND_NS
    bench.wait(0.75)
    assert bench.send() == [1]
    bench.puback(2, failure=True)
    bench.wait(1.4)
    assert bench.send() == []
    bench.wait(0.1)
    assert bench.send() == [1]
    bench.puback(3)
    assert bench.send() == [2]


@pytest.mark.parametrize("refused", [[1], [1, 2]])
def test_what_was_refused_and_is_given_up_is_no_trouble_any_more(refused):
    bench = broker_bench(3)
    assert bench.send() == [1, 2, 3]
    bench.puback(*refused, failure=True)
    bench.puback(*{2, 3}.difference(refused))
    assert bench.uplink.refusing
    bench.rows = bench.rows[1:]
    bench.uplink.made_room({(NOW, 0)}, [])
    assert bench.uplink.refusing == (2 in refused), "the other one is refused still"
    bench.wait(30)
    assert bench.deliver() == [one for one in refused if one > 1]
    assert not bench.uplink.refusing


def test_what_is_given_up_in_flight_is_not_sent_again_when_it_is_refused():
    bench = broker_bench(2)
    assert bench.send() == [1, 2]
    bench.rows = bench.rows[1:]
    bench.uplink.made_room({(NOW, 0)}, [])
    bench.puback(1, failure=True)
    assert not bench.uplink.refusing
    bench.wait(30)
    assert bench.send() == []
    bench.puback(2, failure=True)
    bench.wait(30)
    assert bench.send() == [2], "what is there is"


@pytest.mark.parametrize("taken", [True, False])
def test_what_was_given_up_in_flight_is_forgotten_once_it_flies_no_more(taken):
    bench = broker_bench(2)
    assert bench.send() == [1, 2]
    bench.rows = bench.rows[1:]
    bench.uplink.made_room({(NOW, 0)}, [])
    assert bench.uplink._given_up == {(NOW, 0)}
    if taken:
        bench.puback(1)
    else:
        bench.uplink.disconnected()
        bench.connect()
    assert bench.uplink._given_up == set()


def test_what_was_refused_and_is_acknowledged_is_no_trouble_any_more():
    bench = Bench(2)
    bench.connect()
    bench.wait(1)
    assert bench.send() == [1, 2], "which arrive"
    bench.uplink.disconnected()
    bench.connect()
    bench.wait(1)
    assert bench.send() == [1, 2]
    bench.puback(3)
    bench.puback(4, failure=True)
    assert bench.ack({NOW: "1"}) == [Acknowledged(NOW, 1)]
    bench.wait(30)
    assert bench.send() == []
    assert not bench.uplink.refusing


def test_what_the_broker_never_took_is_acknowledged_by_nobody():
    """As of an integrator that acknowledges the last event it saw, whatever lacks before it."""
    bench = Bench(3)
    bench.connect()
    bench.wait(1)
    assert bench.send() == [1, 2, 3]
    bench.puback(1, 3)
    bench.puback(2, failure=True)
    assert bench.ack({NOW: "2"}) == []
    assert bench.ack({NOW: "0"}) == [Acknowledged(NOW, 0)]
    bench.wait(30)
    assert 2 in bench.send()
    assert bench.ack({NOW: "2"}) == [Acknowledged(NOW, 2)]


def test_an_overdue_puback_means_offline_until_it_comes():
    bench = broker_bench(1)
    bench.send()
    assert bench.uplink.deadline_ns(bench.now_ns) == 2 * SECOND_NS
    bench.wait(1.9)
    assert bench.uplink.online(bench.now_ns)
    bench.wait(0.1)
    assert not bench.uplink.online(bench.now_ns)
    assert not bench.uplink.stalled(bench.now_ns)
    bench.puback(1)
    assert bench.uplink.online(bench.now_ns)


def test_a_puback_that_never_comes_calls_for_a_new_connection():
    bench = broker_bench(1)
    bench.send()
    bench.wait(2)
    assert bench.uplink.deadline_ns(bench.now_ns) == 30 * SECOND_NS
    bench.wait(28)
    assert bench.uplink.stalled(bench.now_ns)
    bench.uplink.disconnected()
    bench.connect()
    assert not bench.uplink.stalled(bench.now_ns)
    assert bench.send() == [1]


def test_a_reconnect_waits_for_the_integrators_answer_before_it_repeats():
    bench = Bench(4)
    bench.uplink.notify(4)
    bench.connect()
    assert bench.send() == []
    assert bench.ack({}) == []
    assert bench.send() == [1, 2, 3, 4]
    bench.uplink.disconnected()
    bench.connect()
    assert bench.send() == []
    assert bench.ack({NOW: "1"}, retained=True) == [Acknowledged(NOW, 1)]
    assert bench.send() == [], "what the broker had kept answers no birth"
    bench.rows.append(row(5))
    bench.uplink.notify(5)
    assert bench.send() == [5], "what is live was never sent"
    assert bench.ack({NOW: "2"}) == [Acknowledged(NOW, 2)]
    assert bench.send() == [4]


def test_without_an_answer_rows_are_repeated_all_the_same():
    bench = Bench(2)
    bench.uplink.notify(2)
    bench.connect()
    assert bench.send() == []
    assert bench.uplink.deadline_ns(0) == SECOND_NS
    bench.wait(1)
    assert bench.send() == [1, 2]


def test_without_acknowledgements_all_is_repeated_once_and_then_some_every_30_s():
    bench = Bench(5, window=2)
    bench.connect()
    bench.ack({})
    sent = []
    for _ in range(4):
        began_ns = bench.now_ns
        sent.append(bench.deliver())
        bench.now_ns = bench.uplink.deadline_ns(bench.now_ns)
        assert bench.now_ns - began_ns == 30 * SECOND_NS
    assert sent == [[1, 2, 3, 4, 5], [1, 2, 3, 4, 5], [1, 2, 3, 4], [1, 2, 5]]
    # What is new goes out at once all the same, and what was probed does not hide the rest.
    assert bench.deliver() == [1, 2, 3, 4]
    bench.rows.append(row(6))
    bench.uplink.notify()
    assert bench.deliver() == [6]
    assert bench.ack({NOW: "1"}) == [Acknowledged(NOW, 1)]
    bench.now_ns = bench.uplink.deadline_ns(bench.now_ns)
    assert bench.deliver() == [3, 4, 5, 6], "an acknowledgement begins anew: all of it"


def test_rows_committed_during_a_probe_are_sent_too():
    bench = Bench(5, window=2)
    bench.connect()
    bench.ack({})
    for _ in range(2):
        bench.deliver()
        bench.now_ns = bench.uplink.deadline_ns(bench.now_ns)
    bench.uplink.tick(bench.now_ns)
    bench.rows.append(row(6))
    bench.uplink.notify()
    assert bench.deliver() == [6, 1, 2, 3, 4], "what is live does not wait for it"


def test_a_refusal_within_a_probe_is_tried_again():
    bench = Bench(5, window=3)
    bench.connect()
    bench.ack({})
    for _ in range(2):
        bench.deliver()
        bench.now_ns = bench.uplink.deadline_ns(bench.now_ns)
    assert bench.send() == [1, 2]
    bench.puback(bench.mid - 1, failure=True)
    bench.puback(bench.mid)
    bench.wait(1)
    assert 1 in bench.deliver()


def test_an_acknowledgement_without_news_asks_for_the_rest_less_and_less_often():
    bench = Bench(2)
    bench.connect()
    bench.ack({})
    bench.send()
    bench.puback(1, 2)
    bench.wait(10)
    assert bench.ack({}) == []
    bench.wait(0.9)
    assert bench.send() == []
    bench.wait(0.1)
    assert bench.deliver() == [1, 2]
    for pause in (5, 10, 20, 30, 30):
        for _ in range(3):
            bench.ack({})
        bench.wait(pause - 1)
        assert bench.send() == [], "asking again and again does not flood the link"
        bench.wait(1)
        assert bench.deliver() == [1, 2]


@pytest.mark.parametrize(
    ("claims", "believed"),
    [
        ({NOW: "4"}, [Acknowledged(NOW, 4)]),
        ({NOW: "00000000000000000004"}, [Acknowledged(NOW, 4)]),
        ({NOW: "5"}, []),
        ({NOW: "99"}, []),
        ({NOW: "100"}, []),
        ({OLD: "9"}, [Acknowledged(OLD, 9)]),
        ({OLD: "10000"}, [Acknowledged(OLD, 9)]),
        ({"f" * 32: "5"}, []),
        ({OLD: "3", NOW: "100"}, [Acknowledged(OLD, 3)]),
    ],
)
def test_only_what_can_be_true_is_believed(claims, believed):
    bench = Bench(10)
    bench.connect()
    bench.wait(1)
    assert bench.send(limit=5) == [1, 2, 3, 4, 5]
    assert bench.ack(claims) == believed
    assert bench.ack(claims) == [], "once is enough"


@pytest.mark.parametrize(
    ("claims", "ahead"),
    [
        ({OLD: "9", DONE: "3", NOW: "99"}, {}),
        ({"f" * 32: "5"}, {}),
        ({OLD: "10"}, {OLD: (10, 9)}),
        ({DONE: "4"}, {DONE: (4, 3)}),
        ({DONE: "7", OLD: "11"}, {DONE: (7, 3), OLD: (11, 9)}),
    ],
)
@pytest.mark.parametrize("retained", [True, False])
def test_more_of_a_finished_epoch_than_there_was_is_kept_as_evidence(claims, ahead, retained):
    """Also of one of which nothing waits; an epoch that is not known here tells nothing."""
    bench = Bench(1)
    bench.connect()
    for nth in range(2):
        bench.ack(claims, retained=retained)
        assert bench.uplink.ahead == ahead
        assert bench.uplink.counters.ahead_acks == (nth + 1 if ahead else 0)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"{}",
        b'{"acknowledged":{"a":1}}',
        b'{"acknowledged":{"a":"-1"}}',
        b'{"acknowledged":{"a":" 1"}}',
        b'{"acknowledged":{"a":""}}',
        '{"acknowledged":{"a":"\u0663"}}'.encode(),
        b'{"acknowledged":{"a":"99999999999999999999"}}',
        b'{"acknowledged":{"a":"000000000000000000001"}}',
        b'{"acknowledged":{"\xff":"1"}}',
        b'{"acknowledged":{"' + b"a" * 70_000 + b'":"1"}}',
        b"[" * 60_000,
        msgspec.json.encode({"acknowledged": {str(n): "1" for n in range(1_001)}}),
    ],
)
def test_a_malformed_acknowledgement_is_counted_and_changes_nothing(payload):
    bench = Bench(1)
    bench.uplink.notify(1)
    bench.connect()
    news = bench.uplink.acknowledgement(payload, TAILS, NOW, ends=ENDS, retained=False, now_ns=0)
    assert news == []
    assert bench.uplink.counters.malformed_acks == 1
    assert bench.send() == [], "it is no answer to the birth either"


def test_with_broker_nobody_else_acknowledges():
    bench = broker_bench(2)
    assert bench.send() == [1, 2]
    assert bench.ack({NOW: "1"}) == []
    bench.puback(2)
    assert bench.uplink.landed() == ["2"]
    bench.uplink.recorded(["2"])
    assert bench.uplink.landed() == []


def test_rows_acknowledged_meanwhile_are_not_sent():
    bench = Bench(5)
    bench.connect()
    bench.wait(1)
    assert bench.send(limit=4) == [1, 2, 3, 4]
    bench.uplink.disconnected()
    bench.connect()
    bench.ack({NOW: "3"})
    assert bench.send() == [5]


def test_a_notice_in_an_old_place_is_found():
    bench = broker_bench(3)
    assert bench.send() == [1, 2, 3]
    bench.puback(1, 2, 3)
    bench.uplink.recorded(["1", "2", "3"])
    bench.rows = [notice := msgspec.structs.replace(row(1), id="notice", sequence=3)]
    bench.uplink.notify()
    assert bench.send() == []
    bench.uplink.made_room({row(1).number}, [notice])
    assert bench.send() == [1]


def test_a_notice_in_the_place_of_what_is_under_way_is_sent_and_counts_by_itself():
    bench = broker_bench(3)
    assert bench.send() == [1, 2, 3]
    bench.rows = [notice := msgspec.structs.replace(row(1), id="notice", sequence=3)]
    bench.uplink.notify()
    bench.uplink.made_room({row(1).number}, [notice])
    bench.puback(1)
    assert bench.uplink.landed() == ["1"], "what was given up, and not what stands in its place"
    assert bench.send() == [1], "the notice goes out beside it"
