# SPDX-License-Identifier: Apache-2.0
"""A fleet's made-up visits, and what its command takes."""

import argparse
import asyncio
import logging
import resource
import sqlite3
from collections import Counter
from contextlib import closing

import msgspec
import pytest

from drivers.mqtt.client import MqttConfig
from gateway import damage
from gateway.config import History
from gateway.database import Database
from gateway.domain.events import Clock
from gateway.room import Limits, limits_of
from gateway.simulator import fleet, simulate
from gateway.simulator.fleet import Fleet, FleetConfig, fleet_config, open_more_files
from gateway.simulator.integrator import run_integrator
from gateway.simulator.proof import prove
from gateway.simulator.visits import Moment, Visits
from tests.brokers import Embedded, free_port, run
from tests.schema_check import check_data

MOMENT = Moment(
    Clock("boot", 1, utc_trusted=True, utc_error_ms=1), 1_795_255_200_000_000_000, online=True
)


def told(seed="1", epoch="e", hours=3.0, per_hour=20.0, moment=MOMENT):
    return Visits(seed, epoch, per_hour).until(3_600 * hours, moment)


def test_visits_are_events_of_the_contract_and_whole():
    events = told()
    seen, held, ended = set(), {}, 0
    for one in events:
        name = one.data.NAME
        check_data(name, msgspec.json.encode(one.data))
        assert (one.shopper is not None) == (name == "session.started")
        if name.startswith("item."):
            [act] = one.data.acts
            seen.add(one.data.change)
            sign = 1 if name == "item.picked" else -1
            held[act.session][act.gtin] += sign
        elif name == "session.started":
            assert one.data.session not in held
            held[one.data.session] = Counter()
        elif name == "cart.closed":
            lines = {line.gtin: int(line.quantity) for line in one.data.lines}
            assert lines == +held[one.data.session]
        else:
            assert name == "session.ended"
            ended += 1
    assert ended > 30
    assert len(seen) == sum(one.data.NAME.startswith("item.") for one in events)


def test_the_seed_decides_visits_and_the_epoch_their_names():
    def names(events):
        return {one.data.session for one in events if one.data.NAME == "session.started"}

    assert told() == told()
    assert told(seed="2") != told()
    again = told(epoch="f")
    assert [one.data.NAME for one in again] == [one.data.NAME for one in told()]
    assert names(again).isdisjoint(names(told()))


def test_a_cart_says_whether_there_was_a_link_when_it_closed():
    for online, word in ((True, "online"), (False, "offline")):
        events = told(moment=msgspec.structs.replace(MOMENT, online=online))
        assert {one.data.confirmed for one in events if one.data.NAME == "cart.closed"} == {word}


def test_visits_in_pieces_are_the_visits_at_once():
    visits = Visits("1", "e", 20.0)
    pieces = [one for second in range(0, 10_801, 60) for one in visits.until(second, MOMENT)]
    assert pieces == told()
    assert visits.next_s > 10_800


def test_a_fleet_sends_everything_once_and_goes_on_after_a_restart(tmp_path):
    async def scene():
        broker = Embedded(tmp_path)
        await broker.start()
        mqtt = MqttConfig(host="127.0.0.1", port=broker.port, client_id="x", protocol=4)
        stop = asyncio.Event()
        books = tmp_path / "books.db"
        integrator = asyncio.create_task(
            run_integrator(msgspec.structs.replace(mqtt, client_id="books"), books, stop)
        )
        config = FleetConfig(
            gateways=3, broker=mqtt, folder=tmp_path / "fleet", visits_per_hour=36_000.0
        )
        try:
            for _ in range(2):
                flock, enough = Fleet(config), asyncio.Event()
                running = asyncio.create_task(flock.run(enough))
                while sum(one.committed for one in flock.gateways) < 60:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
                assert flock.line().startswith("3 of 3 gateways online")
                enough.set()
                await running
        finally:
            stop.set()
            await integrator
            await broker.kill()
        return flock.line(), books

    line, books = run(scene())
    assert "events committed" in line
    proofs = prove(books)
    assert [(one.source, one.epochs, one.verdict) for one in proofs] == [
        (f"urn:shelfgate:store-0000{number}:gw-1", 2, "complete") for number in (1, 2, 3)
    ]
    assert sum(one.events for one in proofs) >= 120


def test_databases_are_read_as_a_whole_and_kept_within_their_bounds(tmp_path, monkeypatch, caplog):
    keeps, kept = Database.keep_within, Counter()

    async def counted(database, now):
        kept[database.path.parent.name] += 1
        await keeps(database, now)

    monkeypatch.setattr(fleet, "UPKEEP_S", 0.05)
    monkeypatch.setattr(fleet, "LAST_S", 0.0)
    monkeypatch.setattr(Database, "keep_within", counted)
    config = FleetConfig(
        gateways=2,
        broker=MqttConfig(host="127.0.0.1", port=free_port(), client_id="x", protocol=5),
        folder=tmp_path,
    )

    async def scene(done):
        enough = asyncio.Event()
        running = asyncio.create_task(Fleet(config).run(enough))
        while not done():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        enough.set()
        await running

    run(scene(lambda: len(kept) == 2))
    monkeypatch.setattr(damage, "AT_ONCE_BYTES_MAX", 0)  # As if they were large.
    caplog.set_level(logging.INFO)
    run(scene(lambda: caplog.text.count("the check in the background found nothing wrong") == 2))


