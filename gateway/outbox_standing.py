# SPDX-License-Identifier: Apache-2.0
"""How an outbox stands: what waits, by class, and how long there is room for more.

Programs as in ``gateway.outbox``.
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from gateway import giving_up, losses, pages, wear
from gateway.classes import CLASSES, CONTAINED
from gateway.outbox import DROPPED, Program, Statement, backlog
from gateway.room import Limits
from gateway.strands import names_in
from gateway.wear import Day

HOUR_NS: Final = 3_600_000_000_000
SEEN: Final = 5_000
"""Events, the newest, whose rate and size are taken for those to come."""
STEP_NS: Final = 24 * HOUR_NS
"""A longer time between two events of one run is taken for a step of the clock."""
LEAST_H: Final = 1 / 60
"""Of less nothing is told."""
IN_MINUTES_H: Final = 2.0
"""Below this an age is told in minutes."""
LEFT: Final = "visits"
"""The class with which those items go whose receipt is not here."""
NOTICES: Final = "notices"
"""What waits and is in no class: ``events.dropped``."""


class Waiting(msgspec.Struct, frozen=True):
    """What waits of a class: what giving it up would bring."""

    events: int = 0
    bytes: int = 0

    def and_of(self, events: int, size: int) -> "Waiting":
        """Return both together."""
        return Waiting(self.events + events, self.bytes + size)


class Forecast(msgspec.Struct, frozen=True):
    """How long an outage may last, at the rate seen."""

    hours: float
    bound: str
    """What is full then."""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How an outbox stands."""

    waiting: int
    oldest_utc_ns: int | None
    classes: dict[str, Waiting] = {}
    """Of what waits."""
    untold: int = 0
    """Events that were given up, which nobody upstream knows yet."""
    events: int
    file_bytes: int
    used_bytes: int
    free_bytes: int
    """On the card."""
    limits: Limits
    event_bytes: float
    """What an event takes, of the newest."""
    per_hour: float | None
    """Events while it ran, of the newest; None: too few to tell."""
    seen_events: int = 0
    """How many events that is taken of, those that were given up included..."""
    seen_hours: float = 0.0
    """... and how many hours those took."""
    written: list[Day] = []
    """To the card, by day."""

    def forecast(self) -> Forecast | None:
        """Return how many hours of outage still fit, and what is full then; None: too few events.

        History gives way, but not to a card of which nothing has to stay free.
        """
        if not self.per_hour:
            return None
        history = self.events - self.waiting
        most, limits = self.limits.pending_max, self.limits
        fit = {f"{most:,} events wait, the most that may": float(most - self.waiting)}
        if limits.bytes_max is not None:
            left = (limits.bytes_max - self.used_bytes) / self.event_bytes
            fit["[history] megabytes are used"] = left + history
        all_bytes = self.file_bytes + self.free_bytes
        if limits.free_bytes_min:
            card = min(limits.on_card(self.file_bytes, self.free_bytes), all_bytes)
            fit["the card has too little free"] = (
                card - self.used_bytes
            ) / self.event_bytes + history
        else:
            fit["the card is full"] = (all_bytes - self.used_bytes) / self.event_bytes
        bound = min(fit, key=lambda one: fit[one])
        return Forecast(max(0.0, fit[bound] / self.per_hour), bound)


def standing(limits: Limits, free_bytes: int) -> Program[Standing]:
    """Return how an outbox stands.

    Args:
        limits: Of the database.
        free_bytes: On its file system.
    """
    waiting, oldest = yield from backlog()
    size = yield from pages.measure()
    [(events,)] = yield Statement("SELECT count(*) FROM events")
    # By epochs and their sequences: not the time between two runs, and what was given up counts.
    [(payload, seen, passed, spanned_ns)] = yield Statement(
        "SELECT sum(bytes) * 1.0 / sum(events), sum(passed + 1), sum(passed), sum(ns) FROM"
        " (SELECT sum(length(payload)) AS bytes, count(*) AS events,"
        " max(sequence) - min(sequence) AS passed,"
        " sum(CASE WHEN gap_ns BETWEEN 0 AND ? THEN gap_ns ELSE 0 END) AS ns"
        " FROM (SELECT epoch, sequence, payload, committed_utc_ns - lag(committed_utc_ns)"
        " OVER (PARTITION BY epoch ORDER BY sequence) AS gap_ns"
        " FROM (SELECT epoch, sequence, payload, committed_utc_ns FROM events"
        " ORDER BY position DESC LIMIT ?)) GROUP BY epoch)",
        (STEP_NS, SEEN),
    )
    spanned_h = (spanned_ns or 0) / HOUR_NS
    return Standing(
        waiting=waiting,
        oldest_utc_ns=None if oldest is None else oldest.committed_utc_ns,
        classes=(yield from _by_class()),
        untold=(yield from _untold()),
        events=events,
        file_bytes=size.file_bytes,
        used_bytes=size.used_bytes,
        free_bytes=free_bytes,
        limits=limits,
        event_bytes=(payload or 0.0) + giving_up.ROW_BYTES,
        per_hour=passed / spanned_h if spanned_h >= LEAST_H else None,
        seen_events=seen or 0,
        seen_hours=spanned_h,
        written=(yield from wear.days()),
    )


