# SPDX-License-Identifier: Apache-2.0
"""How many units of its product stand on a facing: a probability for each number.

What is picked and put back shifts the count; what its plates carry at most bounds it; time blurs
it, for not everything that happens to a shelf is seen.
"""

from collections.abc import Mapping, Sequence
from math import exp, log
from typing import Annotated, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from gateway.domain.goods import Known
from gateway.domain.store import Facing

Floats = NDArray[np.float64]

MANY: Final = 32
"""So many units or more are told apart from fewer, but not from each other."""
FURTHER: Final = 0.93
"""How likely there is one more beside those that are known, where nothing tells."""
EMPTY_G: Final = 25.0
"""How well it is known what an empty plate weighs: a standard deviation."""
OVERHANG: Final = 0.2
"""Part of its goods, and of those beside, that stands across a facing's ends: a standard
deviation."""
OWN_PART: Final = 0.6
"""At least so much of a unit stands on the plates of its own facing."""
STRAYED: Final = 0.6
"""So much of a unit of neighbours' goods may stand on a facing's plates, and no count is wrong."""
ASTRAY: Final = 0.02
"""How likely a count is wrong altogether."""
BLUR_NS: Final = 400 * 3_600_000_000_000
"""After so long without being weighed anew hardly more than a third of a count holds."""
TOTAL_MIN: Final = 1e-12
"""What weighs less likely than this under every count is something else."""
FAR: Final = 10.0
"""Standard deviations beyond which more make no difference."""
WORTH_MAX: Final = 4.0
"""What a facing's count says at most of an explanation, as a logarithm."""


Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Grams = Annotated[float, msgspec.Meta(ge=-1e10, le=1e10)]
"""What plates weigh in a row that can be true: a store file allows 64 times 1e7 on a shelf."""


class Stock(msgspec.Struct, frozen=True):
    """What a facing holds."""

    shares: Annotated[tuple[Share, ...], msgspec.Meta(min_length=1, max_length=MANY + 1)]
    """Probabilities of none, one, two, …; of those that are left out: 0. The last of all stands for
    ``MANY`` or more."""
    carried_g: Grams
    """What its plates carried when that was last settled, without what changes still open moved."""
    at_ns: int = 0
    """When that was, in this start of the daemon."""
    facing: Facing | None = None
    """Of what, and where: another facing that begins with the same plate is counted anew."""

    def array(self, now_ns: int) -> Floats:
        """Return ``(MANY + 1,)`` probabilities as they stand now."""
        shares = np.zeros(MANY + 1)
        shares[: len(self.shares)] = self.shares
        blurred = 1.0 - exp(-max(now_ns - self.at_ns, 0) / BLUR_NS)
        total = shares.sum()
        known = shares / total if total > 0.0 else anything()
        mixed: Floats = (1.0 - blurred) * known + blurred * anything()
        return mixed


def kept(facing: Facing, shares: Floats, carried_g: float, now_ns: int) -> Stock:
    """Return probabilities as they are remembered: rounded, without those of hardly any."""
    rounded = np.round(shares / shares.sum(), 4)
    stop = int(np.flatnonzero(rounded)[-1]) + 1
    return Stock(tuple(rounded[:stop].tolist()), round(carried_g, 1), now_ns, facing)


def between(shares: Floats) -> tuple[int, int]:
    """Return the numbers of units between which the true one is nine times in ten."""
    low, high = np.searchsorted(np.cumsum(shares / shares.sum()), (0.05, 0.95))
    return int(low), min(int(high), MANY)


def anything() -> Floats:
    """Return ``(MANY + 1,)`` probabilities where nothing is known."""
    shares = (1.0 - FURTHER) * np.power(FURTHER, np.arange(MANY + 1), dtype=np.float64)
    shares[MANY] = FURTHER**MANY
    return shares


def counted(carried_g: float, beside_g: float, unit: Known) -> Floats:
    """Return how many units there are by what their plates carry alone.

    Args:
        carried_g: By the plates of the facing.
        beside_g: By those on either side of it.
        unit: What one unit weighs.
    """
    count = np.arange(MANY + 1)
    own_g = count * unit.unit_g
    across_g = OVERHANG * np.hypot(own_g, beside_g)
    sigma_g = np.sqrt(EMPTY_G**2 + across_g**2 + (count * unit.sigma_g) ** 2)
    shares = np.exp(-0.5 * ((carried_g - own_g) / sigma_g) ** 2) / sigma_g
    shares *= anything() * at_most(carried_g, unit.unit_g)
    found = anything()
    if (total := shares.sum()) > TOTAL_MIN:
        found = (1.0 - ASTRAY) * shares / total + ASTRAY * found
    return found


def changed(shares: Floats, units: int) -> Floats:
    """Return the count after so many units came, or went where below 0.

    Who takes what was not thought to be there shows that the count was wrong.
    """
    found = np.zeros(MANY + 1)
    if units >= 0:
        stop = max(MANY + 1 - units, 0)
        found[MANY + 1 - stop :] = shares[:stop]
        found[MANY] += shares[stop:].sum()
        return found
    gone = min(-units, MANY)
    known = (1.0 - ASTRAY) * shares + ASTRAY * anything()
    found[: MANY - gone] = known[gone:MANY]
    # What of many is left is many, or some of the numbers below it.
    left = FURTHER ** np.arange(gone + 1)
    left[:gone] *= 1.0 - FURTHER
    found[MANY - gone :] += known[MANY] * left
    shifted: Floats = found / found.sum()
    return shifted


def mixed(shares: Floats, gone: Mapping[int, float]) -> Floats:
    """Return the count after a change of which it is not certain what it was.

    Args:
        shares: The count before.
        gone: How likely so many units went; below 0: came.
    """
    total = sum(gone.values())
    found = np.zeros(MANY + 1)
    for units, share in gone.items():
        found += share / total * (changed(shares, -units) if units else shares)
    return found


def beyond(units: int, carried_g: float, unit_g: float) -> bool:
    """Tell whether plates carry clearly more than so many units: then there are more."""
    return units < MANY and carried_g > unit_g * (STRAYED + (1.0 + OVERHANG) * units)


def at_most(carried_g: float, unit_g: float) -> Floats:
    """Return ``(MANY + 1,)`` how likely plates carry no more under each number of units."""
    return np.array([_carries(units, carried_g, unit_g) for units in range(MANY + 1)])


def worth(
    shares: Sequence[float], carried_g: float, unit_g: float, taken: tuple[int, int]
) -> float:
    """Return the logarithm of how likely a facing could give what was taken, and weigh that now.

    Args:
        shares: How many units it held before, as :meth:`Stock.array` has it.
        carried_g: What its plates carry now.
        unit_g: What one unit weighs.
        taken: Units taken since, less those put back: by now, and at most at any moment.
    """
    now, most = taken
    likely = sum(
        shares[count] * _carries(min(count - now, MANY), carried_g, unit_g)
        for count in range(max(most, now, 0), MANY + 1)
        if shares[count] > 0.0
    )
    return log(max(likely, exp(-WORTH_MAX)))


def _carries(units: int, carried_g: float, unit_g: float) -> float:
    """Return how likely plates carry no more under so many units."""
    short = (OWN_PART * unit_g * units - carried_g) / EMPTY_G
    return 1.0 if short <= 0.0 else max(exp(-0.5 * min(short, FAR) ** 2), exp(-WORTH_MAX))
