# SPDX-License-Identifier: Apache-2.0
"""Plates that give no stable weight though their shelf is heard.

A cell that is broken or not ready, or blocks that never make a window: nothing that is taken there
is noticed, and nothing else says so.
"""

from typing import Final

import numpy as np

from gateway.domain import events
from gateway.domain.output import Step
from gateway.domain.presence import heard_shelves
from gateway.domain.shelf_state import ShelfState

LASTING: Final = 2
"""So many looks in a row have to agree before it is told."""


def look(step: Step, since_ns: int) -> None:
    """Look at every plate.

    Args:
        step: Where it is looked.
        since_ns: When this was last done.
    """
    looks = step.state.unweighed
    for plate in [plate for plate in looks if plate not in step.layout.plates]:
        del looks[plate]
    for name, shelf in heard_shelves(step):
        for place in step.layout.shelves[name].plates:
            before = looks.pop(place.name, 0)
            if _weighed(shelf, place.index, since_ns):
                if before >= LASTING:
                    _tell(step, place.name, unweighed=False)
                continue
            looks[place.name] = before + 1
            if before + 1 == LASTING:
                _tell(step, place.name, unweighed=True)


def _weighed(shelf: ShelfState, plate: int, since_ns: int) -> bool:
    """Tell whether a plate has been still, or has settled, since then."""
    if shelf.learnt_ns < since_ns or np.isnan(shelf.window[:, plate]).all():
        return False
    return not shelf.moving[plate] or bool(shelf.settled_ns[plate] >= since_ns)


def _tell(step: Step, plate: str, *, unweighed: bool) -> None:
    step.emit(events.PlateUnweighed, f"plate/{plate}", plate=plate, unweighed=unweighed)