def _by_class() -> Program[dict[str, Waiting]]:
    """Return what waits of each class, in the order in which they are given up."""
    found: dict[str, Waiting] = {}
    rows = yield Statement(
        "SELECT name, count(*), sum(length(payload)) FROM events WHERE acknowledged = 0"
        " GROUP BY name"
    )
    for name, count, size in rows:
        kind = next((kind for kind, names in CLASSES.items() if name in names), NOTICES)
        taken = size + count * giving_up.ROW_BYTES
        found[kind] = found.get(kind, Waiting()).and_of(count, taken)
    if CONTAINED in found:
        others = yield from _not_contained()
        found[CONTAINED] = found[CONTAINED].and_of(-others.events, -others.bytes)
        found[LEFT] = found.get(LEFT, Waiting()).and_of(others.events, others.bytes)
    return {kind: found[kind] for kind in (*CLASSES, NOTICES) if found.get(kind, Waiting()).events}


def _not_contained() -> Program[Waiting]:
    """Return what waits of items that no receipt here contains."""
    columns = {
        name for (name,) in (yield Statement("SELECT name FROM pragma_table_info('events')"))
    }
    if "strands" not in columns:  # Of an earlier version.
        return Waiting()
    marks = ", ".join("?" * len(CLASSES[CONTAINED]))
    closed = yield Statement("SELECT strands FROM events WHERE name = 'cart.closed'")
    receipts = {strands for (strands,) in closed}
    rows = yield Statement(
        "SELECT strands, count(*), sum(length(payload)) FROM events"  # noqa: S608
        f" WHERE acknowledged = 0 AND name IN ({marks}) GROUP BY strands",
        sorted(CLASSES[CONTAINED]),
    )
    others = Waiting()
    for strands, count, size in rows:
        if not strands or not receipts.issuperset(names_in(strands)):
            others = others.and_of(count, size + count * giving_up.ROW_BYTES)
    return others


def _untold() -> Program[int]:
    """Return how many events were given up that nobody upstream knows of.

    What tells it waits, or is for the next start to commit.
    """
    noted = yield from losses.noted()
    [(count,)] = yield Statement(
        "SELECT coalesce(sum(CASE WHEN json_valid(text) THEN json_extract(text, '$.data.count')"
        " END), 0) FROM (SELECT CAST(payload AS TEXT) AS text FROM events"
        " WHERE acknowledged = 0 AND name = ?)",
        (DROPPED,),
    )
    return int(count) + sum(one.last - one.first + 1 for one in noted)


def many(count: int, what: str) -> str:
    """Return a number of things in words."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _span(hours: float) -> str:
    return f"{hours * 60:.0f} min" if hours < IN_MINUTES_H else f"{hours:.1f} h"


def _room(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"


def lines(found: Standing, now_ns: int) -> Iterator[str]:
    """Yield what a person reads."""
    age = ""
    if found.oldest_utc_ns is not None:
        age = f", the oldest for {_span(max(0, now_ns - found.oldest_utc_ns) / HOUR_NS)}"
    yield f"{many(found.waiting, 'event')} wait{'s' if found.waiting == 1 else ''}{age}"
    for kind, one in found.classes.items():
        yield f"  {kind}: {many(one.events, 'event')}, {_room(one.bytes)}"
    if found.untold:
        yield f"{many(found.untold, 'event')} given up, which is not told upstream yet"
    history = found.events - found.waiting
    yield f"{many(history, 'event')} kept as history"
    most = found.limits.bytes_max
    limit = "" if most is None else f" of {most / 1e6:.0f} MB at most"
    yield (
        f"{found.used_bytes / 1e6:.1f} MB used{limit}, file {found.file_bytes / 1e6:.1f} MB,"
        f" {found.free_bytes / 1e6:.0f} MB free on the card"
    )
    forecast = found.forecast()
    if forecast is None or found.per_hour is None:
        yield "too few events to tell how long an outage may last"
    else:
        rate = "1 event" if round(found.per_hour) == 1 else f"{found.per_hour:.0f} events"
        yield (
            f"room for {forecast.hours:.0f} h of outage at {rate} an hour"
            f" of {found.event_bytes:.0f} bytes; then {forecast.bound}"
        )
        yield (
            f"  (that rate is of {many(found.seen_events, 'event')} in {_span(found.seen_hours)})"
        )
    if not found.written:
        yield "written to the card: not noted yet (it is every ten minutes, and at a stop)"
    for day in found.written:
        an_event = f", {day.bytes / day.events / 1e3:.1f} kB an event" if day.events else ""
        yield f"{day.day}: {day.bytes / 1e6:.1f} MB written{an_event}"
