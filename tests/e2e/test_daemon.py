# SPDX-License-Identifier: Apache-2.0
"""One plate and one shopper, from an MQTT message to an integrator that acknowledges."""

import subprocess
import sys

import pytest

from gateway.domain.event_types import name_of
from gateway.envelope import made_from_payload
from tests.e2e.shop import CRISPS, JAM, ROOT, UNIT_G, bought, complete, open_shop, visit

LATE_MS = 5_000
"""No promise, a sanity check: the promise is measured by ``make bench``."""


@pytest.fixture(scope="module")
def day(tmp_path_factory):
    """A visit by hand, seen from all sides, and the daemon stopped after it."""
    with open_shop(tmp_path_factory.mktemp("day")) as at:
        picks = [("g1.s1.p1", -2 * 165.0), ("g1.s1.p3", -330.0), ("g1.s1.p1", 165.0)]
        at.cart = visit(at, "17", picks, shopper="pseudonym-4711")
        at.shop.wait(lambda: at.shop.messages, "the door's effect")
        at.status, at.stop_s = at.daemon.stop()
        at.rows = complete(at)
        yield at


def test_the_receipt_is_right(day):
    assert bought(day.cart) == {CRISPS: 1, JAM: 1}
    assert day.cart["data"]["open"] == []
    assert day.cart["data"]["confirmed"] == "online"


def test_every_pick_says_who_what_and_where(day):
    first, second = day.witness.named("item.picked")
    session = day.witness.named("session.started")[0]["data"]["session"]
    [act] = first["data"]["acts"]
    assert act["session"] == session
    assert (act["gtin"], act["quantity"], act["plate"]) == (CRISPS, 2, "g1.s1.p1")
    assert act["probability"] >= 0.9
    [felt] = first["data"]["weights"]
    assert felt["delta_g"] == pytest.approx(-2 * UNIT_G[CRISPS], abs=3)
    assert second["data"]["acts"][0]["gtin"] == JAM
    [back] = day.witness.named("item.put-back")
    assert (back["data"]["acts"][0]["gtin"], back["data"]["acts"][0]["quantity"]) == (CRISPS, 1)


def test_the_door_is_asked_once_and_after_the_session(day):
    [(arrived_ns, topic, _payload, retained)] = day.shop.messages
    assert topic == f"{ROOT}/door/gate/open"
    assert not retained
    started = day.witness.named("session.started")[0]
    assert arrived_ns > started["data"]["clock"]["mono_ns"]


def test_only_the_session_names_the_shopper(day):
    naming = [event for event in day.witness.events.values() if b"pseudonym-4711" in event["raw"]]
    assert [event["data"]["shopper"] for event in naming] == ["pseudonym-4711"]
    assert all(b"pseudonym-4711" not in row[3] for row in day.rows)


def test_events_arrive_soon_after_the_input_that_made_them(day):
    online = [event for event in day.witness.events.values() if event["delivery"] == "online"]
    assert len(online) >= 6
    late = [(one["arrived_ns"] - one["data"]["clock"]["mono_ns"]) / 1e6 for one in online]
    assert max(late) < LATE_MS


def test_it_ends_cleanly_with_nothing_lost_or_repeated(day):
    assert day.status == 0
    assert day.stop_s < 5
    assert day.witness.repeated == 0
    assert day.witness.named("gateway.stopped")[0]["data"]["reason"] == "SIGTERM"
    last = day.witness.messages
    statuses = [payload for _, topic, payload, _ in last if topic.endswith("/gw-1/status")]
    assert b'"offline"' in statuses[-1]


def test_a_replay_of_its_journal_makes_the_same_events(day):
    segments = sorted((day.folder / "journal").glob("*.jsonl.gz"))
    done = subprocess.run(
        [sys.executable, "-m", "gateway.cli", "replay", *segments], capture_output=True, check=True
    )
    assert done.stdout.splitlines() == [made_from_payload(row[3]) for row in day.rows]


def test_its_events_are_shown_on_the_terminal(day):
    words = day.daemon.program.words()
    for event in day.witness.events.values():
        assert name_of(event["type"]) in words
    assert "took 2 x Crisps at g1.s1.p1" in words
    assert "Traceback" not in words
