# SPDX-License-Identifier: Apache-2.0
"""Which row goes out next: what is live first, then the backlog, oldest first.

A pure state machine, part of the uplink's. At a connection all that was committed before is the
*backlog*, and is gone through once, from the oldest on; what is committed from then on is *live*
and passes it. What would overtake earlier events of its own cart does not: they are promoted, taken
out of the backlog and sent right before it. So each cart keeps its order, while carts pass others.

Sequences then go out with gaps; ``gateway.sent`` knows them.
"""

from bisect import insort
from collections import deque
from collections.abc import Callable, Container, Iterable
from typing import Final

from gateway.outbox import Number, Row
from gateway.strands import ties_in
from gateway.waiting import Fetch, Found

NOTICES_MAX: Final = 100
"""Notices in old places that are kept to be sent; of more, all is gone through again."""
REMEMBERED_MAX: Final = 50_000
"""Promoted rows and strands that are remembered; what is forgotten may be sent again."""


class LiveFirst:
    """Two ways through the outbox at once: what is live, and the backlog."""

    def __init__(self, wanted: Callable[[Row], bool]) -> None:
        """Begin at the first row.

        Args:
            wanted: Tells whether a row is still to be sent, and not on its way already.
        """
        self._wanted = wanted
        self._generation = 0
        self._notified = 0
        self._newest = 0
        self._live: deque[Row] = deque()
        self._live_at = 0
        self._live_more = True
        self._backlog: deque[Row] = deque()
        self._notices: deque[Row] = deque()
        """In places that will not be read any more."""
        self._at = 0
        self._end = 0
        self._left: int | None = None
        self._window = 0
        """Of a repeat, how many rows it takes at either place."""
        self._behind = False
        """Whether a repeat has gone on from the oldest rows to its next ones."""
        self._turn = 0
        """Position up to which the repeats before this one have come."""
        self._promoted: set[int] = set()
        self._known: set[str] = set()

    @property
    def more(self) -> bool:
        """Whether rows may have to be read."""
        return self._live_more or self._at < self._end

    @property
    def ready(self) -> bool:
        """Whether rows are read and not sent."""
        return bool(self._live or self._notices or self._backlog)

    @property
    def backlog_ready(self) -> bool:
        """Whether nothing but backlog can be sent now."""
        return bool(self._notices or self._backlog) and not self._live

    # Where it is.

    def notify(self, newest: int) -> None:
        """Note that rows were committed, up to a position at least."""
        self._newest = max(self._newest, newest)
        self._live_more = True
        self._notified += 1

    def begin(self) -> None:
        """Begin anew on a fresh connection: all that is committed by now is backlog."""
        self._rewind(self._newest, None)

    def again(self, most: int | None = None) -> None:
        """Go through all that was sent once more, or through so much of it.

        That is the oldest, which lacks first, and as much behind what was repeated last, going
        round: the oldest may all be notices, which nothing acknowledges before what came earlier.
        """
        first = next((row.position for row in self._live if row.position > self._end), None)
        self._rewind(self._live_at if first is None else first - 1, most)

    def stop(self) -> None:
        """Forget what was read: the connection is gone."""
        self._live.clear()
        self._notices.clear()
        self._backlog.clear()

    def erase(self, shopper: str) -> None:
        """Forget a shopper in what was read; what is being read is read again."""
        self._generation += 1
        self._live = deque(row.without(shopper) for row in self._live)
        self._backlog = deque(row.without(shopper) for row in self._backlog)

    def made_room(self, given_up: Container[Number], notices: Iterable[Row]) -> None:
        """Forget rows that were given up; send the notices in old places that were passed already.

        Args:
            given_up: Which rows.
            notices: All that were committed for them.
        """
        self._generation += 1  # What is being read may be among them.
        for queue in (self._live, self._backlog):
            kept = [row for row in queue if row.number not in given_up]
            queue.clear()
            queue.extend(kept)
        self._promoted.difference_update(row.position for row in notices)
        read = {row.number for row in (*self._live, *self._backlog)}
        self._notices.extend(
            row for row in notices if self._passed(row.position) and row.number not in read
        )
        if len(self._notices) > NOTICES_MAX:  # The database has room for them.
            self.again()

    def _passed(self, position: int) -> bool:
        """Tell whether a row there would not be read any more."""
        if position > self._end:
            return position <= self._live_at
        return position <= self._at or self._left is not None

    def _rewind(self, end: int, left: int | None) -> None:
        self._generation += 1
        self.stop()
        self._promoted.clear()
        self._known.clear()
        self._at, self._end, self._left = 0, end, left
        self._window, self._behind = left or 0, False
        if left is None:
            self._turn = 0
        self._live_at, self._live_more = end, True

    # Reading.

    def fetch(self, window: int) -> Fetch | None:
        """Return which rows to read next, None when none are needed."""
        if self._live_more and len(self._live) < window:
            waits = self._at < self._end or bool(self._backlog)
            first = self._backlog[0].position - 1 if self._backlog else self._at
            return Fetch(
                after=self._live_at,
                limit=2 * window,
                generation=self._generation,
                notified=self._notified,
                backlog=(first, self._end) if waits else None,
                known=frozenset(self._known),
            )
        if self._at < self._end and len(self._backlog) < window:
            limit = 2 * window + 1  # One more tells whether these are the last.
            return Fetch(after=self._at, upto=self._end, limit=limit, generation=self._generation)
        return None

    def offer(self, fetch: Fetch, found: Found) -> None:
        """Take the rows read for ``fetch``."""
        if fetch.generation != self._generation:
            return
        if fetch.upto is None:
            self._offer_live(fetch, found)
        else:
            self._offer_backlog(fetch, found.rows)

    def _offer_live(self, fetch: Fetch, found: Found) -> None:
        rows = found.rows
        self._live_more = len(rows) == fetch.limit or fetch.notified != self._notified
        if rows:
            self._live_at = rows[-1].position
        if len(self._promoted) + len(self._known) > REMEMBERED_MAX:
            # What is to be sent yet stays promoted: in its turn it counts as sent.
            self._promoted.intersection_update(row.position for row in self._live)
            self._known.clear()
        if fetch.backlog is not None:
            self._known.update(name for row in rows for name in ties_in(row.strands))
        promoted = [row for row in found.promoted if row.position not in self._promoted]
        self._promoted.update(row.position for row in promoted)
        fresh = [row for row in (*promoted, *rows) if self._wanted(row)]
        self._live = deque(sorted((*self._live, *fresh), key=_position))

    def _offer_backlog(self, fetch: Fetch, rows: list[Row]) -> None:
        last = len(rows) < fetch.limit
        if not last:
            rows = rows[:-1]
        if self._left is not None and len(rows) > self._left:
            rows, last = rows[: self._left], False
        self._backlog.extend(row for row in rows if self._wanted(row))
        self._at = self._end if last else rows[-1].position
        if self._left is not None:
            self._left -= len(rows)
            if last:
                self._turn = 0
            elif not self._left:
                self._go_on_behind()

    def _go_on_behind(self) -> None:
        """Go on with a repeat behind the one before it, or end it."""
        if self._behind:
            self._turn, self._at = self._at, self._end
        else:
            self._behind, self._left = True, self._window
            self._at = max(self._at, self._turn)

    # Sending.

    def live(self) -> Row | None:
        """Return the next row that passes the backlog."""
        while self._live:
            row = self._live.popleft()
            if self._wanted(row):
                return row
        return None

    def backlog(self) -> Row | None:
        """Return the next row of the backlog, once nothing live is ready."""
        assert not self._live, "what is live goes first"
        while self._notices:
            row = self._notices.popleft()
            if self._wanted(row):
                return row
        while self._backlog:
            row = self._backlog.popleft()
            if row.position not in self._promoted and self._wanted(row):
                return row
            self._promoted.discard(row.position)
        return None

    def in_turn(self, row: Row) -> bool:
        """Tell whether a row that goes out does so in its turn of the backlog."""
        return row.position <= self._end and row.position not in self._promoted

    def give_back(self, row: Row) -> None:
        """Take a row back that could not be sent; it goes before what is behind it."""
        self._generation += 1  # What is being read does not know of it.
        live = row.position > self._end
        if live and row.position > self._live_at:
            return  # It will be read again.
        self._known.difference_update(ties_in(row.strands))
        if not live:  # Or what is live of its cart would pass it.
            self._promoted.add(row.position)
        waiting = list(self._live)
        insort(waiting, row, key=_position)
        self._live = deque(waiting)


def _position(row: Row) -> int:
    return row.position
