# SPDX-License-Identifier: Apache-2.0
"""How long a start looks at a large database: ``python -m tests.bench.start [MEGABYTES]``."""

import argparse
import sqlite3
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from statistics import median

from gateway import outbox
from gateway.damage import damage
from gateway.envelope import Source
from gateway.mending import APPLICATION_ID
from gateway.outbox import Batch, run_sync
from tests.made import lost

SOURCE, EPOCH = Source("corner", "gw"), "e" * 32
RUNS = 5


def fill(path, megabytes):
    """Make a database of events, of about so many megabytes; return how many."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("CREATE TABLE schema_version (version INTEGER PRIMARY KEY) STRICT")
        for number in range(len(outbox.MIGRATIONS)):
            run_sync(connection, outbox.migration(number))
        run_sync(connection, outbox.begin_epoch(EPOCH, 1))
        count = 0
        while path.stat().st_size < megabytes * 1_000_000:
            events = [lost(EPOCH, count + nth, reason="x" * 700) for nth in range(1, 1_001)]
            batch = Batch(events=events, online=True, utc_ns=1)
            run_sync(connection, outbox.commit(SOURCE, EPOCH, batch))
            count += len(events)
    return count


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.bench.start", description=__doc__)
    parser.add_argument("megabytes", type=float, nargs="?", default=100.0)
    megabytes = parser.parse_args().megabytes
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "gateway.db"
        count = fill(path, megabytes)
        took_s = []
        for _ in range(RUNS):
            began_s = time.perf_counter()
            assert damage(path) is None
            took_s.append(time.perf_counter() - began_s)
        size_mb = path.stat().st_size / 1e6
        sys.stdout.write(
            f"{size_mb:.0f} MB, {count} events: {median(took_s):.2f} s"
            f" ({min(took_s):.2f} to {max(took_s):.2f} in {RUNS} runs)\n"
        )


if __name__ == "__main__":
    main()
