# SPDX-License-Identifier: Apache-2.0
"""Rendered sequences with true tracks: people who pass each other and vanish behind a gondola.

Two to four people walk about an aisle below one camera. In the middle stands a gondola as tall as
hides whoever is behind it; people go behind it, stay for a moment, and come out on either side.
They keep clear of each other as people do (the repulsion of Helbing and Molnár, *Social force model
for pedestrian dynamics*, 1995, in its simplest form). The seed decides everything. Units: store
millimetres, seconds, pixels of the picture.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from vision.figure import Body, resting_wrists
from vision.geometry import Camera, FloatArray
from vision.rendering import Gondola, Image, Labels, Renderer, Scene
from vision.scenes import SIZE_WH, degrade, stocked

FPS = 30
"""Steps a second; lower rates are every third or sixth of them."""
STRIDE_MM = 680.0
LANE_MM = 900.0
"""Where people walk behind the gondola, across the aisle from the camera's foot."""
CORNER_MM = 850.0
"""Where they turn around its ends, along the aisle."""
FRONT_MM = ((-1_300.0, 1_300.0), (-950.0, 30.0))
"""The aisle before it, along and across."""
HIDER = Gondola((-260.0, 330.0, 260.0, 650.0), (2_600.0,))
APART_MM = 850.0
"""People begin to evade each other at this distance..."""
PUSH_MM_S = 3_500.0
"""... with at most this much."""
KEEP_RIGHT = 0.5
"""Share of it that goes to the right, so that two who meet head on get past each other."""
RELAX_S = 0.25
BEHIND_SHARE = 0.35
"""Of the errands, those that lead behind the gondola."""
AWAY_MM = 3_200.0
"""Out of view, along the aisle: from there the last person comes and there the first one goes."""


@dataclass(frozen=True, slots=True)
class Step:
    """One instant of a sequence.

    Attributes:
        at_s: Since the sequence's beginning.
        bodies: As they are; a body's place in the tuple is its true track.
    """

    at_s: float
    bodies: tuple[Body, ...]


@dataclass(frozen=True, slots=True)
class Sequence:
    """What happens below one camera, at 30 steps a second or fewer.

    Attributes:
        renderer: Paints the steps.
        steps: In the order of time.
        seed: What made it.
    """

    renderer: Renderer
    steps: tuple[Step, ...]
    seed: int

    def every(self, number: int) -> "Sequence":
        """Return every so many-th step alone."""
        return replace(self, steps=self.steps[::number])

    def images(self) -> Iterator[Image]:
        """Yield each step's ``(h, w, 3)`` BGR picture, with the camera's noise."""
        rng = np.random.default_rng([self.seed, 1])
        for step in self.steps:
            yield degrade(self.renderer.render(step.bodies, rng), rng)

    def labels(self) -> Iterator[Labels]:
        """Yield where each step's bodies are in its picture."""
        for step in self.steps:
            yield self.renderer.labels(step.bodies)


def sequence(seed: int, *, people: int, seconds: float = 20.0) -> Sequence:
    """Return a random sequence of ``people`` bodies at 30 steps a second.

    The last of them comes later, and the first goes earlier; so long all are in view.
    """
    rng = np.random.default_rng([seed, 0])
    camera = Camera.overhead((0.0, 0.0, 3_600.0), 341.3, SIZE_WH)
    grey = int(rng.integers(60, 125))
    low = Gondola((-1_100.0, -1_600.0, 1_100.0, -1_250.0), (800.0, 1_250.0))
    scene = Scene(
        (HIDER, low), tuple(stocked(low, rng, 6)), (grey, grey, grey - 4), int(rng.integers(2**31))
    )
    paths = _paths(rng, people, round(seconds * FPS))
    looks = [int(look) for look in rng.integers(0, 2**31, people)]
    heights = np.clip(rng.normal(1_700, 70, people), 1_550, 1_800)
    steps = [
        Step(
            index / FPS,
            tuple(
                _body(paths, index, who, float(heights[who]), looks[who]) for who in range(people)
            ),
        )
        for index in range(len(paths.floor_mm))
    ]
    return Sequence(Renderer(camera, scene), tuple(steps), seed)


