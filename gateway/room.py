# SPDX-License-Identifier: Apache-2.0
"""How much room the database takes, and may take: on its file, and on the card that it shares.

Programs as in ``gateway.outbox``. What is deleted leaves free pages in the file, which new rows
take; they are given back to the file system when the file is larger than it may be.
"""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from gateway.config_settings import History
from gateway.mending import beside
from gateway.outbox import Program, Statement

log = logging.getLogger(__name__)

SLACK: Final = 100
"""Once room lacks, one in so many bytes of the limit is freed beside: few notices tell it."""
EASED: Final = 0.9
"""Share of the limit below which a shortage is over."""
GIVE_BACK: Final = 128
"""Pages given back in one transaction."""
SPARE_SHARE: Final = 4
"""A file of which more than one in so many pages is free gives them back."""
SPARE_PAGES: Final = 4_096
"""Free pages that a file may keep in any case."""


class Size(msgspec.Struct, frozen=True):
    """Of a database."""

    pages: int
    free_pages: int
    page_bytes: int

    @property
    def file_bytes(self) -> int:
        """Return what the file takes, its write-ahead log left out."""
        return self.pages * self.page_bytes

    @property
    def used_bytes(self) -> int:
        """Return what of it holds something."""
        return (self.pages - self.free_pages) * self.page_bytes


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """What a database may take."""

    bytes_max: int | None = None
    """Of its file; None: no limit."""
    free_bytes_min: int = 0
    """What has to stay free on its file system, for everything else."""

    def limit_bytes(self, size: Size, free_bytes: int) -> int | None:
        """Return what its file may hold now; None: no limit.

        Args:
            size: Of the file.
            free_bytes: On its file system.
        """
        limits = [] if self.bytes_max is None else [self.bytes_max]
        if self.free_bytes_min:
            limits.append(max(0, size.file_bytes + free_bytes - self.free_bytes_min))
        return min(limits, default=None)


class Limits(Room, frozen=True, kw_only=True):
    """What the database may hold."""

    pending_max: int = 1_000_000
    """Events that wait for the uplink; beyond it some are given up, receipts last."""
    history_days: float = 30.0
    """How long acknowledged events are kept for a backfill."""
    history_rows: int = 1_000_000
    """How many rows, of all epochs, the history may reach back."""


def limits_of(table: History) -> Limits:
    """Return the limits that the settings set."""
    return Limits(
        history_days=table.days,
        bytes_max=table.megabytes * 1_000_000,
        free_bytes_min=table.free_megabytes * 1_000_000,
    )


class Shortage:
    """What is being given up for want of room: the steps, which are told as they are taken."""

    def __init__(self) -> None:
        """Begin with room enough."""
        self.short_bytes = 0
        """What is to be given up, since it lacks although no history is left."""
        self._steps: dict[str, None] = {}
        self._crowded = False
        self._lacking = False

    @property
    def parts(self) -> tuple[str, ...]:
        """Return ``disk/<what gives way>`` for each step taken and not over yet."""
        return tuple(f"disk/{step}" for step in self._steps)

    def measured(
        self,
        used_bytes: int,
        limit_bytes: int | None,
        *,
        trimmed: bool,
        history: bool = False,
    ) -> None:
        """Take how much room there is.

        Args:
            used_bytes: By the database.
            limit_bytes: What it may use; None: no limit.
            trimmed: Whether history had to give way because the card is full.
            history: Whether some may be left, which goes before anything that waits.
        """
        short = 0 if limit_bytes is None or history else max(0, used_bytes - limit_bytes)
        if trimmed:
            self._step("history")
        if short and not self._lacking:
            log.error("The database has no more room; what waits for the uplink is given up")
        eased = limit_bytes is None or used_bytes < EASED * limit_bytes
        self._lacking = (self._lacking and not eased) or short > 0
        if self._steps and eased and not (short or trimmed or self._crowded):
            log.info("There is room again for events")
            self._steps.clear()
        self.short_bytes = short + (limit_bytes or 0) // SLACK if short else 0
        self._crowded = False

    def gave_up(self, classes: Sequence[str], freed_bytes: int, *, crowded: bool) -> None:
        """Take what a commit gave up: which classes of events, and whether too many waited.

        What it freed lacks no more, so that the commits until the next look do not free it again.
        """
        self.short_bytes = max(0, self.short_bytes - freed_bytes)
        self._crowded = self._crowded or crowded
        for name in classes:
            self._step(name)

    def _step(self, name: str) -> None:
        if name not in self._steps:
            self._steps[name] = None
            log.warning("There is too little room: %s give way. Make room on the disk", name)


def measure() -> Program[Size]:
    """Return how large the database is."""
    rows = yield Statement(
        "SELECT (SELECT * FROM pragma_page_count), (SELECT * FROM pragma_freelist_count),"
        " (SELECT * FROM pragma_page_size)"
    )
    return Size(*rows[0])


def free_bytes(path: Path) -> int:
    """Return what the card has left for a database, its write-ahead log counted as free.

    A check or a backup keeps the log from beginning anew: to give events up then would only be
    written to the log, which would grow and take more room.

    Raises:
        OSError: The card refused.
    """
    disk, wal = os.statvfs(path.parent), beside(path, "-wal")
    return disk.f_bavail * disk.f_frsize + (wal.stat().st_size if wal.exists() else 0)


def to_give_back(size: Size, limit_bytes: int | None) -> int:
    """Return how many free pages are worth giving back now, at most a bite of them."""
    spare = size.free_pages - max(SPARE_PAGES, size.pages // SPARE_SHARE)
    over = 0 if limit_bytes is None else -(-(size.file_bytes - limit_bytes) // size.page_bytes)
    return min(GIVE_BACK, size.free_pages, max(spare, over, 0))


def give_back(pages: int) -> Program[None]:
    """Give free pages back to the file system."""
    for _ in range(pages):  # It frees one a step, and Python takes one step.
        yield Statement("PRAGMA incremental_vacuum(1)")
