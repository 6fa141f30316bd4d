# SPDX-License-Identifier: Apache-2.0
"""Cuts the movement of one plate into stable stretches and the free transitions between them.

A dynamic programme over means of some hundredths of a second: a stable stretch pays for how far its
samples are from their mean, a transition pays for its length only, and every stretch pays for being
one, a short one more. What a pressing hand sways by is too dear for a stretch, and too long for it.
"""

from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MISSING_MAX: Final = 3
"""So many samples of a plate missing in a row are bridged."""
BIN_NS: Final = 50_000_000
BINS_MAX: Final = 200
"""Of a longer movement the bins are wider."""
LAST_NS: Final = 350_000_000
"""The movement is known to end in a stable stretch of at least this length."""
INDEPENDENCE: Final = 0.7
"""What a bin tells beside the one before it: part of the noise is slow."""
FREE_Z: Final = 3.0
"""A bin further off than so many standard deviations is better free than in a stretch."""
STRETCH_COST: Final = 6.0
SHORT_COST: Final = 25.0
"""On top of it, divided by the stretch's bins."""
STRETCH_BINS_MIN: Final = 3
STEPS_MAX: Final = 6
TOUCH_NS: Final = 800_000_000
"""What was as before again after less than this was a hand: nobody puts back as fast."""
STEP_LEAST_G: Final = 2.5
LEAST_SIGMAS: Final = 2.0
"""A step smaller than ``STEP_LEAST_G`` and so many standard deviations is none."""
SHAKE_SHARE: Final = 0.4
"""Variance of a bin's mean from a tremble, against the tremble's own."""


class Level(NamedTuple):
    """A stable stretch."""

    first: int
    """Row at which it begins."""
    stop: int
    """Row behind its last."""
    mean_g: float
    var_g2: float
    """Variance of ``mean_g``."""


class Noise(NamedTuple):
    """What is known of a plate's noise."""

    sample_g2: float
    """Variance of a sample."""
    slow_g2: float
    """Variance of the mean over a stretch that does not fall with its length."""


class PlateStep(NamedTuple):
    """From one stable stretch to the next."""

    before: Level
    after: Level

    @property
    def delta_g(self) -> float:
        """What the plate weighs more after it, grams."""
        return self.after.mean_g - self.before.mean_g

    @property
    def sigma_g(self) -> float:
        """Standard deviation of ``delta_g``, grams."""
        return float((self.before.var_g2 + self.after.var_g2) ** 0.5)


def bridged(rows_g: Floats) -> Floats:
    """Return samples in which a few missing in a row repeat the one before."""
    numbers = np.arange(len(rows_g))[:, None]
    known = np.maximum.accumulate(np.where(np.isnan(rows_g), -1, numbers), axis=0)
    filled: Floats = np.take_along_axis(rows_g, np.maximum(known, 0), axis=0)
    filled[numbers - known > MISSING_MAX] = np.nan
    return filled


def median_of_three(window: Floats) -> Floats:
    """Return ``(n - 2, p)``: one odd sample among its neighbours vanishes."""
    a, b, c = window[:-2], window[1:-1], window[2:]
    middle: Floats = np.maximum(np.minimum(a, b), np.minimum(np.maximum(a, b), c))
    return middle


