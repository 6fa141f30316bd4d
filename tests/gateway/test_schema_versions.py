# SPDX-License-Identifier: Apache-2.0
"""Databases of every earlier schema open, and hold what they held."""

import asyncio
import shutil
import sqlite3
from collections import Counter
from contextlib import closing

import msgspec
import pytest

from gateway import outbox
from gateway.database import open_database
from gateway.domain.engine import Engine
from gateway.domain.state import ROW_TYPES
from gateway.pipeline import ALIVE, last_alive
from tests.databases import FOLDER, SOURCE
from tests.gateway.domain.scene import CRISPS, JAM, OIL, TEA, corner_store
from tests.made import rows_waiting
from tests.schema_check import check_event
from tests.small_store import started

VERSIONS = sorted(FOLDER.glob("schema-*.db"))
COLUMNS = "position, epoch, sequence, id, name, payload, shopper, committed_utc_ns"
QUERIES = {
    "events": f"SELECT {COLUMNS} FROM events ORDER BY position",
    "pending": f"SELECT {COLUMNS} FROM events WHERE acknowledged = 0 ORDER BY position",
    "epochs": "SELECT epoch, started_utc_ns, previous_epoch, last_sequence FROM epochs"
    " ORDER BY ordinal",
    "owner": "SELECT key, value FROM meta WHERE key IN ('store', 'gateway') ORDER BY key",
}
KINDS = {
    **dict.fromkeys(("session", "closed", "review", "decided", "command", "marks", "store"), 1),
    ALIVE: 1,
    "holding": 6,
    "token": 2,
}
"""Rows of the durable state in each of them, by kind; newer ones hold more kinds."""


def held(path):
    """Return what a database holds, by what it is."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        return {name: connection.execute(query).fetchall() for name, query in QUERIES.items()}


@pytest.fixture(params=VERSIONS, ids=[path.stem for path in VERSIONS])
def migrated(request, tmp_path):
    """Return what an earlier schema held, what is there now, and what the daemon loads of it."""
    path = tmp_path / "gateway.db"
    shutil.copyfile(request.param, path)
    before = held(path)

    async def main():
        database = await open_database(path, store=SOURCE.store, gateway=SOURCE.gateway)
        async with database:
            rows = await database.load_state()
            pending = await rows_waiting(database, 0, 1_000)
            return rows, pending, await database.begin_epoch(1)

    loaded = asyncio.run(main())
    return before, held(path), loaded


def test_every_earlier_schema_is_checked_in():
    names = [f"schema-{number}.db" for number in range(1, len(outbox.MIGRATIONS) + 1)]
    found = {path.name for path in VERSIONS}
    assert found >= {*names[:-1]}
    assert found <= {*names}


def test_events_epochs_and_owner_are_what_they_were(migrated):
    before, after, (_, pending, epoch) = migrated
    assert after["events"] == before["events"]
    assert after["pending"] == before["pending"]
    assert after["owner"] == before["owner"]
    assert len(before["events"]) == 10
    last = before["epochs"][-1][0]
    assert [one[:3] for one in after["epochs"][:-1]] == [one[:3] for one in before["epochs"]]
    assert (epoch.previous_epoch, epoch.previous_sequence) == (last, 1)
    assert [(row.epoch, row.sequence) for row in pending] == [
        (name, sequence) for _, name, sequence, *_ in before["pending"]
    ]
    assert len(pending) == 5
    for row in pending:
        check_event(row.payload)


def test_durable_rows_of_every_kind_are_read(migrated):
    _, _, (rows, _, _) = migrated
    for row in rows:
        if row.kind != ALIVE:
            msgspec.json.decode(row.value, type=ROW_TYPES[row.kind])
    found = Counter(row.kind for row in rows)
    assert found.items() >= KINDS.items()
    assert found.keys() <= ROW_TYPES.keys() | {ALIVE}
    assert last_alive(rows).boot == "kernel-1"


def test_an_engine_goes_on_with_carts_reviews_marks_and_prices(migrated):
    _, _, (rows, _, epoch) = migrated
    engine = Engine()
    begins = msgspec.structs.replace(
        started(corner_store()),
        epoch=epoch.epoch,
        previous_epoch=epoch.previous_epoch,
        state=[row for row in rows if row.kind != ALIVE],
    )
    engine.step(1, begins)
    state = engine.state
    [session] = state.sessions.values()
    assert quantities(session.lines) == {CRISPS: 1}
    assert session.persons
    [closed] = state.closed.values()
    assert quantities(closed.lines) == {JAM: 1}
    [review] = state.reviews.values()
    assert review.candidates[0].acts[0].gtin == TEA
    assert [one.acts[0].gtin for one in state.decided.values()] == [JAM]
    assert state.holdings["g2.s1.p0"].misplaced == {JAM: 1}
    assert state.holdings["g1.s1.p3"].weighed_g == pytest.approx(2_220.0, abs=5.0)
    assert len(state.tokens) == 2
    assert state.commands == {"c1": "ok"}
    assert state.store.products[TEA].price_minor == 250
    assert state.store.products[OIL].price_minor is None
    assert state.devices["scanner/gate"].marks.seen


def quantities(lines):
    return {gtin: line.quantity for gtin, line in lines.items()}


@pytest.mark.parametrize("old", VERSIONS, ids=[path.stem for path in VERSIONS])
def test_an_event_that_rotted_unseen_does_not_keep_the_daemon_from_starting(old, tmp_path):
    """One without a checksum, as the first schema made them."""
    path = tmp_path / "gateway.db"
    shutil.copyfile(old, path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "UPDATE events SET payload = CAST('{\"data\":' AS BLOB) WHERE position = 2"
        )
        connection.execute("UPDATE events SET acknowledged = position = 4")
        if old.stem != "schema-1":
            connection.execute("UPDATE events SET crc = NULL")

    async def main():
        async with await open_database(
            path, store=SOURCE.store, gateway=SOURCE.gateway
        ) as database:
            return await database.begin_epoch(1)

    asyncio.run(main())
    with closing(sqlite3.connect(path)) as connection:
        strands = dict(connection.execute("SELECT position, strands FROM events"))
    assert strands[2] == ""
    assert strands[3], "the others have theirs"
    assert strands[4] == "", "history needs none"
