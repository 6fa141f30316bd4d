# SPDX-License-Identifier: Apache-2.0
"""Books in PostgreSQL: those of SQLite, kept by several consumers at once."""

import asyncio
import json
import random
import threading
from contextlib import closing, contextmanager

import pytest

from drivers.errors import DeviceGoneError
from drivers.mqtt.client import MqttConfig
from gateway.simulator import integrator
from gateway.simulator.integrator import keep_books
from gateway.simulator.ledger import BooksError, Ledger, summary
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


@contextmanager
def another_database(server, *options):
    """Make an empty database beside the others; yield how to reach it."""
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE another {' '.join(options)}")
        try:
            yield server.replace("dbname=postgres", "dbname=another")
        finally:
            connection.execute("DROP DATABASE another WITH (FORCE)")


def asked(conninfo, sql):
    """Return rows; none where a statement gives none."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        cursor = connection.execute(sql)
        return cursor.fetchall() if cursor.description else []


def test_a_report_makes_no_books_and_says_where_there_are_none(server, capsys):
    with another_database(server) as empty:
        assert integrator.main(["--postgres", empty, "--report"]) == 2
        assert "Name the database of an integrator" in capsys.readouterr().err
        assert asked(empty, "SELECT to_regclass('epochs')") == [(None,)]
        with closing(PostgresLedger(empty, "one")) as books:
            books.ready()
        assert integrator.main(["--postgres", empty, "--report"]) == 3
        assert "postgresql: no gateway is known here" in capsys.readouterr().err
        with closing(PostgresLedger(empty, "one")) as books:
            books.store([event("a", 0)])
        assert integrator.main(["--postgres", empty, "--report"]) in (0, 3)
        assert "1 event of 1 epoch" in capsys.readouterr().out


def test_a_report_of_a_server_that_is_down_says_so_and_ends_with_3(capsys):
    nowhere = f"host=127.0.0.1 port={free_port()} dbname=events"
    assert integrator.main(["--postgres", nowhere, "--report"]) == 3
    said = capsys.readouterr().err
    assert said.startswith("integrator: postgresql: ")
    assert "usage:" not in said
    assert said.count("\n") == 1


def test_what_another_version_made_becomes_what_this_one_makes(server):
    with another_database(server) as old:
        with closing(PostgresLedger(old, "one")) as books:
            books.ready()
        before = asked(old, "SELECT oid FROM pg_class WHERE relname = 'events_sequence'")
        asked(
            old,
            "DROP INDEX epochs_previous; COMMENT ON FUNCTION advance IS 'an older';"
            " CREATE OR REPLACE FUNCTION advance(of_source text, of_epoch text)"
            " RETURNS boolean LANGUAGE sql AS 'SELECT false'",
        )
        with closing(PostgresLedger(old, "one")) as books:
            books.store([event("a", 0)])
            assert acknowledged(books) == {"a": 0}
        [(made,)] = asked(
            old, "SELECT indexdef FROM pg_indexes WHERE indexname = 'epochs_previous'"
        )
        assert made.endswith("(source, previous_epoch)")
        assert asked(old, "SELECT oid FROM pg_class WHERE relname = 'events_sequence'") == before


def test_books_are_opened_while_somebody_writes_in_them(ledger, conninfo):
    ledger.ready()
    with psycopg.connect(conninfo) as other, closing(PostgresLedger(conninfo, "two")) as books:
        other.execute("LOCK TABLE events IN SHARE UPDATE EXCLUSIVE MODE")  # As a vacuum does.
        other.execute("DELETE FROM epochs")
        books.ready()


def test_a_user_who_owns_nothing_keeps_books_but_needs_rights_to_them(ledger, conninfo, capsys):
    ledger.ready()
    with psycopg.connect(conninfo, autocommit=True) as admin:
        admin.execute("CREATE ROLE clerk LOGIN")
        try:
            clerk = conninfo.replace("user=shelfgate", "user=clerk")
            words = ["--postgres", clerk, "--broker", f"127.0.0.1:{free_port()}"]
            with closing(PostgresLedger(clerk, "two")) as books:
                with pytest.raises(BooksError, match=r"permission denied .* let its user use"):
                    books.store([event("a", 0)])
                admin.execute("REVOKE EXECUTE ON FUNCTION advance FROM PUBLIC")
                admin.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {TABLES} TO clerk")
                admin.execute("GRANT EXECUTE ON FUNCTION advance TO clerk")
                assert books.store([event("a", 0)]) == {SOURCE}
            admin.execute("COMMENT ON FUNCTION advance IS NULL")  # Another version's.
            assert integrator.main(words) == 1
            said = capsys.readouterr().err
            assert said.startswith("integrator: postgresql: permission denied")
            assert said.count("\n") == 1
        finally:
            admin.execute("GRANT EXECUTE ON FUNCTION advance TO PUBLIC")
            admin.execute("DROP OWNED BY clerk")
            admin.execute("DROP ROLE clerk")


def test_tables_that_are_others_end_the_process_and_are_no_outage(server):
    with another_database(server) as other:
        asked(other, "CREATE TABLE epochs (mine text)")
        with (
            closing(PostgresLedger(other, "one")) as books,
            pytest.raises(BooksError, match=r'column "source" does not exist\. Name'),
        ):
            books.ready()


def test_a_server_that_does_not_answer_is_gone_in_bounded_time(conninfo, monkeypatch):
    monkeypatch.setattr(postgres_books, "STATEMENT_MS", 100)
    with psycopg.connect(conninfo) as other, closing(PostgresLedger(conninfo, "one")) as books:
        books.ready()
        other.execute("LOCK TABLE events")
        with pytest.raises(DeviceGoneError, match="statement timeout"):
            books.store([event("a", 0)])
        other.rollback()
        assert books.store([event("a", 0)]) == {SOURCE}


@pytest.mark.parametrize(
    ("given", "reads", "expected"),
    [
        ("", False, ("30000", "10", "30s")),
        ("", True, ("30000", "10", "0")),
        (" tcp_user_timeout=7000 connect_timeout=3", False, ("7000", "3", "30s")),
        (" options='-c statement_timeout=9s'", False, ("30000", "10", "9s")),
        (" options='-c statement_timeout=0'", False, ("30000", "10", "0")),
    ],
)
def test_limits_are_those_of_the_conninfo_where_it_has_some(conninfo, given, reads, expected):
    with closing(PostgresLedger(conninfo + given, "one", reads=reads)) as books:
        told = books._with(
            lambda one: (
                one.info.get_parameters().get("tcp_user_timeout"),
                one.info.get_parameters().get("connect_timeout"),
                one.execute("SHOW statement_timeout").fetchall()[0][0],
            )
        )
    assert told == expected


TWO = ("urn:shelfgate:Z:gw-1", "urn:shelfgate:a:gw-1")
"""In Python's order, which is not that of a dictionary."""


