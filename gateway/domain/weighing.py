# SPDX-License-Identifier: Apache-2.0
"""From noisy samples to settled changes, all plates of a shelf at once.

A plate has a reference, the weight at which it was last stable. It starts to move when it leaves
the reference or becomes restless, and settles when half a second of samples agree again. What lies
between is cut into stable stretches and steps; each step is a change. Slow drift moves the
reference silently.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gateway.domain.episodes import (
    FAINT_G,
    NEAR_NS,
    NEAR_PLATES,
    TRIFLE_WAIT_NS,
    PlateChange,
    ShelfChange,
    comes_to_nothing,
    episodes,
    is_trifle,
    net,
)
from gateway.domain.middle import median
from gateway.domain.segments import (
    LEAST_SIGMAS,
    MISSING_MAX,
    STEP_LEAST_G,
    Level,
    Noise,
    bin_rows,
    bridged,
    find_steps,
    half_row,
    median_of_three,
)
from gateway.domain.shaking import shake_now_g2, shaken_g2
from gateway.domain.shelf_state import ShelfState, new_shelf

__all__ = [
    "PlateChange",
    "ShelfChange",
    "ShelfState",
    "complete",
    "look_away",
    "net",
    "new_shelf",
    "weigh",
]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

WINDOW_NS: Final = 500_000_000
"""How long samples must agree before a plate is stable."""
WINDOW_SAMPLES_MIN: Final = 5
WINDOW_SAMPLES_MAX: Final = 120
PARTS: Final = 4
"""Means over these parts of the window tell a plate that sways from one that is still."""
HISTORY_NS: Final = 12_000_000_000
"""Of a longer movement the beginning is forgotten."""
HISTORY_SAMPLES_MAX: Final = 900
ENDLESS_NS: Final = 12_000_000_000
"""Nobody holds a thing on a plate for longer: it has become noisy."""
BEFORE_NS: Final = 400_000_000
"""How much before a movement is looked at with it."""
OTHER_RATE: Final = 0.3
"""A period that differs by a greater part is another rate; one that firmware measures varies."""
HOLE_NS_MAX: Final = 500_000_000
"""Samples further apart than this do not belong to one window."""
HOLE_NS_MIN: Final = 60_000_000
"""What is missing for longer leaves open when a weight changed meanwhile."""
SIGMA_MIN_G: Final = 0.3
SIGMA_MAX_G: Final = 15.0
SHAKE_MAX_G2: Final = 25.0
"""A shelf that trembles by more has to calm down before anything on it is stable."""
SLOW_MIN_G: Final = 0.15
SWAY_MIN_G: Final = 0.1
SWAY_TIMES: Final = 2.0
SWAY_G: Final = 0.2
"""A plate that sways by so many times as much as it uses to, and this, is not still."""
MISSED_G2: Final = 2.5
"""Variance that a plate's reference gains by a movement in which no step was found."""
LEAVE_G: Final = STEP_LEAST_G
"""Least departure from the reference that is movement; grows with the plate's noise."""
GROWTH_PER_S: Final = 0.25
"""How fast a restless plate's noise grows, as a part of it."""
LEARN_S: Final = 4.0
"""Time constant with which a calm plate's noise is learnt."""
LEARN_NS: Final = 600_000_000
"""How often."""
DRIFT_G2_PER_S: Final = 0.1
"""Variance that a plate's zero gains in a second."""
SLOW_S: Final = 1.0
"""Means closer in time than this tell nothing new of a plate's weight."""
RESTLESS_NS: Final = 1_500_000_000
"""What moved for longer may be a hand that rests: it has to be still for longer, too."""
RESTED_NS: Final = 400_000_000
"""How much longer."""
FAINT_WAIT_NS: Final = 1_000_000_000
"""How long a settled change waits for a neighbour that moves as little."""
GROUP_WAIT_NS: Final = 6_000_000_000
"""How long a settled change waits for a neighbour that still moves."""
NEVER_NS: Final = 2**63 - 1
"""Later than anything."""


