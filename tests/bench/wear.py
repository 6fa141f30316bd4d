# SPDX-License-Identifier: Apache-2.0
"""What an event costs the card: ``python -m tests.bench.wear [FOLDER]``, on a file system of disk.

Each event is a commit of its own with three rows of state, as of a shopper who takes something, and
is acknowledged by itself. ``--minutes N`` lets a nano-store live for so long instead, in compressed
time: every input is a turn of the daemon's pipeline, as on a machine that keeps up, and what was
committed is acknowledged 200 ms later, as the uplink does.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import msgspec

from gateway.database import Acknowledged, Batch, open_database
from gateway.domain.engine import Engine
from gateway.domain.inputs import LinkState, StateRow
from gateway.pipeline import Pipeline
from gateway.simulator.stores import nano_store
from gateway.simulator.virtual import virtual_inputs
from gateway.upstream import RECORD_EVERY_NS
from gateway.wear import Wear
from tests.bench.recording import busy_traffic, started
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


class Day:
    """A store that lives, and what each kind of transaction writes."""

    def __init__(self, database, epoch, *, shoppers, seed):
        store = nano_store(306, 3)
        self._inputs = virtual_inputs(
            store, seed, traffic=busy_traffic(shoppers), duration_s=1e9, open_doors=True
        )
        self._database = database
        self._epoch = epoch
        self._first = msgspec.structs.replace(started(store), epoch=epoch)
        self._stamp = self._first.at
        self._committed = -1
        self._acknowledged = -1
        self._recorded_ns = 0
        self._wear = Wear()
        self._seen = 0
        self._events = 0
        self.bytes = Counter()
        self.count = Counter()

    def stamp(self):
        """Return the store's time: this is the pipeline's clock."""
        return self._stamp

    async def live(self, minutes):
        """Live for some minutes of the store's time."""
        pipeline = Pipeline(
            engine=Engine(),
            intake=None,
            database=self,
            journal=None,
            clock=self,
            carry_out=_nothing,
            committed=lambda done: self._tell(done.rows),
            beat=lambda: None,
        )
        self._wear = Wear()
        await pipeline.begin([self._first])
        await pipeline.begin([LinkState(at=self._stamp, online=True)])
        end_ns = self._first.at.mono_ns + int(minutes * 60e9)
        for item in self._inputs:
            self._stamp = item.at
            if self._stamp.mono_ns >= end_ns:
                break
            if not isinstance(item, LinkState):
                await pipeline.begin([item])
            await self._acknowledge()

    def _tell(self, rows):
        self._committed = rows[-1].sequence
        self.count["events"] += len(rows)
        self.bytes["payload"] += sum(len(row.payload) for row in rows)

    async def commit(self, batch):
        """Commit for the pipeline, and count what that wrote."""
        done = await self._database.commit(batch)
        self._count("commits with events" if batch.events else "commits of state alone")
        return done

    async def _acknowledge(self):
        late = self._stamp.mono_ns - self._recorded_ns >= RECORD_EVERY_NS
        if self._committed > self._acknowledged and late:
            self._recorded_ns = self._stamp.mono_ns
            self._acknowledged = self._committed
            await self._database.record([Acknowledged(self._epoch, self._committed)], (), ())
            self._count("acknowledgements")

    def _count(self, what):
        written = self._wear.written_bytes()
        self.bytes[what] += written - self._seen
        self.count[what] += 1
        self._seen = written


async def _nothing(_effect):
    """Carry nothing out."""


async def lived(folder, *, minutes, shoppers, seed=1):
    """Return the day of a store that lived so long."""
    async with await open_database(
        folder / "gateway.db", store="nano", gateway="bench"
    ) as database:
        epoch = (await database.begin_epoch(time.time_ns())).epoch
        day = Day(database, epoch, shoppers=shoppers, seed=seed)
        await day.live(minutes)
    return day


def told(day, minutes):
    """Return what a store's day cost, as lines."""
    events = max(1, day.count["events"])
    kinds = ("commits with events", "commits of state alone", "acknowledgements")
    written = sum(day.bytes[kind] for kind in kinds)
    yield f"{events} events of {day.bytes['payload'] / events:.0f} bytes in {minutes:g} minutes"
    for kind in kinds:
        each = day.bytes[kind] / max(1, day.count[kind])
        an_event = day.bytes[kind] / events
        cost = f"{each / 1e3:.1f} kB each, {an_event / 1e3:.1f} kB an event"
        yield f"{day.count[kind]} {kind}: {cost}"
    hour = written * 60 / minutes
    yield f"{written / events / 1e3:.1f} kB written an event, {hour / 1e6:.0f} MB an hour"


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.bench.wear", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, metavar="FOLDER", help="on a disk")
    parser.add_argument("--minutes", type=float, help="of a simulated store")
    parser.add_argument("--shoppers", type=int, default=10, help="at a time (%(default)s)")
    options = parser.parse_args()
    if options.folder is not None and not options.folder.is_dir():
        parser.error(f"{options.folder}: no such folder. Name one on the disk that is to be tried")
    with tempfile.TemporaryDirectory(prefix="shelfgate-wear-", dir=options.folder) as name:
        if options.minutes is None:
            found = asyncio.run(cost(Path(name)))
            lines = [f"{found / 1e3:.1f} kB written to the disk an event, of {EVENTS}"]
        else:
            work = lived(Path(name), minutes=options.minutes, shoppers=options.shoppers)
            lines = told(asyncio.run(work), options.minutes)
        sys.stdout.writelines(f"{line}\n" for line in lines)


if __name__ == "__main__":
    main()