def test_a_database_that_is_too_large_gives_events_up(tmp_path, monkeypatch):
    monkeypatch.setattr(fleet, "UPKEEP_S", 0.05)
    monkeypatch.setattr(fleet, "LAST_S", 0.0)
    nowhere = MqttConfig(host="127.0.0.1", port=free_port(), client_id="x", protocol=5)
    daemons = FleetConfig(gateways=1, broker=nowhere, folder=tmp_path, visits_per_hour=36_000.0)
    assert daemons.limits == limits_of(History())
    path = tmp_path / "store-00001" / "gateway.db"
    config = msgspec.structs.replace(daemons, limits=Limits(bytes_max=400_000))

    async def scene():
        enough = asyncio.Event()
        running = asyncio.create_task(Fleet(config).run(enough))
        async with asyncio.timeout(120):
            while not path.exists() or not dropped():  # noqa: ASYNC110 - it tells nobody.
                await asyncio.sleep(0.05)
        enough.set()
        await running

    def dropped():
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            connection.execute("PRAGMA busy_timeout = 5000")
            try:
                query = "SELECT count(*) FROM events WHERE name = 'events.dropped'"
                return connection.execute(query).fetchone()[0]
            except sqlite3.OperationalError:  # It is being made.
                return 0

    run(scene())
    assert dropped()


def parsed(*words):
    parser = argparse.ArgumentParser()
    simulate.add_arguments(parser)
    return parser.parse_args(words)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--fleet", "3"], "--directory: missing"),
        (["--fleet", "0", "--directory", "x"], "give 1 or more"),
        (["--fleet", "3", "--directory", "x", "--first", "0"], "give 1 or more"),
        (["--fleet", "3", "--directory", "x", "--visits-per-hour", "0"], "above 0"),
        (["--fleet", "3", "--directory", "x", "--visits-per-hour", "nan"], "above 0"),
        (["--fleet", "3", "--directory", "x", "--bandwidth", "7"], "--bandwidth 7: give 8 to"),
        (["--fleet", "3", "--directory", "x", "--bandwidth", "10000001"], "--bandwidth 10000001"),
    ],
)
def test_wrong_arguments_are_refused_with_a_remedy(words, problem, capsys):
    assert simulate.simulate(parsed(*words)) == 2
    assert problem in capsys.readouterr().err


@pytest.mark.parametrize("problem", ["another program", "File exists"])
def test_a_database_that_is_refused_ends_the_fleet_with_a_sentence(tmp_path, capfd, problem):
    store = tmp_path / "store-00002"
    if problem == "File exists":
        store.touch()
    else:
        store.mkdir()
        with closing(sqlite3.connect(store / "gateway.db")) as connection:
            connection.execute("CREATE TABLE mine (one)")
    broker = f"127.0.0.1:{free_port()}"
    words = ("--fleet", "3", "--directory", str(tmp_path), "--broker", broker)
    assert simulate.simulate(parsed(*words)) == 1
    told, said = capfd.readouterr()
    assert (told, said.count("\n")) == ("", 1)
    assert said.startswith(f"simulate: {store}")
    assert problem in said


def test_a_fleet_speaks_mqtt_5_as_the_daemon_does(tmp_path):
    args = parsed("--fleet", "2", "--directory", str(tmp_path / "new"), "--first", "7")
    config = fleet_config(args, MqttConfig(host="h", client_id="x", protocol=4))
    assert (config.broker.protocol, config.first, config.gateways) == (5, 7, 2)
    assert (tmp_path / "new").is_dir()


def test_too_many_gateways_for_the_open_files_are_refused(monkeypatch):
    limits = []
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (1_024, 4_096))
    monkeypatch.setattr(resource, "setrlimit", lambda _which, both: limits.append(both))
    open_more_files(10)
    assert limits == []
    open_more_files(200)
    assert limits == [(fleet.FILES_EACH * 200 + fleet.FILES_BESIDE, 4_096)]
    with pytest.raises(ValueError, match="ulimit -Hn"):
        open_more_files(400)


def test_why_no_gateway_is_online_is_said_once(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(fleet, "LAST_S", 0.1)
    broker = MqttConfig(host="127.0.0.1", port=free_port(), client_id="", username=None)
    config = FleetConfig(gateways=3, broker=broker, folder=tmp_path, visits_per_hour=1.0)
    links = logging.getLogger("gateway.upstream")
    before = list(links.filters)

    async def main():
        stop, told = asyncio.Event(), []

        class Count(logging.Filter):
            def filter(self, record):
                told.append(record.getMessage())
                if len(told) == 3:
                    stop.set()
                return True

        counting = Count()
        links.addFilter(counting)
        try:
            await fleet.run_fleet(config, stop, quiet=True)
        finally:
            links.removeFilter(counting)
        return told

    told = run(main())
    assert len(told) >= 3
    said = [record.getMessage() for record in caplog.records if record.name == links.name]
    assert len(said) == 1
    assert "nothing listens there. Start the broker" in said[0]
    assert links.filters == before
