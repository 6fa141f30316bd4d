# SPDX-License-Identifier: Apache-2.0
"""What the migration of a large database costs: time, the log's room, what is written.

    python -m tests.bench.migration --events 1000000 --waiting 20000

makes a database as schema 2 had it, of a store's mixture of events, and opens it as a start does.
"""

import argparse
import asyncio
import sqlite3
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Final
from zlib import crc32

from gateway import outbox
from gateway.database import open_database
from gateway.envelope import Source, event_payload
from gateway.mending import APPLICATION_ID, beside
from gateway.outbox import run_sync
from tests.made import closed, lost, picked, session

EPOCH: Final = "0a" * 16
SOURCE: Final = Source("store", "gw")
BITE: Final = 10_000
VISIT: Final = 9
"""Events of a visit: its beginning, picks, its receipt, and one of a device."""
OLD: Final = (
    "INSERT INTO events (position, epoch, sequence, id, name, payload, committed_utc_ns,"
    " acknowledged, crc) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


def made(path, events, waiting):
    """Make a database of schema 2, of which the last events wait."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for pragma in ("auto_vacuum = INCREMENTAL", f"application_id = {APPLICATION_ID}"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("CREATE TABLE schema_version (version INTEGER PRIMARY KEY) STRICT")
        for number in range(2):
            run_sync(connection, outbox.migration(number))
        run_sync(connection, outbox.begin_epoch(EPOCH, 1))
        for start in range(0, events, BITE):
            numbers = range(start, min(start + BITE, events))
            connection.execute("BEGIN")
            connection.executemany(OLD, [row(n, waits=n >= events - waiting) for n in numbers])
            connection.execute("COMMIT")


def row(number, *, waits):
    """Return the columns of an event."""
    name, place = f"visit-{number // VISIT}", number % VISIT
    if place == 0:
        event = session(EPOCH, number, None, name)
    elif place == 1:
        event = lost(EPOCH, number)
    elif place == VISIT - 1:
        event = closed(EPOCH, number, name)
    else:
        event = picked(EPOCH, number, name)
    payload = event_payload(
        event, SOURCE, epoch=EPOCH, sequence=number, utc_ns=1, online=True
    )  # fmt: skip
    sealed = (payload, 1, int(not waits), crc32(payload))
    return number + 1, EPOCH, number, event.id, event.name, *sealed


async def opened(path):
    """Open a database as a start does; return seconds, of CPU too, and the log's bytes."""
    began_s, cpu_s = time.monotonic(), time.process_time()
    async with await open_database(path, store=SOURCE.store, gateway=SOURCE.gateway):
        log_bytes = beside(path, "-wal").stat().st_size  # It is kept until all is checked.
        return time.monotonic() - began_s, time.process_time() - cpu_s, log_bytes


def main():
    """Run it and say what it took."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.migration", description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--waiting", type=int, default=20_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "gateway.db"
        made(path, options.events, options.waiting)
        file_bytes = path.stat().st_size
        seconds, cpu_s, log_bytes = asyncio.run(opened(path))
    sys.stdout.write(
        f"{options.events} events, {options.waiting} of them waiting, {file_bytes / 1e6:.0f} MB:"
        f" {seconds:.0f} s ({cpu_s:.0f} s of CPU), the log {log_bytes / 1e6:.0f} MB\n"
    )


if __name__ == "__main__":
    main()
