# SPDX-License-Identifier: Apache-2.0
"""The one way into the engine: a bounded queue, the tick, and the count of what was refused.

Rules for when it is full. Of streams (samples, people) the newest count, so the device with most
waiting loses its oldest. Everything else (scans, commands, doors, states) waits in ``put`` and is
refused in ``offer``. The two have room of their own: no flood of samples keeps a scan out, nor one
device's scans the word that another is lost. Every drop is counted by device and reason, and
reaches the engine as ``Dropped``, once a second at most.

Inputs leave in the order in which they came, with stamps that never go back.
"""

import asyncio
import logging
from collections import Counter, deque
from typing import Final, NoReturn

import msgspec

from drivers.ports import Clock
from gateway.device_meter import Meter
from gateway.domain.inputs import AnyInput, Dropped, People, Samples, Stamp, Tick

log = logging.getLogger(__name__)

TICK_S: Final = 0.1
FLUSH_NS: Final = 1_000_000_000
STREAM_MAX: Final = 4_096
"""Half a minute of a nano-store."""
OTHERS_MAX: Final = 1_024
ONE_MAX: Final = 512
"""Most other inputs of one device that wait: a flood of scans keeps nobody else's words out."""
COUNTERS_MAX: Final = 256
"""Distinct devices and reasons counted apart; the rest is counted together."""
REST: Final = "gateway/other"


class _Cell:
    """A place in the queue; ``item`` is None once it was dropped or taken."""

    __slots__ = ("item",)

    def __init__(self, item: AnyInput) -> None:
        self.item: AnyInput | None = item


