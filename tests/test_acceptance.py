# SPDX-License-Identifier: Apache-2.0
"""What ``make acceptance`` checks notices what is wrong."""

from pathlib import Path

import pytest

from gateway.database import Batch, open_database
from gateway.domain.engine import Engine
from gateway.domain.inputs import LinkState
from gateway.journal import SUFFIX, encode_line
from tests import acceptance
from tests.acceptance import cut_faults, replay_faults, tail_faults
from tests.brokers import run
from tests.small_store import samples, stamp, started

JOURNAL = Path(__file__).parents[1] / "fixtures" / "journals" / "one-shelf.jsonl"
HEADER = b'{"journal":1,"number":1,"snapshot":null}\n'


@pytest.fixture
def files(tmp_path):
    """What a small run leaves: a database and its journal."""
    items = [started(), LinkState(at=stamp(1), online=True)]
    items += [samples(seq, mono_ns=10**9 + seq * 200_000_000) for seq in range(5)]

    async def main():
        database = await open_database(tmp_path / "gateway.db", store="store", gateway="gw")
        async with database:
            await database.begin_epoch(1)
            engine = Engine()
            for number, item in enumerate(items, start=1):
                events = engine.step(number, item).events
                await database.commit(Batch(events=events, rows=(), online=True, utc_ns=1))

    run(main())
    (tmp_path / "journal").mkdir()
    lines = [encode_line(number, item) for number, item in enumerate(items, start=1)]
    (tmp_path / "journal" / f"{0:010d}{SUFFIX}").write_bytes(HEADER + b"".join(lines))
    return tmp_path


def test_a_journal_that_replays_has_no_fault(files):
    assert acceptance.committed_lines(files)
    assert replay_faults(files) == []
    assert tail_faults(files) == []


def test_a_replay_that_makes_other_events_is_a_fault(files):
    [path] = (files / "journal").iterdir()
    content = path.read_bytes()
    assert b'"version":"0"' in content
    path.write_bytes(content.replace(b'"version":"0"', b'"version":"1"', 1))
    assert replay_faults(files)
    assert tail_faults(files)


def test_a_journal_that_cannot_be_read_is_a_fault(files):
    [path] = (files / "journal").iterdir()
    path.write_bytes(b"nothing\n")
    assert "replay ended with" in replay_faults(files)[0]


def test_the_fixtures_journal_can_be_cut_anywhere():
    inputs, wrong = cut_faults([JOURNAL])
    assert wrong == []
    assert inputs > 100


def test_a_snapshot_that_forgets_something_is_a_fault(monkeypatch):
    whole = Engine.restore

    def forgetful(snapshot):
        engine = whole(snapshot)
        engine._state.sessions.clear()
        return engine

    monkeypatch.setattr(Engine, "restore", forgetful)
    assert cut_faults([JOURNAL])[1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", []), ("7", [7]), ("101-103", [101, 102, 103]), ("3,8-9", [3, 8, 9])],
)
def test_seeds_are_numbers_and_ranges(text, expected):
    assert acceptance.seeds(text) == expected


def test_a_demo_that_cannot_run_fails_and_its_log_stays(tmp_path, capsys):
    words = ["--seeds", "1", "--kill-seeds", "", "--folder", str(tmp_path)]
    status = acceptance.main([*words, "--demo=--store", "--demo=/nowhere.toml"])
    assert status == 1
    told = capsys.readouterr().out
    assert "the demo ended with 2" in told
    assert "nowhere.toml" in (tmp_path / "1.log").read_text()
