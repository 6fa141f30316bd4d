# SPDX-License-Identifier: Apache-2.0
"""Backfills: what is sent again from the retained history, as SQL, without I/O.

Programs as in ``gateway.outbox``. A backfill is a range of one epoch and a mark that moves over it;
rows keep their acknowledgement, so that they neither count as waiting nor go before what does.
"""

from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec

from gateway.domain.effects import Backfill, BackfillAnswer
from gateway.domain.events import SequenceRange
from gateway.envelope import sequence_text
from gateway.outbox import CHECKED, Acknowledged, Program, Row, Statement, acknowledge, row_read

OPEN_MAX: Final = 16
"""Backfills that may wait at once."""
FINISHED_KEPT: Final = 500
"""Answers kept, so that a repeated command is answered and not done again."""
SPAN_MAX: Final = 20_000
"""Sequences from the first event that is here to the last. Commits wait while they are counted."""
MISSING_MAX: Final = 200
"""Ranges in one answer; a backfill ends before the next."""


class Job(msgspec.Struct, frozen=True):
    """An open backfill."""

    ordinal: int
    epoch: str
    next: int
    """Sequence from which on events have to be sent."""
    last: int


class Fetch(msgspec.Struct, frozen=True):
    """What to read of the history."""

    job: Job | None
    """None: the first open one behind ``after``."""
    start: int
    after: int
    """Ordinal up to which all jobs are done, whether that is recorded or not."""
    limit: int
    generation: int
    """What was read before a reconnect is of no use."""
    notified: int = 0
    """A backfill opened while reading may be missing."""


class Read(msgspec.Struct, frozen=True):
    """What a ``Fetch`` found."""

    job: Job | None
    """None: there is none."""
    rows: list[Row]


class Progress(msgspec.Struct, frozen=True):
    """How far a backfill has come."""

    ordinal: int
    next: int


class Done(msgspec.Struct, frozen=True):
    """A backfill that came to its end."""

    command: str
    answer: BackfillAnswer


def open_backfill(wish: Backfill) -> Program[BackfillAnswer]:
    """Accept a backfill, unless it was accepted before: then say how it stands.

    Returns:
        The answer. Its state is ``refused`` when there is nothing to send, ``busy`` when too many
        are open.
    """
    known = yield Statement(
        "SELECT answer, next > last FROM backfills WHERE command = ?", (wish.command,)
    )
    if known:
        [(text, done)] = known
        return _as(_answer(text), "done" if done else "sending")
    answer = yield from _survey(wish)
    if answer.state != "sending":
        return answer
    yield Statement(
        "INSERT INTO backfills (command, epoch, next, last, answer) VALUES (?, ?, ?, ?, ?)",
        (
            wish.command,
            wish.epoch,
            wish.first,
            int(answer.last or 0),
            msgspec.json.encode(answer).decode(),
        ),
    )
    yield Statement(
        "DELETE FROM backfills WHERE next > last"
        " AND ordinal <= (SELECT max(ordinal) FROM backfills) - ?",
        (FINISHED_KEPT,),
    )
    return answer


def read(fetch: Fetch) -> Program[Read]:
    """Return events of the job at hand, or of the first open one."""
    job = fetch.job
    start = fetch.start
    if job is None:
        rows = yield Statement(
            "SELECT ordinal, epoch, next, last FROM backfills"
            " WHERE next <= last AND ordinal > ? ORDER BY ordinal LIMIT 1",
            (fetch.after,),
        )
        if not rows:
            return Read(None, [])
        job = Job(*rows[0])
        start = job.next
    # What is not acknowledged is sent anyway, and sooner.
    found = yield Statement(
        f"SELECT {CHECKED} FROM events"  # noqa: S608
        " WHERE epoch = ? AND sequence BETWEEN ? AND ? AND acknowledged = 1"
        " ORDER BY sequence LIMIT ?",
        (job.epoch, start, job.last, fetch.limit),
    )
    return Read(job, [row_read(row) for row in found])


