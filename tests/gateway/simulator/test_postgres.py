# SPDX-License-Identifier: Apache-2.0
"""Books in PostgreSQL: those of SQLite, kept by several consumers at once."""

import asyncio
import json
import random
import threading
from contextlib import closing

import pytest

from drivers.errors import DeviceGoneError
from drivers.mqtt.client import MqttConfig
from gateway.simulator.integrator import keep_books
from gateway.simulator.ledger import Ledger, summary
from gateway.simulator.proof import prove
from tests.brokers import free_port, run
from tests.payloads import SOURCE, dropped, event, started
from tests.postgres import needs_postgres, postgres

psycopg = pytest.importorskip("psycopg")
from gateway.simulator import postgres as postgres_books  # noqa: E402
from gateway.simulator.postgres import PostgresLedger  # noqa: E402

pytestmark = needs_postgres

TABLES = "events, dropped, gone, gateways, reached, epochs, counters"


@pytest.fixture(scope="module")
def server():
    with postgres() as conninfo:
        yield conninfo


@pytest.fixture
def conninfo(server):
    with closing(PostgresLedger(server, "setup")) as one:
        one.lacks_some()
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"TRUNCATE {TABLES}")
    return server


@pytest.fixture
def ledger(conninfo):
    with closing(PostgresLedger(conninfo, "one")) as one:
        yield one


def acknowledged(ledger, source=SOURCE):
    told = json.loads(ledger.acknowledgements([source])[source])["acknowledged"]
    return {epoch: int(text) for epoch, text in told.items()}


def test_it_says_what_sqlite_says(ledger, tmp_path):
    """The same turns, drawn by chance, in both books: every answer is the same."""
    rng = random.Random(1)
    events = [event(epoch, number) for epoch in ("a", "b") for number in range(30)]
    events[30] = started("b", 0, "a", 33)
    events += [dropped("b", 30, "a", (30, 31)), dropped("b", 31, "b", (32, 40))]
    events += [event("b", 5, one_id="other"), event("b", 6, data=b'{"other":1}'), b"{}"]
    rng.shuffle(events)
    with closing(Ledger(tmp_path / "books.db")) as sqlite:
        while events:
            batch, events = events[:7], events[7:]
            batch += rng.choices(batch, k=2)
            assert ledger.store(batch) <= sqlite.store(batch) == {SOURCE}
            assert acknowledged(ledger) == acknowledged(sqlite)
            assert ledger.lacks_some() == sqlite.lacks_some()
        for books in (ledger, sqlite):
            assert books.note_birth(SOURCE, "b", 45)
            assert not books.note_birth(SOURCE, "b", 44)
            books.note_gone(SOURCE, "b", [(41, 42)])
        assert acknowledged(ledger) == acknowledged(sqlite) == {"a": 31, "b": 42}
        assert ledger.summary() == summary(tmp_path / "books.db")
        assert ledger.prove() == prove(tmp_path / "books.db")


def test_finished_epochs_leave_the_acknowledgement_as_in_sqlite(ledger, tmp_path):
    with closing(Ledger(tmp_path / "books.db")) as sqlite:
        for books in (ledger, sqlite):
            books.store([event("0", 0), event("0", 2)])
            books.store([started("1", 0, "0", 2)])
            for number in range(2, 40):
                books.store([started(str(number), 0, str(number - 1), 0)])
        assert acknowledged(ledger) == acknowledged(sqlite)


