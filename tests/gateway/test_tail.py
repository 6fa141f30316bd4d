# SPDX-License-Identifier: Apache-2.0
"""Events as lines: readable, and harmless to a terminal."""

import msgspec
import pytest

from gateway.tail import readable

NASTY = "shelf/\x1b[2J\x1b]0;pwn\x07\n"


def line(name, data, **extra):
    event = {"type": f"org.shelfgate.{name}.v1", "time": "2026-11-21T10:00:00.123Z", "data": data}
    return readable(msgspec.json.encode({**event, **extra}), {"1": "Tea"})


def test_a_pick_reads_as_a_sentence():
    act = {
        "session": "abcdef0123",
        "gtin": "1",
        "quantity": 2,
        "direction": "pick",
        "plate": "g1.s1.p1",
        "probability": 0.97,
        "misplaced": False,
    }
    shown = line("item.picked", {"acts": [act]}, delivery="queued")
    assert shown.startswith("10:00:00.123  item.picked")
    assert shown.endswith("[abcdef] took 2 x Tea at g1.s1.p1 (97%)  (queued)")


def test_a_decision_reads_as_what_was_decided_and_by_whom():
    act = {
        "session": None,
        "gtin": "1",
        "quantity": 1,
        "direction": "put-back",
        "plate": "g1.s1.p1",
        "probability": 0.4,
        "misplaced": True,
    }
    shown = line("review.resolved", {"acts": [act], "by": "kim"})
    where = "g1.s1.p1, where it does not belong (40%)"
    assert shown.endswith(f"kim decided: somebody put back 1 x Tea at {where}")
    assert line("review.resolved", {"acts": [], "by": "kim"}).endswith("nobody took anything")


def test_plates_without_a_weight_read_as_that():
    shown = line("plate.unweighed", {"plate": "g1.s1.p2", "unweighed": True})
    assert shown.endswith("g1.s1.p2: no stable weight for minutes")
    assert line("plate.unweighed", {"plate": "p", "unweighed": False}).endswith("p: weighs again")


def test_scans_of_products_read_as_what_was_scanned():
    beside = dict.fromkeys(("quantity", "price", "currency", "lot", "expiry"))
    data = {"scanner": "counter", "gtin": "1", "code": "281", **beside, "weight_g": "412"}
    assert line("product.scanned", data).endswith("counter: Tea, 412 g")
    priced = data | {"gtin": None, "weight_g": None, "price": "1.20", "lot": "L7"}
    assert line("product.scanned", priced).endswith("counter: 281, 1.20 (price), lot L7")
    wrong = {
        "scanner": "counter",
        "reason": "check-digit",
        "detail": "should be 1",
        "code": None,
    }
    assert line("scan.rejected", wrong).endswith("counter: a scan: check-digit, should be 1")


def test_dropped_events_read_as_which_and_why():
    def gone(*ranges):
        named = [{"first": f"{first:020}", "last": f"{last:020}"} for first, last in ranges]
        count = sum(last - first + 1 for first, last in ranges)
        data = {"epoch": "0123456789abcdef", "ranges": named, "count": count, "reason": "a fan"}
        return line("events.dropped", data)

    assert gone((2, 5), (9, 9)).endswith("5 events of epoch 012345…: 2-5, 9; a fan")
    assert gone((0, 0)).endswith("1 event of epoch 012345…: 0; a fan")
    many = gone(*((number, number) for number in range(0, 40, 2)))
    assert many.endswith(": 0, 2, 4, 6, 8, 10, 12, 14, and 12 more ranges; a fan")


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("inputs.dropped", {"device": NASTY, "reason": "malformed", "count": 1}),
        ("session.started", {"session": "s", "scanner": NASTY, "shopper": NASTY}),
        (NASTY, {}),
    ],
)
def test_no_name_commands_the_terminal(name, data):
    assert line(name, data).isprintable()
