# SPDX-License-Identifier: Apache-2.0
"""What was refused is counted, and told from time to time."""

from typing import Final

from gateway.domain import events
from gateway.domain.output import Step

STRANGE_TOLD_MAX: Final = 8
"""Devices not of this store that one report names."""
OTHER: Final = "gateway/other"
COUNT_MAX: Final = 2**53
"""What JSON readers take for a whole number."""


def drop(step: Step, device: str, reason: str, count: int = 1) -> None:
    """Count inputs that were refused; the next report tells them.

    Of devices that the store does not know, a few are told by name: names are whatever a wire says.
    """
    drops = step.state.drops
    key = f"{device} {reason}"
    if key not in drops and device not in step.layout.devices:
        strange = sum(name.partition(" ")[0] not in step.layout.devices for name in drops)
        if strange >= STRANGE_TOLD_MAX:
            key = f"{OTHER} other"
    drops[key] = drops.get(key, 0) + count


def tell_drops(step: Step) -> None:
    """Tell what was dropped since this was last told, in one event a device and reason."""
    state = step.state
    state.drops_told_ns = step.now_ns
    for key in sorted(state.drops):
        device, _, reason = key.rpartition(" ")
        count = min(state.drops[key], COUNT_MAX)
        if count > 0:
            step.emit(events.InputsDropped, device, device=device, reason=reason, count=count)
    state.drops = {}
