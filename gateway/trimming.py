# SPDX-License-Identifier: Apache-2.0
"""History that goes, because it is old or because there is too little room; SQL without I/O.

Programs as in ``gateway.outbox``. History is what was acknowledged. Most of it stands before the
first event that waits; what was acknowledged while a backlog waited stands among and behind that.
The index of what waits has gaps there, which are found without a look at the table. A long backlog
is gone through bit by bit: each look says where the next one begins.
"""

from typing import Final

import msgspec

from gateway.outbox import Program, Statement

BITE: Final = 200  # Rows deleted in one transaction.
LOOK: Final = 10_000  # Waiting rows, of the index, that one look goes over at most.
EPOCHS_KEPT: Final = 1_000


class Look(msgspec.Struct, frozen=True):
    """What one look did."""

    gone: int
    """Rows deleted."""
    after: int = 0
    """Position behind which the next look begins."""
    through: bool = True
    """Whether there is no more to do."""
    kept: bool = False
    """Whether that is because the next row may stay."""


class Walk:
    """How far the history was looked through, over many looks."""

    def __init__(self) -> None:
        """Begin at the oldest row."""
        self.exhausted = False
        """Whether a whole walk found no history that may go, and nothing was acknowledged since."""
        self.after = 0
        """Position behind which the next look begins."""

    def looked(self, look: Look) -> None:
        """Take what a look did."""
        self.after = look.after
        self.exhausted = look.through and not look.kept

    def acknowledged(self) -> None:
        """Note that rows were acknowledged: there is history again."""
        self.exhausted = False


def trim(
    before_utc_ns: int, keep_rows: int, now_utc_ns: int = 2**63 - 1, *, after: int = 0
) -> Program[Look]:
    """Delete a bite of history: what is old, and what is more than ``keep_rows``.

    The history is in order but for labels of a clock that was ahead: those after ``now_utc_ns`` are
    passed over. Behind the first row that may stay nothing else has to go. What an open backfill
    has still to send stays, up to twice ``keep_rows``.

    Args:
        before_utc_ns: What was committed before that is old.
        keep_rows: How many rows may stay, counted back from the newest of all.
        now_utc_ns: Now.
        after: Position behind which to look.
    """
    [(newest,)] = yield Statement("SELECT coalesce(max(position), 0) FROM events")
    waits = yield Statement(
        "SELECT position FROM events INDEXED BY events_waiting"
        " WHERE acknowledged = 0 AND position > ? ORDER BY position LIMIT ?",
        (after, LOOK),
    )
    ends = [position for (position,) in waits]
    last = len(ends) < LOOK
    if last:
        ends.append(newest)
    found = yield from _acknowledged(_gaps(after, ends), newest - keep_rows, now_utc_ns, keep_rows)
    gone = [at for at, utc_ns in found if utc_ns < before_utc_ns or at <= newest - keep_rows]
    yield Statement("DELETE FROM events WHERE position = ?", [(at,) for at in gone], many=True)
    yield Statement(
        "DELETE FROM epochs WHERE ordinal <= (SELECT max(ordinal) FROM epochs) - ?"
        " AND NOT EXISTS (SELECT 1 FROM events WHERE events.epoch = epochs.epoch)",
        (EPOCHS_KEPT,),
    )
    if len(gone) < len(found):
        return Look(len(gone), kept=True)
    if len(found) == BITE:
        return Look(len(gone), after, through=False)
    return Look(len(gone)) if last else Look(len(gone), ends[-1], through=False)


def _gaps(after: int, ends: list[int]) -> list[tuple[int, int]]:
    """Return the ranges of positions between those of rows that wait."""
    starts = [after, *ends]
    return [(low + 1, high - 1) for low, high in zip(starts, ends, strict=False) if low + 1 < high]


def _acknowledged(
    gaps: list[tuple[int, int]], beyond: int, now_utc_ns: int, keep_rows: int
) -> Program[list[tuple[int, int]]]:
    """Return position and time of the first rows in some gaps that may go at all."""
    rows = yield Statement(
        """
        SELECT events.position, events.committed_utc_ns
        FROM json_each(?1) AS gap CROSS JOIN events  -- In this order: the oldest come first.
        WHERE events.position BETWEEN json_extract(gap.value, '$[0]')
                                  AND json_extract(gap.value, '$[1]')
          AND acknowledged = 1
          AND (committed_utc_ns <= ?2 OR position <= ?3)
          AND (epoch, sequence) NOT IN (
              SELECT epoch, max(sequence) FROM events
              WHERE epoch = (SELECT epoch FROM epochs ORDER BY ordinal DESC LIMIT 1)
          )
          AND (position <= ?3 - ?4
               OR NOT EXISTS (
                   SELECT 1 FROM backfills AS open
                   WHERE open.epoch = events.epoch
                     AND events.sequence BETWEEN open.next AND open.last
               ))
        LIMIT ?5
        """,
        (msgspec.json.encode(gaps).decode(), now_utc_ns, beyond, keep_rows, BITE),
    )
    return [(position, utc_ns) for position, utc_ns in rows]
