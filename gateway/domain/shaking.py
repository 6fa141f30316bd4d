# SPDX-License-Identifier: Apache-2.0
"""How much a gondola trembles: what footsteps, knocks and hands at work do to all its plates alike.

Shelves of one gondola shake together. A shelf of few plates cannot tell a tremble from a hand on
one of them; with the other shelves of its gondola it can. Where a shelf trembles more than the
gondola, its own plates count.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gateway.domain.middle import median
from gateway.domain.shelf_state import ShelfState

Floats = NDArray[np.float64]

PLATES_MIN: Final = 4
"""Of fewer plates a tremble cannot be told from a hand on one of them."""
LATEST_NS: Final = 500_000_000
"""What another shelf last said is used for so long: its blocks come at other times."""
SMOOTHED_BINS: Final = 5


def shake_now_g2(state: ShelfState, beside: Sequence[ShelfState]) -> float:
    """Return the variance by which most plates tremble more than they use to, in the latest window.

    Args:
        state: A shelf.
        beside: The other shelves of its gondola.
    """
    felt = [state.excess_g2]
    felt += [
        one.excess_g2
        for one in beside
        if one.excess_g2.size and abs(one.end_ns - state.end_ns) <= LATEST_NS
    ]
    own = _most(state.excess_g2)
    return max(own, _most(np.concatenate(felt))) if len(felt) > 1 else own


def _most(excess_g2: Floats) -> float:
    known = excess_g2[np.isfinite(excess_g2)]
    enough = len(excess_g2) >= PLATES_MIN and len(known)
    return max(float(median(known)), 0.0) if enough else 0.0


def shaken_g2(
    state: ShelfState, beside: Sequence[ShelfState], first: int, rows: int, bins: int
) -> Floats:
    """Return ``(bins,)`` variance by which most plates trembled, in bins to the end of the window.

    Args:
        state: A shelf.
        beside: The other shelves of its gondola.
        first: Row of the window from which on it is asked.
        rows: Samples in a bin.
        bins: So many; 0 for those before ``first``.
    """
    part, at_ns = state.window[first:], state.at_ns[first:]
    skipped = len(part) % rows
    part, at_ns = part[skipped:], at_ns[skipped:]
    if rows < 2 or not len(part):
        return np.zeros(bins)
    plates = part.shape[1]
    excess_g2 = part.reshape(-1, rows, plates).var(axis=1) - 2.0 * state.sigma_g**2
    own_g2 = median(np.nan_to_num(excess_g2), axis=1)
    edges_ns = np.append(at_ns[::rows], at_ns[-1] + 1)
    others = [_excess_g2(one, edges_ns, own_g2) for one in beside if len(one.window)]
    if plates < PLATES_MIN:
        own_g2 = np.zeros(len(own_g2))
    if others and plates + sum(one.shape[1] for one in others) >= PLATES_MIN:
        every_g2 = np.concatenate([np.nan_to_num(excess_g2), *others], axis=1)
        own_g2 = np.maximum(own_g2, median(every_g2, axis=1))
    shake_g2 = np.maximum(own_g2, 0.0)
    if len(shake_g2) >= SMOOTHED_BINS:
        shake_g2 = np.convolve(shake_g2, np.ones(SMOOTHED_BINS) / SMOOTHED_BINS, "same")
    return np.concatenate((np.zeros(max(bins - len(shake_g2), 0)), shake_g2))[-bins:]


def _excess_g2(one: ShelfState, edges_ns: NDArray[np.int64], missing_g2: Floats) -> Floats:
    """Return ``(bins, plates)`` variance beyond the noise of a shelf's plates, bin by bin.

    Args:
        one: A shelf.
        edges_ns: ``(bins + 1,)`` where the bins begin, and where the last one ends.
        missing_g2: ``(bins,)`` for bins in which it has said nothing yet, or no more.
    """
    rows = np.searchsorted(one.at_ns, edges_ns)
    count = np.diff(rows)
    off_g = np.nan_to_num(one.window - one.reference_g)
    sums = np.zeros((2, len(off_g) + 1, off_g.shape[1]))
    np.cumsum(off_g, axis=0, out=sums[0, 1:])
    np.cumsum(off_g * off_g, axis=0, out=sums[1, 1:])
    first, second = (sums[:, rows[1:]] - sums[:, rows[:-1]]) / np.maximum(count, 1)[:, None]
    excess_g2: Floats = second - first**2 - 2.0 * one.sigma_g**2
    return np.where((count >= 2)[:, None], np.nan_to_num(excess_g2), missing_g2[:, None])
