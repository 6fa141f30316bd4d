# SPDX-License-Identifier: Apache-2.0
"""The reference integrator's ledger: each event once, gaps seen, acknowledgements true."""

import argparse
import asyncio
import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.mqtt.client import Message, MqttConfig, Tls, connect
from gateway.simulator.integrator import Ledger, _client, _Integrator, main, summary
from gateway.simulator.integrator_core import IntegratorCore
from gateway.simulator.proof import prove
from tests.brokers import MOSQUITTO_PASSWD, mosquitto, needs_mosquitto, run
from tests.certificates import certificate, tls_lines
from tests.payloads import SOURCE, dropped, event, started


@pytest.fixture
def ledger(tmp_path):
    with closing(Ledger(tmp_path / "i.db")) as one:
        yield one


def acknowledged(ledger, source=SOURCE):
    told = json.loads(ledger.acknowledgement(source))["acknowledged"]
    assert all(len(text) == 20 for text in told.values())
    return {epoch: int(text) for epoch, text in told.items()}


def counts(tmp_path):
    found = summary(tmp_path / "i.db")
    return found.received, found.repeated, found.lost, found.events


def test_each_event_is_stored_once(ledger, tmp_path):
    assert ledger.store([event("a", 0), event("a", 1), event("a", 0)]) == {SOURCE}
    ledger.store([event("a", 1)])
    assert counts(tmp_path) == (4, 2, 0, 2)
    assert acknowledged(ledger) == {"a": 1}


def test_a_gap_stops_the_acknowledgement_until_it_is_filled(ledger, tmp_path):
    ledger.store([event("a", 1), event("a", 2), event("a", 5)])
    assert acknowledged(ledger) == {}
    ledger.store([event("a", 0)])
    assert acknowledged(ledger) == {"a": 2}
    assert counts(tmp_path) == (4, 0, 2, 4)
    ledger.store([event("a", 4), event("a", 3)])
    assert acknowledged(ledger) == {"a": 5}
    assert counts(tmp_path) == (6, 0, 0, 6)


def test_what_the_gateway_gave_up_and_told_is_no_loss(ledger, tmp_path):
    ledger.store([event("a", 0), event("a", 3), dropped("a", 4, "a", (1, 2))])
    assert acknowledged(ledger) == {"a": 4}
    assert counts(tmp_path) == (3, 0, 0, 3)
    ledger.store([dropped("b", 0, "a", (5, 9)), event("a", 1)])
    assert acknowledged(ledger) == {"a": 9, "b": 0}
    assert counts(tmp_path) == (5, 0, 0, 5)


def test_the_end_of_an_epoch_is_known_from_the_next_start(ledger, tmp_path):
    ledger.store([event("a", 0), started("b", 0, "a", 2)])
    assert counts(tmp_path) == (2, 0, 2, 2)
    ledger.store([event("a", 1), event("a", 2)])
    assert counts(tmp_path) == (4, 0, 0, 4)


def test_a_whole_epoch_missing_is_seen(ledger, tmp_path):
    ledger.store([started("c", 0, "b", 4)])
    assert counts(tmp_path) == (1, 0, 5, 1)


def test_an_event_under_two_ids_is_a_conflict(ledger, tmp_path):
    ledger.store([event("a", 0), event("a", 0, one_id="other")])
    assert summary(tmp_path / "i.db").conflicting == 1


def test_two_events_under_one_id_are_a_conflict(ledger, tmp_path):
    ledger.store([event("a", 0), event("a", 0), event("a", 0, data=b'{"other":1}')])
    found = summary(tmp_path / "i.db")
    assert (found.received, found.repeated, found.conflicting, found.events) == (3, 2, 1, 1)


def test_a_shopper_may_be_erased_before_an_event_comes_again(ledger, tmp_path):
    told = event("a", 0, name="session.started", data=b'{"session":"s1","shopper":"anna"}')
    erased = told.replace(b',"shopper":"anna"', b"")
    ledger.store([told, erased])
    assert summary(tmp_path / "i.db").conflicting == 0
    ledger.store([told.replace(b"anna", b"berta")])
    assert summary(tmp_path / "i.db").conflicting == 1


def test_gateways_do_not_mix(ledger):
    other = "urn:shelfgate:store:gw-2"
    assert ledger.store([event("a", 0), event("a", 1, source=other)]) == {SOURCE, other}
    assert acknowledged(ledger) == {"a": 0}
    assert acknowledged(ledger, other) == {}


