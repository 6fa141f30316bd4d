# SPDX-License-Identifier: Apache-2.0
"""What was sent at least once: only that can be acknowledged.

A pure part of the uplink's state machine. Live events pass the backlog, and a notice about what was
given up has a new sequence and an old place, so sequences go out with gaps. What was never sent can
have been stored by nobody: an integrator that acknowledges the last event that it saw, and not the
last before a gap, takes nothing off the list. That holds for this process' epoch alone, since what
was sent before a restart is known to nobody here.

Nothing is forgotten, or what is true could be refused. It is bounded all the same: of this epoch at
least one event waits between two ranges, and of earlier ones each range waited at the start. That
are a million events at most each (``room.Limits``), and a range takes 16 bytes.
"""

from array import array
from bisect import bisect_right
from collections.abc import Iterable


class Sent:
    """Of each epoch, the ranges of sequences that were sent or are gone for good."""

    def __init__(self) -> None:
        """Begin with nothing sent."""
        self._most: dict[str, int] = {}
        self._firsts: dict[str, array[int]] = {}
        self._lasts: dict[str, array[int]] = {}

    def add(self, epoch: str, sequence: int) -> bool:
        """Note that an event went out; return whether for the first time."""
        self._most[epoch] = max(sequence, self._most.get(epoch, -1))
        return self.cover(epoch, sequence)

    def cover(self, epoch: str, sequence: int) -> bool:
        """Note that an event leaves no gap: it went out, or never will, since it was given up.

        Returns:
            Whether it left one until now.
        """
        firsts = self._firsts.setdefault(epoch, array("q"))
        lasts = self._lasts.setdefault(epoch, array("q"))
        at = bisect_right(firsts, sequence)  # How many ranges begin at or before it.
        if at and sequence <= lasts[at - 1]:
            return False
        joins_left = at > 0 and lasts[at - 1] == sequence - 1
        joins_right = at < len(firsts) and firsts[at] == sequence + 1
        if joins_left and joins_right:
            lasts[at - 1] = lasts.pop(at)
            del firsts[at]
        elif joins_left:
            lasts[at - 1] = sequence
        elif joins_right:
            firsts[at] = sequence
        else:
            firsts.insert(at, sequence)
            lasts.insert(at, sequence)
        return True

    def undo(self, epoch: str, sequence: int) -> None:
        """Note that an event did not go out after all: the broker refused it at its first time."""
        firsts, lasts = self._firsts[epoch], self._lasts[epoch]
        at = bisect_right(firsts, sequence) - 1
        assert at >= 0, "it was noted as sent"
        assert sequence <= lasts[at], "it was noted as sent"
        parts = [(firsts[at], sequence - 1), (sequence + 1, lasts[at])]
        kept = [(first, last) for first, last in parts if first <= last]
        firsts[at : at + 1] = array("q", [first for first, _ in kept])
        lasts[at : at + 1] = array("q", [last for _, last in kept])

    def limit(self, epoch: str, acknowledged: int) -> int:
        """Return the last sequence of an epoch up to which everything was sent.

        Args:
            epoch: Which one.
            acknowledged: Up to there it is known to be stored.
        """
        firsts = self._firsts.get(epoch, ())
        at = bisect_right(firsts, acknowledged + 1)
        return max(acknowledged, self._lasts[epoch][at - 1]) if at else acknowledged

    def most(self) -> Iterable[tuple[str, int]]:
        """Return of each epoch the last sequence that was sent."""
        return self._most.items()