@dataclass(frozen=True, slots=True)
class _Paths:
    """``(steps, people)`` of places (and x, y), headings and distances walked."""

    floor_mm: FloatArray
    heading_rad: FloatArray
    walked_mm: FloatArray


class _Plan:
    """Where one person wants to go next, and how long to stay there.

    ``lane`` is shared: who is on the way behind the gondola, where there is room for one.
    """

    def __init__(
        self, rng: np.random.Generator, lane: list["_Plan"], *, comes_s: float, goes_s: float
    ) -> None:
        self._rng = rng
        self._lane = lane
        self._goals: list[tuple[float, float, float]] = []
        self._stays_s = 0.0
        self._now_s = 0.0
        self._comes_s, self._goes_s = comes_s, goes_s
        self.speed_mm_s = float(rng.uniform(750, 1_250))

    @property
    def inside(self) -> bool:
        """Whether the person is there to stay in view."""
        return self._comes_s + 2.0 <= self._now_s < self._goes_s

    def goal(self, place_mm: FloatArray, seconds: float) -> tuple[float, float] | None:
        """Return the place to walk to; None while staying where one is."""
        self._now_s += seconds
        if self._now_s < self._comes_s:
            return None
        if self._now_s >= self._goes_s:
            if self in self._lane:
                self._lane.remove(self)
            return float(np.sign(place_mm[0])) * AWAY_MM, float(place_mm[1])
        if not self._goals:
            if self in self._lane:
                self._lane.remove(self)
            self._goals = self._errand(place_mm)
        x, y, stay_s = self._goals[0]
        if self._stays_s > 0.0:
            self._stays_s -= seconds
            if self._stays_s <= 0.0:
                self._goals.pop(0)
            return None
        if np.hypot(x - place_mm[0], y - place_mm[1]) < 120.0:
            if stay_s <= 0.0:
                self._goals.pop(0)
            self._stays_s = stay_s
        return x, y

    def _errand(self, place_mm: FloatArray) -> list[tuple[float, float, float]]:
        rng = self._rng
        if rng.random() > BEHIND_SHARE or self._lane:
            (x0, x1), (y0, y1) = FRONT_MM
            stay_s = max(float(rng.uniform(-1.0, 1.2)), 0.0)
            return [(float(rng.uniform(x0, x1)), float(rng.uniform(y0, y1)), stay_s)]
        self._lane.append(self)
        side = float(np.sign(place_mm[0])) or 1.0
        back = -side if rng.random() < 0.7 else side
        pause_s = max(float(rng.uniform(-0.5, 0.7)), 0.0)
        lane = LANE_MM + float(rng.uniform(-40, 40))
        return [
            (side * CORNER_MM + float(rng.uniform(-100, 300)), float(rng.uniform(0, 400)), 0.0),
            (side * 700.0, lane, 0.0),
            (float(rng.uniform(-120, 120)), lane, pause_s),
            (back * 700.0, lane, 0.0),
            (back * CORNER_MM + float(rng.uniform(-100, 300)), float(rng.uniform(0, 400)), 0.0),
        ]


