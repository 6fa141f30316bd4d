# SPDX-License-Identifier: Apache-2.0
"""A fleet through a common outage and return: ``python -m tests.bench.fleet``.

One Mosquitto, which is killed and later started again; many gateways' uplinks with a database
each (``shelfgate simulate --fleet``), in two processes; three consumers behind a shared
subscription that keep their books in one PostgreSQL, of which one is killed while the backlog
drains. Where psycopg or PostgreSQL is missing, one integrator with SQLite stands for them.

Nothing of the product is changed for it. Times are read from the books (when an event was stored,
against ``recordedtime``: when it was committed; one machine, one clock) and from the broker's log.
"""

import argparse
import asyncio
import json
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, closing, suppress
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path

import psutil

from gateway.simulator.ledger import Ledger, summary
from gateway.simulator.proof import prove
from tests.bench.measures import percentile
from tests.brokers import MOSQUITTO, free_port, mosquitto
from tests.postgres import INITDB, postgres

LINES = ("max_inflight_messages 1000", "max_queued_messages 0", "max_queued_bytes 0")
CONSUMERS = 3
PROCESSES = 2


class SqliteBooks:
    """What an integrator with SQLite keeps; it notes no times."""

    times = False

    def __init__(self, folder):
        self.path = folder / "books.db"
        Ledger(self.path).close()  # Makes the tables.
        self.consumers = [("--database", str(self.path))]

    def count(self):
        with closing(sqlite3.connect(self.path)) as connection:
            return connection.execute("SELECT count(DISTINCT source) FROM events").fetchall()[0][0]

    def rows(self):
        with closing(sqlite3.connect(self.path)) as connection:
            yield from connection.execute("SELECT source, id, payload, 0.0 FROM events")

    def summary(self):
        return summary(self.path)

    def prove(self):
        return prove(self.path)

    def bytes(self):
        return self.path.stat().st_size


class PostgresBooks:
    """What several consumers keep in PostgreSQL."""

    times = True

    def __init__(self, conninfo, stack):
        from gateway.simulator.postgres import PostgresLedger

        self._ledger = stack.enter_context(closing(PostgresLedger(conninfo, "witness")))
        self._conninfo = conninfo
        self.consumers = [("--postgres", conninfo, "--share", "books")] * CONSUMERS
        self.summary, self.prove = self._ledger.summary, self._ledger.prove
        self._ledger.ready()  # Makes the tables.

    def _ask(self, sql):
        import psycopg

        with psycopg.connect(self._conninfo) as connection:
            return connection.execute(sql).fetchall()

    def count(self):
        return self._ask("SELECT count(DISTINCT source) FROM events")[0][0]

    def rows(self):
        return self._ask("SELECT source, id, payload, extract(epoch FROM stored_at) FROM events")

    def bytes(self):
        return self._ask("SELECT pg_total_relation_size('events')")[0][0]


def books_for(folder, stack, *, sqlite):
    """Return PostgreSQL's books where there can be some, else those of SQLite."""
    if sqlite or INITDB is None or find_spec("psycopg") is None:
        return SqliteBooks(folder)
    return PostgresBooks(stack.enter_context(postgres()), stack)


@asynccontextmanager
async def module(*words, log):
    """Run a Python module as a process that SIGTERM ends."""
    with log.open("ab") as file:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", *words, stdout=file, stderr=file
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


class Sampler:
    """CPU of processes by name, in percent of a core, second by second."""

    def __init__(self):
        self.shares = {}
        self._last = {}

    async def run(self, processes):
        while True:
            for name, one in processes().items():
                self._sample(name, one)
            await asyncio.sleep(1.0)

    def _sample(self, name, process):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            return
        now_s, used_s = time.monotonic(), times.user + times.system
        before = self._last.get((name, process.pid))
        self._last[name, process.pid] = (now_s, used_s)
        if before is not None:
            share = 100 * (used_s - before[1]) / (now_s - before[0])
            self.shares.setdefault(name, []).append(share)


def databases(folder):
    """Return the gateways' databases, by the source of their events."""
    return {
        f"urn:shelfgate:{path.parent.name}:gw-1": path
        for path in sorted(folder.glob("fleet/*/gateway.db"))
    }


def waiting(folder, before_s):
    """Count events that were committed before a time and wait."""
    count = 0
    for path in databases(folder).values():
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            count += connection.execute(
                "SELECT count(*) FROM events WHERE acknowledged = 0 AND committed_utc_ns < ?",
                (int(before_s * 1e9),),
            ).fetchall()[0][0]
    return count


