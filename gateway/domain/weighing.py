# SPDX-License-Identifier: Apache-2.0
"""From noisy samples to settled changes, all plates of a shelf at once.

A plate has a reference, the weight at which it was last stable. It starts to move when it leaves
the reference or becomes restless, and settles when half a second of samples agree again; the
difference of the two stable stretches is the change. Slow drift moves the reference silently.
"""

from typing import Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

WINDOW_NS: Final = 500_000_000
"""How long samples must agree before a plate is stable."""
WINDOW_SAMPLES_MIN: Final = 5
WINDOW_SAMPLES_MAX: Final = 120
HOLE_NS_MAX: Final = 500_000_000
"""Samples further apart than this do not belong to one window."""
SIGMA_MIN_G: Final = 0.3
SIGMA_MAX_G: Final = 15.0
LEAVE_G: Final = 2.5
"""Least departure from the reference that is movement; grows with the plate's noise."""
GROUP_WAIT_NS: Final = 2_500_000_000
"""How long a settled change waits for a neighbour that still moves."""


class PlateChange(NamedTuple):
    """One plate went from one stable weight to another."""

    plate: int
    """Index in the shelf's plate order."""
    delta_g: float
    sigma_g: float
    """Standard deviation of ``delta_g`` from the noise of both stretches."""
    since_ns: int
    stable_ns: int
    """Start of the stable stretch behind the movement."""
    after_g: float
    """The weight it is stable at now."""
    unwatched: bool
    """The plate was not weighed throughout: a gap or a lost device lies in between."""


class ShelfChange(NamedTuple):
    """Changes of neighbouring plates that overlap in time."""

    plates: list[PlateChange]
    since_ns: int
    stable_ns: int
    unwatched: bool


class ShelfState(msgspec.Struct):
    """What is remembered of a shelf with ``p`` plates between blocks. Arrays are ``(p,)``."""

    window: np.ndarray
    """``(n, p)`` latest samples, grams."""
    reference_g: np.ndarray
    """NaN until stable once."""
    sigma_g: np.ndarray
    """Noise of one sample; NaN until the first window."""
    moving: np.ndarray
    since_ns: np.ndarray
    unwatched: np.ndarray
    end_ns: int = 0
    period_ns: int = 0
    pending: list[PlateChange] = []


def new_shelf(plates: int) -> ShelfState:
    """Return the state of a shelf of which nothing is known."""
    return ShelfState(
        window=np.empty((0, plates)),
        reference_g=np.full(plates, np.nan),
        sigma_g=np.full(plates, np.nan),
        moving=np.ones(plates, dtype=bool),
        since_ns=np.zeros(plates, dtype=np.int64),
        unwatched=np.zeros(plates, dtype=bool),
    )


def look_away(state: ShelfState, since_ns: int) -> list[ShelfChange]:
    """Note that the shelf was not watched since ``since_ns``: what settles next is compared.

    Returns:
        The changes that had settled, and waited only for a neighbour.
    """
    settled = complete(state)
    known = np.isfinite(state.reference_g)
    state.since_ns[known & ~state.moving] = since_ns
    state.moving[:] = True
    state.unwatched |= known
    state.window = state.window[:0]
    return settled


