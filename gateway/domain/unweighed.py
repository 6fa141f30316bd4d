# SPDX-License-Identifier: Apache-2.0
"""Plates that give no stable weight though their shelf is heard.

A cell that is broken or not ready, or blocks that never make a window: nothing that is taken there
is noticed, and nothing else says so.
"""

from typing import Final

from gateway.domain import events
from gateway.domain.output import Step
from gateway.domain.presence import heard_shelves
from gateway.domain.shelf_state import ShelfState
from gateway.domain.state import Holding

LASTING: Final = 2
"""So many looks in a row have to agree before it is told."""


def look(step: Step, since_ns: int) -> None:
    """Look at every plate.

    Args:
        step: Where it is looked.
        since_ns: When this was last done.
    """
    looks = step.state.unweighed
    for name, shelf in heard_shelves(step):
        for place in step.layout.shelves[name].plates:
            count = looks.pop(place.name, 0) + 1
            if _weighed(shelf, place.index, since_ns):
                _tell(step, place.name, unweighed=False)
                continue
            looks[place.name] = min(count, LASTING)
            if count >= LASTING:
                _tell(step, place.name, unweighed=True)


def _weighed(shelf: ShelfState, plate: int, since_ns: int) -> bool:
    """Tell whether a plate has been still, or has settled, since then."""
    if shelf.good_ns[plate] <= since_ns:
        return False
    return not shelf.moving[plate] or bool(shelf.settled_ns[plate] >= since_ns)


def _tell(step: Step, plate: str, *, unweighed: bool) -> None:
    """Tell what has changed since it was last told, in this start of the daemon or before."""
    holding = step.state.holdings.get(plate, Holding(weighed_g=None))
    if holding.unweighed is not unweighed:
        holding.unweighed = unweighed
        step.state.holdings[plate] = holding
        step.touch("holding", plate)
        step.emit(events.PlateUnweighed, f"plate/{plate}", plate=plate, unweighed=unweighed)
