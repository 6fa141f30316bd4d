# SPDX-License-Identifier: Apache-2.0
"""A case as simple programs see it: weights by shelf, hands by frame, and who is who.

Whoever is followed here is followed by track number and place alone, as published systems do it:
when two tracks change bodies, this goes on with the wrong one.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from gateway.domain.inputs import AnyInput, DeviceInput, EntryScanned, People, Samples
from gateway.domain.store import Store
from gateway.simulator.layout import Layout, Point2, distance_mm, inside

Floats = npt.NDArray[np.float64]

NEW_TRACK_MM: Final = 900.0
"""A new track this near to where somebody was lost is taken for that one."""
NEW_TRACK_S: Final = 8.0
ENTRY_TRACK_MM: Final = 700.0
ENTRY_TRACK_S: Final = 2.0
"""The same in the entry zone."""
SCAN_S: Final = 1.0


class Body(NamedTuple):
    """Somebody in one frame: ``shopper`` is None for who is not known."""

    shopper: str | None
    floor_mm: Point2
    wrists_mm: Floats
    """``(n, 3)``, n from 0 to 2."""


class View(NamedTuple):
    """One frame of one camera."""

    at_ns: int
    bodies: list[Body]


@dataclass(slots=True)
class Weights:
    """One shelf: ``(n,)`` times in ns and ``(n, plates)`` grams, without repeats, in order."""

    times_ns: npt.NDArray[np.int64]
    grams: Floats


@dataclass(slots=True)
class Recording:
    """One case."""

    store: Store
    layout: Layout
    weights: dict[str, Weights]
    views: list[View]

    def around(self, since_ns: int, until_ns: int) -> list[View]:
        """Return the frames of an interval."""
        return [view for view in self.views if since_ns <= view.at_ns <= until_ns]


def record(store: Store, inputs: Iterable[AnyInput]) -> Recording:
    """Sort a case's inputs out."""
    blocks: dict[str, dict[int, Samples]] = {shelf.name: {} for shelf in store.shelves}
    frames: list[People] = []
    scans: list[EntryScanned] = []
    for item in inputs:
        match item:
            case Samples():
                blocks[item.device.removeprefix("shelf/")].setdefault(item.seq, item)
            case People():
                frames.append(item)
            case EntryScanned():
                scans.append(item)
    weights = {name: _weights(list(found.values())) for name, found in blocks.items()}
    layout = Layout(store)
    clocks = _Clocks(frames)
    follower = _Follower(store, [(scan.at.mono_ns, scan.shopper or "") for scan in scans])
    ordered = sorted(frames, key=clocks.time_ns)
    views = [follower.view(clocks.time_ns(frame), frame) for frame in ordered]
    return Recording(store, layout, weights, views)


def _weights(blocks: list[Samples]) -> Weights:
    blocks.sort(key=lambda block: block.seq)
    if not blocks:
        return Weights(np.empty(0, dtype=np.int64), np.empty((0, 0)))
    clocks = _Clocks(blocks)
    times, rows = [], []
    for block in blocks:
        start_ns = clocks.time_ns(block)
        times += [start_ns + i * block.period_us * 1_000 for i in range(len(block.w))]
        rows += block.w
    grams = np.array(rows, dtype=np.float64)
    # A missing value is as good as the one before it.
    for plate in range(grams.shape[1]):
        gone = np.isnan(grams[:, plate])
        if gone.any() and not gone.all():
            known = np.flatnonzero(~gone)
            grams[:, plate] = np.interp(np.arange(len(grams)), known, grams[known, plate])
    return Weights(np.array(times, dtype=np.int64), grams)


