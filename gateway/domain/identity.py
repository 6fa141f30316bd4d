# SPDX-License-Identifier: Apache-2.0
"""Who a track is: what bodies look like, and whether two tracks go on with each other's body.

An appearance is a list of numbers from the tracker. What it scatters by, from look to look and from
body to body, is learned here; a camera's own light is in the templates, which are kept by camera.
Looks that follow each other share their error: only about one in ``LOOK_NS`` is a new one.
"""

from collections.abc import Sequence
from math import dist, inf, log, pi
from typing import Final, NamedTuple

import msgspec

LOOK_NS: Final = 800_000_000
"""Time between two looks whose errors have nothing to do with each other."""
FIRST_NS: Final = 100_000_000
"""What the first look of a track counts for."""
LOOKS_MAX: Final = 30.0
"""A template follows slowly: it never counts for more looks than this."""
KNOWN: Final = 2.0
"""Looks that a template needs before it is kept from those that may be of another body."""
LIGHT: Final = 0.5
"""Variance between cameras of what one body looks like, as a part of a look's."""
NOISE2: Final = 0.1
APART2: Final = 0.2
"""Squared distance of a look from its body's template, and of two bodies, until learned."""
LEARN_LOOKS: Final = 5.0
LEARN_LOOKS_MAX: Final = 2_000.0
"""Looks that the first guesses of these count for, and the most that what was learned does."""
SCALED: Final = 2.0
"""Looks by which the first guess must have been mended: every tracker has its own scale."""
LOOK_MAX: Final = 1e6
"""A greater number is no appearance."""
FIT_MAX: Final = 12.0
"""One look never says more than this, as a logarithm of a likelihood ratio."""


class Look(msgspec.Struct):
    """What a body looks like to one camera: a running mean, and how many looks it is of."""

    mean: list[float]
    looks: float

    def learn(self, seen: Sequence[float], looks: float) -> None:
        """Take in a look that counts for this many."""
        share = looks / (self.looks + looks)
        self.mean = [old + share * (new - old) for old, new in zip(self.mean, seen, strict=True)]
        self.looks = min(self.looks + looks, LOOKS_MAX)


Looks = dict[str, Look]
"""A body's templates by camera."""


class Scatter(msgspec.Struct):
    """By how much appearances differ, as squared distances: learned from everybody."""

    noise2: float = NOISE2
    """Of a look from its body's true appearance."""
    noise_looks: float = LEARN_LOOKS
    apart2: float = APART2
    """Of two bodies."""
    apart_looks: float = LEARN_LOOKS

    @property
    def known(self) -> bool:
        """Whether enough was seen to judge by; until then looks say nothing."""
        return self.noise_looks >= LEARN_LOOKS + SCALED

    def learn(self, looks: Looks, camera: str, seen: Sequence[float], count: float) -> None:
        """Take in a look of a known body: in its template, and in what looks scatter by."""
        known = looks.get(camera)
        if known is None or len(known.mean) != len(seen):
            looks[camera] = Look(list(seen), count)
            return
        if known.looks > 2 * KNOWN:
            found2 = dist(seen, known.mean) ** 2 / (1.0 + 1.0 / known.looks)
            self.noise2 += (found2 - self.noise2) * count / (self.noise_looks + count)
            self.noise_looks = min(self.noise_looks + count, LEARN_LOOKS_MAX)
        known.learn(seen, count)

    def compare(self, one: Looks, other: Looks, camera: str) -> None:
        """Learn from two bodies seen at once how much bodies differ."""
        mine, theirs = one.get(camera), other.get(camera)
        if mine is None or theirs is None or len(mine.mean) != len(theirs.mean):
            return
        if min(mine.looks, theirs.looks) > KNOWN:
            found2 = dist(mine.mean, theirs.mean) ** 2
            self.apart2 += (found2 - self.apart2) / (self.apart_looks + 1.0)
            self.apart_looks = min(self.apart_looks + 1.0, LEARN_LOOKS_MAX)

    def fit(self, looks: Looks, camera: str, seen: Sequence[float] | None) -> float | None:
        """Return the log-likelihood ratio of a look being of this body and not of any other.

        None where nothing can be said.
        """
        if not seen or not self.known:
            return None
        expected = _expected(looks, camera, len(seen))
        if expected is None:
            return None
        return max(self._ratio(expected, Look(list(seen), 1.0)), -FIT_MAX)

    def match(self, one: Looks, other: Looks, camera: str) -> float | None:
        """Return the same of all that a camera saw of one and all that is known of another."""
        mine = one.get(camera)
        if mine is None or mine.looks < 1.0 or not self.known:
            return None
        theirs = _expected(other, camera, len(mine.mean))
        return self._ratio(mine, theirs) if theirs is not None else None

    def _ratio(self, one: Look, other: Look) -> float:
        """Return the log-likelihood ratio of two templates being of one body."""
        found2 = dist(one.mean, other.mean) ** 2
        noise2 = max(self.noise2, 1e-9) * (1.0 / one.looks + 1.0 / other.looks)
        apart2 = noise2 + max(self.apart2, 1e-9)
        half = len(one.mean) / 2
        return half * (log(apart2 / noise2) - found2 / noise2 + found2 / apart2)


