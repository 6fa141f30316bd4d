# SPDX-License-Identifier: Apache-2.0
"""What is given up when too much waits, and the events that say so. SQL without I/O.

Programs as in ``gateway.outbox``.
"""

from collections.abc import Sequence
from hashlib import blake2b
from itertools import groupby
from typing import Final

import msgspec

from gateway.classes import CLASSES, CONTAINED, names_of
from gateway.domain.events import Clock, Event, EventsDropped, SequenceRange
from gateway.envelope import Source, sequence_text
from gateway.outbox import (
    Batch,
    Committed,
    Place,
    Program,
    Statement,
    insert_of,
    insertion,
    row_of,
)
from gateway.strands import names_in

DROP_BITE: Final = 500  # Pending rows given up at once; their ranges fit into one event.
LOOK: Final = 1_000  # Rows of the index, or names of sessions, looked at in one statement.
LOOKS_MAX: Final = 50
ROW_BYTES: Final = 300
"""What a row takes beside its payload: columns, and its places in the indexes."""
FILLED_BYTES: Final = 100
"""Of that, what leaves no hole: new rows take its place in the index of ids; and the rest is so
little that an estimate on the high side does not add up to holes that are none."""
HOLES: Final = "holes"
"""Key in ``meta``: bytes given up that lie in pages still in use, so that a start knows of them."""


class _Common(msgspec.Struct, frozen=True):
    """What every event's data carries."""

    store_version: str
    clock: Clock


class Need(msgspec.Struct, frozen=True, kw_only=True):
    """Why and how much is to be given up."""

    pending_max: int
    """Events that may wait."""
    short_bytes: int = 0
    """What the database lacks beside that."""
    why: str = ""
    """Why it lacks it, for people."""
    holes_bytes: int = 0
    """What lies in pages still in use since it was given up."""


def with_room(
    commit: Program[Committed], source: Source, epoch: str, batch: Batch, need: Need
) -> Program[Committed]:
    """Add to a commit of events that pending rows beyond a limit are given up.

    One class goes after the other (``gateway.classes``), of each the oldest first. An
    ``events.dropped`` takes the place of the first.
    """
    committed = yield from commit
    last = max(row.sequence for row in committed.rows)
    made = yield from _make_room(source, epoch, batch, last, need)
    return msgspec.structs.replace(made, rows=[*committed.rows, *made.rows])


def _make_room(
    source: Source, epoch: str, batch: Batch, sequence: int, need: Need
) -> Program[Committed]:
    """Return the notices, and what was given up."""
    [(count,)] = yield Statement("SELECT count(*) FROM events WHERE acknowledged = 0")
    excess = count - need.pending_max
    wanted = excess + need.pending_max // 100 if excess > 0 else 0
    victims, classes, freed = yield from _victims(min(DROP_BITE, wanted), need.short_bytes)
    if not victims:
        return Committed([])
    before = yield from _used_bytes()
    yield Statement(
        "DELETE FROM events WHERE position = ?",
        [(position,) for _, _, position in victims],
        many=True,
    )
    why = f"no more room for the database: {need.why}"
    if excess > 0:
        why = f"more than {need.pending_max} events waited for the uplink"
    notices = []
    for nth, (gone, group) in enumerate(groupby(victims, key=lambda victim: victim[0]), 1):
        rows = list(group)
        event = dropped_event(
            source,
            batch,
            f"{epoch}/{sequence + nth}",
            epoch=gone,
            ranges=ranges_of([number for _, number, _ in rows]),
            reason=f"{why}: {', '.join(classes)}",
        )
        first = min(position for _, _, position in rows)
        notices.append(insert_of(Place(source, epoch, first, sequence + nth), batch, event))
    yield insertion(notices)
    told = [row_of(notice) for notice in notices]
    freed -= sum(len(row.payload) + ROW_BYTES for row in told)
    after = yield from _used_bytes()
    left = freed - len(victims) * FILLED_BYTES - (before - after)
    yield Statement(
        "INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)",
        (HOLES, str(max(0, need.holes_bytes + left))),
    )
    given_up = frozenset((gone, number) for gone, number, _ in victims)
    return Committed(told, given_up, classes, freed, left)


def _used_bytes() -> Program[int]:
    """Return what the pages in use take."""
    [(pages, free_pages, page_bytes)] = yield Statement(
        "SELECT (SELECT * FROM pragma_page_count), (SELECT * FROM pragma_freelist_count),"
        " (SELECT * FROM pragma_page_size)"
    )
    return int(pages - free_pages) * int(page_bytes)