def test_many_finished_epochs_leave_the_acknowledgement_and_unfinished_ones_stay(ledger):
    ledger.store([event("0", 0), event("0", 2)])
    ledger.store([started("1", 0, "0", 2)])
    for number in range(2, 40):
        ledger.store([started(str(number), 0, str(number - 1), 0)])
    told = acknowledged(ledger)
    assert told["0"] == 0
    assert told["39"] == 0
    assert len(told) < 20


@pytest.mark.parametrize(
    "payload",
    [
        *(b"", b"{}", b"[" * 100_000, b"\xff"),
        event("a", 0).replace(b'"00000000000000000000"', b'"-1"'),
        event("a", 0).replace(b'"00000000000000000000"', b'"99999999999999999999"'),
        event(
            "a", 0, name="gateway.started", data=b'{"previous_epoch":"z","previous_sequence":"x"}'
        ),
        event("a", 0, name="events.dropped", data=b'{"epoch":"a","ranges":[{"first":"0"}]}'),
        event("a", 0, name="events.dropped", data=b"[]"),
        event("a", 0).replace(b"0" * 20, str(2**63 - 1).encode()),
        dropped("a", 0, "a", (5, 9)).replace(b'"count":5', b'"count":6'),
        dropped("a", 0, "a", (5, 9), (9, 10)),
        dropped("a", 0, "a", (8, 9), (5, 6)),
        dropped("a", 0, "a", (7, 6)),
    ],
)
def test_what_is_malformed_is_counted_and_harms_nothing_else(ledger, tmp_path, payload):
    ledger.store([event("a", 0, one_id="good"), payload, event("a", 1)])
    found = summary(tmp_path / "i.db")
    assert found.malformed == 1
    assert acknowledged(ledger) == {"a": 1}


@settings(max_examples=25)
@given(order=st.permutations(range(12)), cuts=st.sets(st.integers(1, 11)), data=st.data())
def test_any_order_with_any_repeats_ends_the_same(tmp_path_factory, order, cuts, data):
    folder = tmp_path_factory.mktemp("ledger")
    with closing(Ledger(folder / "i.db")) as ledger:
        have = set()
        bounds = [0, *sorted(cuts), 12]
        for first, last in pairwise(bounds):
            repeats = data.draw(st.lists(st.sampled_from(order[:last]), max_size=3))
            ledger.store([event("a", number) for number in [*order[first:last], *repeats]])
            have |= set(order[first:last])
            mark = next(n for n in range(-1, 12) if n + 1 not in have)
            assert acknowledged(ledger).get("a", -1) == mark
        found = summary(folder / "i.db")
        assert (found.lost, found.conflicting, found.events) == (0, 0, 12)


@pytest.mark.usefixtures("ledger")
def test_the_end_of_an_epoch_is_looked_up_and_not_searched_for(tmp_path):
    with closing(sqlite3.connect(tmp_path / "i.db")) as connection:
        plan = connection.execute(
            "EXPLAIN QUERY PLAN SELECT 1 FROM epochs WHERE source = '' AND previous_epoch = ''"
        ).fetchall()
    assert "epochs_previous (source=? AND previous_epoch=?)" in plan[0][3]


def test_a_wrong_address_is_refused(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--broker", "nonsense", "--database", "x.db"])
    assert end.value.code == 2
    assert "Write it as 127.0.0.1:1883" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--report", "--backfill"), "not allowed with"),
        (("--password-file", "p"), "--username: missing beside --password-file"),
        (("--ca", "absent.pem"), "--ca absent.pem: no such file"),
        (("--username", "u", "--password-file", "absent"), "cannot be read"),
        (("--share", "books"), "--share: is for consumers that keep --postgres"),
        (("--postgres", "dbname=x"), "not allowed with"),
    ],
)
def test_wrong_options_are_refused(tmp_path, monkeypatch, capsys, options, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(["--broker", "127.0.0.1:1883", "--database", "x.db", *options])
    assert end.value.code == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "x.db").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--share", "a/b"), "--share a/b: give letters"),
        (("--share", "books"), "--share: --client-id is missing"),
        (("--share", "books", "--client-id", "c"), "Give --protocol 5"),
        (("--share", "books", "--backfill"), "without --backfill"),
        (("--postgres", "secret"), "--postgres: postgresql: this is no conninfo. Write host="),
    ],
)
def test_wrong_options_beside_postgres_are_refused(tmp_path, capsys, options, words):
    pytest.importorskip("psycopg")
    with pytest.raises(SystemExit) as end:
        main(["--broker", "127.0.0.1:1883", "--postgres", f"host={tmp_path}", *options])
    assert end.value.code == 2
    assert words in capsys.readouterr().err