class _Look(NamedTuple):
    """What a shelf's latest window says. Arrays are ``(p,)``, NaN where a value is missing."""

    smooth: Floats
    """``(n, p)`` without single odd samples."""
    mean_g: Floats
    last_g: Floats
    """Mean of its second half."""
    spread_g2: Floats
    """Variance."""
    sway_g2: Floats
    """Variance of the means of its parts."""


def look_away(state: ShelfState, since_ns: int) -> list[ShelfChange]:
    """Note that the shelf was not watched since ``since_ns``: what settles next is compared.

    Returns:
        The changes that had settled, and waited only for a neighbour.
    """
    settled = complete(state)
    every = np.ones_like(state.moving)
    _leave(state, every, np.full(len(every), since_ns))
    _forget(state)
    return settled


def _leave(state: ShelfState, plates: Flags, since_ns: NDArray[np.int64]) -> None:
    """Note that plates were not watched since then."""
    known = plates & np.isfinite(state.reference_g)
    begins = known & ~state.moving
    state.since_ns[begins] = since_ns[begins]
    state.moving |= plates
    state.away |= plates
    state.quiet_ns[plates] = 0
    state.unwatched |= known


def _forget(state: ShelfState) -> None:
    state.window, state.at_ns = state.window[:0], state.at_ns[:0]
    state.excess_g2 = state.excess_g2[:0]  # Lest its neighbours take it for a tremble of now.


