# SPDX-License-Identifier: Apache-2.0
"""Strands: events that keep their order on the way upstream, those of one cart or of one review.

A row names its strands in text: names of sessions and reviews between spaces, ``+`` before one that
begins with it, ``~`` before one that it only mentions: a review's request names every cart that a
decision may change, and goes with each of them, but it changes none and need not wait for their
earlier events. The index of what waits holds that text beside each position, so that the events of
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
    told_before = name == "review.requested" and named.reason in UNATTENDED
    begins = getattr(named, BEGINS[name]) if name in BEGINS and not told_before else None
    own = [named.session, *(act.session for act in named.acts), named.review]
    if name == "attribution.revised":  # It changes the carts, too, that it takes something from.
        own += named.sessions
    marked = {one: f"+{one}" if one == begins else one for one in own if one}
    return " ".join(({one: f"~{one}" for one in named.sessions} | marked).values())


def names_in(strands: str) -> list[str]:
    """Return the names of a row's strands, and those that it only mentions."""
    return strands.replace("+", "").replace("~", "").split()


def ties_in(strands: str) -> list[str]:
    """Return the names of the strands whose order a row keeps."""
    return [one.removeprefix("+") for one in strands.split() if not one.startswith("~")]


def begun_in(strands: str) -> list[str]:
    """Return the names of the strands that begin with a row."""
    return [one[1:] for one in strands.split() if one.startswith("+")]