class _Clocks:
    """Maps devices' milliseconds to the gateway's clock through each one's promptest message."""

    def __init__(self, items: Iterable[Samples] | Iterable[People]) -> None:
        self._least: dict[str, int] = {}
        for item in items:
            if item.t_ms is not None:
                delay = item.at.mono_ns - self._length(item) - item.t_ms * 1_000_000
                self._least[item.device] = min(delay, self._least.get(item.device, delay))

    def time_ns(self, item: DeviceInput) -> int:
        """Return when a message's first sample or its frame was taken."""
        if item.host_mono_ms is not None:
            return int(item.host_mono_ms * 1e6)
        if item.t_ms is None:
            return item.at.mono_ns - self._length(item)
        return item.t_ms * 1_000_000 + self._least[item.device]

    @staticmethod
    def _length(item: DeviceInput) -> int:
        if isinstance(item, Samples):
            return (len(item.w) - 1) * item.period_us * 1_000
        return 0


class _Follower:
    """Knows which track is which body, and whose: from the scan on, by number, else by place."""

    def __init__(self, store: Store, scans: list[tuple[int, str]]) -> None:
        self._entry = next(zone for zone in store.zones if zone.kind == "entry")
        self._scans = scans
        self._body: dict[str, int] = {}
        self._owner: dict[int, str] = {}
        self._last: dict[int, tuple[int, Point2]] = {}
        self._latest: str | None = None
        self._bodies = 0

    def view(self, at_ns: int, frame: People) -> View:
        """Take in a frame."""
        seen = [
            (f"{frame.device}/{frame.boot}/{person.track}", person, person.floor_mm)
            for person in frame.people
            if person.floor_mm is not None
        ]
        here = {self._body[key] for key, _, _ in seen if key in self._body}
        for key, _, floor_mm in seen:
            if key not in self._body:
                self._body[key] = self._lost_near(at_ns, floor_mm, here)
                here.add(self._body[key])
            body = self._body[key]
            if body not in self._owner and self._came_in(body, floor_mm):
                self._owner[body] = self._latest or ""
            self._last[body] = (at_ns, floor_mm)
        while self._scans and self._scans[0][0] <= at_ns:
            self._bind(self._scans.pop(0)[1], at_ns)
        bodies = [
            Body(
                shopper=self._owner.get(self._body[key]) or None,
                floor_mm=floor_mm,
                wrists_mm=np.array([wrist.mm for wrist in person.wrists]).reshape(-1, 3),
            )
            for key, person, floor_mm in seen
        ]
        return View(at_ns, bodies)

    def _bind(self, shopper: str, at_ns: int) -> None:
        """Give the nearest unknown body at the scanner to who scanned."""
        self._latest = shopper
        scanner = (sum(self._entry.x_mm) / 2, sum(self._entry.y_mm) / 2)
        near = [
            (distance_mm(point, scanner), body)
            for body, (seen_ns, point) in self._last.items()
            if body not in self._owner
            and at_ns - seen_ns < SCAN_S * 1e9
            and inside(self._entry, point)
        ]
        if near:
            self._owner[min(near)[1]] = shopper

    def _came_in(self, body: int, floor_mm: Point2) -> bool:
        """Tell whether a body leaves the entry zone: who did not scan came with who did."""
        before = self._last.get(body)
        was_in = before is not None and inside(self._entry, before[1])
        return was_in and not inside(self._entry, floor_mm)

    def _lost_near(self, at_ns: int, floor_mm: Point2, here: set[int]) -> int:
        """Return the body seen last nearest to a new track and not in this frame, or a new one."""
        # Through the door anybody may come.
        door = inside(self._entry, floor_mm)
        longest_s, far_mm = (ENTRY_TRACK_S, ENTRY_TRACK_MM) if door else (NEW_TRACK_S, NEW_TRACK_MM)
        lost = [
            (distance_mm(point, floor_mm), body)
            for body, (seen_ns, point) in self._last.items()
            if body not in here and at_ns - seen_ns < longest_s * 1e9
        ]
        if lost and min(lost)[0] < far_mm:
            return min(lost)[1]
        self._bodies += 1
        return self._bodies