def record(
    upto: Sequence[Acknowledged], ids: Sequence[str], progress: Sequence[Progress]
) -> Program[tuple[int, list[Done]]]:
    """Record acknowledgements, and how far backfills have come, in one transaction.

    Returns:
        How many rows were pending until now, and which backfills are done by this.
    """
    count = yield from acknowledge(upto, ids)
    done = []
    for one in progress:
        found = yield Statement(
            "SELECT command, answer FROM backfills WHERE ordinal = ? AND next <= last AND last < ?",
            (one.ordinal, one.next),
        )
        done += [Done(command, _as(_answer(text), "done")) for command, text in found]
        yield Statement(
            "UPDATE backfills SET next = ? WHERE ordinal = ? AND next < ?",
            (one.next, one.ordinal, one.next),
        )
    return count, done


# Parts of programs.


def _survey(wish: Backfill) -> Program[BackfillAnswer]:
    """Find out what of a range is here."""
    [(count,)] = yield Statement("SELECT count(*) FROM backfills WHERE next <= last")
    if count >= OPEN_MAX:
        return _as(_refusal(wish, None, []), "busy")
    [(last, ended, start)] = yield Statement(
        "SELECT (SELECT max(sequence) FROM events WHERE epoch = ?1),"
        " (SELECT last_sequence FROM epochs WHERE epoch = ?1),"
        " (SELECT min(sequence) FROM events WHERE epoch = ?1 AND sequence >= ?2)",
        (wish.epoch, wish.first),
    )
    ends = [one for one in (last, ended) if one is not None]
    if not ends:
        gone = [] if wish.last is None else [(wish.first, wish.last)]
        return _refusal(wish, None, gone)
    end = max(ends)
    to = end if wish.last is None else min(wish.last, end)
    beyond = []
    if ended is not None and wish.last is not None and wish.last > end:
        beyond = [(max(wish.first, end + 1), wish.last)]
    if start is None or start > to:
        gone = [(wish.first, to)] if wish.first <= to else []
        return _refusal(wish, to, _joined(gone + beyond))
    if to - start >= SPAN_MAX:
        to, beyond = start + SPAN_MAX - 1, []
    gaps = yield from _gaps(wish.epoch, wish.first, to)
    if len(gaps) > MISSING_MAX:
        to, beyond = gaps[MISSING_MAX][0] - 1, []
        gaps = gaps[:MISSING_MAX]
    return BackfillAnswer(
        state="sending",
        epoch=wish.epoch,
        first=sequence_text(wish.first),
        last=sequence_text(to),
        count=to + 1 - wish.first - sum(last + 1 - first for first, last in gaps),
        missing=_texts(_joined(gaps + beyond)),
    )


def _gaps(epoch: str, first: int, last: int) -> Program[list[tuple[int, int]]]:
    """Return the ranges that are not here, one more than an answer holds at most."""
    rows: list[tuple[Any, ...]] = yield Statement(
        """
        SELECT lacks, before - 1 FROM (
            SELECT lag(sequence, 1, ?2 - 1) OVER (ORDER BY sequence) + 1 AS lacks,
                   sequence AS before
            FROM (
                SELECT sequence FROM events WHERE epoch = ?1 AND sequence BETWEEN ?2 AND ?3
                UNION ALL SELECT ?3 + 1
            )
        )
        WHERE lacks < before ORDER BY lacks LIMIT ?4
        """,
        (epoch, first, last, MISSING_MAX + 1),
    )
    return [(lacks, until) for lacks, until in rows]


def _joined(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join ascending ranges that touch."""
    joined: list[tuple[int, int]] = []
    for first, last in ranges:
        if joined and joined[-1][1] == first - 1:
            joined[-1] = (joined[-1][0], last)
        else:
            joined.append((first, last))
    return joined


def _texts(ranges: list[tuple[int, int]]) -> list[SequenceRange]:
    return [SequenceRange(sequence_text(first), sequence_text(last)) for first, last in ranges]


def _refusal(wish: Backfill, last: int | None, gone: list[tuple[int, int]]) -> BackfillAnswer:
    return BackfillAnswer(
        state="refused",
        epoch=wish.epoch,
        first=sequence_text(wish.first),
        last=None if last is None else sequence_text(last),
        count=0,
        missing=_texts(gone),
    )


def _answer(text: str) -> BackfillAnswer:
    return msgspec.json.decode(text, type=BackfillAnswer)


def _as(answer: BackfillAnswer, state: Literal["busy", "sending", "done"]) -> BackfillAnswer:
    return msgspec.structs.replace(answer, state=state)
