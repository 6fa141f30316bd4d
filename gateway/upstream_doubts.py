# SPDX-License-Identifier: Apache-2.0
"""What acknowledgements give reason to doubt: the integrator, or this gateway's own database."""

import logging
from pathlib import Path

from gateway.database import Database
from gateway.uplink import Uplink

log = logging.getLogger(__name__)


class Doubts:
    """Looks at what the uplink made of each acknowledgement, and tells it once."""

    def __init__(self) -> None:
        self._odd = 0
        self._odd_told = False
        self._older = False
        self._noted: set[str] = set()

    @property
    def parts(self) -> list[str]:
        """What is degraded: the database, once it is known to be older than what was sent."""
        return ["database"] if self._older else []

    def connected(self) -> None:
        """Begin anew on a fresh connection: odd acknowledgements are told once on each."""
        self._odd_told = False

    def look(self, uplink: Uplink, payload: bytes, path: Path) -> bool:
        """Look at an acknowledgement that the uplink has just taken.

        Returns:
            Whether ``parts`` has changed.
        """
        odd = uplink.counters.malformed_acks + uplink.counters.unbelievable_acks
        if odd > self._odd and not self._odd_told:
            self._odd_told = True
            log.warning(
                "Refused an acknowledgement: malformed, or of what was never sent: %.200r. "
                "Look at the integrator",
                payload,
            )
        self._odd = odd
        if self._older or not uplink.ahead:
            return False
        self._older = True
        epoch, (claim, end) = next(iter(uplink.ahead.items()))
        log.error(
            "%s: is older than what was sent: of epoch %s the integrator has %d, and here it ends"
            " at %d. If an image of the disk was put back, make a copy with `shelfgate backup`,"
            " start on that, and send planogram, prices and erasures of shoppers again; if none"
            " was, look at the disk and at the integrator",
            path,
            epoch,
            claim,
            end,
        )
        return True

    async def record(self, uplink: Uplink, database: Database) -> None:
        """Note in the database what was told, so that the next start does not tell it again."""
        news = uplink.ahead.keys() - self._noted
        if news:
            self._noted |= news
            await database.note_cut(sorted(news))
