# SPDX-License-Identifier: Apache-2.0
"""Rows for a shelf that is silent while nothing changes: what it said last, again and again."""

from typing import Final

from drivers.scale.grid import ROWS_MAX, Block
from drivers.scale.reading import Reading


class Held:
    """What was said last of each plate, for as long as it holds. No I/O and no clock."""

    def __init__(self, plates: int, *, period_ns: int, holds_ns: int | None) -> None:
        """Begin with nothing said.

        Args:
            plates: How many.
            period_ns: From row to row.
            holds_ns: How long what was said last is repeated; None: until something else is said.
        """
        self._row: list[float | None] = [None] * plates
        self._period_ns = period_ns
        self._holds_ns = holds_ns
        self._next_ns: int | None = None
        self._until_ns: int | None = None

    @property
    def due_ns(self) -> int | None:
        """Return when the next row is due; None while nothing is repeated."""
        return self._next_ns

    def add(self, reading: Reading, now_ns: int) -> None:
        """Take a reading; ``advance`` to the same time comes first."""
        if self._next_ns is None:
            self._next_ns = now_ns + self._period_ns  # Words on other plates come right behind.
            self._row = [None] * len(self._row)
        grams = reading.gross_g
        self._row[reading.channel] = None if grams is None else float(grams)
        if self._holds_ns is not None:
            self._until_ns = now_ns + self._holds_ns

    def advance(self, now_ns: int) -> list[Block]:
        """Go on to a time; return the rows until then, each a block."""
        done: list[Block] = []
        while self._next_ns is not None and self._next_ns <= now_ns:
            if now_ns - self._next_ns > ROWS_MAX * self._period_ns:
                self._next_ns = now_ns  # The machine slept.
            done.append(Block(self._next_ns, self._period_ns, [list(self._row)]))
            self._next_ns += self._period_ns
            if self._until_ns is not None and self._next_ns > self._until_ns:
                self._next_ns = None
        return done


BURST_ROWS: Final = 10
"""How often the word of a device that seldom says one is repeated: enough to settle by."""
PERIOD_MS: Final = 200
