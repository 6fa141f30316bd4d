# SPDX-License-Identifier: Apache-2.0
"""Which row goes out next: what is live first, then the backlog, oldest first.

A pure state machine, part of the uplink's. At a connection all that was committed before is the
*backlog*, and is gone through once, from the oldest on; what is committed from then on is *live*
and passes it. What would overtake earlier events of its own cart does not: they are promoted, taken
out of the backlog and sent right before it. So each cart keeps its order, while carts pass others.

Sequences then go out with gaps, and an acknowledgement counts without one. What was never sent can
have been stored by nobody: ``Unsent`` knows it, so that an integrator which acknowledges the last
event that it saw, and not the last before a gap, takes nothing off the list; of this process' epoch
alone, since what was sent before a restart is known to nobody here.
"""

from bisect import insort
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from gateway.outbox import DROPPED, Row
from gateway.strands import ties_in
from gateway.waiting import Fetch, Found

REMEMBERED_MAX: Final = 50_000
"""Promoted rows and strands that are remembered; what is forgotten may be sent again."""
STRETCHES_MAX: Final = 1_000


class _Stretch(msgspec.Struct):
    """Positions of the backlog that were never sent, when they were added at least."""

    last: int
    before: dict[str, int]
    """Of each epoch, the last sequence that was sent by then."""


class Unsent:
    """What was never sent: nothing from there on can be acknowledged."""

    def __init__(self) -> None:
        """Begin with nothing sent."""
        self._reached = 0
        """Position up to which all was sent, or stands in a stretch."""
        self._stretches: deque[_Stretch] = deque()
        self._sent: dict[str, int] = {}
        self._walked: dict[str, int] = {}
        """Of each epoch, up to where the backlog was gone through."""

    def begin(self, newest: int) -> None:
        """Note that what stands up to a position is backlog now."""
        if newest <= self._reached:
            return
        self._reached = newest
        if len(self._stretches) >= STRETCHES_MAX:
            self._stretches[-1].last = newest
        else:
            self._stretches.append(_Stretch(newest, dict(self._sent)))

    def sent(self, row: Row, *, live: bool) -> None:
        """Note that a row went out."""
        self._sent[row.epoch] = max(row.sequence, self._sent.get(row.epoch, -1))
        if live:
            self._reached = max(self._reached, row.position)

    def walked(self, row: Row) -> None:
        """Note that all of the backlog up to a row was sent."""
        if row.name != DROPPED:
            self._walked[row.epoch] = max(row.sequence, self._walked.get(row.epoch, -1))
        while self._stretches and self._stretches[0].last <= row.position:
            self._stretches.popleft()

    def through(self, position: int) -> None:
        """Note that the backlog up to a position was sent as a whole."""
        while self._stretches and self._stretches[0].last <= position:
            self._stretches.popleft()

    def limit(self, epoch: str) -> int:
        """Return the last sequence of an epoch that can be stored without a gap; -1: none."""
        if not self._stretches:
            return self._sent.get(epoch, -1)
        return max(self._stretches[0].before.get(epoch, -1), self._walked.get(epoch, -1))

    def most(self) -> Iterable[tuple[str, int]]:
        """Return of each epoch the last sequence that was sent."""
        return self._sent.items()


class LiveFirst:
    """Two ways through the outbox at once: what is live, and the backlog."""

    def __init__(self, wanted: Callable[[Row], bool]) -> None:
        """Begin at the first row.

        Args:
            wanted: Tells whether a row is still to be sent, and not on its way already.
        """
        self.unsent = Unsent()
        self._wanted = wanted
        self._generation = 0
        self._notified = 0
        self._newest = 0
        self._live: deque[Row] = deque()
        self._live_at = 0
        self._live_more = True
        self._backlog: deque[Row] = deque()
        self._at = 0
        self._end = 0
        self._left: int | None = None
        self._promoted: set[int] = set()
        self._known: set[str] = set()

    @property
    def more(self) -> bool:
        """Whether rows may have to be read."""
        return self._live_more or self._at < self._end

    @property
    def ready(self) -> bool:
        """Whether rows are read and not sent."""
        return bool(self._live or self._backlog)

    @property
    def backlog_ready(self) -> bool:
        """Whether nothing but backlog can be sent now."""
        return bool(self._backlog) and not self._live

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
        """Go through all that was sent once more, or through the oldest of it."""
        first = next((row.position for row in self._live if row.position > self._end), None)
        self._rewind(self._live_at if first is None else first - 1, most)

    def stop(self) -> None:
        """Forget what was read: the connection is gone."""
        self._live.clear()
        self._backlog.clear()

    def _rewind(self, end: int, left: int | None) -> None:
        self._generation += 1
        self.stop()
        self._promoted.clear()
        self._known.clear()
        self._at, self._end, self._left = 0, end, left
        self._live_at, self._live_more = end, True
        self.unsent.begin(end)

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
        if self._left is not None:
            last = last or len(rows) >= self._left
            rows = rows[: self._left]
            self._left -= len(rows)
        self._backlog.extend(row for row in rows if self._wanted(row))
        self._at = self._end if last else rows[-1].position
        self._tell_if_through()

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
        while self._backlog:
            row = self._backlog.popleft()
            if row.position not in self._promoted and self._wanted(row):
                return row
            self._pass(row)
        return None

    def published(self, row: Row) -> bool:
        """Note that a row went out; return whether in its turn of the backlog."""
        live = row.position > self._end
        in_turn = not live and row.position not in self._promoted
        self.unsent.sent(row, live=live)
        if in_turn:
            self.unsent.walked(row)
        self._tell_if_through()
        # What was sent before its turn is behind the backlog's oldest row, also while that waits
        # for the line: an acknowledgement may reach over it.
        while self._backlog and self._was_promoted(self._backlog[0]):
            self._pass(self._backlog.popleft())
        return in_turn

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

    def _was_promoted(self, row: Row) -> bool:
        """Tell whether a row of the backlog was sent already, before its turn."""
        waits = bool(self._live) and self._live[0].position <= row.position
        return row.position in self._promoted and not waits

    def _pass(self, row: Row) -> None:
        """Go on behind a row of the backlog that needs not be sent in its turn."""
        self._promoted.discard(row.position)
        self.unsent.walked(row)
        self._tell_if_through()

    def _tell_if_through(self) -> None:
        if self._at >= self._end and not self._backlog:
            self.unsent.through(self._end)


def _position(row: Row) -> int:
    return row.position
