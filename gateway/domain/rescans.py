# SPDX-License-Identifier: Apache-2.0
"""A code that stays before a scanner is one scan, however often it is read."""

from typing import Final

RECENT_MAX: Final = 16
"""Codes remembered, to tell a repeat from a new scan."""


class Repeats:
    """Tells a code that is still before the scanner from one that is shown anew."""

    def __init__(self, window_ns: int) -> None:
        """Begin with nothing seen.

        Args:
            window_ns: A code again within this long of its last reading is a repeat.
        """
        self._window_ns = window_ns
        self._seen_ns: dict[bytes, int] = {}

    def is_one(self, data: bytes, now_ns: int) -> bool:
        """Mark a code as read now; tell whether it is a repeat."""
        before_ns = self._seen_ns.pop(data, None)
        self._seen_ns[data] = now_ns
        if len(self._seen_ns) > RECENT_MAX:
            del self._seen_ns[next(iter(self._seen_ns))]
        return before_ns is not None and now_ns - before_ns < self._window_ns
