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
from gateway.domain.event_types import type_of
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
from gateway.pages import measure
from gateway.strands import names_in

DROP_BITE: Final = 500  # Pending rows given up at once; their ranges fit into one event.
LOOK: Final = 1_000  # Rows of the index, or names of sessions, looked at in one statement.
LOOKS_MAX: Final = 50
BITES_LOOKED_AT: Final = 5  # Of a class, where the first are not worth their notices.
ROW_BYTES: Final = 300
"""What a row takes beside its payload: columns, and its places in the indexes."""
FILLED_BYTES: Final = 100
"""Of that, what leaves no hole: new rows take its place in the index of ids; and the rest is so
little that an estimate on the high side does not add up to holes that are none."""
NOTICE_BYTES: Final = 1_100
"""What a notice takes beside its ranges, on the high side."""
RANGE_BYTES: Final = 63
HOLES: Final = "holes"
"""Key in ``meta``: bytes given up that lie in pages still in use, so that a start knows of them."""


class _Common(msgspec.Struct, frozen=True):
    """What every event's data carries."""

    store_version: str
    clock: Clock


class _Victim(msgspec.Struct, frozen=True):
    """An event that may be given up."""

    epoch: str
    sequence: int
    position: int
    kind: str
    bytes: int


class _Chosen:
    """What is to be given up, by epochs: each has a notice of its own, which takes room too."""

    def __init__(self, count: int, short_bytes: int) -> None:
        """Begin with nothing.

        Args:
            count: How many events, if too many wait: what they take does not matter then.
            short_bytes: Else what they are to free, less their notices.
        """
        self._count = count
        self._short_bytes = short_bytes
        self._epochs: dict[str, list[_Victim]] = {}
        self._gains: dict[str, int] = {}
        self._freed = 0
        self._events = 0

    @property
    def enough(self) -> bool:
        """Tell whether to look for no more in this commit."""
        if self._count:
            return self._events >= self._count
        return self._freed >= self._short_bytes or self._events >= DROP_BITE

    def add(self, one: _Victim) -> None:
        """Take an event, the next of its class."""
        of_it = self._epochs.setdefault(one.epoch, [])
        follows = bool(of_it) and of_it[-1].sequence + 1 == one.sequence
        before = self._gains.get(one.epoch, -NOTICE_BYTES)
        gain = before + one.bytes - (0 if follows else RANGE_BYTES)
        of_it.append(one)
        self._gains[one.epoch] = gain
        self._freed += max(0, gain) - max(0, before)
        if self._count or before > 0:
            self._events += 1
        elif gain > 0:
            self._events += len(of_it)

    def victims(self) -> list[_Victim]:
        """Return the events of those epochs where giving them up frees something, in order."""
        worth = [
            one
            for epoch, of_it in self._epochs.items()
            if self._count or self._gains[epoch] > 0
            for one in of_it
        ]
        return sorted(worth, key=lambda one: (one.epoch, one.sequence))


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
    victims = yield from _victims(min(DROP_BITE, wanted), need.short_bytes)
    if not victims:
        return Committed([])
    before = yield from measure()
    yield Statement(
        "DELETE FROM events WHERE position = ?", [(one.position,) for one in victims], many=True
    )
    why = f"no more room for the database: {need.why}"
    if excess > 0:
        why = f"more than {need.pending_max} events waited for the uplink"
    kinds = {one.kind for one in victims}
    classes = tuple(kind for kind in CLASSES if kind in kinds)
    notices = []
    for nth, (gone, group) in enumerate(groupby(victims, key=lambda victim: victim.epoch), 1):
        of_it = list(group)
        event = dropped_event(
            source,
            batch,
            f"{epoch}/{sequence + nth}",
            epoch=gone,
            ranges=ranges_of([one.sequence for one in of_it]),
            reason=f"{why}: {', '.join(classes)}",
        )
        first = min(one.position for one in of_it)
        notices.append(insert_of(Place(source, epoch, first, sequence + nth), batch, event))
    yield insertion(notices)
    told = [row_of(notice) for notice in notices]
    freed = sum(one.bytes for one in victims)
    freed -= sum(len(row.payload) + ROW_BYTES for row in told)
    after = yield from measure()
    left = freed - len(victims) * FILLED_BYTES - (before.used_bytes - after.used_bytes)
    yield Statement(
        "INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)",
        (HOLES, str(max(0, need.holes_bytes + left))),
    )
    given_up = frozenset((one.epoch, one.sequence) for one in victims)
    return Committed(told, given_up, classes, max(0, freed), left, notices=tuple(told))


def holes() -> Program[int]:
    """Return how many bytes that were given up lie in pages still in use, as was noted last."""
    rows = yield Statement("SELECT value FROM meta WHERE key = ?", (HOLES,))
    return int(rows[0][0]) if rows and rows[0][0].isdecimal() else 0


def _victims(count: int, short_bytes: int) -> Program[list[_Victim]]:
    """Return what is given up, by epoch and sequence."""
    chosen = _Chosen(count, short_bytes)
    taken: set[int] = set()
    for kind in CLASSES:
        after = 0
        for _ in range(BITES_LOOKED_AT):
            if chosen.enough:
                return chosen.victims()
            positions = yield from waiting_of(
                kind, DROP_BITE, contained=kind == CONTAINED, after=after
            )
            for one in (yield from _read(positions, kind)):
                if not chosen.enough and one.position not in taken:
                    taken.add(one.position)
                    chosen.add(one)
            if len(positions) < DROP_BITE:
                break
            after = positions[-1]
    return chosen.victims()


def _read(positions: list[int], kind: str) -> Program[list[_Victim]]:
    marks = ", ".join("?" * len(positions))
    rows = yield Statement(
        "SELECT epoch, sequence, position, length(payload) FROM events"  # noqa: S608
        f" WHERE position IN ({marks}) ORDER BY position",
        positions,
    )
    return [
        _Victim(epoch, sequence, position, kind, size + ROW_BYTES)
        for epoch, sequence, position, size in rows
    ]


def waiting_of(
    name: str, most: int, *, contained: bool = False, after: int = 0
) -> Program[list[int]]:
    """Return positions of pending rows of a class, the oldest first.

    Args:
        name: Of the class.
        most: How many at most.
        contained: Whether only what the receipt of a closed cart contains.
        after: Position behind which to look.
    """
    names = sorted(names_of(name))
    marks = ", ".join("?" * len(names))
    positions: list[int] = []
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
        type=type_of(EventsDropped.NAME),
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
