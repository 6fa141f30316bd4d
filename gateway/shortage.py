# SPDX-License-Identifier: Apache-2.0
"""What a database gives up for want of room: in which steps, and how they are told."""

import logging
from pathlib import Path
from typing import Final

import msgspec

from gateway.giving_up import Need
from gateway.outbox import Committed
from gateway.room import Bound

log = logging.getLogger(__name__)

SLACK: Final = 100
"""Once room lacks, one in so many bytes of the limit is freed beside: few notices tell it."""
HOLES_SHARE: Final = 4
"""One in so many bytes of the limit, and of what the card has left, may be holes beside it."""
EASED: Final = 0.9
"""Share of the limit below which a shortage is over."""
LOW: Final = "low"
"""The first step: less is free than is to be, and so far nothing that waits is given up."""
ENOUGH: Final = 1.1
"""Of what is to stay free, once it is over that the card is no longer low."""
HISTORY: Final = "history"
"""The next: acknowledged events go, since the card is full."""
CROWDED: Final = Bound(0, "more events wait than may", "Bring the uplink back")


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """How much room there is."""

    used_bytes: int
    """By the database."""
    for_history: Bound | None = None
    """On that, before history gives way; None: there is none."""
    for_waiting: Bound | None = None
    """The same of what waits."""
    free_bytes: int = 0
    """On the card."""
    trimmed: bool = False
    """Whether history had to give way."""
    trimmed_bytes: int = 0
    """In whole pages that this freed."""
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
        self.holes_bytes = 0
        """What was given up and lies in pages that hold something else too.

        It counts as free, or more would be given up for it, of what is to stay; but new events
        stand behind the old ones and do not fill it, so it may be no more than a share.
        """
        self._path = path
        self._free_bytes_min = free_bytes_min
        self._bound: Bound | None = None
        self._steps: dict[str, None] = {}
        self._gone = 0
        self._crowded = False
        self._lacking = False

    @property
    def parts(self) -> tuple[str, ...]:
        """Return ``disk/<what gives way>`` for each step taken and not over yet."""
        early = [step for step in (LOW, HISTORY) if step in self._steps]
        return tuple(f"disk/{step}" for step in dict.fromkeys([*early, *self._steps]))

    @property
    def why(self) -> str:
        """Return what bounds the database, for people."""
        return CROWDED.why if self._bound is None else self._bound.why

    def need(self, pending_max: int) -> Need:
        """Return why and how much is to be given up.

        Args:
            pending_max: Events that may wait.
        """
        return Need(
            pending_max=pending_max,
            short_bytes=self.short_bytes,
            why=self.why,
            holes_bytes=self.holes_bytes,
        )

    def measured(self, now: Measured) -> None:
        """Take how much room there is."""
        self._watch_card(now.free_bytes)
        self._watch_history(now)
        self._bound = now.for_waiting
        limit = 0 if self._bound is None else self._bound.bytes
        eased = _eased(now.used_bytes, self._bound)
        self.holes_bytes = 0 if eased else max(0, self.holes_bytes - now.trimmed_bytes)
        holes = min(self.holes_bytes, limit // HOLES_SHARE, now.free_bytes // HOLES_SHARE)
        lacks = 0 if self._bound is None or now.history else now.used_bytes - holes - limit
        lacks = max(0, lacks)
        if lacks and self._bound is not None and not self._lacking:
            log.error(
                "%s: %s; what waits for the uplink is given up. %s",
                *(self._path, self._bound.why, self._bound.remedy),
            )
        self._lacking = (self._lacking and not eased) or lacks > 0
        taken = self._steps.keys() - {LOW, HISTORY}
        if taken and eased and not (lacks or self._crowded):
            log.info("%s: there is room again; %d events were given up", self._path, self._gone)
            self._steps = {step: None for step in self._steps if step not in taken}
            self._gone = 0
        self.short_bytes = lacks + limit // SLACK if lacks else 0
        self._crowded = False

    def gave_up(self, made: Committed, *, crowded: bool) -> None:
        """Take what a commit gave up, and whether too many waited.

        What it freed lacks no more, so that the commits until the next look do not free it again.
        Where it found nothing that would free anything, they do not look for it again either.
        """
        futile = made.rows and not made.dropped
        self.short_bytes = 0 if futile else max(0, self.short_bytes - made.freed_bytes)
        self.holes_bytes = max(0, self.holes_bytes + made.holes_bytes)
        self._crowded = self._crowded or crowded
        self._gone += made.dropped
        for name in made.classes:
            self._step(name, CROWDED if crowded or self._bound is None else self._bound)

    def _watch_card(self, free_bytes: int) -> None:
        if free_bytes < self._free_bytes_min:
            if LOW not in self._steps:
                self._steps[LOW] = None
                log.warning(
                    "%s: its disk has %.0f MB left, and free_megabytes is %.0f. Make room there:"
                    " history gives way first, then what waits",
                    *(self._path, free_bytes / 1e6, self._free_bytes_min / 1e6),
                )
        elif LOW in self._steps and free_bytes >= ENOUGH * self._free_bytes_min:
            del self._steps[LOW]
            log.info("%s: its disk has %.0f MB left again", self._path, free_bytes / 1e6)

    def _watch_history(self, now: Measured) -> None:
        bound = now.for_history
        if now.trimmed:
            if bound is not None and bound.card:
                self._step(HISTORY, bound)
        elif HISTORY in self._steps and _eased(now.used_bytes, bound):
            del self._steps[HISTORY]
            log.info("%s: there is room for history again", self._path)

    def _step(self, name: str, bound: Bound) -> None:
        if name not in self._steps:
            self._steps[name] = None
            log.warning("%s: %s; giving up %s. %s", self._path, bound.why, name, bound.remedy)


def _eased(used_bytes: int, bound: Bound | None) -> bool:
    return bound is None or used_bytes < EASED * bound.bytes
