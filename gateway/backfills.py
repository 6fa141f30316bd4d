# SPDX-License-Identifier: Apache-2.0
"""Backfills beside the live events: what they send again from the history.

A pure state machine, part of the uplink's. One backfill after the other, at most so many events a
second, and only when no live event is ready: that is the uplink's to see to. A backfill's mark
moves over what the broker has taken; an event that is refused is tried again later and holds up
nothing but backfills.
"""

from bisect import insort
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from gateway.backoff import Backoff
from gateway.history import Fetch, Job, Progress, Read
from gateway.outbox import Row

SECOND_NS: Final = 1_000_000_000
RECORD_EVERY_NS: Final = 5 * SECOND_NS  # A mark that is lost with the process costs repeats only.
READ_AT_ONCE: Final = 64
BURST_S: Final = 0.2  # Unused allowance of this long may be used at once.


class HistoryRow(Row, frozen=True, kw_only=True):
    """An event that a backfill sends again."""


class Backfills:
    """One backfill at a time, paced."""

    def __init__(self, per_s: float, backoff: Backoff, random: Callable[[], float]) -> None:
        """Begin without knowing of any backfill.

        Args:
            per_s: Most events a second.
            backoff: Waits after refusals.
            random: Draws from ``[0, 1)``.
        """
        assert per_s > 0
        self._gap_ns = max(1, int(SECOND_NS / per_s))
        self._burst_ns = int(BURST_S * SECOND_NS)
        self._backoff = backoff
        self._random = random
        self._more = True
        self._notified = 0
        self._generation = 0
        self._job: Job | None = None
        self._after = 0
        self._start = 0
        self._ready: deque[HistoryRow] = deque()
        self._flying: set[int] = set()
        self._finished: list[Progress] = []
        self._recorded = 0
        self._recorded_ns = 0
        self._full_ns = 0
        self._hold_until_ns = 0
        self.failures = 0
        """Refusals since the last success."""

    @property
    def in_flight(self) -> int:
        """How many of its events wait for their PUBACK."""
        return len(self._flying)

    def notify(self) -> None:
        """Note that a backfill was opened."""
        self._more = True
        self._notified += 1

    def erase(self, shopper: str) -> None:
        """Forget a shopper in what was read; what is being read is read again."""
        self._generation += 1
        self._ready = deque(row.without(shopper) for row in self._ready)

    def begin(self) -> None:
        """Begin anew on a fresh connection: what was in flight is sent again."""
        if self._job is not None:
            self._start = self._mark()
        self._ready.clear()
        self._flying.clear()
        self._generation += 1
        self._more = True
        self._hold_until_ns = 0

    def fetch(self) -> Fetch | None:
        """Return what to read next, None when nothing is needed."""
        if not self._more or self._ready:
            return None
        return Fetch(
            self._job, self._start, self._after, READ_AT_ONCE, self._generation, self._notified
        )

    def offer(self, fetch: Fetch, found: Read) -> None:
        """Take what was read for ``fetch``."""
        if fetch.generation != self._generation:
            return
        if fetch.job is None and found.job is not None:
            self._recorded = found.job.next
        self._job = found.job
        if found.job is None:
            self._more = fetch.notified != self._notified
            self.failures = 0  # What was refused may have left the history.
            return
        for row in found.rows:
            self._ready.append(HistoryRow(**msgspec.structs.asdict(row)))
            self._start = row.sequence + 1
        if len(found.rows) < fetch.limit:
            self._start = found.job.last + 1
            self._more = False
        self._end_if_done()

    def take(self, now_ns: int) -> HistoryRow | None:
        """Return the next event, in flight from now on; None: there is none, or it has to wait."""
        if not self._ready or now_ns < self._due_ns():
            return None
        self._full_ns = max(self._full_ns, now_ns) + self._gap_ns
        row = self._ready.popleft()
        self._flying.add(row.sequence)
        return row

    def deadline_ns(self) -> int | None:
        """Return when the next event may go out, None when there is none."""
        return self._due_ns() if self._ready else None

    def taken(self, row: HistoryRow) -> None:
        """Note that the broker took it."""
        self._flying.discard(row.sequence)
        self.failures = 0
        self._end_if_done()

    def refused(self, row: HistoryRow, now_ns: int) -> None:
        """Note that the broker refused it, or that it cannot be sent: later, then."""
        self._flying.discard(row.sequence)
        self.failures += 1
        wait_s = self._backoff.delay_s(self.failures, self._random)
        self._hold_until_ns = now_ns + int(wait_s * SECOND_NS)
        ready = list(self._ready)
        insort(ready, row, key=lambda one: one.sequence)
        self._ready = deque(ready)

    def progress(self) -> list[Progress]:
        """Return what the outbox does not know yet; it stays until ``recorded``."""
        news = list(self._finished)
        if self._job is not None and self._mark() > self._recorded:
            news.append(Progress(self._job.ordinal, self._mark()))
        return news

    def progress_due_ns(self) -> int | None:
        """Return when to record it at the latest, None when there is none."""
        if self._finished:
            return 0
        return self._recorded_ns + RECORD_EVERY_NS if self.progress() else None

    def recorded(self, progress: Sequence[Progress], now_ns: int) -> None:
        """Note that the outbox has recorded these."""
        self._recorded_ns = now_ns
        self._finished = [one for one in self._finished if one not in progress]
        for one in progress:
            if self._job is not None and one.ordinal == self._job.ordinal:
                self._recorded = one.next

    def _due_ns(self) -> int:
        return max(self._full_ns - self._burst_ns, self._hold_until_ns)

    def _mark(self) -> int:
        """Return the sequence before which everything is with the broker, or not here."""
        waiting = [self._start, *self._flying]
        if self._ready:
            waiting.append(self._ready[0].sequence)
        return min(waiting)

    def _end_if_done(self) -> None:
        if self._job is None or self._mark() <= self._job.last:
            return
        self._finished.append(Progress(self._job.ordinal, self._mark()))
        self._after = self._job.ordinal
        self._job = None
        self._more = True
