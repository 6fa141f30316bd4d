# SPDX-License-Identifier: Apache-2.0
"""What the demo shows on a terminal: events as they come, and receipts beside the truth."""

import os
import sys
import time
from collections.abc import Iterable, Mapping
from typing import IO

from gateway.domain.store import Store
from gateway.simulator.delivery import FAULTS, Delivery
from gateway.simulator.receipts import Books, Verdict
from gateway.simulator.witness import Witness
from gateway.tail import COLOURS


class Screen:
    """What people see."""

    def __init__(self) -> None:
        self._colour = is_terminal(sys.stdout)
        self._began_s = time.monotonic()

    def note(self, text: str) -> None:
        """Show what the demo itself does."""
        self._print(self._paint(f"{self._clock()}  --- {text}", "1"))

    def event(self, line: str) -> None:
        """Show one of the daemon's lines: time, name, what happened."""
        before, gap, rest = line.partition("  ")
        name, _, what = rest.partition(" ")
        code = COLOURS.get(name.partition(".")[0])
        painted = self._paint(name, code) if code else name
        self._print(f"{self._clock()}  {before}{gap}{painted} {what}")

    def report(self, store: Store, witness: Witness, books: Books, verdicts: list[Verdict]) -> None:
        """Show each receipt beside what was taken, and what is open."""

        def shown(lines: Mapping[str, int]) -> str:
            parts = [f"{count} {store.products[gtin].name}" for gtin, count in lines.items()]
            return ", ".join(sorted(parts)) or "nothing"

        rows = [("shopper", "receipt", "truly took", "")]
        for verdict in verdicts:
            receipt = books.receipts.get(verdict.shopper)
            lines = shown(receipt.lines) if receipt else "none"
            took = shown(witness.baskets[verdict.shopper])
            mark = "right" if verdict.right else "WRONG"
            note = f"{mark}: {verdict.note}" if verdict.note else mark
            rows.append((verdict.shopper, lines, took, note))
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        self._print("")
        for number, row in enumerate(rows):
            cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
            code = "1" if number == 0 else "31" if row[3].startswith("WRONG") else "32"
            self._print("  ".join([*cells, self._paint(row[3], code)]).rstrip())
        self._print("")
        for review in books.open_reviews:
            self._print(f"open for review: {review.text}")

    def counts(self, delivery: Delivery) -> None:
        """Show what the integrator counted, and what of it fails the run."""
        faults = delivery.faults
        self._print(
            f"events received {delivery.received}, lost {faults['lost']},"
            f" repeated {delivery.repeated}; by the integrator's count:"
        )
        self._count("received", delivery.received, "messages that arrived")
        self._count("repeated", delivery.repeated, "arrived again: dropped by source and id")
        self._count("stored", delivery.stored, f"of {delivery.committed} that the daemon committed")
        self._print("any of these fails the run:")
        for name, meaning in FAULTS.items():
            self._count(name, faults[name], meaning, bad=faults[name] > 0)

    def lines(self, lines: Iterable[str]) -> None:
        """Show lines as they are."""
        for line in lines:
            self._print(line)

    def _count(self, name: str, number: int, meaning: str, *, bad: bool = False) -> None:
        line = f"  {name:<12} {number:>5}  {meaning}"
        self._print(self._paint(line, "31") if bad else line)

    def _clock(self) -> str:
        return f"{time.monotonic() - self._began_s:6.1f} s"

    def _paint(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour else text

    @staticmethod
    def _print(text: str) -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def is_terminal(stream: IO[str]) -> bool:
    """Return whether colours make sense."""
    plain = os.environ.get("NO_COLOR") is not None or os.environ.get("TERM") == "dumb"
    return stream.isatty() and not plain
