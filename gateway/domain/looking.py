# SPDX-License-Identifier: Apache-2.0
"""A second look: where it is close whose hand it was, cameras are asked to look again, closer.

A camera that keeps its last seconds answers with the hands near a place, in as many frames as
it has time for. The change waits for that a little, and is decided with what has come.
"""

from math import exp
from typing import Final

from gateway.domain.choices import Who
from gateway.domain.devices import Device
from gateway.domain.drops import drop
from gateway.domain.effects import Look
from gateway.domain.inputs import Looked
from gateway.domain.output import Step
from gateway.domain.readings import Reading
from gateway.domain.state import OpenChange
from gateway.domain.watching import Watching

CLOSE: Final = 0.97
"""Whoever is likelier than this needs no second look."""
WAIT_NS: Final = 1_200_000_000
"""How long a change waits for answers."""
KEPT_NS: Final = 9_000_000_000
"""Cameras are not asked about what is longer ago."""
AROUND_MS: Final = 250
"""Before and after the hand was surely there."""
REACH_MM: Final = 450.0
ABOVE_MM: Final = 105.0
"""A hand at work is so much above its plate, in the middle."""


def worth(step: Step, change: OpenChange) -> bool:
    """Tell whether a second look at a change is possible, and nobody asked for one yet."""
    return (
        change.looks is None
        and change.reason == "attended"
        and len(step.state.sessions) > 1
        and step.now_ns - change.change.since_ns < KEPT_NS
        and bool(_cameras(step))
    )


def ask(step: Step, change: OpenChange, reading: Reading, watching: Watching) -> bool:
    """Ask the cameras about the largest move of which it is close whose hand it was.

    Returns:
        Whether the change has to wait for answers.
    """
    change.looks = []
    close = [move for move in reading.moves if _is_close(watching.who(move))]
    if not close:
        return False
    move = max(close, key=lambda one: abs(one.total_g))
    shelf = step.layout.shelves[change.shelf]
    x_mm, y_mm = shelf.front_point(move.x_mm)
    since_ms = (step.now_ns - move.since_ns) // 1_000_000 + AROUND_MS
    until_ms = max((step.now_ns - move.until_ns) // 1_000_000 - AROUND_MS, 0)
    for camera in _cameras(step):
        look = Look(
            id=step.name(),
            camera=camera,
            place_mm=(x_mm, y_mm, shelf.shelf.z_mm + ABOVE_MM),
            reach_mm=REACH_MM,
            ago_ms=(since_ms, until_ms),
        )
        step.effects.append(look)
        change.looks.append(look.id)
    change.due_ns = step.now_ns + WAIT_NS
    return True


def take(step: Step, item: Looked, device: Device) -> None:
    """Take in an answer, if a change still waits for it."""
    change = next((one for one in step.state.changes if item.look in (one.looks or ())), None)
    if change is None or change.looks is None:
        drop(step, item.device, "look-late")
        return
    change.looks.remove(item.look)
    if not item.frames:
        return
    camera = item.device.removeprefix("camera/")
    length_ns = item.frames[-1].after_ms * 1_000_000
    first_ns = device.time_of(item, length_ns, earlier=True)
    for frame in item.frames:
        at_ns = first_ns + frame.after_ms * 1_000_000
        step.state.people.look_again(camera, item.boot, frame.people, at_ns)


def _cameras(step: Step) -> list[str]:
    return sorted(
        name.removeprefix("camera/")
        for name, device in step.state.devices.items()
        if device.looks and device.lost_ns is None
    )


def _is_close(who: Who) -> bool:
    """Tell whether more than one session may well have made a move."""
    named = sorted((exp(share) for session, share in who.items() if session), reverse=True)
    return len(named) > 1 and named[0] < CLOSE and named[1] > (1.0 - CLOSE) / 2
