# SPDX-License-Identifier: Apache-2.0
"""How much room the database takes, and may take: on its file, and on the card that it shares.

Programs as in ``gateway.outbox``. What is deleted leaves free pages in the file, which new rows
take; they are given back to the file system when the file is larger than it may be.
"""

import logging
import os
from pathlib import Path
from typing import Final

import msgspec

from gateway.config_settings import History
from gateway.mending import beside
from gateway.outbox import Committed, Program, Statement

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
KEPT_SHARE: Final = 4
"""One in so many bytes of what is to stay free is for what waits, if others took the rest."""
TIGHT_BYTES: Final = 16_000_000
"""What even that leaves of the card."""
ALWAYS_BYTES: Final = 4_000_000
"""What a database may hold however full the card is."""
LOW: Final = "low"
"""The first step: less is free than is to be, and so far nothing that waits is given up."""
ENOUGH: Final = 1.1
"""Of what is to stay free, once it is over that the card is no longer low."""


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


CROWDED: Final = Bound(0, "more events wait than may", "Bring the uplink back")


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """What a database may take."""

    bytes_max: int | None = None
    """Of its file; None: no limit."""
    free_bytes_min: int = 0
    """What has to stay free on its file system, for everything else."""

    def history_bytes(self, size: Size, free_bytes: int) -> int | None:
        """Return what its file may hold before history gives way; None: no limit.

        Args:
            size: Of the file.
            free_bytes: On its file system.
        """
        limits = [] if self.bytes_max is None else [self.bytes_max]
        if self.free_bytes_min:
            limits.append(max(0, size.file_bytes + free_bytes - self.free_bytes_min))
        return min(limits, default=None)

    def card_bytes(self, file_bytes: int, free_bytes: int) -> int | None:
        """Return the same as far as the card bounds what waits.

        Where something else filled the card, giving up a small database would free nothing worth
        having. So some of what is to stay free is for what waits, and a little it may always hold.
        """
        if not self.free_bytes_min:
            return None
        both = file_bytes + free_bytes
        kept = min(self.free_bytes_min // KEPT_SHARE, both - TIGHT_BYTES)
        return max(both - self.free_bytes_min, kept, ALWAYS_BYTES)

    def bound(self, size: Size, free_bytes: int) -> Bound | None:
        """Return what it may hold before what waits gives way; None: no limit."""
        bounds = []
        if self.bytes_max is not None:
            why = f"it may take {self.bytes_max / 1e6:.0f} MB"
            bounds.append(Bound(self.bytes_max, why, "Bring the uplink back, or raise megabytes"))
        card = self.card_bytes(size.file_bytes, free_bytes)
        if card is not None:
            why = f"its disk has {free_bytes / 1e6:.0f} MB left"
            bounds.append(Bound(card, why, "Make room on that disk"))
        return min(bounds, key=lambda one: one.bytes, default=None)


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


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """How much room there is."""

    used_bytes: int
    """By the database."""
    bound: Bound | None = None
    """On that; None: there is none."""
    free_bytes: int = 0
    """On the card."""
    trimmed: bool = False
    """Whether history had to give way because the card is full."""
    history: bool = False
    """Whether some may be left, which goes before anything that waits."""


class Shortage:
    """What is being given up for want of room: the steps, which are told as they are taken."""

    def __init__(self, path: Path, free_bytes_min: int = 0) -> None:
        """Begin with room enough.

        Args:
            path: Of the database.
            free_bytes_min: What has to stay free on the card.
        """
        self.short_bytes = 0
        """What is to be given up, since it lacks although no history is left."""
        self._path = path
        self._free_bytes_min = free_bytes_min
        self._bound = CROWDED
        self._steps: dict[str, None] = {}
        self._gone = 0
        self._crowded = False
        self._lacking = False

    @property
    def parts(self) -> tuple[str, ...]:
        """Return ``disk/<what gives way>`` for each step taken and not over yet."""
        return tuple(f"disk/{step}" for step in self._steps)

    @property
    def why(self) -> str:
        """Return what bounds the database, for people."""
        return self._bound.why

    def measured(self, now: Measured) -> None:
        """Take how much room there is."""
        bound, limit = now.bound, now.bound.bytes if now.bound else 0
        short = 0 if bound is None or now.history else max(0, now.used_bytes - limit)
        if bound is not None:
            self._bound = bound
        self._watch(now.free_bytes)
        if now.trimmed:
            self._step("history", self._bound)
        if short and not self._lacking:
            log.error(
                "%s: %s; what waits for the uplink is given up. %s",
                *(self._path, self._bound.why, self._bound.remedy),
            )
        eased = bound is None or now.used_bytes < EASED * limit
        self._lacking = (self._lacking and not eased) or short > 0
        taken = self._steps.keys() - {LOW}
        if taken and eased and not (short or now.trimmed or self._crowded):
            log.info("%s: there is room again; %d events were given up", self._path, self._gone)
            self._steps = {step: None for step in self._steps if step not in taken}
            self._gone = 0
        self.short_bytes = short + limit // SLACK if short else 0
        self._crowded = False

    def gave_up(self, made: Committed, *, crowded: bool) -> None:
        """Take what a commit gave up, and whether too many waited.

        What it freed lacks no more, so that the commits until the next look do not free it again.
        """
        self.short_bytes = max(0, self.short_bytes - made.freed_bytes)
        self._crowded = self._crowded or crowded
        self._gone += made.dropped
        for name in made.classes:
            self._step(name, CROWDED if crowded else self._bound)

    def _watch(self, free_bytes: int) -> None:
        if free_bytes < self._free_bytes_min:
            if LOW not in self._steps:
                self._steps = {LOW: None, **self._steps}
                log.warning(
                    "%s: its disk has %.0f MB left, and free_megabytes is %.0f. Make room there:"
                    " history gives way first, then what waits",
                    *(self._path, free_bytes / 1e6, self._free_bytes_min / 1e6),
                )
        elif LOW in self._steps and free_bytes >= ENOUGH * self._free_bytes_min:
            del self._steps[LOW]
            log.info("%s: its disk has %.0f MB left again", self._path, free_bytes / 1e6)

    def _step(self, name: str, bound: Bound) -> None:
        if name not in self._steps:
            self._steps[name] = None
            log.warning("%s: %s; giving up %s. %s", self._path, bound.why, name, bound.remedy)


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
