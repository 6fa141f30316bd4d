# SPDX-License-Identifier: Apache-2.0
"""A backlog drains while shoppers shop: ``python -m tests.bench.draining [EVENTS]``.

The gateway's half from the commit on (database, uplink) runs here against a real Mosquitto; the
reference integrator is another process, stores every event and acknowledges it. Beside it a plain
Mosquitto bridge hands the same number of messages of the same size from one broker to another, with
the same window, and nothing durable at either end; and a thingsboard-gateway, where one is
installed, drains as many from its durable storage, with the broker alone to acknowledge them.
"""

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from statistics import median

import psutil

from drivers.mqtt.client import connect
from gateway.database import Batch, open_database
from tests.bench import thingsboard
from tests.bench.measures import cpu_s, percentile
from tests.brokers import MOSQUITTO, free_port, mosquitto
from tests.e2e.upstream_parts import Gateway, mqtt, running
from tests.made import closed, picked, session

EVENTS = 200_000
TOGETHER = 500
PAYLOAD = 900
"""Bytes, about what an event has."""
WINDOW = 100
SHOPPER_EVERY_S = 0.25
QUICK_EVERY_S = 0.03
ONLINE = 1_000
"""Events that are timed while nothing waits."""
LINES = ("max_inflight_messages 1000", "max_queued_messages 0", "max_queued_bytes 0")


class Latencies:
    """Of what is committed while a backlog drains: how long until its PUBACK."""

    def __init__(self, upstream):
        self.ms = []
        self._committed_s = {}
        self._uplink = upstream.uplink
        self._flying = {}
        published, puback = self._uplink.published, self._uplink.puback

        def on_published(mid, row, now_ns):
            self._flying[mid] = row.position
            published(mid, row, now_ns)

        def on_puback(mid, **options):
            committed_s = self._committed_s.pop(self._flying.pop(mid, None), None)
            if committed_s is not None:
                self.ms.append((time.monotonic() - committed_s) * 1e3)
            puback(mid, **options)

        self._uplink.published, self._uplink.puback = on_published, on_puback

    def committed(self, rows):
        for row in rows:
            self._committed_s[row.position] = time.monotonic()


async def fill(one, count):
    """Commit a backlog of many visits."""
    epoch = one.database.epoch.epoch
    while count > 0:
        events = []
        for _ in range(min(count, TOGETHER)):
            one.number += 1
            events.append(_event(epoch, one.number))
        done = await one.database.commit(Batch(events=events, online=False, utc_ns=time.time_ns()))
        one.upstream.committed(done)
        count -= len(events)


def _event(epoch, number):
    """Return one of the twenty events of two visits that go on side by side, and share a change."""
    pair, nth = divmod(number, 20)
    names = [f"{2 * pair + one:016x}" for one in (0, 1)]
    name = names[nth % 2]
    if nth < 2:
        return session(epoch, number, f"shopper-{name}", name)
    if nth >= 18:
        return closed(epoch, number, name)
    return picked(epoch, number, *(names if nth == 9 else [name]))


