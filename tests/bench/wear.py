# SPDX-License-Identifier: Apache-2.0
"""What an event costs the card: ``python -m tests.bench.wear [FOLDER]``, on a file system of disk.

Each event is a commit of its own with three rows of state, as of a shopper who takes something, and
is acknowledged by itself: the dearest way there is.
"""

import asyncio
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from gateway.database import Batch, open_database
from gateway.domain.inputs import StateRow
from gateway.wear import Wear
from tests.made import picked

EVENTS = 2_000


async def cost(folder, events=EVENTS):
    """Return the bytes that an event has written to the disk."""
    async with await open_database(folder / "gateway.db", store="s", gateway="g") as database:
        epoch = (await database.begin_epoch(time.time_ns())).epoch
        wear = Wear()
        for number in range(events):
            rows = [
                StateRow(kind=kind, key=f"{number % 50:016x}", value=msgspec.Raw(b'"%s"' % state))
                for kind, state in (("session", b"x" * 600), ("holding", b"x" * 200))
            ]
            rows.append(StateRow(kind="alive", key="alive", value=msgspec.Raw(b"1")))
            event = picked(epoch, number, f"{number // 10:016x}")
            await database.commit(
                Batch(events=[event], rows=rows, online=True, utc_ns=time.time_ns())
            )
            await database.acknowledge(epoch, number)
    return wear.written_bytes() / events


def main():
    base = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    with tempfile.TemporaryDirectory(prefix="shelfgate-wear-", dir=base) as name:
        found = asyncio.run(cost(Path(name)))
    sys.stdout.write(f"{found / 1e3:.1f} kB written to the disk an event, of {EVENTS}\n")


if __name__ == "__main__":
    main()
