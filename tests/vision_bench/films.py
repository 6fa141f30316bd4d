# SPDX-License-Identifier: Apache-2.0
"""Clips for the worker and for the plain way: a file, and who stands where in each picture.

One camera, one aisle; stretches in which people walk about and stretches in which nobody does. The
seeds decide everything. A track is on a body within half a metre of it on the floor, as in
:mod:`tests.vision_bench.tracks`.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.vision_bench import tracks
from vision.film import Film
from vision.geometry import Camera
from vision.scenes import SIZE_WH, degrade
from vision.sequences import FPS, sequence

RATE = 15
"""Pictures a second of the clips: fewer than most cameras give, to the good of the plain way."""
SEED = 901
HELD_S = 0.5
"""What was told last counts for so long where nothing newer was."""
NOWHERE_MM = 1e7


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip's file and its truth.

    Attributes:
        path: The file.
        camera: That it was taken by.
        true_mm: ``(n, bodies, 2)`` places on the floor; far away of who is not there.
        share: ``(n, bodies)`` how much of each is in view.
        people: ``(n,)`` whether the stretch is one with people.
        rate: Pictures a second.
    """

    path: Path
    camera: Camera
    true_mm: np.ndarray
    share: np.ndarray
    people: np.ndarray
    rate: int

    @property
    def seconds(self):
        """Return how long it is."""
        return len(self.people) / self.rate


def make_clip(path, stretches, *, rate=RATE, seed=SEED):
    """Write a clip of ``(people, seconds)``, one after the other, and return it.

    Each stretch is a sequence of its own seed; all are painted in the first one's aisle.
    """
    renderer = sequence(seed, people=2, seconds=1.0).renderer
    rng = np.random.default_rng([seed, 3])
    bodies = sum(people for people, _ in stretches)
    places, shares, with_people, first = [], [], [], 0
    with Film(path, SIZE_WH, rate) as film:
        for number, (people, seconds) in enumerate(stretches):
            steps = [()] * round(seconds * rate)
            if people:
                made = sequence(seed + number, people=people, seconds=seconds).every(FPS // rate)
                steps = [step.bodies for step in made.steps]
            for inside in steps:
                film.write(degrade(renderer.render(inside, rng), rng))
                place, share = np.full((bodies, 2), NOWHERE_MM), np.zeros(bodies)
                if inside:
                    mine = slice(first, first + people)
                    place[mine] = [body.floor_mm for body in inside]
                    share[mine] = renderer.labels(inside).share
                places.append(place)
                shares.append(share)
                with_people.append(bool(people))
            first += people
    truth = (np.array(places), np.array(shares), np.array(with_people))
    return Clip(path, renderer.camera, *truth, rate)


def floor_points(camera):
    """Return four of the camera's pixels with their places, as an installer measures them."""
    wide, high = camera.size_wh
    pixels = [(60, 60), (wide - 60, 60), (wide - 60, high - 60), (60, high - 60)]
    places = camera.view().floor(pixels)
    return [(pixel, tuple(map(float, place))) for pixel, place in zip(pixels, places, strict=True)]


def figures(clip, told):
    """Return TrackEval's figures over all of a clip's pictures.

    Args:
        clip: With its truth.
        told: ``(at_s, {name: floor_mm})`` in the order of time, from the clip's beginning. At each
            picture the newest that is not from after it counts, for half a second.
    """
    shots, names, newest = [], [], -1
    for number, (true_mm, share) in enumerate(zip(clip.true_mm, clip.share, strict=True)):
        at_s = number / clip.rate
        # A picture's time is known to half a picture.
        while newest + 1 < len(told) and told[newest + 1][0] <= at_s + 0.5 / clip.rate:
            newest += 1
        fresh = newest >= 0 and at_s - told[newest][0] <= HELD_S
        seen = told[newest][1] if fresh else {}
        shots.append(
            tracks.Shot(
                at_s=at_s,
                true_mm=true_mm,
                share=share,
                found=None,
                floor_mm=np.array([*seen.values()], dtype=float).reshape(-1, 2),
                sigma_mm=None,
                looks=None,
            )
        )
        names.append([*seen])
    return tracks.figures([tracks.score(shots, names)])