def weigh(state: ShelfState, block_g: Floats, start_ns: int, period_ns: int) -> list[ShelfChange]:
    """Take a block of samples; return the changes that are complete with it.

    Args:
        state: Changed in place.
        block_g: ``(n, p)`` grams; NaN where there is no value.
        start_ns: The gateway's time of the first sample.
        period_ns: From sample to sample.
    """
    length = min(max(-(-WINDOW_NS // period_ns), WINDOW_SAMPLES_MIN), WINDOW_SAMPLES_MAX)
    hole = start_ns - state.end_ns > HOLE_NS_MAX + period_ns
    if period_ns != state.period_ns or (hole and state.period_ns):
        state.window = state.window[:0]
        state.period_ns = period_ns
    state.end_ns = start_ns + (len(block_g) - 1) * period_ns
    state.window = np.concatenate((state.window, block_g))[-length:]
    if len(state.window) < length:
        return []
    smooth = _median_of_three(state.window)
    half = len(smooth) // 2
    first_g, last_g = smooth[:half].mean(axis=0), smooth[half:].mean(axis=0)
    mean_g, spread_g = smooth.mean(axis=0), smooth.std(axis=0)
    unknown = np.isnan(state.sigma_g)
    if unknown.any():
        estimate = _noise_from_differences(smooth)
        state.sigma_g = np.where(unknown, estimate, state.sigma_g)
    sigma_g = state.sigma_g
    # Comparisons with NaN are false: a plate with a missing value in the window is never quiet.
    quiet = (spread_g <= 2.5 * sigma_g + 0.4) & (np.abs(last_g - first_g) <= 1.5 * sigma_g + 0.8)
    away = np.abs(last_g - state.reference_g) > LEAVE_G + 3.0 * sigma_g
    starts = ~state.moving & (~quiet | away) & np.isfinite(mean_g)
    if starts.any():
        _start(state, starts, smooth)
    settles = state.moving & quiet & ~starts
    if settles.any():
        _settle(state, settles, mean_g, len(smooth))
    _track(state, smooth, quiet & ~state.moving, mean_g, spread_g)
    return _complete(state) if state.pending else []


def _median_of_three(window: Floats) -> Floats:
    """Return ``(n - 2, p)``: one odd sample among its neighbours vanishes."""
    a, b, c = window[:-2], window[1:-1], window[2:]
    middle: Floats = np.maximum(np.minimum(a, b), np.minimum(np.maximum(a, b), c))
    return middle


def _noise_from_differences(smooth: Floats) -> Floats:
    """Estimate noise so that a step or a slope in the window hardly shows in it."""
    differences = np.abs(smooth[2:] - smooth[:-2])
    estimate: Floats = np.clip(np.median(differences, axis=0) * 1.05, SIGMA_MIN_G, SIGMA_MAX_G)
    return estimate


def _start(state: ShelfState, starts: NDArray[np.bool_], smooth: Floats) -> None:
    begin_ns = state.end_ns - (len(smooth) + 1) * state.period_ns
    for plate in np.flatnonzero(starts):
        limit_g = LEAVE_G + 3.0 * state.sigma_g[plate]
        left = np.abs(smooth[:, plate] - state.reference_g[plate]) > limit_g
        index = int(np.argmax(left)) if left.any() else len(smooth) // 2
        state.since_ns[plate] = begin_ns + index * state.period_ns
    state.moving |= starts


def _settle(state: ShelfState, settles: NDArray[np.bool_], mean_g: Floats, count: int) -> None:
    stable_ns = state.end_ns - (count + 1) * state.period_ns
    for plate in np.flatnonzero(settles):
        delta_g = float(mean_g[plate] - state.reference_g[plate])
        noise_g = float(state.sigma_g[plate])
        if abs(delta_g) > LEAVE_G + noise_g:  # False for NaN: the first time there is no change.
            state.pending.append(
                PlateChange(
                    plate=int(plate),
                    delta_g=delta_g,
                    sigma_g=0.5 + noise_g * (4.0 / count) ** 0.5,
                    since_ns=int(state.since_ns[plate]),
                    stable_ns=max(stable_ns, int(state.since_ns[plate])),
                    after_g=float(mean_g[plate]),
                    unwatched=bool(state.unwatched[plate]),
                )
            )
    state.reference_g[settles] = mean_g[settles]
    state.moving &= ~settles
    state.unwatched &= ~settles


def _track(
    state: ShelfState, smooth: Floats, calm: NDArray[np.bool_], mean_g: Floats, spread_g: Floats
) -> None:
    """Follow drift and noise of calm plates; let a restless plate's noise grow slowly."""
    step_g = np.clip(0.05 * (mean_g - state.reference_g), -0.1, 0.1)
    state.reference_g[calm] += step_g[calm]
    state.sigma_g[calm] += 0.05 * (np.maximum(spread_g, SIGMA_MIN_G) - state.sigma_g)[calm]
    restless = state.moving & np.isfinite(mean_g)
    if restless.any():
        noise_g = _noise_from_differences(smooth)
        grown_g = np.minimum(state.sigma_g * 1.05, np.maximum(noise_g, state.sigma_g))
        state.sigma_g[restless] = grown_g[restless]


def complete(state: ShelfState) -> list[ShelfChange]:
    """Return the changes that have settled, whether or not a neighbour still moves."""
    return _complete(state, wait=False) if state.pending else []


def _complete(state: ShelfState, *, wait: bool = True) -> list[ShelfChange]:
    """Join pending changes of neighbours; ``wait``: keep back those whose neighbour still moves."""
    groups: list[list[PlateChange]] = []
    for change in sorted(state.pending, key=lambda change: change.plate):
        if groups and change.plate - groups[-1][-1].plate <= 1:
            groups[-1].append(change)
        else:
            groups.append([change])
    complete: list[ShelfChange] = []
    state.pending = []
    for group in groups:
        stable_ns = max(change.stable_ns for change in group)
        low, high = max(group[0].plate - 1, 0), group[-1].plate + 2
        still = state.moving[low:high] & (state.since_ns[low:high] < stable_ns)
        if wait and still.any() and state.end_ns - stable_ns < GROUP_WAIT_NS:
            state.pending.extend(group)
            continue
        complete.append(
            ShelfChange(
                plates=group,
                since_ns=min(change.since_ns for change in group),
                stable_ns=stable_ns,
                unwatched=any(change.unwatched for change in group),
            )
        )
    return complete
