# SPDX-License-Identifier: Apache-2.0
"""Opens one door when the engine says so, for a while, at most once for each time it says so.

What cannot be done at once is not done later: the door would open for somebody else. It is told.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Literal, NoReturn

from drivers.door.config import DoorConfig
from drivers.door.lock import Lock, OpenLock
from drivers.errors import DeviceSilentError, DriverError
from drivers.ports import Clock, Intake
from gateway.domain.effects import OpenDoor
from gateway.domain.inputs import DoorNotOpened

REPEAT_S: Final = 10.0
"""A relay is told again this often what to be: a board that was reset has forgotten it."""
WAITING_MAX: Final = 16
LATE_NS: Final = 10_000_000_000
"""Who showed a token so long before has given up, or another stands at the door."""
TOLD_S: Final = 2.0
"""How long a lock may take to be told something: who asked has gone elsewhere by then."""
REST_S: Final = 1.0
"""How long the last word to a lock may take when the daemon stops."""


class DoorDriver:
    """One door."""

    def __init__(
        self, config: DoorConfig, *, clock: Clock, open_lock: OpenLock, repeats: bool
    ) -> None:
        """Prepare; ``run`` opens the way to the lock.

        Args:
            config: Which door, and what it is when nobody tells it anything.
            clock: Stamps what failed.
            open_lock: Opens the way to its lock.
            repeats: Whether the lock is told again from time to time what to be.
        """
        self._config = config
        self._clock = clock
        self._open_lock = open_lock
        self._repeats = repeats
        self._asked: deque[OpenDoor] = deque()
        self._ready = False
        self._nap: asyncio.Timeout | None = None
        """Set while the lock is waited for."""

    def open(self, effect: OpenDoor) -> bool:
        """Let somebody in, now.

        Returns:
            False where the door cannot be told now; it is not told later either.
        """
        if not self._ready or len(self._asked) >= WAITING_MAX:
            return False
        self._asked.append(effect)
        if self._nap is not None and not self._nap.expired():
            self._nap.reschedule(asyncio.get_running_loop().time())
        return True

    async def run(self, intake: Intake, came_up: Callable[[], None]) -> NoReturn:
        """Keep the door locked, and unlock it for a while when asked.

        Raises:
            DriverError: The lock cannot be reached, or was lost.
        """
        async with self._open_lock() as lock:
            try:
                await self._put(lock, unlocked=False)  # Whatever it was left as.
                came_up()
                self._ready = True
                await self._serve(lock)
            except asyncio.CancelledError:
                self._ready = False  # Whoever is let in now would find the door locked again.
                with suppress(OSError, DriverError, TimeoutError):
                    async with asyncio.timeout(REST_S):
                        await lock.put(unlocked=self._config.when_dead == "unlocked")
                raise
            finally:
                self._ready, self._nap = False, None
                for effect in self._asked:
                    intake.offer(not_opened(effect, self._clock, "lost"))
                self._asked.clear()

    async def _put(self, lock: Lock, *, unlocked: bool) -> None:
        """Tell the lock what to be.

        Raises:
            OSError, DriverError: It cannot be told, or not in time.
        """
        try:
            async with asyncio.timeout(TOLD_S):
                await lock.put(unlocked=unlocked)
        except TimeoutError:
            raise DeviceSilentError(
                self._config.device,
                f"takes no word for {TOLD_S:g} s",
                "Check its power and cable",
            ) from None

    async def _serve(self, lock: Lock) -> NoReturn:
        loop = asyncio.get_running_loop()
        until_s: float | None = None
        """When it is to be locked again; None while it is."""
        told_s = loop.time()
        while True:
            now_s = loop.time()
            if self._asked:
                await self._put(lock, unlocked=True)
                self._asked.clear()
                until_s, told_s = now_s + self._config.hold_ms / 1_000, now_s
            elif until_s is not None and now_s >= until_s:
                await self._put(lock, unlocked=False)
                until_s, told_s = None, now_s
            elif self._repeats and now_s - told_s >= REPEAT_S:
                await self._put(lock, unlocked=until_s is not None)
                told_s = now_s
            if self._asked:
                continue  # They asked while the lock was being told something.
            dues_s = [] if until_s is None else [until_s]
            if self._repeats:
                dues_s.append(told_s + REPEAT_S)
            with suppress(TimeoutError):
                async with asyncio.timeout_at(min(dues_s, default=None)) as self._nap:
                    await lock.wait()
            self._nap = None
            await asyncio.sleep(0)  # A board that never stops talking leaves room for others.


def late(effect: OpenDoor, clock: Clock) -> bool:
    """Tell whether a door was to open so long ago that it would let somebody else in."""
    return effect.asked_ns is not None and clock.stamp().mono_ns - effect.asked_ns > LATE_NS


def not_opened(
    effect: OpenDoor, clock: Clock, reason: Literal["unreachable", "lost", "late"]
) -> DoorNotOpened:
    """Return the input that says that a door did not open."""
    return DoorNotOpened(
        at=clock.stamp(),
        effect=effect.id,
        door=effect.door,
        session=effect.session,
        reason=reason,
    )
