# SPDX-License-Identifier: Apache-2.0
"""What the cameras' trackers say of a case: late, noisy, with tracks that break and change bodies.

Misses come in runs and are worst inside a shelf; a hand beside another is taken for it; of two who
pass each other the tracks may go on with the wrong body. Only the appearance still tells them then.
"""

import itertools
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from gateway.domain.inputs import PersonSeen, Wrist
from gateway.domain.store import Camera
from gateway.simulator.exam.actors import LOOK, Actor, Bodies
from gateway.simulator.exam.stage import Stage
from gateway.simulator.layout import view_box

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

FRAME_S: Final = 0.1
SWAY_S: Final = 0.8
"""How slowly the slow part of an error changes."""
SIDE_MM: Final = 170.0
"""Hands nearer than this may be taken for each other."""
AWAY_S: Final = 0.6
"""A body unseen for longer comes back under a new track."""
PARTED_S: Final = 1.0
"""Two that passed each other may be exchanged once until this long after."""


@dataclass(slots=True)
class Frame:
    """What one camera saw at one instant."""

    at_s: float
    people: list[PersonSeen]
    names: list[str] = field(default_factory=list)
    """Whose body each is; for pictures, not for whoever decides."""


@dataclass(slots=True)
class _Seen:
    """One actor as one camera would see it in ``n`` frames, before tracks."""

    actor: Actor
    bodies: Bodies
    visible: Bools
    floor_mm: Floats
    wrists_mm: Floats
    wrists_seen: Bools
    looks: Floats


def watch(stage: Stage, camera: Camera, length_s: float) -> list[Frame]:
    """Return all frames of one camera."""
    rng = stage.rng
    times_s = np.arange(rng.uniform(0.0, FRAME_S), length_s, FRAME_S)
    seen = [_see(stage, camera, actor, times_s) for actor in stage.actors]
    _mistake_hands(stage, seen)
    tracks = _tracks(stage, seen, times_s)
    sigma_mm = float(np.mean(stage.condition.eyes.wrist_mm)) * rng.uniform(0.7, 1.4)
    frames = []
    for index, at_s in enumerate(times_s):
        frame = Frame(float(at_s), [])
        # In no order that would tell who is who.
        for number in rng.permutation(len(seen)):
            one = seen[number]
            if one.visible[index]:
                track = tracks[number][index]
                frame.people.append(
                    _person(rng, one, index, track=track, sigma_mm=sigma_mm, camera=camera)
                )
                frame.names.append(one.actor.name)
        frames.append(frame)
    return frames


def _see(stage: Stage, camera: Camera, actor: Actor, times_s: Floats) -> _Seen:
    rng, eyes = stage.rng, stage.condition.eyes
    count = len(times_s)
    bodies = actor.bodies(times_s)
    x0, y0, x1, y1 = view_box(camera)
    floor = bodies.floor_mm
    inside = (floor[:, 0] > x0) & (floor[:, 0] < x1) & (floor[:, 1] > y0) & (floor[:, 1] < y1)
    unseen = _runs(rng, np.full(count, eyes.unseen), 0.4)
    sigma_mm = float(rng.uniform(*eyes.wrist_mm))
    wrists = bodies.wrists_mm + _errors(rng, (count, 2, 3), sigma_mm, eyes.wrist_sway)
    found = np.empty((count, 2), dtype=bool)
    open_share, inside_share = stage.span(eyes.missed), stage.span(eyes.missed_inside)
    for side in (0, 1):
        share = np.where(bodies.inside[:, side], inside_share, open_share)
        found[:, side] = ~_runs(rng, share, eyes.missed_s)
    # Every camera has its own light; and how one looks changes as one turns.
    light = rng.normal(0.0, eyes.look_noise / 2, LOOK)
    looks = actor.look + light + _errors(rng, (count, LOOK), eyes.look_noise, 0.5)
    return _Seen(
        actor=actor,
        bodies=bodies,
        visible=bodies.present & inside & ~unseen,
        floor_mm=floor + _errors(rng, (count, 2), eyes.floor_mm, 0.5),
        wrists_mm=wrists,
        wrists_seen=found,
        looks=looks,
    )


def _runs(rng: np.random.Generator, share: Floats, mean_s: float) -> Bools:
    """Return when something is missing: a share of the time, in runs of a mean length."""
    end = min(FRAME_S / mean_s, 1.0)
    begin = np.clip(end * share / np.maximum(1.0 - share, 1e-6), 0.0, 1.0)
    chance = rng.random(len(share))
    missing = np.empty(len(share), dtype=bool)
    now = bool(len(share)) and bool(rng.random() < share[0])
    for index in range(len(share)):
        now = chance[index] >= end if now else bool(chance[index] < begin[index])
        missing[index] = now
    return missing


