# SPDX-License-Identifier: Apache-2.0
"""How long to wait before trying again: one rule for devices, links and publishes."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds to wait before each retry: doubling, capped, jittered, never zero."""

    first_s: float = 0.5
    cap_s: float = 30.0
    jitter: float = 0.5
    """Share of a delay that is left to chance, so that many devices do not retry in step."""

    def delay_s(self, failures: int, random: Callable[[], float]) -> float:
        """Return the wait after this many failures in a row.

        Args:
            failures: Counted from 1.
            random: Draws from ``[0, 1)``.
        """
        assert failures >= 1
        longest_s = min(self.cap_s, self.first_s * 2.0 ** min(failures - 1, 16))
        return longest_s * (1 - self.jitter * random())