def weigh(
    state: ShelfState,
    block_g: Floats,
    start_ns: int,
    period_ns: int,
    beside: Sequence[ShelfState] = (),
) -> list[ShelfChange]:
    """Take a block of samples; return the changes that are complete with it.

    Args:
        state: Changed in place.
        block_g: ``(n, p)`` grams; NaN where there is no value.
        start_ns: The gateway's time of the first sample.
        period_ns: From sample to sample.
        beside: The other shelves of its gondola, which tremble with it.
    """
    hole = start_ns - state.end_ns > HOLE_NS_MAX + period_ns
    if hole or abs(period_ns - state.period_ns) > OTHER_RATE * state.period_ns:
        _forget(state)
        state.quiet_ns[:] = 0
        state.period_ns = period_ns
    length = min(max(-(-WINDOW_NS // state.period_ns), WINDOW_SAMPLES_MIN), WINDOW_SAMPLES_MAX)
    _append(state, block_g, start_ns + np.arange(len(block_g)) * period_ns, length, beside)
    if len(state.window) < length:
        return []
    look = _look(state, length)
    there = np.isfinite(look.mean_g)
    # What happened in a hole of its samples began when it was last weighed, not when it is again.
    hole_ns = HOLE_NS_MAX + length * state.period_ns
    back = there & (state.good_ns > 0) & (state.end_ns - state.good_ns > hole_ns)
    if back.any():
        _leave(state, back, state.good_ns)
    state.good_ns[there] = state.end_ns
    elapsed_s = len(block_g) * period_ns / 1e9
    # Comparisons with NaN are false: a plate with a missing value in the window is never quiet.
    quiet = _quiet(state, look, 0.0)
    state.excess_g2 = look.spread_g2 - look.sway_g2 - state.sigma_g**2
    shake_g2 = 0.0
    if not quiet.all():
        shake_g2 = shake_now_g2(state, beside)
        if shake_g2 > 0.0:
            quiet = _quiet(state, look, min(shake_g2, SHAKE_MAX_G2))
    off_g = np.abs(look.last_g - state.reference_g)
    doubt_g2 = state.slow_g**2 + state.reference_var_g2 + 0.05 * min(shake_g2, SHAKE_MAX_G2)
    away = off_g > LEAVE_G + LEAST_SIGMAS * np.sqrt(doubt_g2)
    starts = (away | ~quiet) & ~state.moving & there
    if starts.any():
        _start(state, starts, look)
    if state.moving.any():
        state.away |= state.moving & away
        _settle(state, quiet & state.moving & ~starts, look, beside)
        _grow(state, look, away, shake_g2, elapsed_s)
    _track(state, look, quiet & ~state.moving, elapsed_s)
    if state.end_ns - state.learnt_ns >= LEARN_NS:
        _learn(state, look, away, shake_g2)
    return _complete(state) if state.pending else []


def _quiet(state: ShelfState, look: _Look, shake_g2: float) -> Flags:
    """Tell which plates are as still as they use to be, given how much the shelf trembles."""
    spread_g2 = _usual_g2(state)
    sway_g2 = (SWAY_TIMES * state.sway_g + SWAY_G) ** 2
    if shake_g2:
        spread_g2 += 4.0 * shake_g2
        sway_g2 += 0.3 * shake_g2
    still: Flags = (look.spread_g2 <= spread_g2) & (look.sway_g2 <= sway_g2)
    return still


def _usual_g2(state: ShelfState) -> Floats:
    """Return up to what variance a window is as quiet as its plate uses to be."""
    usual_g2: Floats = (2.5 * state.sigma_g + 0.4) ** 2
    return usual_g2


def _append(
    state: ShelfState,
    block_g: Floats,
    at_ns: NDArray[np.int64],
    length: int,
    beside: Sequence[ShelfState],
) -> None:
    """Add a block to the window; let go what lies before every movement of the gondola."""
    state.end_ns = int(at_ns[-1])
    at_ns = np.concatenate((state.at_ns, at_ns))
    first = len(at_ns) - 4 * length  # A movement, a hole that goes unnoticed, and before it.
    begun_ns = min(_begun_ns(one) for one in (state, *beside))
    if begun_ns < state.end_ns:
        from_ns = max(begun_ns - WINDOW_NS - BEFORE_NS, state.end_ns - HISTORY_NS)
        first = min(int(at_ns.searchsorted(from_ns)), first)
        first = max(first, len(at_ns) - HISTORY_SAMPLES_MAX)
    first = max(first, 0)
    state.window = np.concatenate((state.window, block_g))[first:]
    state.at_ns = at_ns[first:]


def _begun_ns(state: ShelfState) -> int:
    """Return when the oldest movement on a shelf began that is cut into steps once it is over."""
    if not state.moving.any():
        return NEVER_NS
    watched = state.moving & ~state.unwatched & np.isfinite(state.reference_g)
    return int(state.since_ns[watched].min()) if watched.any() else NEVER_NS


def _look(state: ShelfState, length: int) -> _Look:
    """Look at the latest window; learn what is still unknown of the plates' noise."""
    rows_g = state.window[-length - MISSING_MAX :]
    if np.isnan(rows_g).any():
        rows_g = bridged(rows_g)
    smooth = median_of_three(rows_g[-length:])
    unknown = np.isnan(state.slow_g)
    if unknown.any():
        felt_g = _noise_from_differences(smooth)
        state.sigma_g = np.where(np.isnan(state.sigma_g), felt_g, state.sigma_g)
        state.slow_g[unknown] = 0.6 * state.sigma_g[unknown]
        state.sway_g[unknown] = 0.7 * state.sigma_g[unknown]
    count, plates = smooth.shape
    size = count // (parts := min(PARTS, count))
    base_g = smooth[0]
    off_g = smooth[count - parts * size :] - base_g
    parts_g = np.add.reduce(off_g.reshape(parts, size, plates), axis=1) / size
    mean_g = np.add.reduce(parts_g) / parts
    mean_g2 = mean_g * mean_g
    return _Look(
        smooth,
        base_g + mean_g,
        base_g + np.add.reduce(parts_g[parts // 2 :]) / (parts - parts // 2),
        np.einsum("ij,ij->j", off_g, off_g) / len(off_g) - mean_g2,
        np.einsum("ij,ij->j", parts_g, parts_g) / parts - mean_g2,
    )


def _noise_from_differences(smooth: Floats) -> Floats:
    """Estimate noise so that a step or a slope in the window hardly shows in it."""
    # Medians of three share samples, and often are the same one, up to two places apart.
    lag = min(3, len(smooth) - 1)
    differences = np.abs(smooth[lag:] - smooth[:-lag])
    estimate: Floats = np.clip(median(differences, axis=0) * 1.05, SIGMA_MIN_G, SIGMA_MAX_G)
    return estimate


def _start(state: ShelfState, starts: Flags, look: _Look) -> None:
    count = len(look.smooth)
    begin_ns = state.end_ns - (count + 1) * state.period_ns
    for plate in np.flatnonzero(starts):
        limit_g = LEAVE_G + 3.0 * state.sigma_g[plate]
        left = np.abs(look.smooth[:, plate] - state.reference_g[plate]) > limit_g
        index = int(np.argmax(left)) if left.any() else count // 2
        state.since_ns[plate] = begin_ns + index * state.period_ns
    state.moving |= starts
    state.away &= ~starts
    state.quiet_ns[starts] = 0


def _settle(state: ShelfState, quiet: Flags, look: _Look, beside: Sequence[ShelfState]) -> None:
    """Let moving plates settle that have been quiet for long enough."""
    state.quiet_ns[~quiet] = 0
    state.quiet_ns[quiet & (state.quiet_ns == 0)] = state.end_ns
    long = state.quiet_ns - WINDOW_NS - state.since_ns > RESTLESS_NS
    long &= state.away & ~state.unwatched & np.isfinite(state.reference_g)
    settles = quiet & (~long | (state.end_ns - state.quiet_ns >= RESTED_NS))
    for plate in np.flatnonzero(settles):
        if np.isnan(state.reference_g[plate]):
            state.reference_g[plate] = look.mean_g[plate]
            state.reference_var_g2[plate] = state.slow_g[plate] ** 2
        elif state.unwatched[plate]:
            _compare(state, int(plate), look)
        elif not state.away[plate] or not _divide(state, int(plate), beside):
            # It may have moved by less than a step: what follows counts for more.
            state.reference_var_g2[plate] += MISSED_G2
    state.moving &= ~settles
    state.settled_ns[settles] = state.end_ns
    state.unwatched &= ~settles


def _compare(state: ShelfState, plate: int, look: _Look) -> None:
    """Compare with before nobody looked: one change, whatever happened meanwhile."""
    after_g, noise_g = float(look.mean_g[plate]), float(state.sigma_g[plate])
    delta_g = after_g - float(state.reference_g[plate])
    stable_ns = state.end_ns - (len(look.smooth) + 1) * state.period_ns
    since_ns = int(state.since_ns[plate])
    stable_ns = max(stable_ns, since_ns)
    if abs(delta_g) > LEAVE_G + noise_g:
        sigma_g = 0.5 + noise_g * (4.0 / len(look.smooth)) ** 0.5
        change = PlateChange(plate, delta_g, sigma_g, since_ns, stable_ns, after_g, True, stable_ns)
        state.pending.append(change)
    state.reference_g[plate] = after_g
    state.reference_var_g2[plate] = state.slow_g[plate] ** 2


def _divide(state: ShelfState, plate: int, beside: Sequence[ShelfState]) -> bool:
    """Cut a plate's movement into steps; return whether there are any."""
    since_ns = int(state.since_ns[plate])
    known = np.flatnonzero(np.isfinite(state.window[:, plate]))
    begun, first = np.searchsorted(state.at_ns[known], (since_ns, since_ns - BEFORE_NS))
    # Also where samples are missing right before, as many as there would be.
    known = known[max(min(first, begun - BEFORE_NS // state.period_ns), 0) :]
    first, rows_g, at_ns = int(known[0]), state.window[known, plate], state.at_ns[known]
    rows_g, at_ns = median_of_three(rows_g), at_ns[1:-1]
    rows = bin_rows(len(rows_g), state.period_ns)
    noise = Noise(2.0 * float(state.sigma_g[plate]) ** 2, float(state.slow_g[plate]) ** 2)
    before = Level(0, 0, float(state.reference_g[plate]), float(state.reference_var_g2[plate]))
    shake_g2 = shaken_g2(state, beside, first, rows, len(rows_g) // rows)
    np.minimum(shake_g2, SHAKE_MAX_G2, out=shake_g2)  # Hands on most plates are no tremble.
    steps = find_steps(rows_g, shake_g2, noise, before, rows=rows, period_ns=state.period_ns)
    for step in steps:
        begin_ns, stable_ns = int(at_ns[max(step.before.stop - 1, 0)]), int(at_ns[step.after.first])
        half_ns, hole_ns = _when(at_ns, half_row(rows_g, step), state.period_ns)
        change = PlateChange(
            plate=plate,
            delta_g=step.delta_g,
            sigma_g=0.3 + step.sigma_g,
            since_ns=begin_ns,
            stable_ns=max(stable_ns, begin_ns),
            after_g=step.after.mean_g,
            unwatched=False,
            half_ns=min(max(half_ns, begin_ns), max(stable_ns, begin_ns)),
            hole_ns=hole_ns,
        )
        state.pending.append(change)
    if steps:
        state.reference_g[plate] = steps[-1].after.mean_g
        state.reference_var_g2[plate] = steps[-1].after.var_g2
    return bool(steps)


def _when(at_ns: NDArray[np.int64], row: float, period_ns: int) -> tuple[int, int]:
    """Return when a row was taken, or a part of one, and for how long samples are missing there."""
    low = min(int(row), len(at_ns) - 2)
    apart_ns = int(at_ns[low + 1] - at_ns[low])
    hole_ns = apart_ns - period_ns
    if hole_ns <= HOLE_NS_MIN:
        return int(at_ns[low] + (row - low) * apart_ns), 0
    return int(at_ns[low] + 0.5 * apart_ns), hole_ns  # Nothing tells when in between.


def _grow(state: ShelfState, look: _Look, away: Flags, shake_g2: float, elapsed_s: float) -> None:
    """Let a restless plate's noise grow slowly, lest it never settle again.

    Hands sway slowly: only of what trembles in place, or moves for very long, the fast noise grows.
    """
    faster = 1.0 + GROWTH_PER_S * elapsed_s
    known = state.moving & np.isfinite(look.mean_g)
    endless = known & (state.end_ns - state.since_ns > ENDLESS_NS)
    grows = (known & ~away) | endless
    if grows.any():
        noise_g2 = np.maximum(_noise_from_differences(look.smooth) ** 2 - shake_g2, 0.0)
        grown_g = np.minimum(state.sigma_g * faster, np.maximum(np.sqrt(noise_g2), state.sigma_g))
        state.sigma_g[grows] = grown_g[grows]
    smooth = known & (look.spread_g2 <= _usual_g2(state))
    smooth &= state.end_ns - state.since_ns > WINDOW_NS + RESTLESS_NS
    grows = smooth | endless
    if grows.any():
        sway_g = np.sqrt(np.maximum(look.sway_g2, 0.0))
        grown_g = np.minimum(state.sway_g * faster, np.maximum(sway_g, state.sway_g))
        state.sway_g[grows] = grown_g[grows]


def _track(state: ShelfState, look: _Look, calm: Flags, elapsed_s: float) -> None:
    """Follow the drift of calm plates, the faster the surer a window tells it."""
    doubt_g2 = state.reference_var_g2 + DRIFT_G2_PER_S * elapsed_s
    told_g2 = state.slow_g**2 * max(SLOW_S / elapsed_s, 1.0)
    gain = doubt_g2 / (doubt_g2 + told_g2)
    tracked_g = state.reference_g + gain * (look.mean_g - state.reference_g)
    np.copyto(state.reference_g, tracked_g, where=calm)
    np.copyto(state.reference_var_g2, (1.0 - gain) * doubt_g2, where=calm)


def _learn(state: ShelfState, look: _Look, away: Flags, shake_g2: float) -> None:
    """Learn the noise of plates that are where they were, quiet or not."""
    elapsed_s = (state.end_ns - state.learnt_ns) / 1e9
    state.learnt_ns = state.end_ns
    # What moved a moment ago, or what footsteps and hands shake, is not the plates' own noise.
    still = np.isfinite(look.mean_g) & ~away
    still &= state.end_ns - state.settled_ns > 2 * WINDOW_NS
    if shake_g2 > 0.5 or not still.any():
        return
    share = min(elapsed_s / LEARN_S, 0.2)
    for known_g, seen_g2, least_g in (
        (state.sigma_g, look.spread_g2, SIGMA_MIN_G),
        (state.slow_g, _apart_g2(state, look), SLOW_MIN_G),
        (state.sway_g, look.sway_g2, SWAY_MIN_G),
    ):
        most_g2 = np.minimum(9.0 * known_g**2, SIGMA_MAX_G**2)
        likely_g2 = np.clip(seen_g2, least_g**2, most_g2)
        known_g[still] = np.sqrt(known_g**2 + share * (likely_g2 - known_g**2))[still]


def _apart_g2(state: ShelfState, look: _Look) -> Floats:
    """Return by how much the means of the latest two windows differ, squared."""
    length = len(look.smooth) + 2
    before_g = state.window[-2 * length : -length]
    apart_g = look.mean_g - before_g.mean(axis=0) if len(before_g) else np.zeros(len(look.mean_g))
    return np.nan_to_num(apart_g) ** 2


def complete(state: ShelfState) -> list[ShelfChange]:
    """Return the changes that have settled, whether or not a neighbour still moves."""
    return _complete(state, wait=False) if state.pending else []


def _complete(state: ShelfState, *, wait: bool = True) -> list[ShelfChange]:
    """Join pending changes of neighbours; ``wait``: keep back those that may not be over."""
    complete: list[ShelfChange] = []
    pending, state.pending = state.pending, []
    for group in episodes(pending):
        # What a hand leant by says nothing of when something was taken.
        weighty = [change for change in group if abs(change.delta_g) > FAINT_G] or group
        trifle = is_trifle(group)
        if wait and _goes_on(state, weighty, TRIFLE_WAIT_NS if trifle else 0):
            state.pending += group
        elif not (trifle and comes_to_nothing(group)):
            since_ns = min(change.since_ns for change in weighty)
            stable_ns = max(change.stable_ns for change in weighty)
            unwatched = any(change.unwatched for change in group)
            complete.append(ShelfChange(group, since_ns, stable_ns, unwatched))
    return complete


def _goes_on(state: ShelfState, group: list[PlateChange], least_ns: int) -> bool:
    """Tell whether an episode may go on: a plate of it, or one near, is on the move."""
    last_ns = max(change.stable_ns for change in group)
    if (waited_ns := state.end_ns - last_ns) < least_ns:
        return True
    near = np.zeros_like(state.moving)
    for change in group:
        near[max(change.plate - NEAR_PLATES, 0) : change.plate + NEAR_PLATES + 1] = True
    still = near & state.moving & state.away & (state.since_ns < last_ns + NEAR_NS)
    if waited_ns >= FAINT_WAIT_NS and len(state.window):
        # A unit may lean on a plate with as little: what is about to settle is waited for.
        still &= (np.abs(state.window[-1] - state.reference_g) > FAINT_G) | (state.quiet_ns > 0)
    return waited_ns < GROUP_WAIT_NS and bool(still.any())
