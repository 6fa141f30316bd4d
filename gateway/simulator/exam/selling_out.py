# SPDX-License-Identifier: Apache-2.0
"""Scripts of stores that run low: they are played where they are asked for, beside the exam."""

from typing import Final

from gateway.simulator.exam.room import Unit
from gateway.simulator.exam.scenes import ALIKE, Cast, Kind, some, spot_of
from gateway.simulator.exam.stage import BRISK, Stage


def sold_out(stage: Stage, cast: Cast) -> None:
    """The last of a product are taken, then its neighbour of the same weight from beside them."""
    now_s = max(actor.now_s for actor in cast)
    last, beside = _running_out(stage, now_s) or (some(stage, now_s), some(stage, now_s))
    stage.floor.approach(cast[0], spot_of(last[0]))
    for unit in last:
        stage.take(cast[0], [unit], BRISK)
        cast[0].wait(stage.span((0.3, 1.0)))
    cast[1].wait_until(cast[0].now_s + stage.span((0.0, 2.0)))
    left = [unit for unit in beside if unit.there(cast[1].now_s)]
    stage.floor.approach(cast[1], spot_of(last[0]), 250.0)
    left = left or some(stage, cast[1].now_s)
    stage.take(cast[1], [min(left, key=lambda unit: abs(unit.at_mm - last[0].at_mm))])


def _running_out(stage: Stage, at_s: float) -> tuple[list[Unit], list[Unit]] | None:
    """Return all units of a product that is nearly sold out, and those of its neighbour.

    The neighbour weighs the same, and there are more of it.
    """
    room, products = stage.room, stage.room.store.products
    gtins = list(products)
    stage.rng.shuffle(gtins)
    for gtin in gtins:
        home = room.home(gtin)
        last = room.standing(gtin, at_s, home.shelf)
        if not 0 < len(last) <= 2:
            continue
        for other in gtins:
            place, units = room.home(other), room.standing(other, at_s)
            near = place.shelf == home.shelf and abs(place.at_mm - home.at_mm) < 1.6 * room.plate_mm
            same = abs(products[other].unit_g / products[gtin].unit_g - 1.0) < ALIKE
            if other != gtin and near and same and len(units) > len(last) + 1:
                return last, [unit for unit in units if unit.shelf == home.shelf]
    return None


APART: Final[dict[str, Kind]] = {"sold-out": Kind(sold_out, cast=2, low=True)}
