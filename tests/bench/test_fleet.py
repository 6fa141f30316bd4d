# SPDX-License-Identifier: Apache-2.0
"""The benches of fleets and of outages in short: they run, lose nothing and count right."""

import asyncio
import json
import sqlite3
from contextlib import closing

import pytest

from gateway.simulator.ledger import Ledger
from tests.bench import books, fleet, outage
from tests.brokers import needs_mosquitto
from tests.payloads import event
from tests.postgres import INITDB


@needs_mosquitto
@pytest.mark.slow
@pytest.mark.skipif(INITDB is None, reason="postgresql is not installed")
def test_a_fleet_loses_nothing_in_a_common_outage_and_when_a_consumer_is_killed(tmp_path):
    pytest.importorskip("psycopg")
    found = fleet.measure(
        tmp_path, gateways=10, visits_per_hour=1_500.0, warm_s=2.0, outage_s=3.0, limit_s=50.0
    )
    json.dumps(found)
    assert (found["lost"], found["conflicting"]) == (0, 0)
    assert found["proved"] == {"complete": 10}
    assert found["events"] > found["backlog"] > 0
    assert found["connects"]["count"] >= 10
    assert found["consumers"] == fleet.CONSUMERS
    assert "live_ms" in found


@needs_mosquitto
@pytest.mark.slow
def test_an_outage_drains_while_shoppers_shop(tmp_path):
    pytest.importorskip("matplotlib")
    found, curves = asyncio.run(
        outage.live_through(tmp_path, outage_s=40.0, bandwidth=256, after_s=2.0, limit_s=50.0)
    )
    assert (found["lost"], found["conflicting"]) == (0, 0)
    assert found["events"] > found["backlog"] > 20
    assert curves.backlog[0][1] >= found["backlog"] > curves.backlog[-1][1]
    outage.draw(tmp_path / "curves.svg", curves, found)
    assert b"<svg" in (tmp_path / "curves.svg").read_bytes()


def test_an_event_under_two_ids_and_two_under_one_are_counted(tmp_path):
    with closing(sqlite3.connect(tmp_path / "gateway.db")) as connection:
        connection.execute("CREATE TABLE events (id, name, payload)")
        connection.execute("INSERT INTO events VALUES ('a-0', 'cart.closed', 'x')")
        connection.commit()
    with closing(Ledger(tmp_path / "integrator.db")) as ledger:
        ledger.store([event("a", 0)])
        assert outage.compare(tmp_path)["conflicting"] == 0
        ledger.store([event("a", 0, one_id="other")])
        assert outage.compare(tmp_path)["conflicting"] == 1
        ledger.store([event("a", 0, data=b'{"other":1}')])
        assert outage.compare(tmp_path)["conflicting"] == 2


@pytest.mark.skipif(INITDB is None, reason="postgresql is not installed")
def test_both_kinds_of_books_are_measured():
    pytest.importorskip("psycopg")
    found = books.measure(400, runs=1)
    assert found.keys() == {"sqlite", "postgres", "bytes"}
    assert min(found.values()) > 0


def test_spreads_and_connects_are_counted(tmp_path):
    assert fleet.spread([]) == {"count": 0}
    assert fleet.spread([3.0, 1.0, 2.0]) == {"count": 3, "p50": 2.0, "p99": 3.0, "p100": 3.0}
    log = tmp_path / "log"
    came = (99, 100, 101, 101, 104)
    log.write_text(
        "".join(f"{at}: New client connected from ::1:5 as store-{at}-gw-1\n" for at in came)
        + "104: New client connected from ::1:5 as consumer-1\n"
    )
    assert fleet.connects(log, 100.5) == {"count": 4, "peak_per_s": 2, "last_after_s": 4}
