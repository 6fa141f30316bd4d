# SPDX-License-Identifier: Apache-2.0
"""What is remembered of a shelf's plates between blocks."""

import msgspec
import numpy as np

from gateway.domain.episodes import PlateChange


class ShelfState(msgspec.Struct):
    """What is remembered of a shelf with ``p`` plates between blocks. Arrays are ``(p,)``."""

    window: np.ndarray
    """``(n, p)`` latest samples, grams: as far back as the oldest movement, and no further."""
    at_ns: np.ndarray
    """``(n,)`` when they were taken."""
    reference_g: np.ndarray
    """NaN until stable once."""
    reference_var_g2: np.ndarray
    """Variance of ``reference_g``."""
    sigma_g: np.ndarray
    """Noise of one sample; NaN until the first window."""
    slow_g: np.ndarray
    """Noise of a whole window's mean."""
    sway_g: np.ndarray
    """Standard deviation of the means of a window's parts while the plate is calm."""
    moving: np.ndarray
    away: np.ndarray
    """It has been off its reference since it started to move."""
    since_ns: np.ndarray
    settled_ns: np.ndarray
    """When it last did."""
    quiet_ns: np.ndarray
    """Since when a moving plate's windows have agreed; 0: they do not."""
    unwatched: np.ndarray
    good_ns: np.ndarray
    """Until when it was weighed: end of its latest window with all values."""
    learnt_ns: int = 0
    """When noise was last learnt."""
    end_ns: int = 0
    period_ns: int = 0
    pending: list[PlateChange] = []
    excess_g2: np.ndarray = msgspec.field(default_factory=lambda: np.empty(0))
    """By how much the variance of the latest window is beyond the plates' noise and sway."""


def new_shelf(plates: int) -> ShelfState:
    """Return the state of a shelf of which nothing is known."""
    return ShelfState(
        window=np.empty((0, plates)),
        at_ns=np.empty(0, dtype=np.int64),
        reference_g=np.full(plates, np.nan),
        reference_var_g2=np.ones(plates),
        sigma_g=np.full(plates, np.nan),
        slow_g=np.full(plates, np.nan),
        sway_g=np.full(plates, np.nan),
        moving=np.ones(plates, dtype=bool),
        away=np.ones(plates, dtype=bool),
        since_ns=np.zeros(plates, dtype=np.int64),
        settled_ns=np.zeros(plates, dtype=np.int64),
        quiet_ns=np.zeros(plates, dtype=np.int64),
        unwatched=np.zeros(plates, dtype=bool),
        good_ns=np.zeros(plates, dtype=np.int64),
    )