class Intake:
    """A bounded queue between the drivers and the engine; all on one event loop."""

    def __init__(
        self, clock: Clock, *, stream_max: int = STREAM_MAX, others_max: int = OTHERS_MAX
    ) -> None:
        """Begin empty.

        Args:
            clock: Stamps ticks and reports of drops.
            stream_max: Most samples and people that wait, all devices together.
            others_max: Most other inputs that wait.
        """
        self.totals: Counter[str] = Counter()
        """Drops since the start, by reason."""
        self.observer: Meter | None = None
        """Sees what comes and what is refused, while somebody watches."""
        self._clock = clock
        self._stream_max = stream_max
        self._others_max = others_max
        self._cells: deque[_Cell] = deque()
        self._by_device: dict[str, deque[_Cell]] = {}
        self._streams = 0
        self._others = 0
        self._others_of: Counter[str] = Counter()
        """How many of them are each device's."""
        self._tick_waits = False
        self._last: Stamp | None = None
        self._dropped: Counter[tuple[str, str]] = Counter()
        self._flushed_ns = clock.stamp().mono_ns
        self._filled = asyncio.Event()
        self._room = asyncio.Event()

    def __len__(self) -> int:
        """Return how many inputs wait."""
        return self._streams + self._others + self._tick_waits

    # Where drivers put what they read.

    async def put(self, item: AnyInput) -> None:
        """Take one input, waiting while there is no room for its kind."""
        while self._full(item):
            self._room.clear()
            await self._room.wait()
        self._append(item)

    def offer(self, item: AnyInput) -> bool:
        """Take one input at once.

        Returns:
            False when it was refused, which is counted. Samples and people are never refused:
            an older one makes room.
        """
        if isinstance(item, Samples | People):
            if self._streams >= self._stream_max:
                self._drop_oldest()
        elif self._full(item):
            self.drop(_owner(item), "overflow")
            return False
        self._append(item)
        return True

    def drop(self, device: str, reason: str, count: int = 1) -> None:
        """Count inputs that were refused before they could become one."""
        key = (device, reason)
        if key not in self._dropped and len(self._dropped) >= COUNTERS_MAX:
            key = (REST, reason if (REST, reason) in self._dropped else "other")
        self._dropped[key] += count
        if reason in self.totals or len(self.totals) < COUNTERS_MAX:
            self.totals[reason] += count
        if self.observer is not None:
            self.observer.drop(device, reason, count)

    # Where the engine takes it.

    async def drain(self, max_items: int) -> list[AnyInput]:
        """Wait for at least one input; return up to ``max_items``, oldest first."""
        while not len(self):
            self._filled.clear()
            await self._filled.wait()
        return self.take(max_items)

    def take(self, max_items: int) -> list[AnyInput]:
        """Return up to ``max_items`` of what waits, oldest first, without waiting."""
        taken: list[AnyInput] = []
        while self._cells and len(taken) < max_items:
            cell = self._cells.popleft()
            item = cell.item
            if item is None:
                continue
            if isinstance(item, Samples | People):
                self._forget_oldest(item.device)
            elif isinstance(item, Tick):
                self._tick_waits = False
            else:
                self._count_other(item, -1)
            taken.append(item)
        self._room.set()
        return taken

    # Time.

    async def run(self) -> NoReturn:
        """Put a tick in every 100 ms, and what was dropped once a second, until cancelled.

        While a tick still waits no other is added, so a stall ends with one tick.
        """
        loop = asyncio.get_running_loop()
        due_s = loop.time()
        while True:
            self.tick()
            # On a fixed grid: late ticks do not push the later ones back.
            due_s += TICK_S * max(1, -(-(loop.time() - due_s) // TICK_S))
            await asyncio.sleep(due_s - loop.time())

    def tick(self) -> None:
        """Put a tick in unless one waits, and report drops when a second has passed."""
        now = self._clock.stamp()
        if now.mono_ns - self._flushed_ns >= FLUSH_NS:
            self.flush()
        if not self._tick_waits:
            self._append(Tick(at=now))

    def flush(self) -> None:
        """Put the counts of drops in as inputs; those without room stay for the next time."""
        now = self._clock.stamp()
        self._flushed_ns = now.mono_ns
        for device, reason in list(self._dropped):
            if self._others >= self._others_max:
                return
            count = self._dropped.pop((device, reason))
            self._append(Dropped(at=now, device=device, reason=reason, count=count))

    # Within.

    def _full(self, item: AnyInput) -> bool:
        if isinstance(item, Samples | People):
            return self._streams >= self._stream_max
        return self._others >= self._others_max or self._others_of[_owner(item)] >= ONE_MAX

    def _count_other(self, item: AnyInput, more: int) -> None:
        owner = _owner(item)
        self._others += more
        self._others_of[owner] += more
        if not self._others_of[owner]:
            del self._others_of[owner]

    def _append(self, item: AnyInput) -> None:
        last = self._last
        if last is not None and item.at.mono_ns < last.mono_ns:
            # It waited for room or for its token: the engine's time never goes back.
            item = msgspec.structs.replace(item, at=last)
        self._last = item.at
        if self.observer is not None:
            self.observer.offer(item)
        cell = _Cell(item)
        self._cells.append(cell)
        if isinstance(item, Samples | People):
            self._by_device.setdefault(item.device, deque()).append(cell)
            self._streams += 1
        elif isinstance(item, Tick):
            self._tick_waits = True
        else:
            self._count_other(item, 1)
        self._filled.set()

    def _forget_oldest(self, device: str) -> _Cell:
        """Take a device's oldest cell off its own queue."""
        waiting = self._by_device[device]
        cell = waiting.popleft()
        if not waiting:
            del self._by_device[device]
        self._streams -= 1
        return cell

    def _drop_oldest(self) -> None:
        """Make room: the device with most waiting loses its oldest."""
        device = max(self._by_device, key=lambda name: len(self._by_device[name]))
        self._forget_oldest(device).item = None
        self.drop(device, "overflow")
        if len(self._cells) > 2 * (self._stream_max + self._others_max):
            self._cells = deque(cell for cell in self._cells if cell.item is not None)


def _owner(item: AnyInput) -> str:
    """Return whose input it is."""
    return getattr(item, "device", REST)
