# SPDX-License-Identifier: Apache-2.0
"""Inputs turned back into what the devices sent: payloads of the in-store contract."""

from typing import Any, Literal, NamedTuple

import msgspec

from gateway.domain.inputs import (
    AnyInput,
    DeviceInput,
    DeviceStatus,
    DoorState,
    EntryScanned,
    People,
    Samples,
)

NUMBERED = ("boot", "seq", "t_ms", "host_boot", "host_mono_ms")


class Sent(NamedTuple):
    """A message as a device sent it.

    Attributes:
        device: ``<kind>/<name>``.
        leaf: Last word of the topic.
        qos: 0 or 1.
        retain: Whether it is retained: a status.
        fields: The payload. Of a scan it holds ``shopper`` in place of ``text``: tokens are
            signed when they are sent.
    """

    device: str
    leaf: str
    qos: Literal[0, 1]
    retain: bool
    fields: dict[str, Any]


def sent(item: AnyInput) -> Sent | None:
    """Return what a device sent; None for inputs that no device makes."""
    match item:
        case Samples():
            more = {"period_us": item.period_us, "unit": item.unit, "w": item.w}
            return Sent(item.device, "samples", 0, False, _numbered(item) | more)
        case People():
            more = {"people": msgspec.to_builtins(item.people)}
            return Sent(item.device, "people", 0, False, _numbered(item) | more)
        case DoorState():
            return Sent(item.device, "state", 1, False, _numbered(item) | {"open": item.open})
        case EntryScanned():
            fields = _numbered(item) | {"shopper": item.shopper}
            return Sent(item.device, "scan", 1, False, fields)
        case DeviceStatus():
            fields = {"v": 1, "state": item.state, "fw": item.fw, "boot": item.boot}
            return Sent(item.device, "status", 1, True, fields)
    return None


def _numbered(item: DeviceInput) -> dict[str, Any]:
    known = {name: getattr(item, name) for name in NUMBERED}
    return {"v": 1, **{name: value for name, value in known.items() if value is not None}}
