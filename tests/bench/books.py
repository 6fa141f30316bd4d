# SPDX-License-Identifier: Apache-2.0
"""How fast one consumer keeps books: ``python -m tests.bench.books [EVENTS]``.

Events of 200 gateways, in turn, in the integrator's batches; each batch is committed, the marks
moved and the acknowledgements made, without MQTT.
"""

import argparse
import sys
import tempfile
import time
from contextlib import ExitStack, closing
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import msgspec

from gateway.domain.event_types import type_of
from gateway.domain.events import Clock, Event, event_id
from gateway.envelope import Source, event_payload
from gateway.simulator.integrator import BATCH_MAX
from gateway.simulator.ledger import Ledger
from gateway.simulator.visits import Moment, Visits
from tests.made import TIME
from tests.postgres import INITDB, postgres

GATEWAYS = 200
RUNS = 5
MOMENT = Moment(Clock("boot", 1, utc_trusted=True, utc_error_ms=1), time.time_ns(), online=True)


def payloads(count, run):
    """Return events of a fleet, each gateway's in order, the gateways in turn."""
    each = -(-count // GATEWAYS)
    columns = []
    for number in range(GATEWAYS):
        source, epoch = Source(f"store-{number}", "gw-1"), f"{run:032x}"
        visits, told = Visits(f"{run}/{number}", epoch, 60.0), []
        while len(told) < each:
            told += visits.until(visits.next_s, MOMENT)
        columns.append([_payload(source, epoch, at, one) for at, one in enumerate(told[:each])])
    return [one for row in zip(*columns, strict=True) for one in row][:count]


def _payload(source, epoch, sequence, told):
    event = Event(
        id=event_id(source.urn, epoch, sequence, 0),
        type=type_of(told.data.NAME),
        subject=told.subject,
        time=TIME,
        data=msgspec.Raw(msgspec.json.encode(told.data)),
    )
    now_ns = MOMENT.utc_ns
    return event_payload(event, source, epoch=epoch, sequence=sequence, utc_ns=now_ns, online=True)


def rate(books, count, run):
    """Return events a second, and the mean size of one in bytes."""
    events = payloads(count, run)
    began_s = time.perf_counter()
    for at in range(0, count, BATCH_MAX):
        books.acknowledgements(books.store(events[at : at + BATCH_MAX]))
    return count / (time.perf_counter() - began_s), sum(map(len, events)) / count


def measure(count, runs=RUNS):
    """Return medians for SQLite, and for PostgreSQL where it is installed."""
    found = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        kinds = {"sqlite": stack.enter_context(closing(Ledger(folder / "books.db")))}
        if INITDB is not None and find_spec("psycopg") is not None:
            from gateway.simulator.postgres import PostgresLedger

            conninfo = stack.enter_context(postgres())
            kinds["postgres"] = stack.enter_context(closing(PostgresLedger(conninfo, "one")))
        for name, books in kinds.items():
            rates = [rate(books, count, run) for run in range(runs)]
            found[name] = round(median(per_s for per_s, _ in rates))
            found["bytes"] = round(rates[-1][1])
    return found


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.bench.books", description=__doc__)
    parser.add_argument("events", type=int, nargs="?", default=20_000)
    count = parser.parse_args().events
    sys.stdout.write(f"events a second, {count} of {GATEWAYS} gateways: {measure(count)}\n")


if __name__ == "__main__":
    main()
