# SPDX-License-Identifier: Apache-2.0
"""Events that are gone: named in the transaction that begins the next epoch.

A damaged database lost them, or an operator gave them up.

Which they are is kept in the database itself, until an ``events.dropped`` of them is committed.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Final

import msgspec

from gateway import giving_up, outbox
from gateway.envelope import Source
from gateway.outbox import Batch, Committed, Program, Row, Statement

LOST: Final = "lost"
"""Key in ``meta``: the ranges that are not told yet, a JSON list of ``Lost``."""
NOTES: Final = "lost/*"
"""Keys in ``meta``, likewise, one for each bite of a purge: each would write all anew else."""
RECOVERY: Final = "recovery"
"""Key in ``meta``: the ``Recovery`` that is not told yet, JSON."""
RANGES_MAX: Final = 200
"""Ranges in one event."""


class Lost(msgspec.Struct, frozen=True, array_like=True):
    """A range of one epoch that could not be read, both ends included."""

    epoch: str
    first: int
    last: int
    reason: str = "could not be read from a damaged database"


def note(gone: Sequence[tuple[str, int]], reason: str) -> Program[None]:
    """Note events that are being deleted, so that the next start tells it.

    Args:
        gone: Epoch and sequence of each, sorted.
        reason: Why, for people.
    """
    lost: list[Lost] = []
    for epoch, group in groupby(gone, key=lambda one: one[0]):
        ranges = giving_up.ranges_of([sequence for _, sequence in group])
        lost += [Lost(epoch, first, last, reason) for first, last in ranges]
    [(newest,)] = yield Statement("SELECT max(key) FROM meta WHERE key GLOB ?", (NOTES,))
    number = 0 if newest is None else int(newest.rpartition("/")[2])
    yield Statement(
        "INSERT INTO meta (key, value) VALUES (?, ?)",
        (f"{LOST}/{number + 1:09d}", msgspec.json.encode(lost).decode()),
    )


def is_note(key: str) -> bool:
    """Tell whether a row of ``meta`` notes what is not told yet."""
    return key == LOST or key.startswith(f"{LOST}/")


def untold() -> Program[bool]:
    """Return whether something is noted that the next start has to tell."""
    return bool((yield from noted()))


def noted() -> Program[list[Lost]]:
    """Return what the next start has to tell."""
    kept = yield Statement(
        "SELECT value FROM meta WHERE key = ? OR key GLOB ? ORDER BY key", (LOST, NOTES)
    )
    return [one for (value,) in kept for one in msgspec.json.decode(value, type=list[Lost])]


def missing(
    epoch: str, have: Iterable[int], explained: Iterable[tuple[int, int]], begin: int, last: int
) -> list[Lost]:
    """Return what lacks of ``begin`` to ``last``, less what is there and what was explained."""
    there = sorted([*((number, number) for number in have), *explained])
    lost, at = [], begin
    for low, high in there:
        if low > at:
            lost.append(Lost(epoch, at, min(low - 1, last)))
        at = max(at, high + 1)
        if at > last:
            return [one for one in lost if one.first <= one.last]
    return [*lost, Lost(epoch, at, last)] if at <= last else lost


def tell(source: Source, epoch: str, batch: Batch) -> Program[list[Row]]:
    """Commit an ``events.dropped`` for what is not told yet, behind the events of a batch.

    Args:
        source: Whose events these are.
        epoch: The current one.
        batch: Committed just before in the same transaction; it has an event at least.

    Returns:
        The rows, as they will be published.
    """
    lost = yield from noted()
    yield Statement("DELETE FROM meta WHERE key IN (?, ?) OR key GLOB ?", (LOST, RECOVERY, NOTES))
    if not lost:
        return []
    [(position, sequence)] = yield Statement(
        "SELECT (SELECT max(position) FROM events),"
        " (SELECT max(sequence) FROM events WHERE epoch = ?)",
        (epoch,),
    )
    inserts = []
    for nth, some in enumerate(_bites(lost), 1):
        event = giving_up.dropped_event(
            source,
            batch,
            f"{epoch}/{sequence + nth}",
            epoch=some[0].epoch,
            ranges=[(one.first, one.last) for one in some],
            reason=some[0].reason,
        )
        place = outbox.Place(source, epoch, position + nth, sequence + nth)
        inserts.append(outbox.insert_of(place, batch, event))
    yield outbox.insertion(inserts)
    return [outbox.row_of(insert) for insert in inserts]


def told_with(
    commit: Program[Committed], source: Source, epoch: str, batch: Batch
) -> Program[Committed]:
    """Add to a commit of events what is not told yet."""
    committed = yield from commit
    rows = yield from tell(source, epoch, batch)
    return msgspec.structs.replace(committed, rows=[*committed.rows, *rows])


def _bites(lost: Sequence[Lost]) -> Iterator[list[Lost]]:
    """Yield ranges of one epoch and reason each, few enough for one event."""
    for _, group in groupby(lost, key=lambda one: (one.epoch, one.reason)):
        ranges = list(group)
        for start in range(0, len(ranges), RANGES_MAX):
            yield ranges[start : start + RANGES_MAX]
