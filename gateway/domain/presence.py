# SPDX-License-Identifier: Apache-2.0
"""Devices come, go and repeat themselves: which message counts, who is lost, who is back."""

from collections.abc import Iterator
from typing import Final

from gateway.domain import events
from gateway.domain.changes import settled
from gateway.domain.devices import Device, Marks, Verdict
from gateway.domain.drops import drop
from gateway.domain.inputs import DeviceInput, DeviceStatus, Samples
from gateway.domain.output import Step
from gateway.domain.weighing import ShelfState, look_away

SILENT_NS_MAX: Final = 5_000_000_000
"""A shelf or a camera that says nothing for this long is lost."""
UNHEARD_NS_MAX: Final = 60_000_000_000
"""A scanner or a door may be silent, but not from the start: its birth is retained."""
LONG_LOST_NS: Final = -1
"""In place of when a device was lost: in an earlier epoch."""
FLAP_NS: Final = 3_000_000_000
"""A device is told to be lost or recovered at most this often."""
TALKS: Final = ("shelf/", "camera/")
"""Kinds of device that never fall silent."""


def accept(step: Step, item: DeviceInput) -> Device | None:
    """Return the device of a new message; None for a repeat, which is counted."""
    state = step.state
    if item.device not in step.layout.devices:
        drop(step, item.device, "unknown-device")
        return None
    device = state.devices.setdefault(item.device, Device())
    verdict, missing = device.marks.judge(item.boot, item.seq)
    if missing:
        drop(step, item.device, "missing", missing)
    useless = {Verdict.REPEAT, Verdict.STALE, Verdict.STRAY}
    if isinstance(item, Samples):
        useless.add(Verdict.LATE)  # Its place in the window is taken.
    if verdict in useless:
        drop(step, item.device, verdict.value)
        return None
    if verdict is Verdict.RESTARTED:
        device.restarted()
        shelf = _shelf_of(step, item.device)
        if shelf is not None:
            unwatch(step, item.device, shelf, shelf.end_ns)
            shelf.end_ns = 0
    device.heard_ns, device.boot, device.heard = step.now_ns, item.boot, True
    if device.lost_ns is not None:
        _recovered(step, item.device, device)
    return device


def time_of(step: Step, device: Device, item: DeviceInput, length_ns: int, lasts_ns: int) -> int:
    """Return when a message began, as ``Device.time_of`` does; tell once of a clock that is none.

    From then on the arrival counts, until the device starts again.
    """
    odd = device.clock.odd
    at_ns = device.time_of(item, length_ns, lasts_ns=lasts_ns)
    if device.clock.odd and not odd:
        drop(step, item.device, "clock")
    return at_ns


def status(step: Step, item: DeviceStatus) -> None:
    """Take a birth or a will; a will of another boot than the one heard last is ignored."""
    if item.device not in step.layout.devices:
        drop(step, item.device, "unknown-device")
        return
    device = step.state.devices.setdefault(item.device, Device())
    if item.state == "offline":
        other = bool(item.boot and device.boot) and item.boot != device.boot
        if not other and device.lost_ns is None:
            _lost(step, item.device, device, item.reason or "offline")
        return
    device.heard_ns, device.boot, device.heard = step.now_ns, item.boot, True
    device.looks = item.looks
    if device.lost_ns is not None:
        _recovered(step, item.device, device)


def watch(step: Step) -> None:
    """Notice, on a tick, who has fallen silent, and tell who is back."""
    devices = step.state.devices
    for name in sorted(step.layout.devices):
        device = devices.setdefault(name, Device(heard_ns=step.now_ns))
        silent_ns = step.now_ns - device.heard_ns
        if device.lost_ns is not None:
            continue
        if name.startswith(TALKS):
            if silent_ns > SILENT_NS_MAX:
                _lost(step, name, device, "silent")
        elif not device.heard and silent_ns > UNHEARD_NS_MAX:
            _lost(step, name, device, "never-heard")
    for name, device in devices.items():
        if device.lost_ns is not None and device.heard_ns > device.lost_ns >= 0:
            _recovered(step, name, device)


def begin(step: Step) -> None:
    """Take over, at a start, what is known of each device; those not in the store are forgotten."""
    forget_removed(step)
    for name, device in step.state.devices.items():
        device.heard_ns, device.heard = step.now_ns, False
        device.lost_ns = None if device.lost_ns is None else LONG_LOST_NS
        device.told_ns, device.looks = None, False
        device.restarted()
        if name.startswith(TALKS):
            device.marks = Marks()  # Written down only when it was lost: of no use by now.
        step.touch("marks", name)


def forget_removed(step: Step) -> None:
    """Forget devices that the store no longer has."""
    devices, known = step.state.devices, step.layout.devices
    for name in [name for name in devices if name not in known]:
        del devices[name]
        step.touch("marks", name)
    people = step.state.people
    for camera in [camera for camera in people.frame_ns if f"camera/{camera}" not in known]:
        del people.frame_ns[camera]  # Nobody waits for what it may have seen.
        people.steady_ns.pop(camera, None)


def heard_shelves(step: Step) -> Iterator[tuple[str, ShelfState]]:
    """Yield the shelves that are not lost, with their names."""
    for name, shelf in step.state.shelves.items():
        if not is_lost(step, f"shelf/{name}"):
            yield name, shelf


def is_lost(step: Step, name: str) -> bool:
    """Tell whether a device was there and has gone away."""
    device = step.state.devices.get(name)
    return device is not None and device.lost_ns is not None


def unwatch(step: Step, device: str, shelf: ShelfState, since_ns: int) -> None:
    """Note that a shelf was not watched since then; what had settled before is a change."""
    for change in look_away(shelf, since_ns):
        settled(step, device.removeprefix("shelf/"), change)


def _recovered(step: Step, name: str, device: Device) -> None:
    """Tell that a device is back, unless that was told just now: a tick tells it later."""
    assert device.lost_ns is not None
    if device.told_ns is not None and step.now_ns - device.told_ns < FLAP_NS:
        return
    device.told_ns = step.now_ns
    known = device.lost_ns != LONG_LOST_NS
    lost_ms = (step.now_ns - device.lost_ns) // 1_000_000 if known else None
    device.lost_ns = None
    step.touch("marks", name)
    step.emit(events.DeviceRecovered, name, device=name, lost_ms=lost_ms)


def _lost(step: Step, name: str, device: Device, reason: str) -> None:
    device.lost_ns = device.told_ns = step.now_ns
    step.touch("marks", name)
    step.emit(events.DeviceLost, name, device=name, reason=reason)
    shelf = _shelf_of(step, name)
    if shelf is not None and shelf.end_ns:
        unwatch(step, name, shelf, shelf.end_ns)


def _shelf_of(step: Step, device: str) -> ShelfState | None:
    if not device.startswith("shelf/"):
        return None
    return step.state.shelves.get(device.removeprefix("shelf/"))
