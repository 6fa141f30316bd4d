# SPDX-License-Identifier: Apache-2.0
"""What is given up when too much waits, and the events that say so. SQL without I/O.

Programs as in ``gateway.outbox``.
"""

from collections.abc import Sequence
from hashlib import blake2b
from itertools import groupby
from typing import Any, Final

import msgspec

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

DROP_BITE: Final = 500  # Pending rows given up at once; their ranges fit into one event.


class _Common(msgspec.Struct, frozen=True):
    """What every event's data carries."""

    store_version: str
    clock: Clock


def with_room(
    commit: Program[Committed], source: Source, epoch: str, batch: Batch, pending_max: int
) -> Program[Committed]:
    """Add to a commit of events that pending rows beyond a limit are given up.

    The oldest go first, receipts after everything else, and last of all the starts: the epochs'
    chain rests on them. An ``events.dropped`` takes the place of the first.
    """
    committed = yield from commit
    last = max(row.sequence for row in committed.rows)
    notices, dropped = yield from _make_room(source, epoch, batch, last, pending_max)
    return Committed([*committed.rows, *map(row_of, notices)], dropped)


def _make_room(
    source: Source, epoch: str, batch: Batch, sequence: int, pending_max: int
) -> Program[tuple[list[tuple[Any, ...]], int]]:
    [(count,)] = yield Statement("SELECT count(*) FROM events WHERE acknowledged = 0")
    if count <= pending_max:
        return [], 0
    bite = min(DROP_BITE, count - pending_max + pending_max // 100)
    victims = yield Statement(
        "SELECT epoch, sequence, position FROM ("
        "SELECT epoch, sequence, position FROM events"
        " WHERE acknowledged = 0 AND name <> 'events.dropped'"
        " ORDER BY CASE WHEN name IN ('gateway.started', 'database.recovered') THEN 2"
        " WHEN name IN ('cart.closed', 'cart.adjusted') THEN 1 ELSE 0 END, position LIMIT ?"
        ") ORDER BY epoch, sequence",
        (bite,),
    )
    yield Statement(
        "DELETE FROM events WHERE position = ?",
        [(position,) for _, _, position in victims],
        many=True,
    )
    notices = []
    for nth, (gone, group) in enumerate(groupby(victims, key=lambda victim: victim[0]), 1):
        rows = list(group)
        event = dropped_event(
            source,
            batch,
            f"{epoch}/{sequence + nth}",
            epoch=gone,
            ranges=_ranges([number for _, number, _ in rows]),
            reason=f"more than {pending_max} events waited for the uplink",
        )
        first = min(position for _, _, position in rows)
        notices.append(insert_of(Place(source, epoch, first, sequence + nth), batch, event))
    if notices:
        yield insertion(notices)
    return notices, len(victims)


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


def _ranges(sequences: Sequence[int]) -> list[tuple[int, int]]:
    """Return ascending sequences as ranges, both ends included."""
    ranges: list[tuple[int, int]] = []
    for sequence in sequences:
        if ranges and ranges[-1][1] == sequence - 1:
            ranges[-1] = (ranges[-1][0], sequence)
        else:
            ranges.append((sequence, sequence))
    return ranges
