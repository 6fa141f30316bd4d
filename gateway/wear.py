# SPDX-License-Identifier: Apache-2.0
"""What the daemon has written to the card, in all and by the day: a card wears by that."""

from pathlib import Path
from typing import Final

import msgspec

from gateway.domain.inputs import Stamp
from gateway.domain.output import rfc3339
from gateway.outbox import Program, Statement

WRITTEN: Final = "written"
"""Key in ``meta``: the last days, a JSON list of ``Day``."""
DAYS_KEPT: Final = 8
NOTE_EVERY_NS: Final = 600_000_000_000
IO: Final = Path("/proc/self/io")
_FIELD: Final = "write_bytes: "


class Day(msgspec.Struct, array_like=True):
    """What one day cost."""

    day: str
    """ISO 8601, UTC as the gateway labels it."""
    bytes: int
    events: int


class Wear:
    """Counts what this process has written, and what it was for."""

    def __init__(self, io: Path = IO) -> None:
        """Begin now.

        Args:
            io: The kernel's account of this process.
        """
        self.events = 0
        """Committed since the start."""
        self._io = io
        self._began = self._total()
        self._noted_bytes = self._noted_events = 0
        self._due_ns: int | None = None

    def written_bytes(self) -> int:
        """Return the bytes written to storage since the start; 0 where nobody counts them."""
        return self._total() - self._began

    def counts(self) -> dict[str, int]:
        """Return what is told upstream."""
        return {"events": self.events, "written_bytes": self.written_bytes()}

    def due(self, now_ns: int) -> bool:
        """Tell whether to note it: every ten minutes in which something happened.

        A stop notes the rest; after a kill it is not known.
        """
        if self._due_ns is None:
            self._due_ns = now_ns + NOTE_EVERY_NS
        return now_ns >= self._due_ns and self.events > self._noted_events

    def take(self, now: Stamp) -> tuple[str, int, int]:
        """Return today, and bytes and events since the last time."""
        written = self.written_bytes()
        news = (written - self._noted_bytes, self.events - self._noted_events)
        self._noted_bytes, self._noted_events = written, self.events
        self._due_ns = now.mono_ns + NOTE_EVERY_NS
        return rfc3339(now.utc_ns)[:10], *news

    def _total(self) -> int:
        try:
            lines = self._io.read_text("ascii").splitlines()
        except OSError:
            return 0
        found = [line.removeprefix(_FIELD) for line in lines if line.startswith(_FIELD)]
        return int(found[0]) if found else 0


def note_written(day: str, written_bytes: int, events: int) -> Program[None]:
    """Add to what was written on a day."""
    known = yield from days()
    if not known or known[-1].day != day:
        known.append(Day(day, 0, 0))
    known[-1].bytes += written_bytes
    known[-1].events += events
    yield Statement(
        "INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)",
        (WRITTEN, msgspec.json.encode(known[-DAYS_KEPT:]).decode()),
    )


def days() -> Program[list[Day]]:
    """Return what the last days cost, the oldest first."""
    rows = yield Statement("SELECT value FROM meta WHERE key = ?", (WRITTEN,))
    try:
        return [one for (value,) in rows for one in msgspec.json.decode(value, type=list[Day])]
    except ValueError:  # Damage that SQLite does not see.
        return []
