# SPDX-License-Identifier: Apache-2.0
"""From start to end: what systemd hears, and an end in time whatever the uplink does."""

import json
import os
import signal
import socket
import sqlite3
import threading
from contextlib import closing, contextmanager

import psutil
import pytest

from gateway.simulator.keys import TokenMaker
from tests.e2e.helpers import (
    Peer,
    Witness,
    accepts,
    closed,
    daemon,
    free_port,
    outside_broker,
    until,
)
from tests.e2e.shop import FILE, STORE, Shop, complete, open_shop, settled

STOP_S = 5.0


@pytest.fixture
def file(tmp_path):
    """A store file, and keys beside it."""
    TokenMaker.in_directory(STORE, tmp_path / "keys")
    path = tmp_path / "store.toml"
    path.write_text(FILE)
    return path


def ended_well(one, number=signal.SIGTERM):
    children = psutil.Process(one.program.pid).children(recursive=True)
    status, took_s = one.program.stop(number)
    assert status == 0, one.program.words()
    assert took_s < STOP_S, one.program.words()
    assert "Traceback" not in one.program.words()
    until(lambda: not any(child.is_running() for child in children), "the end of its broker")
    return took_s


def test_systemd_hears_of_start_life_and_end(file, tmp_path):
    with daemon(tmp_path, file) as one:
        one.start()
        one.notes.wait("WATCHDOG=1")
        one.notes.wait("STATUS=0 shoppers, uplink offline, 0 devices lost")
        for _ in range(20):
            one.notes.wait("WATCHDOG=1")
        one.program.process.send_signal(signal.SIGTERM)
        one.notes.wait("STOPPING=1")
        assert one.program.process.wait(STOP_S) == 0


def test_a_commit_that_hangs_feeds_no_watchdog_while_the_loop_lives(file, tmp_path):
    with daemon(tmp_path, file) as one:
        one.start()
        until(lambda: accepts(one.instore), "the in-store broker")
        with closed(Shop(one.instore, tmp_path / "keys")) as shop:
            settled(one)
            with closing(sqlite3.connect(one.database, isolation_level=None)) as other:
                other.execute("PRAGMA busy_timeout = 5000")
                other.execute("BEGIN IMMEDIATE")
                shop.scan(shop.tokens.token("anna"))
                # The loop lives: it says how things stand, a second apart, and feeds nothing.
                while "WATCHDOG=1" in one.notes.before("STATUS="):
                    pass
                other.execute("ROLLBACK")
            one.notes.wait("WATCHDOG=1")
            ended_well(one)


def test_ctrl_c_ends_it_too_and_without_uplink_events_stay(file, tmp_path):
    with daemon(tmp_path, file) as one:
        one.start()
        ended_well(one, signal.SIGINT)
        assert [row[0] for row in one.rows("SELECT name FROM events")] == [
            "gateway.started",
            "planogram.ambiguous",
            "gateway.stopped",
        ]
        # In no ten minutes, but what it wrote is noted all the same.
        [(noted,)] = one.rows("SELECT value FROM meta WHERE key = 'written'")
        [[_, _, events]] = json.loads(noted)
        assert events == 3


@contextmanager
def black_hole():
    """Accept connections and never answer."""
    kept = []
    with closing(socket.create_server(("127.0.0.1", 0), backlog=50)) as server:

        def serve():
            while True:
                try:
                    kept.append(server.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1], kept
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
            for one in kept:
                one.close()


def test_it_ends_in_time_while_the_uplink_is_a_black_hole_and_sends_later(file, tmp_path):
    with black_hole() as (port, kept), daemon(tmp_path, file, upstream=port) as one:
        one.start()
        until(lambda: kept, "a connection attempt")
        ended_well(one)
        before = {row[2] for row in one.rows()}
        assert len(before) == 3
    with (
        outside_broker(tmp_path) as upstream,
        daemon(tmp_path, file, upstream=upstream.port) as one,
        closed(Witness(upstream.port, STORE)) as witness,
    ):
        one.start()
        witness.wait(lambda: len(witness.events) >= 5, "what was kept")
        ended_well(one)
        witness.wait(lambda: len(witness.events) >= 6, "the rest")
        ids = {event["id"] for event in witness.events.values()}
        assert before < ids == {row[2] for row in one.rows()}
        first, second = witness.named("gateway.started")
        assert first["delivery"] == "queued"
        assert second["data"]["previous_epoch"] == first["epoch"]
        assert second["data"]["previous_sequence"] == f"{2:020d}"