async def until(condition, limit_s, every_s=0.5):
    async with asyncio.timeout(limit_s):
        while not condition():  # noqa: ASYNC110 - files and databases tell nobody.
            await asyncio.sleep(every_s)


async def fleet_run(
    folder, books, log, *, gateways, visits_per_hour, bandwidth, warm_s, outage_s, limit_s
):
    """Live through an outage; return when the broker went and when it was back, and CPU."""
    async with AsyncExitStack() as stack:
        lines = (f"log_dest file {log}", "log_type notice", "connection_messages true", *LINES)
        port = free_port()
        broker = await stack.enter_async_context(mosquitto(folder, *lines, port=port))
        address = f"127.0.0.1:{port}"
        consumers = [
            await stack.enter_async_context(
                module(
                    "gateway.simulator.integrator",
                    *("--broker", address, "--protocol", "5", "--client-id", f"consumer-{nth}"),
                    *words,
                    log=folder / "consumers.log",
                )
            )
            for nth, words in enumerate(books.consumers)
        ]
        each = -(-gateways // PROCESSES)
        running = await stack.enter_async_context(AsyncExitStack())
        fleets = [
            await running.enter_async_context(
                module(
                    *("gateway.simulator.simulate", "--quiet", "--broker", address),
                    *("--fleet", str(min(each, gateways + 1 - first)), "--first", str(first)),
                    *("--directory", str(folder / "fleet")),
                    *("--visits-per-hour", str(visits_per_hour)),
                    *(("--bandwidth", str(bandwidth)) if bandwidth else ()),
                    log=folder / "fleet.log",
                )
            )
            for first in range(1, gateways + 1, each)
        ]
        await until(lambda: books.count() == gateways, limit_s)
        sampler = Sampler()
        async with asyncio.TaskGroup() as group:
            known = {f"consumer-{n}": psutil.Process(p.pid) for n, p in enumerate(consumers)}
            known |= {f"gateways-{n}": psutil.Process(p.pid) for n, p in enumerate(fleets)}
            sampling = group.create_task(
                sampler.run(lambda: {"broker": psutil.Process(broker.process.pid), **known})
            )
            began_s = time.time()
            await asyncio.sleep(warm_s)
            sampling.cancel()
            steady = dict(sampler.shares)
            await broker.kill()
            gone_s = time.time()
            await asyncio.sleep(outage_s)
            await broker.start()
            back_s = time.time()
            sampler = Sampler()
            sampling = group.create_task(
                sampler.run(lambda: {"broker": psutil.Process(broker.process.pid), **known})
            )
            if len(consumers) > 1:
                await asyncio.sleep(min(10.0, outage_s))
                del known["consumer-0"]
                consumers[0].kill()
                await consumers[0].wait()
            killed_s = time.time()
            await until(lambda: not waiting(folder, back_s), limit_s, every_s=2.0)
            drained_s = time.time()
            # What the killed one was handed last is sent again, but not at once.
            await until(lambda: not waiting(folder, killed_s), limit_s)
            sampling.cancel()
            await asyncio.sleep(min(warm_s, 10.0))
        await running.aclose()
        with suppress(TimeoutError):  # What the broker was given last is still on its way.
            await until(lambda: all(proof.gapless for proof in books.prove()), limit_s)
    return {
        "began_s": began_s,
        "gone_s": gone_s,
        "back_s": back_s,
        "drained_s": drained_s,
        "steady": steady,
        "returning": sampler.shares,
    }


def compare(folder, books, times):
    """Hold the books against every gateway's database; return what differs, and times."""
    here, late_ms, steady_ms, drained, backlog = {}, [], [], {}, 0
    for source, one, payload, stored_s in books.rows():
        here.setdefault(source, {})[one] = bytes(payload)
        event = json.loads(payload)
        recorded_s = datetime.fromisoformat(event["recordedtime"]).timestamp()
        took_ms = (float(stored_s) - recorded_s) * 1e3
        if times["gone_s"] <= recorded_s < times["back_s"]:
            backlog += 1
            drained[source] = max(drained.get(source, 0.0), float(stored_s) - times["back_s"])
        elif event["delivery"] == "online" and recorded_s >= times["back_s"]:
            if recorded_s < times["drained_s"]:
                late_ms.append(took_ms)
        elif times["began_s"] <= recorded_s and float(stored_s) < times["gone_s"]:
            steady_ms.append(took_ms)  # What was under way when the broker went is left out.
    lost, waits, events = 0, 0, 0
    for source, path in databases(folder).items():
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            rows = connection.execute(
                "SELECT id, payload, shopper, acknowledged FROM events"
            ).fetchall()
        there = here.pop(source, {})
        events += len(rows)
        waits += sum(one not in there for one, _, _, stored in rows if not stored)
        lost += sum(one not in there for one, _, _, stored in rows if stored)
        # A payload is as it was committed, but for the shopper, who is put in when it is sent.
        lost += sum(
            one in there and there[one] != payload for one, payload, who, _ in rows if who is None
        )
    assert not here, "the books hold what no gateway committed"
    found = {"events": events, "lost": lost, "still_waits": waits}
    found["backlog"] = backlog
    if books.times:
        found |= {
            "live_ms": spread(late_ms),
            "steady_ms": spread(steady_ms),
            "drained_s": spread(list(drained.values())),
        }
    return found


def spread(values):
    """Return how many values there are, and how they lie."""
    values.sort()
    if not values:
        return {"count": 0}
    shares = {f"p{share}": round(percentile(values, share), 1) for share in (50, 99, 100)}
    return {"count": len(values), **shares}


def connects(log, back_s):
    """Return from the broker's log how gateways came back: in all, the busiest second, how long."""
    at = [
        int(line.partition(":")[0])
        for line in log.read_text().splitlines()
        if "New client connected" in line and " as store-" in line
    ]
    back = [one for one in at if one >= int(back_s)]
    return {
        "count": len(back),
        "peak_per_s": max(Counter(back).values(), default=0),
        "last_after_s": max(back, default=int(back_s)) - int(back_s),
    }


def measure(
    folder,
    *,
    gateways,
    visits_per_hour,
    warm_s,
    outage_s,
    bandwidth=None,
    limit_s=600.0,
    sqlite=False,
):
    """Run a fleet; return everything that was counted."""
    if MOSQUITTO is None:
        return {"skipped": "mosquitto is not installed"}
    log = folder / "broker.log"
    with ExitStack() as stack:
        books = books_for(folder, stack, sqlite=sqlite)
        times = asyncio.run(
            fleet_run(
                folder,
                books,
                log,
                gateways=gateways,
                visits_per_hour=visits_per_hour,
                bandwidth=bandwidth,
                warm_s=warm_s,
                outage_s=outage_s,
                limit_s=limit_s,
            )
        )
        counted = books.summary()
        return {
            "gateways": gateways,
            "consumers": len(books.consumers),
            "outage_s": outage_s,
            "bandwidth_kbit_s": bandwidth,
            **compare(folder, books, times),
            "conflicting": counted.conflicting,
            "delivered_again": counted.repeated,
            "proved": Counter(proof.verdict for proof in books.prove()),
            "connects": connects(log, times["back_s"]),
            "all_acknowledged_s": round(times["drained_s"] - times["back_s"], 1),
            "cpu_steady_percent": shares(times["steady"]),
            "cpu_return_percent": shares(times["returning"]),
            "bytes_an_event": round(books.bytes() / max(1, counted.events)),
            "load_1min": round(psutil.getloadavg()[0], 1),
        }


def shares(found):
    """Return mean and greatest share of a core of each process."""
    return {
        name: {"mean": round(sum(all_) / len(all_)), "peak": round(max(all_))}
        for name, all_ in found.items()
        if all_
    }


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    parser = argparse.ArgumentParser(prog="python -m tests.bench.fleet", description=__doc__)
    parser.add_argument("--gateways", type=int, default=200)
    parser.add_argument("--visits-per-hour", type=float, default=60.0)
    parser.add_argument("--warm", type=float, default=30.0, help="seconds before the outage")
    parser.add_argument("--outage", type=float, default=300.0, help="seconds")
    parser.add_argument("--bandwidth", type=int, help="of each gateway's line, kbit/s")
    parser.add_argument("--sqlite", action="store_true", help="one integrator with SQLite")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="shelfgate-fleet-") as name:
        found = measure(
            Path(name),
            gateways=options.gateways,
            visits_per_hour=options.visits_per_hour,
            warm_s=options.warm,
            outage_s=options.outage,
            bandwidth=options.bandwidth,
            sqlite=options.sqlite,
        )
    sys.stdout.write(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
