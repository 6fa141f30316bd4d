# SPDX-License-Identifier: Apache-2.0
"""Probabilities as events tell them."""

from typing import Final

LEAST: Final = 1e-4
"""They have four digits."""


def told(probability: float) -> float:
    """Return a probability in four digits: 0 or 1 only if it is just that."""
    if not 0.0 < probability < 1.0:
        return min(max(probability, 0.0), 1.0)
    return min(max(round(probability, 4), LEAST), 1.0 - LEAST)