def test_it_ends_in_time_while_an_integrator_does_not_acknowledge(tmp_path):
    with open_shop(tmp_path, acknowledge=False) as at:
        at.witness.event("gateway.started")
        ended_well(at.daemon)
        assert len(complete(at)) >= 2
        pending = "SELECT count(*) FROM events WHERE acknowledged = 0"
        assert at.daemon.rows(pending)[0][0] == len(at.daemon.rows())
        # Whoever acknowledges later gets all of it again, each event once in effect.
        with closed(Witness(at.upstream.port, STORE, name="later")) as later:
            at.daemon.start()
            count = len(at.daemon.rows())
            later.wait(lambda: len(later.events) >= count, "what was not acknowledged")
            until(lambda: at.daemon.rows(pending)[0][0] == 0, "acknowledgements")
            ended_well(at.daemon)


def test_an_uplink_that_dies_and_returns_loses_nothing(tmp_path):
    with open_shop(tmp_path) as at:
        at.upstream.kill()
        until(lambda: "Uplink is down" in at.daemon.program.words(), "the warning")
        at.shop.scan(at.shop.tokens.token("anna"))
        query = "SELECT payload FROM events WHERE name = 'session.started'"
        [(payload,)] = until(lambda: at.daemon.rows(query), "a session while the uplink is down")
        assert b'"delivery":"queued"' in payload
        # This broker forgets its clients when it is killed: the integrator comes back first, or
        # the daemon would have to wait until acknowledgements stay away.
        os.kill(at.daemon.program.pid, signal.SIGSTOP)
        at.upstream.start()
        at.witness.wait(lambda: at.witness.subscriptions == 2, "the integrator's return")
        os.kill(at.daemon.program.pid, signal.SIGCONT)
        at.witness.event("session.started")
        ended_well(at.daemon)
        complete(at)


def test_a_dead_in_store_broker_is_started_again(file, tmp_path):
    with daemon(tmp_path, file) as one:
        one.start()
        until(lambda: accepts(one.instore), "the in-store broker")
        [broker] = psutil.Process(one.program.pid).children()
        broker.kill()
        until(
            lambda: any(
                child.pid != broker.pid for child in psutil.Process(one.program.pid).children()
            ),
            "another broker",
        )
        until(lambda: accepts(one.instore), "the in-store broker")
        with closed(Shop(one.instore, tmp_path / "keys")):
            settled(one)
        ended_well(one)
        words = one.program.words()
        assert words.count("In-store broker is down") == 1
        assert words.count("In-store link is down") <= 1  # Its own start is no outage.


def test_two_daemons_do_not_share_a_database(file, tmp_path):
    with daemon(tmp_path, file) as one:
        one.start()
        with daemon(tmp_path, file, name="second") as second:
            second.program.start()
            assert second.program.process.wait(30) == 1
            words = second.program.words()
            assert str(one.database) in words
            assert "Traceback" not in words
        assert accepts(one.instore) or one.program.process.poll() is None


def test_another_client_with_the_uplinks_port_taken_is_no_reason_to_stop(file, tmp_path):
    """Nobody listens upstream: the daemon works on, and says so once."""
    with daemon(tmp_path, file, upstream=free_port()) as one:
        one.start()
        until(lambda: "Uplink is down" in one.program.words(), "the warning")
        until(lambda: accepts(one.instore), "the in-store broker")
        with closed(Peer(one.instore)):
            one.notes.wait("WATCHDOG=1")
        ended_well(one)
        assert one.program.words().count("Uplink is down") == 1