@asynccontextmanager
async def integrating(folder, port):
    """Run the reference integrator as a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "gateway.simulator.integrator", "--broker", f"127.0.0.1:{port}"),
        *("--database", str(folder / "integrator.db"), "--protocol", "5"),
    )
    try:
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        await process.wait()


async def shop(one, latencies, every_s):
    """Let one shopper after the other come in, take something and leave; for ever."""
    visit = 10**9
    while True:
        visit += 1
        name = f"{visit:016x}"
        for make in (session, picked, closed):
            one.number += 1
            wanted = (name, name) if make is session else (name,)
            event = make(one.database.epoch.epoch, one.number, *wanted)
            done = await one.database.commit(
                Batch(events=[event], online=True, utc_ns=time.time_ns())
            )
            latencies.committed(done.rows)
            one.upstream.committed(done)
            await asyncio.sleep(every_s / 3)


@asynccontextmanager
async def shopping(one, latencies, every_s=SHOPPER_EVERY_S):
    """Let people shop meanwhile."""
    task = asyncio.create_task(shop(one, latencies, every_s))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def linking(folder, count, window=WINDOW):
    """Fill an outbox, and link it to a Mosquitto and the reference integrator.

    Yields:
        The gateway's half, what measures its latencies, the integrator, and how long it took to
        commit what waits.
    """
    async with AsyncExitStack() as stack:
        port = free_port()
        database = await stack.enter_async_context(
            await open_database(folder / "gateway.db", store="store", gateway="gw")
        )
        await database.begin_epoch(time.time_ns())
        one = Gateway(database, mqtt(port, "gw", protocol=5), window=window)
        began_s = time.monotonic()
        await fill(one, count)
        filled_s = time.monotonic() - began_s
        latencies = Latencies(one.upstream)
        log = folder / "mosquitto.log"
        told = (f"log_dest file {log}", "log_type subscribe")
        await stack.enter_async_context(mosquitto(folder, *LINES, *told, port=port))
        integrator = await stack.enter_async_context(integrating(folder, port))
        while not (log.exists() and "/events/" in log.read_text()):  # noqa: ASYNC110 - a file.
            await asyncio.sleep(0.05)
        await stack.enter_async_context(running(one.upstream.run()))
        await one.linked(True)
        yield one, latencies, integrator, filled_s


async def online(folder, count):
    """Return what events take from commit to PUBACK while nothing else waits, in order, ms."""
    async with (
        linking(folder, 0) as (one, latencies, _, _),
        shopping(one, latencies, QUICK_EVERY_S),
    ):
        while len(latencies.ms) < count:  # noqa: ASYNC110 - nobody tells.
            await asyncio.sleep(0.05)
    return sorted(latencies.ms)


async def drain(folder, count, *, window=WINDOW):
    """Drain a backlog; return rates and latencies.

    Args:
        folder: Where files go.
        count: Events in the backlog.
        window: Of the uplink.
    """
    async with linking(folder, count, window) as (one, latencies, integrator, filled_s):
        began_s = time.monotonic()
        before = _cpu(integrator)
        async with shopping(one, latencies):
            while (first := await one.database.oldest()) and first.sequence < count:  # noqa: ASYNC110 - the integrator is another process.
                await asyncio.sleep(0.05)
        took_s = time.monotonic() - began_s
        spent = {name: now - before[name] for name, now in _cpu(integrator).items()}
    late_ms = sorted(latencies.ms)
    return {
        "events": count,
        "commit_per_s": round(count / filled_s),
        "drain_s": round(took_s, 1),
        "per_s": round(count / took_s),
        "cpu_us": {name: round(one / count * 1e6) for name, one in spent.items()},
        "live": len(late_ms),
        "live_ms": {f"p{share}": round(percentile(late_ms, share), 1) for share in (50, 99, 100)},
    }


def _cpu(integrator):
    """Return seconds of CPU that both ends have taken: gateway and shoppers, and integrator."""
    return {"gateway": time.process_time(), "integrator": cpu_s(integrator)}


async def bridge(folder, count, size, *, window=WINDOW):
    """Return how many messages a second a plain bridge hands on."""
    near, far = free_port(), free_port()
    lines = (
        *("connection far", f"address 127.0.0.1:{far}", "topic # out 1", "restart_timeout 1"),
        *(
            "cleansession false",
            "bridge_protocol_version mqttv50",
            f"max_inflight_messages {window}",
        ),
        *("max_queued_messages 0", "max_queued_bytes 0", "notifications false"),
    )
    arrived = []
    enough, kept = asyncio.Event(), asyncio.Event()
    left = count

    def on_message(_message):
        arrived.append(time.monotonic())
        if len(arrived) >= count:
            enough.set()

    def on_puback(**_of):
        nonlocal left
        left -= 1
        if not left:
            kept.set()

    async with mosquitto(folder, *lines, port=near) as source_broker:
        source = mqtt(near, "source", protocol=5)
        async with connect(source, on_message=on_message, on_puback=on_puback) as filling:
            payload = b"x" * size
            for _ in range(count):
                filling.publish("events/x", payload)
                await filling.room()
            await kept.wait()
        source_broker.process.send_signal(signal.SIGSTOP)  # Until somebody listens.
        async with mosquitto(folder, *LINES, port=far):
            subscriptions = [("events/#", 1)]
            async with connect(
                mqtt(far, "sink", protocol=5), subscriptions=subscriptions, on_message=on_message
            ):
                source_broker.process.send_signal(signal.SIGCONT)
                async with asyncio.timeout(600):
                    await enough.wait()
    return round((len(arrived) - 1) / (arrived[-1] - arrived[0]))


def measure(folder, count, times):
    """Drain a backlog and run a plain bridge in turn; return medians."""
    if MOSQUITTO is None:
        return {"skipped": "mosquitto is not installed"}
    drains, bridges, rivals, quick_ms = [], [], [], []
    for number in range(times):
        at = folder / str(number)
        at.mkdir()
        quick = folder / f"online-{number}"
        quick.mkdir()
        quick_ms.append(percentile(asyncio.run(online(quick, min(count, ONLINE))), 99))
        drains.append(asyncio.run(drain(at, count)))
        bridges.append(asyncio.run(bridge(at, count, PAYLOAD)))
        if thingsboard.PROGRAM is not None:
            rival = folder / f"thingsboard-{number}"
            rival.mkdir()
            rivals.append(asyncio.run(thingsboard.drain(rival, count, PAYLOAD, *LINES)))
    per_s = median(one["per_s"] for one in drains)
    return {
        "events": count,
        "times": times,
        "commit_per_s": median(one["commit_per_s"] for one in drains),
        "per_s": per_s,
        "bridge_per_s": median(bridges),
        "ratio": round(per_s / median(bridges), 2),
        "thingsboard_per_s": median(rivals) if rivals else None,
        "live": sum(one["live"] for one in drains),
        "live_p99_ms": median(one["live_ms"]["p99"] for one in drains),
        "online_p99_ms": round(median(quick_ms), 1),
    }


def rows(found):
    """Return the table's rows."""
    if "skipped" in found:
        return []
    of_rival = []
    if found["thingsboard_per_s"]:
        ratio = round(found["per_s"] / found["thingsboard_per_s"], 2)
        of_rival.append(("... against a thingsboard-gateway (for information)", ratio, "x", "", 0))
    return [
        ("events committed, 500 together (for information)", found["commit_per_s"], "/s", "", 0),
        ("backlog drained and acknowledged (for information)", found["per_s"], "/s", "", 0),
        ("... against a plain bridge (0.5 is wanted)", found["ratio"], "x", "", 0),
        *of_rival,
        ("commit to PUBACK with nothing waiting, 99 %", found["online_p99_ms"], "ms", "", 0),
        ("commit to PUBACK while it drains, 99 %", found["live_p99_ms"], "ms", "<=", 500),
    ]


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.bench.draining", description=__doc__)
    parser.add_argument("events", type=int, nargs="?", default=EVENTS)
    parser.add_argument(
        "--times", type=int, metavar="N", help="in turn with all it is held against, N times"
    )
    options = parser.parse_args()
    if options.times is not None and options.times < 1:
        parser.error(f"--times {options.times}: give 1 or more")
    with tempfile.TemporaryDirectory(prefix="shelfgate-drain-") as name:
        folder = Path(name)
        if options.times is None:
            found = asyncio.run(drain(folder, options.events))
        else:
            found = measure(folder, options.events, options.times)
    sys.stdout.write(f"{found}\n")


if __name__ == "__main__":
    main()
