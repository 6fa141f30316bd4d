# SPDX-License-Identifier: Apache-2.0
"""Load cells of a case: from true grams to what they read, for all plates and the whole case.

Quiet noise differs from plate to plate with a long tail, part of it is slow; plates feel their
neighbours, footsteps, hands at work on the same gondola, and drift. Nothing here is shared with the
engine, nor with the demo's load cells.
"""

import itertools
import math
from typing import Final

import numpy as np
import numpy.typing as npt

from gateway.simulator.exam.stage import RATE_HZ, Stage
from gateway.simulator.layout import distance_mm

Floats = npt.NDArray[np.float64]

SLOW_S: Final = (0.4, 2.0)
"""Time constants of the slow part of the noise."""
SLOW_SHARE: Final = (0.2, 0.6)
"""Its share of the variance."""
NEAR_MM: Final = 1_600.0
"""Footsteps further away than this are not felt."""
STEP_FADE_S: Final = 0.12
ZERO_G: Final = 15.0
"""What empty plates weigh, long after they were zeroed: a standard deviation."""
SPIKE_G: Final = (30.0, 3_000.0)


def read_g(stage: Stage, samples: int) -> Floats:
    """Return ``(samples, plates)`` readings in grams, NaN where there is none."""
    rng, scales = stage.rng, stage.condition.scales
    read = stage.loads_g[:samples] @ _coupling(stage)
    read += _quiet(rng, samples, read.shape[1], stage)
    read += _trembling(stage, samples)
    steps = rng.normal(0.0, scales.drift_g_per_min / math.sqrt(60 * RATE_HZ), read.shape)
    zero_g = rng.uniform(-3_000.0, 8_000.0, read.shape[1])
    if stage.room.zeroed:
        zero_g = rng.normal(0.0, ZERO_G, read.shape[1])
    read += np.cumsum(steps, axis=0) + zero_g
    chance = rng.random(read.shape)
    wild = chance < scales.spike
    low, high = (math.log(size_g) for size_g in SPIKE_G)
    sizes = np.exp(rng.uniform(low, high, read.shape)) * rng.choice((-1.0, 1.0), read.shape)
    read[wild] += sizes[wild]
    read[chance > 1.0 - scales.missing] = np.nan
    return np.asarray(read)


def _coupling(stage: Stage) -> Floats:
    """Return ``(plates, plates)``: how much of a row's load each column's plate feels."""
    rng, scales = stage.rng, stage.condition.scales
    coupling = np.eye(stage.loads_g.shape[1])
    for plates in stage.room.layout.shelf_plates:
        part = slice(plates.start, plates.stop)
        count = len(plates)
        felt = rng.uniform(0.0, scales.everywhere, (count, count))
        for one in range(count):
            for other in (one - 1, one + 1):
                if 0 <= other < count:
                    felt[one, other] = rng.uniform(*scales.neighbour)
        np.fill_diagonal(felt, 1.0)
        coupling[part, part] = felt
    return coupling


def _quiet(rng: np.random.Generator, samples: int, plates: int, stage: Stage) -> Floats:
    """Return what plates read of nothing: white noise and a slow sway of first order."""
    scales = stage.condition.scales
    spread = np.exp(rng.normal(0.0, scales.noise_spread, plates))
    sigma = np.minimum(scales.noise_g * spread, scales.noise_max_g)
    slow_share = rng.uniform(*SLOW_SHARE, plates)
    noise = rng.normal(0.0, 1.0, (samples, plates)) * (sigma * np.sqrt(1.0 - slow_share))
    keep = np.exp(-1.0 / (RATE_HZ * rng.uniform(*SLOW_S, plates)))
    pushes = rng.normal(0.0, 1.0, (samples, plates)) * np.sqrt(1.0 - keep**2)
    sway = np.empty((samples, plates))
    state = rng.normal(0.0, 1.0, plates)
    for row in range(samples):
        state = keep * state + pushes[row]
        sway[row] = state
    return np.asarray(noise + sway * (sigma * np.sqrt(slow_share)))


def _trembling(stage: Stage, samples: int) -> Floats:
    """Return what footsteps and hands shake the plates by."""
    rng, scales = stage.rng, stage.condition.scales
    envelope = np.zeros((samples, stage.loads_g.shape[1]))
    for shake in stage.shakes:
        _fade(
            envelope, list(shake.plates), stage.index(shake.at_s), shake.amplitude_g, shake.fade_s
        )
    layout = stage.room.layout
    gondolas = {
        shelf.gondola: stage.room.gondola_plates(number)
        for number, shelf in enumerate(stage.room.store.shelves)
    }
    for plates in gondolas.values():
        fronts = [layout.plates[plate].front_mm for plate in plates[::4]]
        for at_s, point in itertools.chain(*(actor.steps_s() for actor in stage.actors)):
            far_mm = min(distance_mm(point, front) for front in fronts)
            if far_mm < NEAR_MM:
                size = scales.footstep_g * (1.0 - far_mm / NEAR_MM) * rng.uniform(0.4, 1.4)
                _fade(envelope, plates, stage.index(at_s), size, STEP_FADE_S)
    gain = rng.uniform(0.4, 1.3, envelope.shape[1])
    # Gondolas ring at some hertz; a sample sees that as coloured noise.
    white = rng.normal(0.0, 1.0, (samples + 2, envelope.shape[1]))
    coloured = (white[2:] - 0.6 * white[1:-1] + 0.3 * white[:-2]) / 1.2
    return np.asarray(envelope * gain * coloured)


def _fade(envelope: Floats, plates: list[int], first: int, size_g: float, fade_s: float) -> None:
    count = min(int(4 * fade_s * RATE_HZ), len(envelope) - first)
    if count > 0:
        fading = size_g * np.exp(-np.arange(count) / (fade_s * RATE_HZ))
        envelope[first : first + count, plates] += fading[:, None]
