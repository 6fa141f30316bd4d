# SPDX-License-Identifier: Apache-2.0
"""A daemon that starts with a backlog, and one without: ``python -m tests.bench.backlog [EVENTS]``.

The daemon is the real process, on a database in which so many events of many visits wait. It is
started without and with that, again and again; then a broker and the reference integrator come up,
and the backlog drains for some seconds. Memory is what the kernel says is resident of the process
at most from its start on.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import psutil

from gateway.database import Batch, open_database
from gateway.side_files import doubted, trust
from gateway.simulator.keys import TokenMaker
from gateway.simulator.store_files import write_store
from gateway.waiting import Fetch
from tests.bench.draining import LINES, fill
from tests.bench.measures import cpu_s
from tests.bench.recording import recorded
from tests.brokers import MOSQUITTO, free_port
from tests.e2e.helpers import GATEWAY, Program, daemon, outside_broker, until
from tests.made import closed

EVENTS = 1_000_000
STARTS = 5
DRAIN_S = 20.0
OWN = 100
"""Left to events of the starts themselves: beyond a million the oldest would be given up."""
WAITING = "SELECT count(*) FROM events WHERE acknowledged = 0"
CHECK_S = 600.0
"""Longest wait for the check in the background."""


class _Nobody:
    """Takes what is told of commits while there is no uplink."""

    def committed(self, _done):
        pass


async def _filled(path, store, count):
    """Make a backlog; return how long the first event of a cart takes that began before it, in ms.

    Of that cart nothing waits, so that all of the backlog is looked through.
    """
    async with await open_database(path, store=store, gateway=GATEWAY) as database:
        epoch = (await database.begin_epoch(time.time_ns())).epoch
        one = argparse.Namespace(database=database, number=0, upstream=_Nobody())
        await fill(one, max(0, count - OWN))
        if not count:
            return 0.0
        took_ms = []
        for nth in range(STARTS):
            event = closed(epoch, one.number + 1 + nth, f"{2**60 + nth:016x}")
            batch = Batch(events=[event], online=True, utc_ns=time.time_ns())
            [row] = (await database.commit(batch)).rows
            last = row.position - 1
            began_s = time.monotonic()
            found = await database.waiting(Fetch(after=last, limit=1, backlog=(0, last)))
            took_ms.append((time.monotonic() - began_s) * 1e3)
            assert (len(found.rows), found.promoted) == (1, [])
        return median(took_ms)


def one_size(folder, count, starts=STARTS, drain_s=DRAIN_S):
    """Start a daemon with so many events waiting; return seconds to READY=1, memory and more."""
    store, _ = recorded(0.1)
    file = folder / "store.toml"
    write_store(file, store)
    TokenMaker.in_directory(store.name, folder / "keys")
    strand_ms = asyncio.run(_filled(folder / "gateway.db", store.name, count))
    found = {"events": count, "starts": starts, "old_strand_ms": round(strand_ms, 1)}
    port = free_port()
    with daemon(folder, file, upstream=port, journal=False) as one:
        took_s, used_s = [], []
        for number in range(starts):
            if number:
                _stop(one)
            trust(one.database)  # As after a check; otherwise the start would read everything.
            began_s = time.monotonic()
            one.start()
            took_s.append(time.monotonic() - began_s)
            used_s.append(cpu_s(psutil.Process(one.program.pid)))
        until(lambda: not doubted(one.database), "the check", CHECK_S)
        found |= {
            "start_s": round(median(took_s), 2),
            "start_cpu_s": round(median(used_s), 2),
            "file_mb": round(one.database.stat().st_size / 1e6),
            "check_s": round(time.monotonic() - began_s, 1),
            "rss_mb": _most_mb(one),
        }
        _stop(one)
        found |= _drained(folder, one, port, drain_s)
        _stop(one)
    return found


def _drained(folder, one, port, seconds):
    """Start with the broker and the integrator there, and let it drain; return rate and memory."""
    integrator = Program(
        folder,
        "integrator",
        *("-m", "gateway.simulator.integrator", "--broker", f"127.0.0.1:{port}"),
        *("--database", folder / "integrator.db", "--protocol", "4"),
    )
    lines = (*LINES, "log_type subscribe")
    with ExitStack() as stack:
        broker = stack.enter_context(outside_broker(folder, port=port, lines=lines))
        stack.callback(integrator.start().kill)
        if MOSQUITTO is not None:  # What nobody listens to comes again only after all the rest.
            until(lambda: "/events/" in broker.words(), "the integrator's subscription")
        one.start()
        [(count,)] = one.rows(WAITING)
        began_s = time.monotonic()
        if count:
            until(lambda: one.rows(WAITING)[0][0] < count, "the first acknowledgement")
        time.sleep(seconds)
        [(left,)] = one.rows(WAITING)
        per_s = round((count - left) / (time.monotonic() - began_s))
        return {"drained_per_s": per_s, "rss_draining_mb": _most_mb(one)}


def _most_mb(one):
    """Return the most memory that a process has had resident, in MB."""
    status = Path(f"/proc/{one.program.pid}/status").read_text("ascii")
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return round(int(line.split()[1]) * 1_024 / 1e6, 1)


def _stop(one):
    status, _ = one.stop()
    assert status == 0, one.program.words()


def measure(folder, count, starts=STARTS, drain_s=DRAIN_S):
    """Start a daemon with none and with so many events waiting; return both, and what differs."""
    found = []
    for waiting in (0, count):
        at = folder / str(waiting)
        at.mkdir()
        found.append(one_size(at, waiting, starts, drain_s))
    none, many = found
    return {
        "none": none,
        "many": many,
        "rss_more_mb": round(many["rss_mb"] - none["rss_mb"], 1),
        "rss_draining_more_mb": round(many["rss_draining_mb"] - none["rss_draining_mb"], 1),
    }


def rows(found):
    """Return the table's rows."""
    many = found["many"]
    more = found["rss_more_mb"], found["rss_draining_more_mb"]
    strand_ms = many["old_strand_ms"]
    return [
        (f"start with {many['events']} events waiting, median", many["start_s"], "s", "<=", 2),
        ("... with none (for information)", found["none"]["start_s"], "s", "", 0),
        ("... then checked beside the daemon (for information)", many["check_s"], "s", "", 0),
        ("... memory, more than with none", more[0], "MB", "<=", 10),
        ("... the same while they drain", more[1], "MB", "<=", 10),
        ("... first event of a cart from before (for information)", strand_ms, "ms", "", 0),
    ]


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.bench.backlog", description=__doc__)
    parser.add_argument("events", type=int, nargs="?", default=EVENTS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="shelfgate-backlog-") as name:
        sys.stdout.write(f"{json.dumps(measure(Path(name), options.events), indent=1)}\n")


if __name__ == "__main__":
    main()
