# SPDX-License-Identifier: Apache-2.0
"""Erasures of shoppers, answered once the name is off the disk.

A name is gone from the events at once, but the write-ahead log holds it until it is emptied, and
that waits for whoever reads the database: an export, a backup, a check. Commits do not wait for
them: each try to empty the log takes what moving it takes, and ends where somebody reads.
"""

import logging
from typing import Final

from gateway.database import Database
from gateway.domain.effects import EraseShopper, Reply
from gateway.upstream import Upstream

log = logging.getLogger(__name__)

PENDING_MAX: Final = 1_000
"""Erasures that may wait for the log; more are refused, to be sent again."""


class Erasures:
    """What was erased, and what of it is still in the log."""

    def __init__(self, database: Database, upstream: Upstream | None) -> None:
        """Begin with nothing to erase.

        Args:
            database: With an epoch begun.
            upstream: Where answers go, if anywhere.
        """
        self._database = database
        self._upstream = upstream
        self._pending: list[Reply] = []
        self._told = False

    async def erase(self, effect: EraseShopper) -> None:
        """Forget a shopper; the answer comes when no file holds the name any more.

        Raises:
            DatabaseError: The disk refused, or the database is damaged; nothing is answered.
        """
        if len(self._pending) >= PENDING_MAX:
            if self._upstream is not None:
                self._upstream.refuse_as_busy(effect.command)
            return
        count = await self._database.erase_shopper(effect.shopper)
        if self._upstream is not None:
            self._upstream.erase(effect.shopper)
        answer = f"{count} events no longer name the shopper"
        self._pending.append(Reply(effect.command, "ok", answer))
        await self.settle()

    async def settle(self) -> None:
        """Empty the log and answer, if something waits for that; else it is tried again later.

        Raises:
            DatabaseError: As for ``erase``.
        """
        done = list(self._pending)  # What comes meanwhile may be in the log again.
        if not done:
            return
        if not await self._database.empty_log():
            if not self._told:
                log.warning(
                    "%s: what was erased is still in its log, which another program, or the check,"
                    " reads. End the program that reads it, unless it ends by itself; the erasure"
                    " is answered then",
                    self._database.path,
                )
            self._told = True
            return
        if self._told:
            log.info("%s: what was erased is gone from its log", self._database.path)
        self._told = False
        for reply in done:
            if reply in self._pending:  # Else it was answered meanwhile.
                self._pending.remove(reply)
                if self._upstream is not None:
                    self._upstream.publish_reply(reply)