@pytest.mark.parametrize(
    "takes",
    [
        "INSERT INTO events VALUES (DEFAULT, %s, 'a-0', 'a', 0, 'x', '{\"data\":{}}')",
        "INSERT INTO epochs (source, epoch) VALUES (%s, 'a')",
        "UPDATE epochs SET stored = -1 WHERE source = %s AND epoch = 'b'",
    ],
    ids=["events", "epochs", "marks"],
)
def test_consumers_wait_in_one_order_whatever_the_database_sorts_by(server, takes):
    if asked(server, "SELECT current_setting('server_version_num')::int >= 150000") == [(False,)]:
        pytest.skip("databases have no ICU locale before PostgreSQL 15")
    words = ("TEMPLATE template0", "LOCALE_PROVIDER icu", "ICU_LOCALE 'en'")
    with (
        another_database(server, *words) as sorted_so,
        closing(PostgresLedger(sorted_so, "1")) as books,
    ):
        assert asked(sorted_so, "SELECT 'a' < 'Z'") == [(True,)]
        epoch = "b" if takes.startswith("UPDATE") else "a"
        if epoch == "b":
            books.store([event("b", 1, source=source) for source in TWO])
        books.ready()
        failures = []

        def store():
            try:
                books.store([event(epoch, 0, source=source) for source in TWO])
            except DeviceGoneError as error:
                failures.append(error)

        with psycopg.connect(sorted_so) as other:
            other.execute(takes, (TWO[0],))
            late = threading.Thread(target=store)
            late.start()
            with psycopg.connect(sorted_so, autocommit=True) as witness:
                while not witness.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchall():
                    pass
            other.execute(takes, (TWO[1],))
            other.commit()
        late.join()
        assert failures == []