def _errors(rng: np.random.Generator, shape: tuple[int, ...], sigma: float, sway: float) -> Floats:
    """Return errors of which a share of the variance changes slowly."""
    white = rng.normal(0.0, sigma * np.sqrt(1.0 - sway), shape)
    keep = float(np.exp(-FRAME_S / SWAY_S))
    pushes = rng.normal(0.0, sigma * np.sqrt(sway * (1.0 - keep**2)), shape)
    state = rng.normal(0.0, sigma * np.sqrt(sway), shape[1:])
    slow = np.empty(shape)
    for index in range(shape[0]):
        state = keep * state + pushes[index]
        slow[index] = state
    return np.asarray(white + slow)


def _mistake_hands(stage: Stage, seen: list[_Seen]) -> None:
    """Let hands of two people that are near each other be taken for one another, in runs."""
    eyes = stage.condition.eyes
    for one, other in itertools.combinations(seen, 2):
        for mine in (0, 1):
            for theirs in (0, 1):
                gap = one.bodies.wrists_mm[:, mine] - other.bodies.wrists_mm[:, theirs]
                near = (np.linalg.norm(gap, axis=1) < SIDE_MM) & one.visible & other.visible
                if not near.any():
                    continue
                wrong = near & _runs(stage.rng, np.full(len(near), eyes.mistaken), 0.3)
                kept = one.wrists_mm[wrong, mine].copy()
                one.wrists_mm[wrong, mine] = other.wrists_mm[wrong, theirs]
                other.wrists_mm[wrong, theirs] = kept


def _tracks(stage: Stage, seen: list[_Seen], times_s: Floats) -> list[list[str]]:
    """Return the name of each body's track in each frame."""
    rng, eyes = stage.rng, stage.condition.eyes
    count = len(times_s)
    fresh = (f"{number}" for number in itertools.count(int(rng.integers(1, 900))))
    current = ["" for _ in seen]
    last_s = [-9.0 for _ in seen]
    parted_s = dict.fromkeys(itertools.combinations(range(len(seen)), 2), -9.0)
    names: list[list[str]] = [["" for _ in range(count)] for _ in seen]
    breaks = rng.random((count, len(seen))) < eyes.breaks_per_min * FRAME_S / 60.0
    gaps_mm = {
        pair: np.linalg.norm(seen[pair[0]].bodies.floor_mm - seen[pair[1]].bodies.floor_mm, axis=1)
        for pair in parted_s
    }
    for index, at_s in enumerate(times_s):
        for number, one in enumerate(seen):
            if not one.visible[index]:
                continue
            if at_s - last_s[number] > AWAY_S or breaks[index, number]:
                current[number] = next(fresh)
            last_s[number] = at_s
        for pair, gap_mm in gaps_mm.items():
            one, other = (seen[number] for number in pair)
            both = one.visible[index] and other.visible[index]
            if not both or gap_mm[index] > eyes.pass_mm or at_s - parted_s[pair] < PARTED_S:
                continue
            speed = max(one.bodies.speed_mm_s[index], other.bodies.speed_mm_s[index])
            if speed < 300.0:
                continue  # Who only stand beside each other are not mistaken.
            parted_s[pair] = at_s
            if rng.random() < eyes.swap:
                first, second = pair
                current[first], current[second] = current[second], current[first]
        for number in range(len(seen)):
            names[number][index] = current[number]
    return names


def _person(
    rng: np.random.Generator,
    one: _Seen,
    index: int,
    *,
    track: str,
    sigma_mm: float,
    camera: Camera,
) -> PersonSeen:
    wrists = []
    for side in (0, 1):
        if not one.wrists_seen[index, side]:
            continue
        x, y, z = (round(float(value), 1) for value in one.wrists_mm[index, side])
        eye = camera.position_mm
        wrists.append(
            Wrist(
                mm=(x, y, z),
                score=round(float(rng.uniform(0.4, 0.95)), 3),
                sigma_mm=round(sigma_mm, 1),
                ray_mm=(eye, (x, y, z)) if eye else None,
            )
        )
    x, y = (round(float(value), 1) for value in one.floor_mm[index])
    return PersonSeen(
        track=track,
        score=round(float(rng.uniform(0.5, 0.97)), 3),
        floor_mm=(x, y),
        floor_sigma_mm=90.0,
        wrists=wrists,
        appearance=[round(float(value), 3) for value in one.looks[index]],
    )
