# SPDX-License-Identifier: Apache-2.0
"""Databases of tests: what they hold, how they are spoilt, and a start on one."""

import sqlite3
from contextlib import closing

from gateway.database import Batch, open_database
from tests.brokers import run
from tests.databases import SOURCE
from tests.faults.power import Images
from tests.made import started

NOW_NS = 1_795_277_998_412_345_678
PAGE = 4_096
ASIDE = "a.db.corrupt-*"


def dump(path):
    """Return everything that a database holds."""
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        return {
            table: sorted(connection.execute(f"SELECT * FROM {table}").fetchall(), key=repr)
            for (table,) in tables.fetchall()
        }


def held(path):
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        return {
            table: sorted(connection.execute(f"SELECT * FROM {table}").fetchall(), key=repr)
            for table in ("events", "state", "epochs", "backfills")
        }


def root(images, name):
    with closing(sqlite3.connect(":memory:")) as connection:
        # Without a write-ahead log, which no database in memory has.
        connection.deserialize(images.db[:18] + b"\x01\x01" + images.db[20:])
        query = "SELECT rootpage FROM sqlite_schema WHERE name = ?"
        [(page,)] = connection.execute(query, (name,))
    return page


def spoilt(images, page, content=b"\xa5" * PAGE):
    at = PAGE * (page - 1)
    return Images(images.db[:at] + content + images.db[at + PAGE :], images.wal)


def opened(path, **other):
    options = {"store": SOURCE.store, "gateway": SOURCE.gateway} | other
    return open_database(path, **options)


def start(path, **other):
    """Start as the daemon does; return the recovery, the epoch and the events committed."""

    async def main():
        async with await opened(path, **other) as database:
            epoch = await database.begin_epoch(NOW_NS)
            batch = Batch(events=[started(epoch, 1)], online=True, utc_ns=NOW_NS)
            return database.recovery, epoch, (await database.commit(batch)).rows

    return run(main())


def aside(path):
    return sorted(one for one in path.parent.glob(ASIDE) if not one.name.endswith("-wal"))