def test_a_report_from_a_database_that_does_not_answer_says_so(tmp_path, capsys):
    pytest.importorskip("psycopg")
    assert main(["--postgres", f"host={tmp_path}", "--report"]) == 3
    assert capsys.readouterr().err.startswith("integrator: postgresql: connection is bad")


def test_consumers_share_without_a_session_to_come_back_to():
    options = argparse.Namespace(
        broker="127.0.0.1:1883",
        username=None,
        password_file=None,
        ca=None,
        client_id="one",
        protocol=5,
        share="books",
    )
    config = _client(argparse.ArgumentParser(), options)
    assert (config.clean, config.session_expiry_s) == (True, 0)
    options.share = None
    config = _client(argparse.ArgumentParser(), options)
    assert (config.clean, config.session_expiry_s) == (False, 86_400)


def status(epoch, sequence):
    told = {"state": "online", "epoch": epoch, "sequence": f"{sequence:020d}"}
    return json.dumps(told).encode()


def test_a_new_epoch_makes_it_look_even_where_the_ledger_sees_no_gap(ledger, tmp_path):
    core = IntegratorCore(ledger, prove=partial(prove, tmp_path / "i.db"), look_s=0.0)
    ledger.store([started("a", 0), event("a", 3)])
    core.take([], {SOURCE: [status("a", 3)]})
    ledger.note_gone(SOURCE, "a", [(1, 2)])
    for _ in range(3):
        assert core.ask([], 0.0) == ({}, []), "it is gone"
    core.take([started("b", 0, "a", 3)], {SOURCE: [status("b", 0)]})
    assert not ledger.lacks_some()
    assert core.ask([], 0.0) == ({}, []), "it may be under way"
    _, [wish] = core.ask([], 0.0)
    assert json.loads(wish.payload)["from"] == f"{1:020d}"


def test_every_status_counts_though_several_come_at_once(ledger):
    """The last of an epoch says its end; what cannot be read harms none."""
    integrator = _Integrator(IntegratorCore(ledger), None)
    odd = (b"{}", b'{"x":' + b"[" * 100_000, status("z", 2**63))
    for payload in (status("a", 7), *odd, status("b", 0)):
        integrator._on_message(Message("shelfgate/v1/store/gw/status", payload, True, 1, 1))
    integrator.core.take([started("b", 0)], integrator._births)
    reached = ledger._connection.execute("SELECT epoch, sequence FROM reached").fetchall()
    assert sorted(reached) == [("a", 7), ("b", 0)]


@needs_mosquitto
def test_it_logs_in_to_a_broker_with_tls(tmp_path):
    certificate(tmp_path, "server", issuer=certificate(tmp_path, "authority"))
    authority = str(tmp_path / "authority.crt")
    (tmp_path / "passwords").touch(mode=0o600)
    subprocess.run([MOSQUITTO_PASSWD, "-b", tmp_path / "passwords", "office", "pw"], check=True)
    (tmp_path / "secret").touch(mode=0o600)
    (tmp_path / "secret").write_text("pw\n")
    lines = (*tls_lines(tmp_path, "server"), f"password_file {tmp_path / 'passwords'}")

    async def main():
        heard = asyncio.Queue()
        async with mosquitto(tmp_path, *lines) as broker:
            program = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "gateway.simulator.integrator"),
                *("--broker", f"127.0.0.1:{broker.port}", "--database", str(tmp_path / "i.db")),
                *("--ca", authority, "--username", "office"),
                *("--password-file", str(tmp_path / "secret")),
                cwd=Path(__file__).parents[2],
            )
            client = MqttConfig(
                host="127.0.0.1",
                port=broker.port,
                client_id="gw",
                protocol=4,
                tls=Tls(ca=authority),
                username="office",
                password="pw",
            )
            root = "shelfgate/v1/store/gw"
            try:
                async with connect(
                    client,
                    subscriptions=[(f"{root}/ack", 1)],
                    on_message=lambda message: heard.put_nowait(message.payload),
                ) as link:
                    # Retained: it comes to the integrator whenever it is there.
                    status = b'{"state":"online","epoch":"a","sequence":"0"}'
                    link.publish(f"{root}/status", status, retain=True)
                    await heard.get()
                    link.publish(f"{root}/events/device.lost", event("a", 0))
                    while b'"a":"00000000000000000000"' not in await heard.get():
                        pass
            finally:
                program.terminate()
                assert await program.wait() == 0

    run(main())
