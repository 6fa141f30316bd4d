# SPDX-License-Identifier: Apache-2.0
"""A scale's zero and tare keys, pressed by command: the weight jumps, and nobody took anything."""

from typing import Final, Literal

import msgspec

from gateway.domain import changes, holdings
from gateway.domain.drops import drop
from gateway.domain.effects import PressKey
from gateway.domain.inputs import Rezeroed
from gateway.domain.output import Step
from gateway.domain.weighing import complete, new_shelf

Key = Literal["zero", "tare"]
AGAIN: Final = "Try again when nobody is there"


def press(step: Step, command: str, name: str, key: Key) -> str | None:
    """Ask for a key to be pressed; return why not, in words, or None.

    While somebody is at the shelf the weights before and after cannot be told from what is taken.
    """
    state = step.state
    if name not in step.layout.shelves:
        return f"the store has no shelf {name[:64]!r}"
    device, shelf = state.devices.get(f"shelf/{name}"), state.shelves.get(name)
    if device is None or device.lost_ns is not None or shelf is None:
        return f"shelf {name} is not there. Try again when it is"
    pressed = any(load.shelf == name for load in state.beliefs.best.loads)
    if shelf.moving.any() or shelf.pending or pressed:
        return f"shelf {name} is in use, or has not come to rest. {AGAIN}"
    step.effects.append(PressKey(command, f"shelf/{name}", key))
    return None


def rezeroed(step: Step, item: Rezeroed) -> None:
    """Go on from a zero that was set anew: what settled before counts, what comes is no change."""
    state, name = step.state, item.device.removeprefix("shelf/")
    places, shelf = step.layout.shelves.get(name), state.shelves.get(name)
    if places is None:
        drop(step, item.device, "unknown-device")
        return
    if shelf is not None:
        for change in complete(shelf):
            changes.settled(step, name, change)
        changes.decide_shelves(step, {name})
        moving = shelf.moving.sum()
        if moving:
            drop(step, item.device, "moving-when-zeroed", int(moving))
        # How much its plates tremble does not depend on where their zero is.
        state.shelves[name] = msgspec.structs.replace(
            new_shelf(len(places.plates)),
            sigma_g=shelf.sigma_g,
            slow_g=shelf.slow_g,
            sway_g=shelf.sway_g,
        )
    for place in places.plates:
        holdings.rezeroed(step, place.name)
