# SPDX-License-Identifier: Apache-2.0
"""Bodies step aside for one another, as bodies have to: the exam's people may walk through others.

To the exam's trackers two bodies in one place are two that pass each other. A picture of them is
one that no camera ever takes.
"""

import itertools

import numpy as np

APART_MM = 450.0
"""As near as two who pass each other in an aisle come, from middle to middle."""
ROUNDS = 3
"""Who steps aside for one may step into another."""


def apart(bodies):
    """Return ``(actors, times, 2)`` by how much everybody steps aside; hands at work stay.

    Args:
        bodies: The exam's, of each actor at the same times.
    """
    places = np.array([one.floor_mm for one in bodies])
    begun = places.copy()
    for _ in range(ROUNDS):
        for one, other in itertools.combinations(range(len(bodies)), 2):
            gap = places[other] - places[one]
            near = bodies[one].present & bodies[other].present & (np.hypot(*gap.T) < APART_MM)
            for frames in runs(near):
                mine, theirs = (_gives_way(bodies[who], frames) for who in (one, other))
                if mine + theirs > 0.0:
                    aside = _aside(gap[frames])
                    places[one, frames] -= mine / (mine + theirs) * aside
                    places[other, frames] += theirs / (mine + theirs) * aside
    return places - begun


def runs(flags):
    """Return slices of the stretches in which something is true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(int)))
    return [slice(start, end) for start, end in edges.reshape(-1, 2)]


def _gives_way(bodies, frames):
    """Return how readily somebody steps aside: who is at a shelf does not."""
    if bodies.inside[frames].any():
        return 0.0
    return float(bodies.speed_mm_s[frames].mean()) + 1.0


def _aside(gap):
    """Return ``(n, 2)`` by how much ``(n, 2)`` the way from one to the other has to grow."""
    way = gap[-1] - gap[0]
    far = float(np.hypot(*way))
    if far > APART_MM / 2:  # They pass each other: each on one side all the time.
        along = way / far
        across = np.array([-along[1], along[0]])
        nearest = int(np.hypot(*gap.T).argmin())
        across = across if gap[nearest] @ across >= 0.0 else -across
        wide = np.sqrt(np.maximum(APART_MM**2 - (gap @ along) ** 2, 0.0))
        return np.maximum(wide - gap @ across, 0.0)[:, None] * across
    between = gap.mean(axis=0)
    between = between / max(float(np.hypot(*between)), 1.0)
    return np.maximum(APART_MM - np.hypot(*gap.T), 0.0)[:, None] * between
