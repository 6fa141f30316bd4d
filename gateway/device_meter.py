# SPDX-License-Identifier: Apache-2.0
"""What each device sends at present: values, rate, noise, gaps and errors of the last seconds.

A meter is an intake that keeps nothing: in the daemon it sees what the true one takes, and without
a daemon it takes what drivers read.
"""

import math
from collections import Counter, deque
from typing import Final, Literal

import msgspec
import numpy as np

from drivers.ports import Clock
from gateway.domain.devices import Device
from gateway.domain.inputs import AnyInput, DeviceInput, DeviceStatus, Samples

WINDOW_NS: Final = 5_000_000_000
"""Rates and noise are those of this long."""
BLOCKS_MAX: Final = 512
DEVICES_MAX: Final = 2_000
REASONS_MAX: Final = 32


State = Literal["up", "silent", "lost"]


class Row(msgspec.Struct, kw_only=True):
    """One device, as it is shown."""

    device: str
    state: State = "silent"
    reason: str | None = None
    """Why it was lost, where that was heard."""
    rate_hz: float = 0.0
    """Samples a second of a shelf, else messages."""
    unit: str | None = None
    values: list[float | None] = []
    """A shelf's newest sample, by plate; None: no value."""
    noise: list[float | None] = []
    """Standard deviation of what each plate said, in the same unit."""
    holes: int = 0
    """Values that were missing: not ready, saturated, nothing in its time."""
    gaps: int = 0
    """Messages that were numbered and did not come."""
    drops: dict[str, int] = {}
    """What was refused since the start, by reason."""


def state_of(device: Device) -> State:
    """Return what the engine knows of a device since the start."""
    if device.lost_ns is not None:
        return "lost"
    return "up" if device.heard else "silent"


class _Seen:
    """What one device sent."""

    def __init__(self) -> None:
        self.blocks: deque[tuple[int, Samples]] = deque(maxlen=BLOCKS_MAX)
        self.others: deque[int] = deque(maxlen=BLOCKS_MAX)
        """When anything but samples came."""
        self.last: tuple[str, int] | None = None
        self.gaps = 0
        self.holes = 0
        self.drops: Counter[str] = Counter()
        self.state: str | None = None
        self.reason: str | None = None

    def forget_before(self, time_ns: int) -> None:
        """Forget what came before a time."""
        while self.blocks and self.blocks[0][0] < time_ns:
            self.blocks.popleft()
        while self.others and self.others[0] < time_ns:
            self.others.popleft()


class Meter:
    """Sees every input; an ``Intake``."""

    def __init__(self, clock: Clock) -> None:
        """Begin with nothing seen.

        Args:
            clock: Says when something came.
        """
        self._clock = clock
        self._began_ns = clock.stamp().mono_ns
        self._seen: dict[str, _Seen] = {}

    async def put(self, item: AnyInput) -> None:
        """Take one input."""
        self.offer(item)

    def offer(self, item: AnyInput) -> bool:
        """Take one input; never refuses."""
        seen = self._of(getattr(item, "device", None))
        if seen is None:
            return True
        now_ns = self._clock.stamp().mono_ns
        match item:
            case DeviceStatus():
                seen.state, seen.reason = item.state, item.reason
            case Samples():
                seen.blocks.append((now_ns, item))
                seen.holes += sum(value is None for row in item.w for value in row)
                boot, before = seen.last or (item.boot, item.seq - 1)
                if boot == item.boot and item.seq > before + 1:
                    seen.gaps += item.seq - before - 1
                seen.last = item.boot, item.seq
            case DeviceInput():
                seen.others.append(now_ns)
            case _:
                pass  # About a device, and not from it: what was dropped, for example.
        return True

    def drop(self, device: str, reason: str, count: int = 1) -> None:
        """Count what was refused."""
        seen = self._of(device)
        if seen is not None and (reason in seen.drops or len(seen.drops) < REASONS_MAX):
            seen.drops[reason] += count

    def rows(self, known: dict[str, State]) -> list[Row]:
        """Return how each device does.

        Args:
            known: Every device that is to be there, and what was heard of it before.
        """
        now_ns = self._clock.stamp().mono_ns
        names = sorted({*known, *self._seen})
        return [self._row(name, now_ns, known.get(name, "silent")) for name in names]

    def _of(self, device: str | None) -> _Seen | None:
        if device is None or (device not in self._seen and len(self._seen) >= DEVICES_MAX):
            return None
        return self._seen.setdefault(device, _Seen())

    def _row(self, name: str, now_ns: int, known: State) -> Row:
        if known == "up" and _streams(name):
            known = "silent"  # Until something comes.
        seen = self._seen.get(name)
        if seen is None:
            return Row(device=name, state=known)
        seen.forget_before(now_ns - WINDOW_NS)
        count = sum(len(block.w) for _, block in seen.blocks) + len(seen.others)
        row = Row(
            device=name,
            rate_hz=round(count * 1e9 / min(max(now_ns - self._began_ns, 1), WINDOW_NS), 1),
            holes=seen.holes,
            gaps=seen.gaps,
            drops=dict(seen.drops),
        )
        if seen.blocks:
            _weigh(row, [block for _, block in seen.blocks])
        if known == "lost" or seen.state == "offline":
            row.state, row.reason = "lost", seen.reason
        elif seen.blocks or seen.others or (seen.state == "online" and not _streams(name)):
            row.state = "up"
        else:
            row.state = known
        return row


def _streams(device: str) -> bool:
    return device.startswith(("shelf/", "camera/"))


def _weigh(row: Row, blocks: list[Samples]) -> None:
    """Add what a shelf's blocks say: newest sample and noise."""
    newest = blocks[-1]
    if not newest.w:
        return
    row.unit = newest.unit
    row.values = list(newest.w[-1])
    same = [
        block
        for block in blocks
        if block.unit == newest.unit and block.w and len(block.w[0]) == len(newest.w[-1])
    ]
    samples = np.array([one for block in same for one in block.w], dtype=np.float64)
    known = np.isfinite(samples)
    row.noise = [
        _rounded(float(np.std(samples[known[:, plate], plate]))) if known[:, plate].any() else None
        for plate in range(samples.shape[1])
    ]


def _rounded(value: float) -> float:
    return round(value, 3) if math.isfinite(value) else 0.0
