# SPDX-License-Identifier: Apache-2.0
"""The benches in short: they run, count right and tell everything. Limits are for ``make bench``:
a test does not depend on the machine's speed."""

import asyncio
import importlib
import json
import pkgutil
import sqlite3
import sys
from contextlib import closing

import pytest

import tests.bench
import tests.vision_bench
from gateway.config import load_store
from gateway.domain import changes, explanations
from gateway.simulator.store_files import write_store
from tests.bench import __main__ as bench
from tests.bench import busy, migration, thingsboard, wear
from tests.bench.draining import LINES
from tests.bench.measures import percentile
from tests.bench.recording import recorded
from tests.brokers import MOSQUITTO
from tests.vision_bench import beside


@pytest.mark.slow
def test_the_short_form_measures_everything(tmp_path):
    results = bench.measure(
        tmp_path,
        live_s=4,
        replay_s=20,
        serial_s=1,
        starts=1,
        plates=36,
        cameras=1,
        shoppers=3,
        journal=True,
        vision=False,
        events=300,
        drains=1,
        waiting=2_000,
    )
    json.dumps(results)
    live = results["real_time"]
    assert live["cpu_percent"] > 0
    assert live["broker_cpu_percent"] > 0
    assert live["event_names"]["gateway.started"] == 1
    assert live["latencies"] >= 1
    assert 0 < live["latency_ms"]["p50"] <= live["latency_ms"]["p99"]
    assert results["replay"]["events"] > 1
    assert 0 < results["entry"]["p50_ms"] <= results["entry"]["p99_ms"]
    steps = results["steps"]
    assert all(steps[name] > 0 for name in ("samples_ms", "people_ms", "tick_ms", "core_percent"))
    serial = results["serial"]
    assert 0 < serial["us_per_reading"] < 1e6
    # A bridge's rows are its readings; a scale's come every 50 ms at best.
    assert serial["rows_per_s"] > serial["blocks_per_s"] > 0
    backlog = results["backlog"]
    assert backlog["many"]["file_mb"] > backlog["none"]["file_mb"]
    assert backlog["many"]["drained_per_s"] > 0
    assert backlog["none"]["rss_mb"] > 20
    assert list((tmp_path / "real_time").rglob("*.jsonl.gz"))
    shown = bench.table(results)
    assert all(row[0] in shown for row in bench.rows(results))
    assert results["machine"]["python"] in shown
    assert "vision beside the plain way: not measured: left out by --no-vision" in shown
    assert shown.startswith("36 plates at 60 Hz, 1 cameras at 10 Hz, 3 shoppers, journal on\n")


def test_the_stores_file_says_the_same_store(tmp_path):
    store, _ = recorded(0.1)
    write_store(tmp_path / "store.toml", store)
    read = load_store(tmp_path / "store.toml")
    assert sum(len(shelf.plates) for shelf in read.shelves) == 306
    assert [shelf.name for shelf in read.shelves] == [shelf.name for shelf in store.shelves]
    assert read.zones == store.zones
    assert {one.gtin: one.unit_g for one in read.products.values()} == {
        one.gtin: one.unit_g for one in store.products.values()
    }


def test_percentiles_take_the_nearest_rank():
    assert percentile([1, 2, 3, 4], 50) == 2
    assert percentile([1, 2, 3, 4], 99) == 4
    assert percentile(list(range(1, 1001)), 99) == 990


def test_a_limit_that_is_missed_is_said():
    assert beside.kept(24.9, "<=", 25)
    assert not beside.kept(25.1, "<=", 25)
    assert not beside.kept(14.9, ">=", 15)
    assert beside.line("this", 14.9, "x", ">=", 15).endswith("MISSED")
    assert beside.line("this", 15.1, "x", ">=", 15).endswith("ok")


def test_the_work_of_a_busy_store_is_bounded(monkeypatch):
    """What each change costs is counted: moves that are weighed with explanations."""
    weighed, real = [], explanations._assign

    def counted(begun, moves, weigher, floor):
        weighed[-1] += len(moves)
        return real(begun, moves, weigher, floor)

    def begin(*args, **wanted):
        weighed.append(0)
        return extend(*args, **wanted)

    extend = changes.extend
    monkeypatch.setattr(explanations, "_assign", counted)
    monkeypatch.setattr(changes, "extend", begin)
    spent_ms, told = busy.costs(8.0)
    assert told >= 12
    assert len(spent_ms) > 300
    assert 1 < max(weighed) <= 75, "as docs/performance.md says"


def test_what_a_store_writes_is_told_by_kind_of_transaction(tmp_path):
    day = asyncio.run(wear.lived(tmp_path, minutes=0.25, shoppers=4))
    lines = list(wear.told(day, 0.25))
    with closing(sqlite3.connect(tmp_path / "gateway.db")) as connection:
        query = "SELECT count(*), sum(acknowledged) FROM events"
        [(events, acknowledged)] = connection.execute(query)
    assert lines[0].startswith(f"{events} events of ")
    assert day.count["commits with events"] <= events
    # What happened in the last 200 ms waits for its acknowledgement.
    assert 0 < acknowledged <= events
    assert 0 < day.count["commits of state alone"] <= 0.25 * 60 + 1, "one a second at most"
    assert len(lines) == 5


def test_a_folder_that_is_missing_is_told(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["wear", "/nonexistent"])
    with pytest.raises(SystemExit):
        wear.main()
    assert "/nonexistent: no such folder. Name one on the disk" in capsys.readouterr().err


def test_a_migration_writes_what_waits_and_no_history(tmp_path):
    path = tmp_path / "gateway.db"
    migration.made(path, 900, 90)
    seconds, _, log_bytes = asyncio.run(migration.opened(path))
    assert seconds > 0
    assert 0 < log_bytes < path.stat().st_size / 2
    with closing(sqlite3.connect(path)) as connection:
        [(named,)] = connection.execute("SELECT count(*) FROM events WHERE strands <> ''")
    assert named == 90 - 90 // migration.VISIT, "but those of devices, which need none"


@pytest.mark.parametrize("package", [tests.bench, tests.vision_bench], ids=["bench", "vision"])
def test_every_bench_can_be_begun(package):
    names = [one.name for one in pkgutil.iter_modules(package.__path__, f"{package.__name__}.")]
    assert len(names) > 10
    for name in names:
        importlib.import_module(name)


@pytest.mark.skipif(
    thingsboard.PROGRAM is None or MOSQUITTO is None,
    reason="no thingsboard-gateway here (docs/performance.md has how to get one)",
)
def test_a_rival_drains_too(tmp_path):
    assert asyncio.run(thingsboard.drain(tmp_path, 3_000, 900, *LINES)) > 0
