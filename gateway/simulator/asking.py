# SPDX-License-Identifier: Apache-2.0
"""Asks gateways for what is missing, a bite at a time, until it is here or they no longer have it.

A pure state machine: time is passed in (seconds, monotonic), names of commands too.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from gateway.simulator.proof import Gap, Proof
from gateway.simulator.ranges import Range

LOOK_S: Final = 10.0
"""Between two looks at what is missing. A gap is asked for when two looks in a row see it."""
REPEAT_S: Final = 60.0
"""A command without its last answer is sent again after this long, under its id."""
PAUSE_MAX_S: Final = 3_600.0
BITE: Final = 10_000
"""Most sequences asked for at once."""


class Wish(msgspec.Struct, frozen=True):
    """A command to be published on ``…/commands/backfill`` of a gateway."""

    source: str
    payload: bytes


class Gone(msgspec.Struct, frozen=True):
    """What a gateway said that it no longer has."""

    source: str
    epoch: str
    ranges: list[Range]


class _Range(msgspec.Struct):
    first: str
    last: str


class _Backfill(msgspec.Struct):
    state: str
    epoch: str
    missing: list[_Range] = []


class _Reply(msgspec.Struct):
    id: str
    backfill: _Backfill | None = None


class _Command(msgspec.Struct, rename={"first": "from", "last": "to"}):
    id: str
    epoch: str
    first: str
    last: str


class _Asked(msgspec.Struct):
    command: str
    epoch: str
    first: int
    last: int
    at_s: float

    @property
    def payload(self) -> bytes:
        first, last = f"{self.first:020d}", f"{self.last:020d}"
        return msgspec.json.encode(_Command(self.command, self.epoch, first, last))


class _Gateway:
    def __init__(self) -> None:
        self.seen: set[tuple[str, int, int]] = set()
        self.asked: _Asked | None = None
        self.answered: tuple[str, int] | None = None
        """Epoch and first sequence that the last finished command asked for."""
        self.pause_s = 0.0
        self.not_before_s = 0.0


class Asker:
    """One command to each gateway at a time."""

    def __init__(self, name: Callable[[], str], *, look_s: float = LOOK_S) -> None:
        """Begin without having asked for anything.

        Args:
            name: Returns a new id for a command.
            look_s: How often ``look`` is called.
        """
        self._name = name
        self._look_s = look_s
        self._gateways: dict[str, _Gateway] = {}

    def look(self, proofs: Sequence[Proof], now_s: float) -> list[Wish]:
        """Return what to ask for now, given what is missing."""
        wishes = []
        for proof in proofs:
            gateway = self._gateways.setdefault(proof.source, _Gateway())
            asked = self._repeated(gateway, now_s) or self._next(gateway, proof.wanted, now_s)
            gateway.seen = {(gap.epoch, gap.first, gap.last) for gap in proof.wanted}
            if asked is not None:
                wishes.append(Wish(proof.source, asked.payload))
        return wishes

    def reply(self, source: str, payload: bytes, now_s: float) -> Gone | None:
        """Take an answer; return what the gateway no longer has of what was asked for."""
        gateway = self._gateways.get(source)
        try:
            reply = msgspec.json.decode(payload, type=_Reply)
        except (ValueError, RecursionError):
            return None
        if gateway is None or gateway.asked is None or reply.id != gateway.asked.command:
            return None
        asked, told = gateway.asked, reply.backfill
        state = told.state if told is not None else "refused"
        if state in {"busy", "sending"}:
            asked.at_s = now_s
        else:
            # What is asked for in vain is asked for less and less often.
            where = (asked.epoch, asked.first)
            vain = gateway.answered == where or state == "refused"
            gateway.pause_s = self._pause_s(gateway.pause_s) if vain else 0.0
            gateway.not_before_s = now_s + gateway.pause_s
            gateway.answered, gateway.asked = where, None
        if told is None or told.epoch != asked.epoch:
            return None
        gone = list(_within(asked, told.missing))
        if gone and state == "refused":
            gateway.not_before_s, gateway.pause_s = now_s, 0.0
        return Gone(source, asked.epoch, gone) if gone else None

    def _pause_s(self, before_s: float) -> float:
        return min(PAUSE_MAX_S, max(self._look_s, 2 * before_s))

    def _repeated(self, gateway: _Gateway, now_s: float) -> _Asked | None:
        asked = gateway.asked
        if asked is None or now_s < asked.at_s + REPEAT_S:
            return None
        asked.at_s = now_s
        return asked

    def _next(self, gateway: _Gateway, wanted: list[Gap], now_s: float) -> _Asked | None:
        if gateway.asked is not None or now_s < gateway.not_before_s:
            return None
        for gap in wanted:
            if (gap.epoch, gap.first, gap.last) in gateway.seen:
                last = min(gap.last, gap.first + BITE - 1)
                gateway.asked = _Asked(self._name(), gap.epoch, gap.first, last, now_s)
                return gateway.asked
        return None


def _within(asked: _Asked, missing: Iterable[_Range]) -> Iterable[Range]:
    """Yield what is credible: within what was asked for."""
    for one in missing:
        if all(text.isdecimal() and len(text) <= 20 for text in (one.first, one.last)):
            first, last = max(int(one.first), asked.first), min(int(one.last), asked.last)
            if first <= last:
                yield first, last
