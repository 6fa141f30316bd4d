# SPDX-License-Identifier: Apache-2.0
"""The uplink's protocol: which row to publish next, what is in flight, what is acknowledged.

A pure state machine: no I/O, no clock. Time is passed in (``now_ns``, monotonic), chance too.
What is live goes out at once, the backlog beside it, oldest first (``gateway.live_first``), with a
bounded number of PUBACKs outstanding. What ends a row's wait is the integrator's acknowledgement
(``application``) or the PUBACK (``broker``); a PUBACK with a failure code is a refusal: the row is
sent again later, and nothing else before that.

After a reconnect everything unacknowledged is sent again. The integrator answers each birth with
what it has stored, so the backlog waits for that answer a moment: less is repeated.

While the link holds and no acknowledgement comes, rows are sent again (``gateway.repeats``).

Backfills (``gateway.backfills``) go beside: in the same window, behind everything live.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, Literal

import msgspec

from gateway import history
from gateway.backfills import Backfills, HistoryRow
from gateway.backoff import Backoff
from gateway.bandwidth import Bandwidth
from gateway.claims import beyond, read_claims
from gateway.live_first import LiveFirst
from gateway.outbox import Acknowledged, Number, Row
from gateway.repeats import Repeats
from gateway.sent import Sent
from gateway.waiting import Fetch, Found

SECOND_NS: Final = 1_000_000_000


class UplinkSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How the uplink behaves."""

    acknowledge: Literal["application", "broker"] = "application"
    window: int = 64
    """Most rows published and without PUBACK."""
    puback_overdue_s: float = 2.0
    """A PUBACK later than this means that the link is down."""
    stall_s: float = 30.0
    """A PUBACK later than this will not come: connect anew."""
    progress_s: float = 30.0
    """Rows are sent again when no acknowledgement has come for this long."""
    answer_s: float = 1.0
    """How long to wait for the integrator's answer to a birth before repeating rows."""
    retry_first_s: float = 0.5
    """Wait after the first failure, of a connection or a publish; doubles with jitter."""
    retry_cap_s: float = 30.0
    backfill_per_s: float = 50.0
    """Most events a second that backfills send again."""
    bandwidth_kbit_s: int | None = None
    """Of the line: what is live does not wait for it, backlog and backfills do; None: no limit."""

    @property
    def backoff(self) -> Backoff:
        """Return the waits after failures."""
        return Backoff(self.retry_first_s, self.retry_cap_s)


class Counters(msgspec.Struct):
    """What happened since the start of the daemon."""

    published: int = 0
    backfilled: int = 0
    """Of them, those of backfills."""
    refused: int = 0
    """Publishes that the broker answered with a failure code."""
    repeated: int = 0
    """Times that unacknowledged rows were gone through again without a reconnect."""
    malformed_acks: int = 0
    unbelievable_acks: int = 0
    """Acknowledged in the current epoch what was never committed."""
    ahead_acks: int = 0
    """Acknowledged of a finished epoch what is behind its end here."""


class _Flight(msgspec.Struct, frozen=True):
    row: Row
    sent_ns: int
    first: bool
    """Whether it never went out before."""


