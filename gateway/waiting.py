# SPDX-License-Identifier: Apache-2.0
"""What waits to be sent: rows in their order, and the earlier ones of a cart; SQL without I/O.

Programs as in ``gateway.outbox``.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from gateway.outbox import CHECKED, Program, Row, Statement, row_read
from gateway.strands import begun_in, names_in, ties_in

SCAN: Final = 50_000
"""Positions looked at in one statement: some milliseconds."""
ALONG_MAX: Final = 5_000
"""Rows found from which on no further cart is brought along: that one's order is not kept then."""
TOGETHER: Final = 500
"""Rows read by their positions in one statement."""
_WAITING: Final = (
    "SELECT position, strands FROM events INDEXED BY events_waiting"
    " WHERE acknowledged = 0 AND position BETWEEN ? AND ?"
)


class Fetch(msgspec.Struct, frozen=True, kw_only=True):
    """Rows to read from the outbox."""

    after: int
    """Position behind which to read."""
    upto: int | None = None
    """Last position of the backlog; None: what is live."""
    limit: int
    generation: int = 0
    """Rows read before a rewind are of no use."""
    notified: int = 0
    """Rows committed while reading may be missing."""
    backlog: tuple[int, int] | None = None
    """Of what is live: positions behind which, and up to which, the backlog still waits."""
    known: frozenset[str] = frozenset()
    """Strands of which nothing waits there any more."""


class Found(msgspec.Struct, frozen=True):
    """What a ``Fetch`` found."""

    rows: list[Row]
    promoted: list[Row] = []
    """Rows of the backlog that go before: the earlier events of the same strands."""


def read(fetch: Fetch) -> Program[Found]:
    """Return pending rows, oldest first; with live ones what of the backlog goes before them."""
    found = yield Statement(
        f"SELECT {CHECKED} FROM events"  # noqa: S608
        " WHERE acknowledged = 0 AND position > ? AND position <= ? ORDER BY position LIMIT ?",
        (fetch.after, 2**63 - 1 if fetch.upto is None else fetch.upto, fetch.limit),
    )
    rows = [row_read(row) for row in found]
    if fetch.backlog is None:
        return Found(rows)
    begun = {name for row in rows for name in begun_in(row.strands)}
    wanted = {name for row in rows for name in ties_in(row.strands)} - begun - fetch.known
    positions = yield from _earlier(wanted, fetch.known, *fetch.backlog)
    promoted: list[Row] = []
    for some in _bites(positions):
        marks = ", ".join("?" * len(some))
        found = yield Statement(
            f"SELECT {CHECKED} FROM events WHERE position IN ({marks})",  # noqa: S608
            some,
        )
        promoted += [row_read(row) for row in found]
    return Found(rows, promoted)


def _earlier(wanted: set[str], known: frozenset[str], after: int, last: int) -> Program[list[int]]:
    """Return positions of pending rows of some strands, looked for from the newest back.

    A row that belongs to others as well brings the earlier ones of those along, until there are
    ``ALONG_MAX``: one cart of a busy day may lead to all others.

    A strand that began long ago, or of which the beginning waits no more, is looked for in all of
    the backlog. An index by strands would find it at once, and every event would write a fifth more
    to the card for it. So SQLite walks the index of what waits, and Python sees only rows of one of
    the strands, or of several at once.
    """
    positions: list[int] = []
    [(first,)] = yield Statement(
        "SELECT coalesce(min(position), ?) FROM events"
        " WHERE acknowledged = 0 AND position > ? AND position <= ?",
        (last + 1, after, last),
    )
    while wanted and first <= last:
        stretch = (max(first, last - SCAN + 1), last)
        # Under which position rows of each strand are wanted.
        below: dict[str, int] = dict.fromkeys(wanted, last + 1)
        rows = yield Statement(
            f"{_WAITING} AND instr(strands, ' ') ORDER BY position DESC", stretch
        )
        for position, strands in rows:
            if below.keys().isdisjoint(names_in(strands)):
                continue
            positions.append(position)
            wanted.difference_update(begun_in(strands))
            if len(positions) < ALONG_MAX:
                more = {*ties_in(strands)}.difference(below, known, begun_in(strands))
                wanted |= more
                below.update((name, position) for name in more)
        texts = msgspec.json.encode([text for name in below for text in (name, f"+{name}")])
        rows = yield Statement(
            f"{_WAITING} AND strands IN (SELECT value FROM json_each(?))",  # noqa: S608
            (*stretch, texts.decode()),
        )
        for position, strands in rows:
            [name] = names_in(strands)
            if position < below[name]:
                positions.append(position)
                wanted.difference_update(begun_in(strands))
        last -= SCAN
    return positions


def _bites(positions: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(positions), TOGETHER):
        yield positions[start : start + TOGETHER]
