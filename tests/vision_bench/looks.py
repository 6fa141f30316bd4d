# SPDX-License-Identifier: Apache-2.0
"""``python -m tests.vision_bench.looks``: what distances between descriptors mean.

For rendered people found by the repository's own model, and for those of a real clip where it is at
hand: the squared distance of a look from its body's mean, that of two bodies' means, and how often
two looks of one body are nearer than two of different ones.
"""

import argparse
import sys

import numpy as np

from tests.vision_bench import clip, tracks
from tests.vision_bench.tracking import span
from vision.sequences import FPS

PAIR_S = 0.8
"""Two looks nearer in time than this are nearly one: the engine counts them as one, too."""


def by_body(shots):
    """Return looks, bodies and times of what was found near a body and has a look."""
    looks, bodies, times = [], [], []
    for shot in shots:
        near = np.nan_to_num(tracks.nearness(shot.floor_mm, shot.true_mm))
        for index, row in enumerate(near):
            if row.max() >= 0.7 and np.isfinite(shot.looks[index]).all():
                looks.append(shot.looks[index])
                bodies.append(int(row.argmax()))
                times.append(shot.at_s)
    return np.array(looks), np.array(bodies), np.array(times)


def distances(looks, bodies, times):
    """Return noise2, apart2 and how often a pair of one body is nearer than one of two."""
    names = np.unique(bodies)
    means = np.array([looks[bodies == name].mean(axis=0) for name in names])
    noise2 = ((looks - means[np.searchsorted(names, bodies)]) ** 2).sum(axis=1).mean()
    apart2 = ((means[:, None] - means[None]) ** 2).sum(axis=2)[np.triu_indices(len(names), 1)]
    away2 = ((looks[:, None] - looks[None]) ** 2).sum(axis=2)
    same = (bodies[:, None] == bodies[None]) & (np.abs(times[:, None] - times[None]) > PAIR_S)
    other = np.sort(away2[bodies[:, None] != bodies[None]])
    nearer = 1 - np.searchsorted(other, away2[same]).mean() / len(other)
    return noise2, apart2, nearer


def line(name, noise2, apart2, nearer):
    """Return one row for people."""
    return (
        f"{name:<28} {noise2:>7.3f} {np.mean(apart2):>7.2f}"
        f" {np.min(apart2):>9.2f} {100 * nearer:>9.1f} %\n"
    )


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=span, default=span("301-304"), metavar="A-B")
    seeds = parser.parse_args().seeds
    sys.stdout.write(f"{'looks of':<28}  noise2  apart2     least  told apart\n")
    looks, bodies, times = [], [], []
    for number, seed in enumerate(seeds):
        mine = by_body(tracks.by_model(seed, 4, every=FPS // 5))
        looks.append(mine[0])
        bodies.append(mine[1] + 100 * number)
        times.append(mine[2])
    parts = (np.concatenate(part) for part in (looks, bodies, times))
    sys.stdout.write(line("rendered people", *distances(*parts)))
    if clip.missing():
        sys.stdout.write(f"the real clip: left out, {clip.missing()}\n")
        return
    rows = [
        (look, int(name), at_s)
        for at_s, _, named, described in clip.watch(every=5)
        for name, look in zip(named, described, strict=True)
        if name is not None and np.isfinite(look).all()
    ]
    parts = (np.array(part) for part in zip(*rows, strict=True))
    sys.stdout.write(line("six people of a real clip", *distances(*parts)))


if __name__ == "__main__":
    main()
