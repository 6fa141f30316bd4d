# SPDX-License-Identifier: Apache-2.0
"""An hour without a line in a busy store, and its return: ``python -m tests.bench.outage``.

One simulated nano-store with ten shoppers at a time, one engine, one database, one uplink. The
hour passes in compressed time: the engine is stepped through it as fast as it can, and what it
tells is committed. From then on the same shoppers, and those who come after them, shop in real
time; a Mosquitto and the reference integrator (processes of their own) are started, and the backlog
drains beside what is live. ``--plot`` draws backlog and latency.
"""

import argparse
import asyncio
import json
import sqlite3
import sys
import tempfile
import time
from contextlib import AsyncExitStack, closing, suppress
from pathlib import Path

import msgspec

from gateway.database import Batch
from gateway.domain.engine import Engine
from gateway.domain.inputs import LinkState
from gateway.plotting import without_plots
from gateway.simulator.ledger import summary
from gateway.simulator.stores import nano_store
from gateway.simulator.virtual import START_MONO_NS, virtual_inputs
from tests.bench.draining import LINES, Latencies, integrating
from tests.bench.fleet import spread, until
from tests.bench.recording import busy_traffic, started
from tests.brokers import MOSQUITTO, free_port, mosquitto
from tests.e2e.upstream_parts import gateway, mqtt

TOGETHER = 256
"""Inputs in one transaction at most, as in the daemon."""
SAMPLE_S = 0.5
AFTER_S = 15.0
"""How long shopping goes on once the backlog is gone."""
REAL = {"retry_first_s": 0.5, "retry_cap_s": 30.0, "progress_s": 30.0}
"""The uplink's own waits, instead of the short ones of tests."""


class Store:
    """A store's inputs, its engine, and where the events go."""

    def __init__(self, one, *, shoppers, seed):
        store = nano_store(306, 3)
        traffic = busy_traffic(shoppers)
        self._inputs = iter(
            virtual_inputs(store, seed, traffic=traffic, duration_s=1e9, open_doors=True)
        )
        self._engine = Engine()
        self._one = one
        self._number = 1
        self._online = False
        self.at_s = 0.0
        self.committed = lambda _rows: None
        """Called with rows that have just been committed, before the uplink knows of them."""
        first = msgspec.structs.replace(started(store), epoch=one.database.epoch.epoch)
        self._engine.step(1, first)

    def _step(self, item):
        self._number += 1
        return self._engine.step(self._number, item).events

    def _next(self):
        """Step the engine through the next input; return events."""
        item = next(self._inputs)
        self.at_s = (item.at.mono_ns - START_MONO_NS) / 1e9
        events = []
        online = self._one.links[-1:] == [True]
        if isinstance(item, LinkState) or online != self._online:
            events = self._step(LinkState(at=item.at, online=online))
            self._online = online
        return events if isinstance(item, LinkState) else [*events, *self._step(item)]

    async def until(self, at_s, utc_ns):
        """Go on to a moment of the store's time, and commit what is told."""
        while self.at_s < at_s:
            events = []
            for _ in range(TOGETHER):
                events += self._next()
                if self.at_s >= at_s:
                    break
            changed = self._engine.changed_rows()
            batch = Batch(events=events, rows=changed, online=self._online, utc_ns=utc_ns())
            done = await self._one.database.commit(batch)
            if done.rows:
                self.committed(done.rows)
                self._one.upstream.committed(done)


class Curves:
    """What is plotted: seconds and values."""

    def __init__(self):
        self.outage = []
        self.backlog = []
        self.late_ms = []
        self.linked_s = None


async def live_through(
    folder, *, outage_s, bandwidth, shoppers=10, seed=1, after_s=AFTER_S, limit_s=900.0
):
    """Live through an outage and the return; return counts and curves."""
    curves = Curves()
    async with AsyncExitStack() as stack:
        port = free_port()
        one = await stack.enter_async_context(
            gateway(folder, mqtt(port, "gw", protocol=5), bandwidth_kbit_s=bandwidth, **REAL)
        )
        store = Store(one, shoppers=shoppers, seed=seed)
        began_ns, began_s = time.time_ns() - int(outage_s * 1e9), time.monotonic()
        bit_s = outage_s / 60
        while store.at_s < outage_s:
            await store.until(
                min(outage_s, store.at_s + bit_s), lambda: began_ns + int(store.at_s * 1e9)
            )
            curves.outage.append((store.at_s, (await one.database.backlog())[0]))
        compressed_s = time.monotonic() - began_s
        count, _ = await one.database.backlog()
        await stack.enter_async_context(mosquitto(folder, *LINES, port=port))
        await stack.enter_async_context(integrating(folder, port))
        await come_back(one, store, curves, count, after_s=after_s, limit_s=limit_s)
        await one.delivered()
        with suppress(TimeoutError):  # What the broker was given last is still on its way.
            await until(lambda: not compare(folder)["lost"], limit_s)
    found = {
        "outage_s": outage_s,
        "compressed_to_s": round(compressed_s),
        "bandwidth_kbit_s": bandwidth,
        "backlog": count,
        **figures(curves, after_s),
    }
    return found | compare(folder), curves