def _paths(rng: np.random.Generator, people: int, count: int) -> _Paths:
    """Walk everybody through their plans, in steps of a thirtieth of a second."""
    (x0, x1), (y0, y1) = FRONT_MM
    place = np.column_stack(
        [np.linspace(x0, x1, people), rng.permutation(np.linspace(y0, y1, people))]
    )
    speed = np.zeros((people, 2))
    seconds = count / FPS
    lane: list[_Plan] = []
    plans = [
        _Plan(
            np.random.default_rng(rng.integers(2**31)),
            lane,
            comes_s=float(rng.uniform(0.2, 0.4)) * seconds if who == people - 1 else -2.0,
            goes_s=float(rng.uniform(0.7, 0.9)) * seconds if who == 0 else np.inf,
        )
        for who in range(people)
    ]
    place[-1, 0] = AWAY_MM
    heading, walked = rng.uniform(-np.pi, np.pi, people), np.zeros(people)
    floors, headings, distances = [], [], []
    for _ in range(count):
        wanted = np.zeros((people, 2))
        for who, plan in enumerate(plans):
            goal = plan.goal(place[who], 1 / FPS)
            if goal is not None:
                away = np.asarray(goal) - place[who]
                wanted[who] = away / max(float(np.hypot(*away)), 1.0) * plan.speed_mm_s
        wanted += _evasion(place)
        speed += (wanted - speed) / (RELAX_S * FPS)
        inside = np.array([plan.inside for plan in plans])
        place = _outside(place + speed / FPS, inside)
        pace = np.hypot(speed[:, 0], speed[:, 1])
        turn = np.angle(np.exp(1j * (np.arctan2(speed[:, 1], speed[:, 0]) - heading)))
        heading = heading + np.where(pace > 150.0, turn / (RELAX_S * FPS), 0.0)
        walked = walked + pace / FPS
        floors.append(place.copy())
        headings.append(heading)
        distances.append(walked)
    return _Paths(np.array(floors), np.array(headings), np.array(distances))


def _evasion(place_mm: FloatArray) -> FloatArray:
    """Return ``(n, 2)`` velocities by which ``(n, 2)`` people evade each other."""
    away = place_mm[:, None] - place_mm[None]
    gap = np.hypot(away[..., 0], away[..., 1])
    near = np.clip(1.0 - gap / APART_MM, 0.0, 1.0) * (gap > 0)
    unit = away / np.maximum(gap, 1.0)[..., None]
    aside = np.stack([-unit[..., 1], unit[..., 0]], axis=-1)
    push = (near[..., None] * (unit + KEEP_RIGHT * aside)).sum(axis=1)
    return np.asarray(PUSH_MM_S * push, dtype=np.float64)


def _outside(place_mm: FloatArray, inside: npt.NDArray[np.bool_]) -> FloatArray:
    """Return ``(n, 2)`` places out of the gondola and, of those inside, in view."""
    x0, y0, x1, y1 = HIDER.box_mm
    wide = np.where(inside, 1_400.0, AWAY_MM)
    place = np.clip(
        place_mm,
        np.column_stack([-wide, np.full(len(wide), -1_000.0)]),
        np.column_stack([wide, np.full(len(wide), 1_000.0)]),
    )
    for point in place:
        left, right = point[0] - (x0 - 170), (x1 + 170) - point[0]
        front, back = point[1] - (y0 - 170), (y1 + 170) - point[1]
        if min(left, right, front, back) <= 0:
            continue
        nearest = int(np.argmin([left, right, front, back]))
        axis = nearest // 2
        point[axis] = (x0 - 170, x1 + 170, y0 - 170, y1 + 170)[nearest]
    return np.asarray(place, dtype=np.float64)


def _body(paths: _Paths, index: int, who: int, height_mm: float, look: int) -> Body:
    x, y = (float(value) for value in paths.floor_mm[index, who])
    heading = float(paths.heading_rad[index, who])
    swing = float(np.sin(2 * np.pi * paths.walked_mm[index, who] / STRIDE_MM / 2))
    wrists = resting_wrists((x, y), heading, height_mm, 160.0 * swing)
    return Body((x, y), heading, height_mm, wrists, look, (None, None), 300.0 * swing)


def hidden_spans(share: npt.NDArray[np.float64], seen_min: float = 0.25) -> list[tuple[int, int]]:
    """Return first and past-the-last step of each time that a body was out of sight, and came back.

    Args:
        share: ``(steps,)`` of one body, from its labels.
        seen_min: Less of it counts as out of sight.
    """
    seen = np.flatnonzero(share >= seen_min)
    return [(int(before) + 1, int(after)) for before, after in pairwise(seen) if after - before > 1]
