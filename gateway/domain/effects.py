# SPDX-License-Identifier: Apache-2.0
"""What the engine asks the world to do. Carried out at most once, after the commit."""

from typing import Literal

import msgspec

from gateway.domain.events import SequenceRange


class OpenDoor(msgspec.Struct, frozen=True, tag="open-door", tag_field="effect"):
    """Let a shopper in."""

    id: str
    door: str
    session: str
    asked_ns: int | None = None
    """When it was asked for, on the monotonic clock; None: unknown."""


class Look(msgspec.Struct, frozen=True, tag="look", tag_field="effect"):
    """Ask a camera what it saw at a place a moment ago; its answer is the input ``looked``."""

    id: str
    camera: str
    place_mm: tuple[float, float, float]
    """Store coordinates: on the shelf's front, above the plate."""
    reach_mm: float
    """Hands within this are of interest."""
    ago_ms: tuple[int, int]
    """From and until so long before now."""


class Backfill(msgspec.Struct, frozen=True, tag="backfill", tag_field="effect"):
    """Send events of an epoch again; the adapter answers the command."""

    command: str
    epoch: str
    first: int
    last: int | None
    """Included; None: to the end of what the epoch has now."""


class BackfillAnswer(
    msgspec.Struct, frozen=True, kw_only=True, rename={"first": "from", "last": "to"}
):
    """What became of a backfill."""

    state: Literal["refused", "busy", "sending", "done"]
    """``refused``: nothing of it is here. ``busy``: too many are open, send it again later."""
    epoch: str
    first: str
    """Where it begins, as asked."""
    last: str | None
    """Where it ends, included. Less than asked when that is the epoch's end here, or would be too
    much at once: ask again from there on. None when the epoch is unknown here."""
    count: int
    """Events that are sent, those included that wait for their first acknowledgement."""
    missing: list[SequenceRange]
    """What of ``from`` to ``to``, or of what was asked beyond the end of an epoch that is over, the
    gateway no longer has: it is of no use to ask for it again."""


class EraseShopper(msgspec.Struct, frozen=True, tag="erase-shopper", tag_field="effect"):
    """Forget a shopper's pseudonym in every event kept; the adapter answers the command."""

    command: str
    shopper: str


class PressKey(msgspec.Struct, frozen=True, tag="press-key", tag_field="effect"):
    """Press a key of a scale; the adapter answers the command, and the driver says ``Rezeroed``."""

    command: str
    device: str
    key: Literal["zero", "tare"]


class Reply(msgspec.Struct, frozen=True, tag="reply", tag_field="effect"):
    """Answer a command on ``…/replies/<command>``."""

    command: str
    status: Literal["ok", "error"]
    message: str
    backfill: BackfillAnswer | None = None


AnyEffect = OpenDoor | Look | Backfill | EraseShopper | PressKey | Reply