def bin_rows(rows: int, period_ns: int) -> int:
    """Return how many samples make a bin of a movement of so many."""
    return max(round(BIN_NS / period_ns), -(-rows // BINS_MAX), 1)


def find_steps(
    samples_g: Floats,
    shake_g2: Floats,
    noise: Noise,
    before: Level,
    *,
    rows: int,
    period_ns: int,
) -> list[PlateStep]:
    """Return the steps of a movement, in order of time.

    Args:
        samples_g: ``(n,)`` from before the movement until it is over, no NaN.
        shake_g2: ``(bins,)`` variance that the whole shelf trembles with.
        noise: Of the plate.
        before: The level it comes from.
        rows: Samples in a bin; the first ``n % rows`` samples are left out.
        period_ns: From sample to sample.
    """
    skipped = len(samples_g) % rows
    binned_g = samples_g[skipped:].reshape(-1, rows).mean(axis=1) - before.mean_g
    shake_g2 = shake_g2[-len(binned_g) :]
    var_g2 = noise.sample_g2 / rows + noise.slow_g2 + SHAKE_SHARE * shake_g2
    last = min(max(LAST_NS // (rows * period_ns), 1), len(binned_g))
    base_end, cuts = _cut(binned_g, 1.0 / var_g2, before.var_g2, last)
    levels = [before._replace(stop=skipped + base_end * rows)]
    for first, stop in cuts:
        weight = 1.0 / var_g2[first:stop]
        mean_g = float((weight * binned_g[first:stop]).sum() / weight.sum()) + before.mean_g
        tremble_g2 = float(shake_g2[first:stop].mean()) * SHAKE_SHARE / (stop - first)
        own_g2 = noise.sample_g2 / ((stop - first) * rows) + noise.slow_g2 + tremble_g2
        levels.append(Level(skipped + first * rows, skipped + stop * rows, mean_g, own_g2))
    levels = _join(_without_touches(_join(levels), TOUCH_NS // period_ns))
    return [PlateStep(*pair) for pair in pairwise(levels)]


def _cut(
    binned_g: Floats, weight: Floats, before_g2: float, last: int
) -> tuple[int, list[tuple[int, int]]]:
    """Return where the first stretch ends, at 0 g, and the bounds of the others, in bins."""
    count = len(binned_g)
    # The level before is known only so well: a little off it is no departure.
    known = weight / (1.0 + before_g2 * weight)
    base = np.concatenate(([0.0], np.cumsum(0.5 * INDEPENDENCE * known * binned_g**2)))
    fits = _fits(binned_g, weight)
    free = 0.5 * INDEPENDENCE * FREE_Z**2
    shortest = min(STRETCH_BINS_MIN, last)
    stable = np.full(count + 1, np.inf)
    begun = np.zeros(count + 1, dtype=np.int64)
    moved = np.full(count + 1, np.inf)
    left = np.zeros(count + 1, dtype=np.int64)
    moved[0] = 0.0
    for end in range(1, count + 1):
        stays = min(stable[end - 1], base[end - 1])
        if stays < moved[end - 1]:
            moved[end], left[end] = stays + free, end - 1
        else:
            moved[end], left[end] = moved[end - 1] + free, left[end - 1]
        if end >= shortest:
            stop = end - (last if end == count else shortest) + 1
            costs = moved[:stop] + fits[end, :stop]
            begun[end] = best = int(costs.argmin())
            stable[end] = costs[best]
    cuts: list[tuple[int, int]] = []
    end = count
    while stable[end] < base[end]:
        cuts.append((int(begun[end]), end))
        if begun[end] == 0:
            return 0, cuts[::-1]
        end = int(left[begun[end]])
    return end, cuts[::-1]


def _fits(binned_g: Floats, weight: Floats) -> Floats:
    """Return ``(count + 1, count + 1)``: the cost of a stretch by its end and its beginning."""
    sums = np.zeros((3, len(binned_g) + 1))
    np.cumsum((weight, weight * binned_g, weight * binned_g**2), axis=1, out=sums[:, 1:])
    weights, firsts, squares = sums[:, :, None] - sums[:, None, :]
    lengths = np.arange(len(binned_g) + 1.0)
    lengths = np.maximum(lengths[:, None] - lengths[None, :], 1.0)
    # Above the diagonal stretches would end before they begin: nobody asks for them.
    off = squares - firsts**2 / np.where(weights > 0.0, weights, 1.0)
    fits: Floats = 0.5 * INDEPENDENCE * off + STRETCH_COST + SHORT_COST / lengths
    return fits


def _join(levels: list[Level]) -> list[Level]:
    """Join neighbours that do not differ for sure, and the nearest ones of too many."""
    while len(levels) > 1:
        gaps = []
        for one, other in pairwise(levels):
            gap_g = abs(other.mean_g - one.mean_g)
            least_g = _least_g(one, other)
            gaps.append((gap_g >= least_g, gap_g, least_g))
        index = min(range(len(gaps)), key=lambda at: gaps[at][1] / gaps[at][2])
        if gaps[index][0] and len(levels) <= STEPS_MAX + 1:
            break
        one, other = levels[index : index + 2]
        if index == 0:
            joined = one._replace(stop=other.stop)  # It is known best by itself.
        elif gaps[index][0] and index + 2 == len(levels):
            joined = other._replace(first=one.first)  # Nothing of what changed in all is lost.
        else:
            joined = _mean(one, other)
        levels[index : index + 2] = [joined]
    return levels


def _without_touches(levels: list[Level], rows: int) -> list[Level]:
    """Leave out stretches of fewer rows that end where they came from."""
    kept = levels[:2]
    for level in levels[2:]:
        before, touched = kept[-2:]
        back = abs(level.mean_g - before.mean_g) < _least_g(before, level)
        if back and touched.stop - touched.first < rows:
            kept.pop()
        kept.append(level)
    return kept


def _least_g(one: Level, other: Level) -> float:
    """Return the least difference of two levels that is a step, grams."""
    return STEP_LEAST_G + LEAST_SIGMAS * float((one.var_g2 + other.var_g2) ** 0.5)


def _mean(one: Level, other: Level) -> Level:
    share = (one.stop - one.first) / max(one.stop - one.first + other.stop - other.first, 1)
    mean_g = share * one.mean_g + (1.0 - share) * other.mean_g
    return Level(one.first, other.stop, mean_g, max(one.var_g2, other.var_g2))


def half_row(samples_g: Floats, step: PlateStep) -> float:
    """Return the row, and part of one, at which the plate had crossed half of a step for good."""
    low, high = max(step.before.stop - 8, 0), min(step.after.first + 8, len(samples_g))
    # A step of little more than the noise needs a mean; a symmetrical one moves no crossing.
    width = 3 if abs(step.delta_g) > 20.0 * step.sigma_g else 7
    part = samples_g[low:high]
    if len(part) > width:
        part = np.convolve(np.pad(part, width // 2, mode="edge"), np.ones(width) / width, "valid")
    crossed = (part - step.before.mean_g) / step.delta_g - 0.5
    short = np.flatnonzero(crossed < 0.0)
    if not len(short):
        return float(low)
    at = int(short[-1])
    if at + 1 >= len(part):
        return float(low + at)
    return float(low + at - crossed[at] / (crossed[at + 1] - crossed[at]))