async def come_back(one, store, curves, count, *, after_s, limit_s):
    """Shop in real time until the backlog is gone and a while after."""
    latencies = Latencies(one.upstream)
    out_s, back_s = store.at_s, time.monotonic()
    ends_s = None

    def now_s():
        return time.monotonic() - back_s

    async with asyncio.timeout(limit_s):
        while ends_s is None or now_s() < ends_s:
            await store.until(out_s + now_s(), time.time_ns)
            if curves.linked_s is None and one.links[-1:] == [True]:
                curves.linked_s = now_s()
                store.committed = latencies.committed
            told = len(latencies.ms)
            if not curves.backlog or now_s() - curves.backlog[-1][0] >= SAMPLE_S:
                waiting, first = await one.database.backlog()
                curves.backlog.append((now_s(), waiting))
                if ends_s is None and (first is None or first.sequence > count):
                    ends_s = now_s() + after_s
            await asyncio.sleep(0.02)
            curves.late_ms += [(now_s(), late_ms) for late_ms in latencies.ms[told:]]


def figures(curves, after_s):
    """Return what the curves say in numbers."""
    return {
        "linked_s": round(curves.linked_s, 1),
        "drained_s": round(curves.backlog[-1][0] - after_s - curves.linked_s, 1),
        "live_ms": spread([late_ms for _, late_ms in curves.late_ms]),
    }


def compare(folder):
    """Hold the integrator's books against the gateway's database."""
    counted = summary(folder / "integrator.db")
    with closing(sqlite3.connect(folder / "gateway.db")) as connection:
        committed = {one for (one,) in connection.execute("SELECT id FROM events")}
        [(visits, size)] = connection.execute(
            "SELECT sum(name = 'cart.closed'), avg(length(payload)) FROM events"
        )
    with closing(sqlite3.connect(folder / "integrator.db")) as connection:
        stored = {one for (one,) in connection.execute("SELECT id FROM events")}
    return {
        "events": len(committed),
        "visits": visits,
        "bytes_an_event": round(size),
        "lost": len(committed - stored),
        "conflicting": counted.conflicting,
        "delivered_again": counted.repeated,
    }


def draw(path, curves, found):
    """Draw backlog and latency."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    options = {"svg.fonttype": "none", "svg.hashsalt": "shelfgate", "font.size": 9}
    with rc_context(options):
        figure = Figure(figsize=(8.4, 4.2), layout="constrained")
        grid = figure.add_gridspec(2, 2)
        before, after = figure.add_subplot(grid[:, 0]), figure.add_subplot(grid[0, 1])
        late = figure.add_subplot(grid[1, 1], sharex=after)
        before.plot([at_s / 60 for at_s, _ in curves.outage], [left for _, left in curves.outage])
        before.set(title="without a line", xlabel="minutes", ylabel="events that wait", ylim=0)
        after.plot(*zip(*curves.backlog, strict=True))
        line = found["bandwidth_kbit_s"]
        title = "the line is back" if line is None else f"the line is back, {line} kbit/s"
        after.set(title=title, ylabel="events that wait", ylim=0)
        at_s, late_ms = [one for one, _ in curves.late_ms], [one for _, one in curves.late_ms]
        late.semilogy(at_s, late_ms, ".", markersize=3)
        late.axhline(500, color="grey", linewidth=0.8, linestyle="--")
        late.set(xlabel="seconds", ylabel="live: ms to PUBACK", ylim=(0.5, 2_000), xlim=0)
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.bench.outage", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--bandwidth", type=int, help="of the line, kbit/s")
    parser.add_argument("--shoppers", type=int, default=10, help="at a time")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plot", type=Path, metavar="FILE", help=".svg or .png")
    options = parser.parse_args()
    if MOSQUITTO is None:
        parser.error("mosquitto is not installed")
    with tempfile.TemporaryDirectory(prefix="shelfgate-outage-") as name:
        found, curves = asyncio.run(
            live_through(
                Path(name),
                outage_s=60 * options.minutes,
                bandwidth=options.bandwidth,
                shoppers=options.shoppers,
                seed=options.seed,
            )
        )
    sys.stdout.write(json.dumps(found, indent=1) + "\n")
    if options.plot is not None:
        try:
            draw(options.plot, curves, found)
        except ModuleNotFoundError as error:
            parser.error(without_plots(error))


if __name__ == "__main__":
    main()
