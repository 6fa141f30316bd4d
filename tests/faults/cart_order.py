# SPDX-License-Identifier: Apache-2.0
"""Events of one cart, and of one review, are first sent in the order in which they were made."""

from collections import defaultdict, deque
from collections.abc import Callable

import msgspec

Key = tuple[str, int]


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
    """Return an event's key and the carts and the review whose order it keeps.

    Read here and not by the product, which may overlook one. The carts that the request of a review
    names it does not change.
    """
    event = msgspec.json.decode(payload)
    data = event["data"]
    acts = data.get("acts") or []
    named = [data.get("session"), data.get("review"), *(act.get("session") for act in acts)]
    if event["type"].endswith("attribution.revised.v1"):
        named += data["sessions"]
    return (event["epoch"], int(event["sequence"])), sorted({one for one in named if one})
