# SPDX-License-Identifier: Apache-2.0
"""When to send again what lacks its acknowledgement, while the link holds.

A pure state machine, part of the uplink's. All is sent again once; after that one window of the
oldest rows, since an acknowledgement counts without a gap, and one of the others in their turn: a
long backlog is not sent again and again to somebody who is away.
"""

from typing import Final

SECOND_NS: Final = 1_000_000_000
REPEAT_MIN_NS: Final = 5 * SECOND_NS  # Between two repetitions that an acknowledgement asked for.


class Repeats:
    """Knows since when nothing came forward, and what was done about it."""

    def __init__(self, patience_ns: int) -> None:
        """Begin without anything sent.

        Args:
            patience_ns: How long an acknowledgement may take.
        """
        self._patience_ns = patience_ns
        self._progress_ns = 0
        self._fruitless = 0
        self._at_ns: int | None = None
        self._before_ns: int | None = None

    def begin(self, now_ns: int) -> None:
        """Begin anew: on a fresh connection, or because an acknowledgement brought news."""
        self._progress_ns = now_ns
        self._fruitless = 0
        self._at_ns = None

    def moved(self, now_ns: int) -> None:
        """Note that a row went out, or was taken by the broker."""
        self._progress_ns = max(self._progress_ns, now_ns)

    def asked(self, now_ns: int) -> None:
        """Take an acknowledgement without news for what it is: the integrator began anew.

        It says after each birth and each start what it has; that it lacks what was sent means
        that this never arrived. What is under way gets a second to be acknowledged first.
        """
        at_ns = now_ns + SECOND_NS
        if self._before_ns is not None:
            longest_ns = max(self._patience_ns, REPEAT_MIN_NS)
            pause_ns = min(longest_ns, REPEAT_MIN_NS << min(max(self._fruitless - 1, 0), 8))
            at_ns = max(at_ns, self._before_ns + pause_ns)
        if self._at_ns is None:
            self._at_ns = at_ns

    def due_ns(self) -> int:
        """Return when to send again, if something lacks its acknowledgement then."""
        due_ns = self._progress_ns + self._patience_ns
        return due_ns if self._at_ns is None else min(due_ns, self._at_ns)

    def repeated(self, now_ns: int) -> bool:
        """Note that rows are sent again; return whether it is all of them."""
        everything = not self._fruitless
        self._fruitless += 1
        self._at_ns = None
        self._before_ns = now_ns
        self._progress_ns = now_ns
        return everything
