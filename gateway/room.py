# SPDX-License-Identifier: Apache-2.0
"""How much room the database takes, and may take: on its file, and on the card that it shares.

Programs as in ``gateway.outbox``. What is deleted leaves free pages in the file, which new rows
take; they are given back to the file system when the file is larger than it may be.
"""

import os
from pathlib import Path
from typing import Final

import msgspec

from gateway.config_settings import History
from gateway.mending import beside
from gateway.outbox import Program, Statement

GIVE_BACK: Final = 128
"""Pages given back in one transaction."""
SPARE_SHARE: Final = 4
"""A file of which more than one in so many pages is free gives them back."""
SPARE_PAGES: Final = 4_096
"""Free pages that a file may keep in any case."""
KEPT_SHARE: Final = 4
"""One in so many bytes of what is to stay free is for what waits, if others took the rest."""
TIGHT_BYTES: Final = 16_000_000
"""What even that leaves of the card."""
ALWAYS_BYTES: Final = 4_000_000
"""What a database may hold however full the card is."""


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


class Bound(msgspec.Struct, frozen=True):
    """What a database may hold now."""

    bytes: int
    why: str
    """What bounds it, for people."""
    remedy: str
    card: bool = False
    """Whether the card does, and not a setting."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What the database may hold."""

    bytes_max: int | None = None
    """Of its file; None: no limit."""
    free_bytes_min: int = 0
    """What has to stay free on its file system, for everything else."""
    pending_max: int = 1_000_000
    """Events that wait for the uplink; beyond it some are given up, receipts last."""
    history_days: float = 30.0
    """How long acknowledged events are kept for a backfill."""
    history_rows: int = 1_000_000
    """How many rows, of all epochs, the history may reach back."""

    def for_history(self, file_bytes: int, free_bytes: int) -> Bound | None:
        """Return what its file may hold before history gives way; None: no limit.

        Args:
            file_bytes: What the file takes.
            free_bytes: On its file system.
        """
        card = file_bytes + free_bytes - self.free_bytes_min
        return self._smaller(max(card, ALWAYS_BYTES), free_bytes)

    def for_waiting(self, file_bytes: int, free_bytes: int) -> Bound | None:
        """Return what it may hold before what waits gives way; None: no limit.

        Where something else filled the card, giving up a small database would free nothing worth
        having. So some of what is to stay free is for what waits, and a little it may always hold.
        """
        both = file_bytes + free_bytes
        kept = min(self.free_bytes_min // KEPT_SHARE, both - TIGHT_BYTES)
        return self._smaller(max(both - self.free_bytes_min, kept, ALWAYS_BYTES), free_bytes)

    def _smaller(self, card_bytes: int, free_bytes: int) -> Bound | None:
        bounds = []
        if self.bytes_max is not None:
            why = f"it may take {self.bytes_max / 1e6:.0f} MB"
            remedy = "Bring the uplink back, or raise megabytes"
            bounds.append(Bound(self.bytes_max, why, remedy))
        if self.free_bytes_min:
            why = f"its disk has {free_bytes / 1e6:.0f} MB left"
            bounds.append(Bound(card_bytes, why, "Make room on that disk", card=True))
        return min(bounds, key=lambda one: one.bytes, default=None)


def limits_of(table: History) -> Limits:
    """Return the limits that the settings set."""
    return Limits(
        history_days=table.days,
        bytes_max=table.megabytes * 1_000_000,
        free_bytes_min=table.free_megabytes * 1_000_000,
    )


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