def _expected(looks: Looks, camera: str, size: int) -> Look | None:
    """Return a body's template for a camera; what others saw helps where it saw little itself."""
    own = looks.get(camera)
    if own is not None and len(own.mean) != size:
        own = None
    others = [look for name, look in looks.items() if name != camera and len(look.mean) == size]
    if not others or (own is not None and own.looks > 4.0 / LIGHT):
        return own
    total = sum(look.looks for look in others)
    mean = [sum(look.looks * look.mean[n] for look in others) / total for n in range(size)]
    # All together they are worth a few looks of this camera: its light is another.
    worth = 1.0 / (LIGHT + 1.0 / total)
    if own is None:
        return Look(mean, worth)
    together = own.looks + worth
    return Look(
        [
            (own.looks * mine + worth * theirs) / together
            for mine, theirs in zip(own.mean, mean, strict=True)
        ],
        together,
    )


def spread_density(distance_mm: float, sigma_mm: float) -> float:
    """Return the logarithm of a normal density on the floor, per square metre."""
    sigma_m = sigma_mm / 1_000.0
    return -log(2 * pi * sigma_m**2) - 0.5 * (distance_mm / sigma_mm) ** 2


def usable(seen: Sequence[float] | None) -> bool:
    """Tell whether numbers are within what can be reckoned with; none at all are."""
    return not seen or (max(seen) < LOOK_MAX and min(seen) > -LOOK_MAX)


def assign(gains: Sequence[Sequence[float]]) -> list[int]:
    """Return a column for each row, no column twice, with the greatest sum of gains.

    Args:
        gains: ``rows x columns``, at least as many columns as rows (Kuhn and Munkres).
    """
    columns = len(gains[0]) if gains else 0
    prices = _Prices([0.0] * (len(gains) + 1), [0.0] * (columns + 1), [0] * (columns + 1))
    for row in range(1, len(gains) + 1):
        _place(gains, prices, row)
    found = [0] * len(gains)
    for column in range(1, columns + 1):
        if prices.row_of[column]:
            found[prices.row_of[column] - 1] = column - 1
    return found


class _Prices(NamedTuple):
    """What rows and columns cost, counted from 1, and which row has each column; 0: none."""

    by_row: list[float]
    by_column: list[float]
    row_of: list[int]


def _place(gains: Sequence[Sequence[float]], prices: _Prices, row: int) -> None:
    """Find a column for one more row; others may move to make room."""
    by_row, by_column, row_of = prices
    count = len(row_of)
    least, came_from, done = [inf] * count, [0] * count, [False] * count
    row_of[0], column = row, 0
    while row_of[column]:
        done[column] = True
        current = row_of[column]
        for one in range(1, count):
            cost = -gains[current - 1][one - 1] - by_row[current] - by_column[one]
            if not done[one] and cost < least[one]:
                least[one], came_from[one] = cost, column
        following = min((one for one in range(1, count) if not done[one]), key=least.__getitem__)
        step = least[following]
        for one in range(count):
            if done[one]:
                by_row[row_of[one]] += step
                by_column[one] -= step
            else:
                least[one] -= step
        column = following
    while column:
        row_of[column] = row_of[came_from[column]]
        column = came_from[column]
