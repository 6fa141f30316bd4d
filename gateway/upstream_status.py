# SPDX-License-Identifier: Apache-2.0
"""The retained status of a gateway: what it says, and when it is to be said again."""

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from drivers.ports import Clock
from gateway.database import Database
from gateway.envelope import sequence_text
from gateway.outbox import Oldest


class Status(msgspec.Struct, kw_only=True):
    """The retained birth, its refreshes, and the will."""

    v: int = 1
    state: Literal["online", "offline"]
    epoch: str
    sequence: str | msgspec.UnsetType = msgspec.UNSET
    """Last committed in the epoch; absent from the will, and while there is none."""
    backlog: int | msgspec.UnsetType = msgspec.UNSET
    """Events without acknowledgement; absent from the will, which is written beforehand."""
    oldest_age_s: float | msgspec.UnsetType | None = msgspec.UNSET
    """Age of the one committed first; None when there is none, absent from the will."""
    waiting_epoch: str | msgspec.UnsetType = msgspec.UNSET
    """Of that one; absent where there is none, and from the will."""
    waiting_sequence: str | msgspec.UnsetType = msgspec.UNSET
    """Likewise: whatever lacks from there on comes by itself."""
    degraded: list[str]
    """Parts that do not work as they should."""
    counters: dict[str, int] | msgspec.UnsetType = msgspec.UNSET
    """Counts since the start of the daemon that are not 0; absent from the will."""
    version: str


class StatusBoard:
    """What the status says. It is due at once when something has changed, and now and then."""

    def __init__(self, database: Database, clock: Clock, *, version: str, every_s: float) -> None:
        """Begin with nothing said.

        Args:
            database: With an epoch begun.
            clock: UTC for ages.
            version: Of the software.
            every_s: How often to say it where nothing has changed.
        """
        self.due = False
        """Whether something has changed."""
        self.at_ns = 0
        """When it is to be said at the latest."""
        self._database = database
        self._clock = clock
        self._version = version
        self._every_ns = int(every_s * 1e9)
        self._degraded: list[str] = []
        self._told_waiting = False

    def set_degraded(self, parts: Sequence[str]) -> bool:
        """Take which parts do not work as they should; return whether that is news."""
        if list(parts) == self._degraded:
            return False
        self._degraded = list(parts)
        self.due = True
        return True

    def nothing_waits(self) -> None:
        """Take that all is stored upstream: news, if it was said last that something waits."""
        self.due = self.due or self._told_waiting

    def is_due(self, now_ns: int) -> bool:
        """Tell whether to say it now."""
        return self.due or now_ns >= self.at_ns

    def said(self, now_ns: int) -> None:
        """Note that it is being said."""
        self.due = False
        self.at_ns = now_ns + self._every_ns

    def will(self, parts: Sequence[str]) -> bytes:
        """Return the will; ``parts`` do not work either."""
        return msgspec.json.encode(self._status("offline", parts))

    def message(
        self,
        state: Literal["online", "offline"],
        backlog: tuple[int, Oldest | None],
        parts: Sequence[str],
        counts: Mapping[str, int],
    ) -> bytes:
        """Return what is to be said now.

        Args:
            state: Whether the daemon goes on.
            backlog: How many events wait, and the oldest of them.
            parts: Do not work either.
            counts: Since the start of the daemon; told where they are not 0.
        """
        waiting, oldest = backlog
        status = self._status(state, parts)
        tail = self._database.tails.get(status.epoch)
        status.sequence = msgspec.UNSET if tail is None else sequence_text(tail)
        status.backlog, status.oldest_age_s = waiting, None
        self._told_waiting = oldest is not None
        if oldest is not None:
            age_s = (self._clock.stamp().utc_ns - oldest.committed_utc_ns) / 1e9
            status.oldest_age_s = round(max(0.0, age_s), 1)
            status.waiting_epoch = oldest.epoch
            status.waiting_sequence = sequence_text(oldest.sequence)
        status.counters = {name: count for name, count in counts.items() if count}
        return msgspec.json.encode(status)

    def _status(self, state: Literal["online", "offline"], parts: Sequence[str]) -> Status:
        epoch = self._database.epoch
        assert epoch is not None, "begin_epoch comes before the uplink"
        degraded = [*self._degraded, *parts]
        return Status(state=state, epoch=epoch.epoch, degraded=degraded, version=self._version)
