# SPDX-License-Identifier: Apache-2.0
"""Events of one cart, and of one review, are first sent in the order in which they were made."""

from collections import defaultdict, deque
from collections.abc import Callable

import msgspec

from gateway.strands import strands_of, ties_in

Key = tuple[str, int]


class _Sent(msgspec.Struct):
    epoch: str
    sequence: str
    type: str
    data: msgspec.Raw


class CartOrder:
    """What of each strand was not sent yet, in the order of commits."""

    def __init__(self, break_: Callable[[str], None], excused: Callable[[Key], bool]) -> None:
        """Begin without an event.

        Args:
            break_: Takes the promise that does not hold.
            excused: Whether an event needs not be sent: it was given up, or is gone.
        """
        self._break, self._excused = break_, excused
        self._unsent: dict[str, deque[Key]] = defaultdict(deque)
        self._sent: set[Key] = set()

    def committed(self, payload: bytes) -> None:
        """Note an event that is durable."""
        key, strands = _read(payload)
        for strand in strands:
            self._unsent[strand].append(key)

    def sent(self, payload: bytes) -> None:
        """Note that the gateway hands an event to the network, for the first time or again."""
        key, strands = _read(payload)
        self._sent.add(key)
        for strand in strands:
            unsent = self._unsent[strand]
            while unsent and (unsent[0] in self._sent or self._excused(unsent[0])):
                unsent.popleft()
            if key in unsent:
                epoch, sequence = unsent[0]
                self._break(f"event {key[1]} was sent before {sequence} of {epoch}, of one cart")


def _read(payload: bytes) -> tuple[Key, list[str]]:
    event = msgspec.json.decode(payload, type=_Sent)
    name = event.type.removeprefix("org.shelfgate.").removesuffix(".v1")
    return (event.epoch, int(event.sequence)), ties_in(strands_of(name, event.data))
