# SPDX-License-Identifier: Apache-2.0
"""Events as they arrive at an integrator."""

import msgspec

from gateway.domain.events import EventsDropped, GatewayStartedData, SequenceRange
from tests.made import CLOCK

SOURCE = "urn:shelfgate:store:gw"


def event(epoch, sequence, *, name="device.lost", data=b"{}", one_id=None, source=SOURCE):
    return msgspec.json.encode(
        {
            "specversion": "1.0",
            "id": one_id or f"{epoch}-{sequence}",
            "source": source,
            "type": f"org.shelfgate.{name}.v1",
            "sequence": f"{sequence:020d}",
            "epoch": epoch,
            "data": msgspec.Raw(data),
        }
    )


def started(epoch, sequence, previous=None, previous_sequence=None):
    data = GatewayStartedData(
        store_version="v",
        clock=CLOCK,
        version="1",
        previous_epoch=previous,
        previous_sequence=None if previous is None else f"{previous_sequence:020d}",
    )
    return event(epoch, sequence, name="gateway.started", data=msgspec.json.encode(data))


def dropped(epoch, sequence, of_epoch, *ranges):
    data = EventsDropped(
        store_version="v",
        clock=CLOCK,
        epoch=of_epoch,
        ranges=[SequenceRange(f"{first:020d}", f"{last:020d}") for first, last in ranges],
        count=sum(last + 1 - first for first, last in ranges),
        reason="test",
    )
    return event(epoch, sequence, name="events.dropped", data=msgspec.json.encode(data))
