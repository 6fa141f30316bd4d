# SPDX-License-Identifier: Apache-2.0
"""Strands: events that keep their order on the way upstream, those of one cart or of one review.

A row names its strands in text: names of sessions and reviews between spaces, ``+`` before one that
begins with it. The index of what waits holds that text beside each position, so that the events of
a cart are found among hundreds of thousands without a look at the table (``gateway.waiting``).
"""

from typing import Final

import msgspec

from gateway.domain.reviews import UNATTENDED

BEGINS: Final = {
    "session.started": "session",
    "review.requested": "review",
    "shelf.changed-unattended": "review",
}
"""Events that begin a strand, and the field that names it; of a review the first of them does."""


class _Act(msgspec.Struct, frozen=True):
    session: str | None = None


class _Named(msgspec.Struct, frozen=True):
    """What of an event's data names a strand."""

    session: str | None = None
    sessions: list[str] = []
    acts: list[_Act] = []
    review: str | None = None
    reason: str | None = None


def strands_of(name: str, data: bytes | msgspec.Raw) -> str:
    """Return the strands of an event as its row holds them.

    Args:
        name: Of the event, such as ``item.picked``.
        data: JSON of its data.
    """
    named = msgspec.json.decode(data, type=_Named)
    own = [named.session, *named.sessions, *(act.session for act in named.acts), named.review]
    told_before = name == "review.requested" and named.reason in UNATTENDED
    begins = getattr(named, BEGINS[name]) if name in BEGINS and not told_before else None
    names = dict.fromkeys(one for one in own if one)
    return " ".join(f"+{one}" if one == begins else one for one in names)


def names_in(strands: str) -> list[str]:
    """Return the names of a row's strands."""
    return strands.replace("+", "").split()


def begun_in(strands: str) -> list[str]:
    """Return the names of the strands that begin with a row."""
    return [one[1:] for one in strands.split() if one.startswith("+")]
