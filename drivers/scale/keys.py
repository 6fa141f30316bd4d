# SPDX-License-Identifier: Apache-2.0
"""A key of a scale that is to be pressed, and whoever waits for what becomes of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Outcome = Literal["done", "refused", "unknown"]
"""``unknown``: no answer came, so it may have been done."""


@dataclass(frozen=True, slots=True)
class KeyPress:
    """One press."""

    key: Literal["zero", "tare"]
    answer: Callable[[str | None], None]
    """Called once: with None when it is done, or with why not, in words with a remedy."""


WORDS: dict[Outcome, str | None] = {
    "done": None,
    "refused": "the scale refused: it moves, or has too much on it. Empty it and try again",
    "unknown": "the scale did not say whether it was done. Compare its display",
}