def test_consumers_that_share_a_gateway_lose_no_mark(conninfo):
    """Each gets every third event, some twice, all at once; the last mark is the last event."""
    count, consumers = 600, 3
    sources = [f"urn:shelfgate:store:gw-{number}" for number in range(3)]
    failures, barrier = [], threading.Barrier(consumers)

    def consume(turn):
        rng = random.Random(turn)
        mine = [
            event("a", number, source=source)
            for number in range(count)
            for source in sources
            if number % consumers == turn or rng.random() < 0.1
        ]
        try:
            with closing(PostgresLedger(conninfo, f"consumer-{turn}")) as books:
                barrier.wait()
                while mine:
                    batch, mine = mine[:20], mine[20:]
                    rng.shuffle(batch)
                    marks = {source: acknowledged(books, source) for source in books.store(batch)}
                    for source, told in marks.items():
                        assert stored_up_to(conninfo, source, told.get("a", -1))
        except BaseException as error:  # noqa: BLE001 - a thread's failure is told below.
            failures.append(error)

    threads = [threading.Thread(target=consume, args=(turn,)) for turn in range(consumers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with closing(PostgresLedger(conninfo, "witness")) as books:
        assert [acknowledged(books, source) for source in sources] == [{"a": count - 1}] * 3
        found = books.summary()
        assert (found.events, found.lost, found.conflicting) == (3 * count, 0, 0)
        assert found.received == found.events + found.repeated


def stored_up_to(conninfo, source, mark):
    """Tell whether another connection sees everything that a mark says."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        [(here,)] = connection.execute(
            "SELECT count(*) FROM events WHERE source = %s AND sequence <= %s", (source, mark)
        ).fetchall()
    return here == mark + 1


def test_a_mark_counts_only_what_others_have_committed(ledger, conninfo):
    with psycopg.connect(conninfo) as other:
        other.execute(
            "INSERT INTO events (source, id, epoch, sequence, name, payload)"
            " VALUES (%s, 'a-1', 'a', 1, 'x', '')",
            (SOURCE,),
        )
        ledger.store([event("a", 0), event("a", 2)])
        assert acknowledged(ledger) == {"a": 0}
        other.commit()
    ledger.store([event("a", 3)])
    assert acknowledged(ledger) == {"a": 3}


def test_a_mark_never_goes_back(ledger, conninfo):
    """One consumer has worked its mark out and waits; meanwhile another comes further."""
    ledger.store([event("a", 2)])
    with psycopg.connect(conninfo) as other:
        other.execute("SELECT * FROM epochs FOR UPDATE")
        late = threading.Thread(target=ledger.store, args=([event("a", 0)],))
        late.start()
        with psycopg.connect(conninfo, autocommit=True) as witness:
            while not witness.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchall():
                pass
        other.execute("UPDATE epochs SET stored = 2")
        other.commit()
    late.join()
    assert acknowledged(ledger) == {"a": 2}


def test_only_what_is_new_is_told_unless_nothing_is_for_long(conninfo):
    at_s = 100.0
    with (
        closing(PostgresLedger(conninfo, "one", now_s=lambda: at_s)) as one,
        closing(PostgresLedger(conninfo, "other", now_s=lambda: at_s)) as other,
    ):
        assert one.store([event("a", 1)]) == set()  # The other is about to store what is before.
        assert other.store([event("a", 0)]) == {SOURCE}
        assert one.store([event("a", 1)]) == {SOURCE}  # It has not heard of it.
        assert one.store([event("a", 3)]) == set()
        at_s += postgres_books.QUIET_S - 0.1
        assert one.store([event("a", 4)]) == set()
        at_s += 0.1
        assert one.store([event("a", 5)]) == {SOURCE}  # What is missing may have been lost.
        assert one.store([event("a", 6)]) == set()
        assert one.store([event("a", 2)]) == {SOURCE}


def test_a_mark_that_was_lost_comes_back_with_a_repeat(ledger, conninfo):
    ledger.store([event("a", 0), event("a", 1)])
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute("UPDATE epochs SET stored = -1")
    ledger.store([event("a", 1)])
    assert acknowledged(ledger) == {"a": 1}


def test_a_server_that_ended_the_connection_is_found_again(ledger, conninfo):
    ledger.store([event("a", 0)])
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
        )
    with pytest.raises(DeviceGoneError, match="postgresql: "):
        ledger.store([event("a", 1)])
    ledger.store([event("a", 1)])
    assert acknowledged(ledger) == {"a": 1}


def test_nothing_is_taken_from_the_broker_while_nothing_can_be_stored(tmp_path, capsys):
    async def scene():
        stop = asyncio.Event()
        books = PostgresLedger(f"host={tmp_path} user=nobody", "one")
        nowhere = MqttConfig(host="127.0.0.1", port=free_port(), client_id="one")
        keeping = asyncio.create_task(keep_books(nowhere, lambda: books, stop))
        while "postgresql: " not in (said := capsys.readouterr().err):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        stop.set()
        await keeping
        return said + capsys.readouterr().err

    assert "mqtt" not in run(scene())


def test_what_text_cannot_hold_is_malformed_and_hurts_nothing_else(ledger):
    bad = [event("a\0", 0), event("a", 0, one_id="\0"), b'{"id":"\xff"}']
    long = "".join(chr(0x4E00 + number) for number in range(2_000))
    bad += [event("a", 0, one_id=long), event(long, 0)]
    bad += [dropped("a", 0, "b\0", (1, 2)), started("a", 0, long, 1)]
    bad.append(event("a", 0).replace(b'"id":"a-0"', b'"id":"\\ud800"'))
    assert ledger.store([*bad, event("a", 0)]) == {SOURCE}
    assert acknowledged(ledger) == {"a": 0}
    assert ledger.summary().malformed == len(bad)
    assert not ledger.note_birth(SOURCE, "a\0", 0)
    assert not ledger.note_birth(SOURCE, long, 0)
    widest = "\U0001f600" * postgres_books.NAME_MAX
    assert ledger.store([event("b", 0, one_id=widest, source=widest)]) == {widest}
