# SPDX-License-Identifier: Apache-2.0
"""What an integrator stored, held against what the gateway committed."""

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from gateway.envelope import with_shopper
from gateway.simulator.integrator import same_event, summary
from gateway.simulator.receipts import read_payloads

FAULTS: Final[Mapping[str, str]] = {
    "lost": "committed, and not in the books",
    "conflicting": "one event under two ids, or two payloads under one id",
    "booked twice": "repeats that reached the books",
    "unknown": "in the books, and never committed",
    "malformed": "messages that are no event",
}
"""What fails a run, and what it means."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """Counts of events.

    Attributes:
        committed: In the gateway's database.
        stored: In the integrator's books.
        received: Messages that arrived, repeats included.
        repeated: Of them, those that arrived again and were dropped by source and id. A link that
            breaks cannot do without: at least once becomes once here.
        faults: How often each of ``FAULTS`` happened.
    """

    committed: int
    stored: int
    received: int
    repeated: int
    faults: Mapping[str, int]

    @property
    def good(self) -> bool:
        """Whether the books hold each committed event once, and nothing else."""
        return not any(self.faults.values())


def compare(gateway: Path, integrator: Path) -> Delivery:
    """Hold an integrator's database against the gateway's, event by event, byte by byte.

    Only a gateway whose history was not pruned yet can be held against its integrator.

    Args:
        gateway: The daemon's database.
        integrator: The reference integrator's database.
    """
    counts = summary(integrator)
    committed = _committed(gateway)
    payloads = read_payloads(integrator)
    books: dict[tuple[str, str], bytes] = {}
    for payload in payloads:
        name = msgspec.json.decode(payload, type=_Name)
        books.setdefault((name.source, name.id), payload)
    altered = sum(
        not same_event(payload, books[name]) for name, payload in committed.items() if name in books
    )
    booked = counts.received - counts.repeated
    return Delivery(
        committed=len(committed),
        stored=len(payloads),
        received=counts.received,
        repeated=counts.repeated,
        faults={
            "lost": max(counts.lost, len(committed.keys() - books.keys())),
            "conflicting": counts.conflicting + altered,
            "booked twice": max(len(payloads) - len(books), len(payloads) - booked),
            "unknown": len(books.keys() - committed.keys()),
            "malformed": counts.malformed,
        },
    )


class _Name(msgspec.Struct, frozen=True):
    source: str
    id: str


def _committed(database: Path) -> dict[tuple[str, str], bytes]:
    """Return every committed event by source and id, as it is sent."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        connection.execute("PRAGMA busy_timeout = 5000")
        rows = connection.execute("SELECT payload, shopper FROM events ORDER BY position")
        sent = [payload if name is None else with_shopper(payload, name) for payload, name in rows]
    named = [(msgspec.json.decode(payload, type=_Name), payload) for payload in sent]
    return {(name.source, name.id): payload for name, payload in named}
