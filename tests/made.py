# SPDX-License-Identifier: Apache-2.0
"""Events as an engine would make them, for tests of what carries them."""

import msgspec

from gateway.domain.events import (
    Act,
    CartClosed,
    Clock,
    DeviceLost,
    Event,
    GatewayStartedData,
    ItemPicked,
    ReviewRequested,
    SessionStarted,
    event_id,
)
from gateway.waiting import Fetch

TIME = "2026-11-21T16:19:58.412Z"
CLOCK = Clock(boot="b", mono_ns=1, utc_trusted=True, utc_error_ms=1)


def lost(epoch, number, *, index=0, reason="unplugged"):
    """Return a device.lost."""
    data = DeviceLost(store_version="v", clock=CLOCK, device=f"shelf/{number}", reason=reason)
    return _event(data, epoch, number, index)


def started(epoch, number):
    """Return the gateway.started of an ``Epoch``."""
    previous = epoch.previous_sequence
    data = GatewayStartedData(
        store_version="v",
        clock=CLOCK,
        version="1",
        previous_epoch=epoch.previous_epoch,
        previous_sequence=None if previous is None else f"{previous:020d}",
    )
    return _event(data, epoch.epoch, number, 0)


def session(epoch, number, shopper, name="s1"):
    """Return a session.started of a shopper."""
    data = SessionStarted(store_version="v", clock=CLOCK, session=name, scanner="in", person=None)
    return _event(data, epoch, number, 0, shopper)


def picked(epoch, number, *sessions):
    """Return an item.picked whose acts name these sessions."""
    acts = [Act(one, "09521321123453", 1, "pick", "g1.s1.p1", 0.97) for one in sessions]
    data = ItemPicked(
        store_version="v",
        clock=CLOCK,
        change=f"c{number}",
        revision=0,
        acts=acts,
        weights=[],
        started=TIME,
        ended=TIME,
    )
    return _event(data, epoch, number, 0)


def asked(epoch, number, review, *sessions):
    """Return a review.requested that names these sessions."""
    data = ReviewRequested(
        store_version="v",
        clock=CLOCK,
        review=review,
        change=f"c{number}",
        reason="uncertain",
        candidates=[],
        sessions=list(sessions),
        weights=[],
        started=TIME,
        ended=TIME,
    )
    return _event(data, epoch, number, 0)


def closed(epoch, number, name):
    """Return the cart.closed of a session."""
    data = CartClosed(
        store_version="v",
        clock=CLOCK,
        session=name,
        revision=0,
        lines=[],
        open=[],
        confirmed="online",
    )
    return _event(data, epoch, number, 0)


async def rows_waiting(database, after=0, limit=1_000):
    """Return the rows of a database that wait, oldest first."""
    return (await database.waiting(Fetch(after=after, limit=limit))).rows


def _event(data, epoch, number, index, shopper=None):
    return Event(
        id=event_id("gw", epoch, number, index),
        type=f"org.shelfgate.{data.NAME}.v1",
        subject="test",
        time=TIME,
        data=msgspec.Raw(msgspec.json.encode(data)),
        shopper=shopper,
    )
