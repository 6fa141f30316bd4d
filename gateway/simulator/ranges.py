# SPDX-License-Identifier: Apache-2.0
"""Ranges of sequences: arithmetic whose cost is their number, not their length."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

Range = tuple[int, int]
"""First and last sequence, both included."""


class Found(Protocol):
    """Rows of an answer."""

    def __iter__(self) -> Iterator[Any]:
        """Go through them."""

    def fetchall(self) -> list[Any]:
        """Return all of them."""


class Asked(Protocol):
    """An integrator's database that questions are put to, SQLite or another."""

    def execute(self, sql: str, parameters: Sequence[Any] = ..., /) -> Found:
        """Ask; ``?`` in the text stands for a parameter."""


def union(ranges: Iterable[Range]) -> list[Range]:
    """Return ranges in order, those joined that touch or overlap."""
    joined: list[Range] = []
    for first, last in sorted(one for one in ranges if one[0] <= one[1]):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(last, joined[-1][1]))
        else:
            joined.append((first, last))
    return joined


def without(ranges: Iterable[Range], taken: Iterable[Range]) -> list[Range]:
    """Return what is left of ranges, in any order and overlapping or not, beyond those taken."""
    left: list[Range] = []
    away = union(taken)
    nth = 0
    for start, last in union(ranges):
        first = start
        while nth < len(away) and away[nth][1] < first:
            nth += 1
        for begin, end in away[nth:]:
            if begin > last:
                break
            if first < begin:
                left.append((first, begin - 1))
            first = end + 1
        if first <= last:
            left.append((first, last))
    return left


def size(ranges: Iterable[Range]) -> int:
    """Return how many sequences ranges hold that do not overlap."""
    return sum(last + 1 - first for first, last in ranges)


def ranges_here(connection: Asked, source: str, epoch: str) -> list[Range]:
    """Return the sequences of an epoch that are in an integrator's database."""
    [(distinct, first, last)] = connection.execute(
        "SELECT count(DISTINCT sequence), min(sequence), max(sequence) FROM events"
        " WHERE source = ? AND epoch = ?",
        (source, epoch),
    )
    if not distinct:
        return []
    if distinct == last + 1 - first:
        return [(first, last)]
    found: list[Range] = connection.execute(
        "SELECT min(sequence), max(sequence) FROM ("
        "SELECT sequence, sequence - dense_rank() OVER (ORDER BY sequence) AS run FROM events"
        " WHERE source = ? AND epoch = ?) AS runs GROUP BY run ORDER BY run",
        (source, epoch),
    ).fetchall()
    return found