class Uplink:
    """The state machine. The adapter calls it, publishes what it hands out, and reads for it."""

    def __init__(self, settings: UplinkSettings, random: Callable[[], float]) -> None:
        self.counters = Counters()
        self._settings = settings
        self._random = random
        self._connected = False
        self._stall_ns = int(settings.stall_s * SECOND_NS)
        self._window = settings.window
        self._rows = LiveFirst(self._is_wanted)
        self._sent = Sent()
        self._bandwidth = Bandwidth(settings.bandwidth_kbit_s)
        self._flight: dict[int, _Flight] = {}
        self._backlog_flying: set[int] = set()  # Packet ids.
        self._airborne: set[str] = set()
        self._landed: list[Row] = []
        self._acknowledged: dict[str, int] = {}
        self._unsure = True
        self._answer_by_ns: int | None = None
        self._hold_until_ns: int | None = None
        self._failures = 0
        self._refused: set[Number] = set()
        self._given_up: set[Number] = set()
        """Of what is in flight: not to be sent again, whatever the broker says."""
        self._repeats = Repeats(int(settings.progress_s * SECOND_NS))
        self.backfills = Backfills(settings.backfill_per_s, settings.backoff, random)
        """What they send again; the adapter reads for it and records its progress."""
        self._backfilling = True
        self.ahead: dict[str, tuple[int, int]] = {}
        """Finished epochs acknowledged beyond their end here: the claim, and the end."""

    # The link.

    def connected(self, now_ns: int, *, receive_maximum: int = 65_535) -> None:
        """Begin anew on a fresh connection, with all unacknowledged rows."""
        assert not self._connected, "one connection at a time"
        self._connected = True
        self._window = max(1, min(self._settings.window, receive_maximum))
        self._hold_until_ns = None
        self._forget_flight()
        self._rows.begin()
        self.backfills.begin()
        self._repeats.begin(now_ns)
        waits = self._settings.acknowledge == "application" and self._unsure
        answer_ns = int(self._settings.answer_s * SECOND_NS)
        self._answer_by_ns = now_ns + answer_ns if waits else None

    def disconnected(self) -> None:
        """Forget what was in flight: without its PUBACK it counts as unsent."""
        self._connected = False
        self._forget_flight()
        self._rows.stop()
        self._unsure = self._unsure or self._outstanding()

    def online(self, now_ns: int) -> bool:
        """Tell whether the link is up: connected, and no PUBACK overdue."""
        limit_ns = int(self._settings.puback_overdue_s * SECOND_NS)
        return self._connected and now_ns - self._oldest_ns(now_ns) < limit_ns

    def stalled(self, now_ns: int) -> bool:
        """Tell whether a PUBACK is so late that only a new connection helps."""
        return self._connected and now_ns - self._oldest_ns(now_ns) >= self._stall_ns

    @property
    def in_flight(self) -> int:
        """How many rows wait for their PUBACK."""
        return len(self._flight)

    @property
    def refusing(self) -> bool:
        """Whether the broker has refused something and not taken it since."""
        return self._failures > 0 or self.backfills.failures > 0

    @property
    def idle(self) -> bool:
        """Whether everything read and committed so far is published and has its PUBACK."""
        return not (self._rows.more or self._rows.ready or self._flight)

    # Rows.

    def notify(self, newest: int = 0) -> None:
        """Note that rows were committed.

        Args:
            newest: Position of the last; 0: unknown. Until one is known all counts as live.
        """
        self._rows.notify(newest)

    def made_room(self, given_up: Collection[Number], notices: Sequence[Row]) -> None:
        """Note that rows were given up, and with which notices about them, in old places."""
        for epoch, sequence in given_up:
            self._sent.cover(epoch, sequence)
        flying = {flight.row.number for flight in self._flight.values()}
        self._given_up |= flying.intersection(given_up)
        self._no_longer_refused(given_up)
        if self._connected:
            self._rows.made_room(given_up, notices)

    def erase(self, shopper: str) -> None:
        """Forget a shopper in all that may be sent yet; nobody named is sent after that."""
        self._rows.erase(shopper)
        self.backfills.erase(shopper)
        self._flight = {
            mid: msgspec.structs.replace(flight, row=flight.row.without(shopper))
            for mid, flight in self._flight.items()
        }

    def fetch(self) -> Fetch | None:
        """Return which rows to read next, None when none are needed."""
        return self._rows.fetch(self._window) if self._connected else None

    def offer(self, fetch: Fetch, found: Found) -> None:
        """Take the rows read for ``fetch``."""
        if self._connected:
            self._rows.offer(fetch, found)

    def take(self, now_ns: int) -> Row | None:
        """Return the next row to publish, None when there is none or it has to wait."""
        if not self._connected or len(self._flight) >= self._window or self._held(now_ns):
            return None
        row = self._rows.live()
        if row is not None or self._unanswered(now_ns) or now_ns < self._bandwidth.due_ns():
            return row
        if len(self._backlog_flying) < self._backlog_window:
            row = self._rows.backlog()
        if row is not None or self._unsent or not self._backfilling or self._backfills_wait:
            return row
        return self.backfills.take(now_ns)

    def published(self, mid: int, row: Row, now_ns: int) -> None:
        """Note that ``row`` from ``take`` went out under packet id ``mid``."""
        assert mid not in self._flight, "packet ids in flight are unique"
        again = isinstance(row, HistoryRow)
        first = not again and self._sent.add(row.epoch, row.sequence)
        self._flight[mid] = _Flight(row, now_ns, first)
        self.counters.published += 1
        if again:
            self._bandwidth.spend(len(row.payload), now_ns, live=False)
            self.counters.backfilled += 1
            return
        in_turn = self._rows.in_turn(row)
        self._bandwidth.spend(len(row.payload), now_ns, live=not in_turn)
        if in_turn:
            self._backlog_flying.add(mid)
        self._airborne.add(row.id)
        self._repeats.moved(now_ns)

    def not_published(self, row: Row, now_ns: int) -> None:
        """Note that ``row`` from ``take`` cannot be sent now, as if the broker had refused it."""
        self._refuse(row, now_ns)

    def puback(self, mid: int, *, failure: bool, now_ns: int) -> None:
        """Take a PUBACK; one of an unknown packet id belongs to something else."""
        flight = self._flight.pop(mid, None)
        if flight is None:
            return
        self._backlog_flying.discard(mid)
        if failure:
            gone = flight.row.number in self._given_up  # Then it leaves no gap, sent or not.
            if flight.first and not gone:  # Else it may have arrived before.
                self._sent.undo(*flight.row.number)
            self._refuse(flight.row, now_ns)
            return
        if isinstance(flight.row, HistoryRow):
            self.backfills.taken(flight.row)
            return
        self._airborne.discard(flight.row.id)
        self._given_up.discard(flight.row.number)
        self._refused.discard(flight.row.number)
        if not self._refused:
            self._failures = 0
        self._repeats.moved(now_ns)
        if self._settings.acknowledge == "broker":
            self._landed.append(flight.row)
            self._airborne.add(flight.row.id)  # Until the outbox knows.

    def landed(self) -> list[str]:
        """Return ids of what the broker has taken and the outbox does not know of yet.

        Only with ``broker``. They stay until ``recorded`` says that the outbox knows.
        """
        return [row.id for row in self._landed]

    def recorded(self, ids: Sequence[str]) -> None:
        """Note that the outbox has recorded these."""
        done = set(ids)
        self._landed = [row for row in self._landed if row.id not in done]
        self._airborne -= done

    # Acknowledgements.

    def acknowledgement(
        self,
        payload: bytes,
        tails: Mapping[str, int],
        current: str,
        *,
        retained: bool,
        now_ns: int,
        ends: Mapping[str, int],
    ) -> list[Acknowledged]:
        """Take a message of the integrator.

        Of the current epoch only what was sent without a gap is believed. More of a finished epoch
        than there is here can be true (the database is older): it counts up to that, and is kept in
        ``ahead``.

        Args:
            payload: ``{"acknowledged": {"<epoch>": "<sequence>"}}``.
            tails: Last committed sequence of each epoch with pending rows, and the current one.
            current: The current epoch.
            retained: Whether the broker had kept it: then it answers no birth of ours.
            now_ns: Monotonic.
            ends: Last sequence of each finished epoch whose end is known here.

        Returns:
            What the outbox shall record: only what is new.
        """
        if self._settings.acknowledge != "application":
            return []
        claims = self._parse(payload)
        if claims is None:
            return []
        ahead = beyond(claims, ends)
        self.counters.ahead_acks += bool(ahead)
        self.ahead |= ahead
        news = []
        for epoch, claim in claims.items():
            sequence = self._believe(epoch, claim, tails, current)
            if sequence is not None and sequence > self._acknowledged.get(epoch, -1):
                self._acknowledged[epoch] = sequence
                news.append(Acknowledged(epoch, sequence))
        if not retained:
            self._answer_by_ns = None
            self._unsure = False
        if news:
            self._repeats.begin(now_ns)
        elif not retained and self._outstanding():
            self._repeats.asked(now_ns)
        return news

    # Backfills.

    def fetch_history(self) -> history.Fetch | None:
        """Return what to read for backfills next; None while live rows have to be read or sent."""
        if not self._connected or self._unsent or not self._backfilling:
            return None
        return self.backfills.fetch()

    def stop_backfills(self) -> None:
        """Send nothing of backfills any more: the daemon stops, and goes on after its start."""
        self._backfilling = False

    # Time.

    def tick(self, now_ns: int) -> None:
        """Let time pass: waits end, and rows without acknowledgement are sent again."""
        if self._answer_by_ns is not None and now_ns >= self._answer_by_ns:
            self._answer_by_ns = None
        if self._hold_until_ns is not None and now_ns >= self._hold_until_ns:
            self._hold_until_ns = None
        due_ns = self._repeat_due_ns()
        if due_ns is not None and now_ns >= due_ns:
            self._repeat(now_ns)

    def deadline_ns(self, now_ns: int, *, room: bool = True) -> int | None:
        """Return when to call ``tick`` and look at ``online`` again; None when nothing is due.

        Args:
            now_ns: Now.
            room: Whether the broker takes one more message; else a PUBACK is waited for first.
        """
        if not self._connected:
            return None
        due = [self._answer_by_ns, self._hold_until_ns, self._repeat_due_ns()]
        if room and not (self._held(now_ns) or self._unanswered(now_ns)):
            due.append(self._backlog_due_ns())
        if self._flight:
            oldest_ns = self._oldest_ns(now_ns)
            overdue_ns = oldest_ns + int(self._settings.puback_overdue_s * SECOND_NS)
            due.append(overdue_ns if overdue_ns > now_ns else oldest_ns + self._stall_ns)
        return min((one for one in due if one is not None), default=None)

    # Inside.

    def _held(self, now_ns: int) -> bool:
        """Tell whether everything waits: the broker has just refused something."""
        return self._hold_until_ns is not None and now_ns < self._hold_until_ns

    def _unanswered(self, now_ns: int) -> bool:
        """Tell whether what was sent before waits: the integrator may be about to say it has it."""
        return self._answer_by_ns is not None and now_ns < self._answer_by_ns

    def _oldest_ns(self, now_ns: int) -> int:
        """Return when the oldest row in flight went out; dicts keep their order."""
        return next((flight.sent_ns for flight in self._flight.values()), now_ns)

    def _forget_flight(self) -> None:
        self._flight.clear()
        self._backlog_flying.clear()
        self._refused.clear()
        self._given_up.clear()
        self._airborne = {row.id for row in self._landed}

    def _refuse(self, row: Row, now_ns: int) -> None:
        self.counters.refused += 1
        if isinstance(row, HistoryRow):
            self.backfills.refused(row, now_ns)
            return
        self._airborne.discard(row.id)
        if row.number in self._given_up:
            self._given_up.discard(row.number)
            return
        self._refused.add(row.number)
        if self._hold_until_ns is None:  # What was in flight together is refused as one.
            self._failures += 1
            wait_s = self._settings.backoff.delay_s(self._failures, self._random)
            self._hold_until_ns = now_ns + int(wait_s * SECOND_NS)
        self._rows.give_back(row)

    def _no_longer_refused(self, numbers: Collection[Number]) -> None:
        """Note that rows will not be sent again, though the broker never took them."""
        if not self._refused.isdisjoint(numbers):
            self._refused.difference_update(numbers)
            if not self._refused:
                self._failures = 0

    def _is_wanted(self, row: Row) -> bool:
        if self._is_acknowledged(row):
            self._no_longer_refused((row.number,))
            return False
        return row.id not in self._airborne

    def _is_acknowledged(self, row: Row) -> bool:
        return row.sequence <= self._acknowledged.get(row.epoch, -1)

    def _outstanding(self) -> bool:
        """Tell whether something was sent that the integrator has not acknowledged."""
        return any(
            sequence > self._acknowledged.get(epoch, -1) for epoch, sequence in self._sent.most()
        )

    @property
    def _unsent(self) -> bool:
        """Whether something else than backfills may have to be sent."""
        return self._rows.more or self._rows.ready

    @property
    def _backlog_window(self) -> int:
        """How much of the window the backlog may take: what is live finds room beside it."""
        return max(1, self._window - max(1, self._window // 4))

    @property
    def _live_in_flight(self) -> bool:
        return len(self._flight) > self.backfills.in_flight

    @property
    def _backfills_wait(self) -> bool:
        """Whether as much of them is in flight as may be: half the window."""
        return self.backfills.in_flight >= max(1, self._window // 2)

    def _backlog_due_ns(self) -> int | None:
        """Return when the line has room for what can wait; None: something else comes first."""
        if len(self._flight) >= self._window:
            return None
        line_ns = self._bandwidth.due_ns()
        if self._rows.backlog_ready and len(self._backlog_flying) < self._backlog_window:
            return line_ns
        if self._unsent or not self._backfilling or self._backfills_wait:
            return None
        due_ns = self.backfills.deadline_ns()
        return None if due_ns is None else max(due_ns, line_ns)

    def _repeat(self, now_ns: int) -> None:
        """Send again what lacks its acknowledgement: once all of it, then a part each time."""
        self.counters.repeated += 1
        everything = self._repeats.repeated(now_ns)
        self._rows.again(None if everything else self._window)

    def _repeat_due_ns(self) -> int | None:
        if self._settings.acknowledge != "application" or not self._connected:
            return None
        if self._unsent or self._live_in_flight or not self._outstanding():
            return None
        return self._repeats.due_ns()

    def _parse(self, payload: bytes) -> dict[str, int] | None:
        try:
            return read_claims(payload)
        except (ValueError, RecursionError):
            self.counters.malformed_acks += 1
            return None

    def _believe(
        self, epoch: str, claim: int, tails: Mapping[str, int], current: str
    ) -> int | None:
        tail = tails.get(epoch)
        if tail is None:
            return None  # Nothing of it waits.
        known = self._acknowledged.get(epoch, -1)
        if epoch == current and claim > self._sent.limit(epoch, known):
            self.counters.unbelievable_acks += 1
            return None
        return min(claim, tail)
