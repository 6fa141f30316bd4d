# SPDX-License-Identifier: Apache-2.0
"""How much each plate trembles: what is usual for it is kept, and a lasting change is told.

A plate that trembles far more than it used to has a loose screw, a fan beside it or a failing cell.
"""

from typing import Final

import numpy as np

from gateway.domain import events
from gateway.domain.output import Step
from gateway.domain.presence import heard_shelves
from gateway.domain.state import Holding

LASTING: Final = 5
"""So many looks in a row have to agree before a change is told."""
TIMES: Final = 3.0
RESTLESS_G: Final = 1.5
"""A plate is restless above so many times what is usual for it, and by this much more."""
BACK: Final = 0.5
"""Part of that difference below which it is as usual again."""
HOUR: Final = 1 / 60
DAY: Final = 1 / 1_440
"""How fast, a look, what is usual follows a plate; a restless one is got used to in days."""
SAVED_PART: Final = 0.2
"""What is usual is written down again once it has moved by this part."""
USUAL_G: Final = (0.05, 30.0)


def look(step: Step) -> None:
    """Look at every plate; to be called once a minute."""
    state = step.state
    for name, shelf in heard_shelves(step):
        for place in step.layout.shelves[name].plates:
            holding, noise_g = state.holdings.get(place.name), float(shelf.sigma_g[place.index])
            if holding is not None and np.isfinite(noise_g):
                _look(step, place.name, holding, min(max(noise_g, USUAL_G[0]), USUAL_G[1]))


def _look(step: Step, plate: str, holding: Holding, noise_g: float) -> None:
    usual_g = holding.usual_g
    if usual_g is None:
        usual_g = holding.usual_g = holding.usual_saved_g = noise_g
        step.touch("holding", plate)
    beyond_g = max((TIMES - 1.0) * usual_g, RESTLESS_G)
    restless = noise_g > usual_g + beyond_g * (BACK if holding.restless else 1.0)
    changed = restless is not holding.restless
    before = step.state.trembling.pop(plate, 0)
    looks = before + 1 if changed else 0
    if looks >= LASTING:
        holding.restless = restless
        step.touch("holding", plate)
        step.emit(
            events.PlateNoiseChanged,
            f"plate/{plate}",
            plate=plate,
            restless=restless,
            noise_g=round(noise_g, 2),
            usual_g=round(usual_g, 2),
        )
    elif changed:
        step.state.trembling[plate] = looks
        return
    holding.usual_g = usual_g + (noise_g - usual_g) * (DAY if restless else HOUR)
    saved_g = holding.usual_saved_g or holding.usual_g
    if abs(holding.usual_g - saved_g) > SAVED_PART * saved_g:
        holding.usual_saved_g = holding.usual_g
        step.touch("holding", plate)