def holes() -> Program[int]:
    """Return how many bytes that were given up lie in pages still in use, as was noted last."""
    rows = yield Statement("SELECT value FROM meta WHERE key = ?", (HOLES,))
    return int(rows[0][0]) if rows and rows[0][0].isdecimal() else 0


def _victims(
    count: int, short_bytes: int
) -> Program[tuple[list[tuple[str, int, int]], tuple[str, ...], int]]:
    """Return epoch, sequence and position of what is given up, in this order; classes and bytes."""
    found: list[tuple[str, int, int]] = []
    classes: list[str] = []
    taken: set[int] = set()
    freed = 0
    for name in CLASSES:
        most = (count if freed >= short_bytes else DROP_BITE) - len(found)
        if most <= 0:
            break
        positions = yield from waiting_of(name, most, contained=name == CONTAINED)
        before = len(found)
        for position in positions:
            if (len(found) >= count and freed >= short_bytes) or position in taken:
                continue
            [(epoch, sequence, size)] = yield Statement(
                "SELECT epoch, sequence, length(payload) FROM events WHERE position = ?",
                (position,),
            )
            taken.add(position)
            found.append((epoch, sequence, position))
            freed += size + ROW_BYTES
        if len(found) > before:
            classes.append(name)
    return sorted(found), tuple(classes), freed


def waiting_of(name: str, most: int, *, contained: bool = False) -> Program[list[int]]:
    """Return positions of pending rows of a class, the oldest first.

    Args:
        name: Of the class.
        most: How many at most.
        contained: Whether only what the receipt of a closed cart contains.
    """
    names = sorted(names_of(name))
    marks = ", ".join("?" * len(names))
    positions: list[int] = []
    after = 0
    for _ in range(LOOKS_MAX):
        rows = yield Statement(
            "SELECT position, strands FROM events INDEXED BY events_waiting"  # noqa: S608
            f" WHERE acknowledged = 0 AND name IN ({marks}) AND position > ?"
            " ORDER BY position LIMIT ?",
            (*names, after, LOOK),
        )
        if contained:
            closed = yield from _closed({one for _, strands in rows for one in names_in(strands)})
            here = [at for at, strands in rows if strands and closed.issuperset(names_in(strands))]
        else:
            here = [at for at, _ in rows]
        positions += here
        if len(rows) < LOOK or len(positions) >= most:
            break
        after = rows[-1][0]
    return positions[:most]


def _closed(sessions: set[str]) -> Program[set[str]]:
    """Return which of some sessions have their receipt here."""
    names = sorted(sessions)
    closed: set[str] = set()
    for start in range(0, len(names), LOOK):
        some = names[start : start + LOOK]
        marks = ", ".join("?" * len(some))
        rows = yield Statement(
            f"SELECT strands FROM events WHERE name = 'cart.closed' AND strands IN ({marks})",  # noqa: S608
            some,
        )
        closed.update(strands for (strands,) in rows)
    return closed


def dropped_event(
    source: Source,
    batch: Batch,
    place: str,
    *,
    epoch: str,
    ranges: Sequence[tuple[int, int]],
    reason: str,
) -> Event:
    """Make an ``events.dropped``, dated as the newest event of a batch.

    Args:
        source: Whose event it is.
        batch: That it is committed with.
        place: Epoch and sequence that it will have; they name it.
        epoch: In which events are gone.
        ranges: First and last sequence of each range of them, ascending.
        reason: Why, for people.
    """
    newest = batch.events[-1]
    common = msgspec.json.decode(newest.data, type=_Common)
    data = EventsDropped(
        store_version=common.store_version,
        clock=common.clock,
        epoch=epoch,
        ranges=[SequenceRange(sequence_text(first), sequence_text(last)) for first, last in ranges],
        count=sum(last - first + 1 for first, last in ranges),
        reason=reason,
    )
    cause = f"{source.gateway}/{place}/events.dropped".encode()
    return Event(
        id=blake2b(cause, digest_size=16).hexdigest(),
        type="org.shelfgate.events.dropped.v1",
        subject="outbox",
        time=newest.time,
        data=msgspec.Raw(msgspec.json.encode(data)),
    )


def ranges_of(sequences: Sequence[int]) -> list[tuple[int, int]]:
    """Return ascending sequences as ranges, both ends included."""
    ranges: list[tuple[int, int]] = []
    for sequence in sequences:
        if ranges and ranges[-1][1] == sequence - 1:
            ranges[-1] = (ranges[-1][0], sequence)
        else:
            ranges.append((sequence, sequence))
    return ranges
