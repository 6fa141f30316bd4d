# SPDX-License-Identifier: Apache-2.0
"""How much room the database may take, on its file and on the card that it shares."""

import os
from pathlib import Path
from typing import Final

import msgspec

from gateway.config_settings import History
from gateway.mending import beside

KEPT_SHARE: Final = 4
"""One in so many bytes of what is to stay free is for what waits, if others took the rest."""
TIGHT_BYTES: Final = 16_000_000
"""What even that leaves of the card."""
ALWAYS_BYTES: Final = 4_000_000
"""What a database may hold however full the card is."""


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
        """Return what it may hold before what waits gives way; None: no limit."""
        return self._smaller(self.on_card(file_bytes, free_bytes), free_bytes)

    def on_card(self, file_bytes: int, free_bytes: int) -> int:
        """Return the same in bytes as far as the card bounds it, if some of it is to stay free.

        Where something else filled the card, giving up a small database would free nothing worth
        having. So some of what is to stay free is for what waits, and a little it may always hold.
        """
        both = file_bytes + free_bytes
        kept = min(self.free_bytes_min // KEPT_SHARE, both - TIGHT_BYTES)
        return max(both - self.free_bytes_min, kept, ALWAYS_BYTES)

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


def free_bytes(path: Path) -> int:
    """Return what the card has left for a database, its write-ahead log counted as free.

    A check or a backup keeps the log from beginning anew: to give events up then would only be
    written to the log, which would grow and take more room.

    Raises:
        OSError: The card refused.
    """
    disk, wal = os.statvfs(path.parent), beside(path, "-wal")
    return disk.f_bavail * disk.f_frsize + (wal.stat().st_size if wal.exists() else 0)
