# SPDX-License-Identifier: Apache-2.0
"""What a store's engine would tell, drawn by chance instead of weighed: visits with their events.

For whoever needs the events of many stores and no shelves: sizes and numbers are those of the
engine's own in a simulated nano-store (``docs/fleet.md``).
"""

import heapq
import random
from hashlib import blake2b
from typing import Final

import msgspec

from gateway.domain.events import (
    Act,
    CartClosed,
    Clock,
    Data,
    Direction,
    ItemPicked,
    ItemPutBack,
    Line,
    PlateDelta,
    SessionEnded,
    SessionStarted,
)
from gateway.domain.gtin import check_digit
from gateway.domain.output import rfc3339

STORE_VERSION: Final = "5f1ee700f1ee7000"
PRODUCTS: Final = 306
PICKS: Final = (6, 12)
"""Fewest and most picks of a visit."""
PUT_BACK: Final = 0.2
"""Probability that a pick is put back later."""
REACH_S: Final = 8.0
"""Mean time between two things that a shopper does."""
SETTLE_NS: Final = 500_000_000
"""How long plates move."""


class Told(msgspec.Struct, frozen=True):
    """What the engine would tell."""

    subject: str
    data: Data
    shopper: str | None = None


class Moment(msgspec.Struct, frozen=True):
    """When it is told."""

    clock: Clock
    utc_ns: int
    online: bool
    """Whether there is a link."""


class _Visit:
    """One shopper from entry to exit."""

    def __init__(self, name: str, rng: random.Random) -> None:
        self._name = name
        self._rng = rng
        self._held: list[int] = []
        self._changes = 0
        self.steps: list[str] = ["enter"]
        """What is still to come, the next first."""
        for _ in range(rng.randint(*PICKS)):
            self.steps.append("pick")
            if rng.random() < PUT_BACK:
                self.steps.append("put-back")
        self.steps.append("leave")

    def act(self, moment: Moment) -> list[Told]:
        """Do the next thing."""
        match self.steps.pop(0):
            case "enter":
                return [self._enter(moment)]
            case "pick":
                self._held.append(self._rng.randrange(PRODUCTS))
                return [self._change(moment, self._held[-1], "pick")]
            case "put-back":
                product = self._held.pop(self._rng.randrange(len(self._held)))
                return [self._change(moment, product, "put-back")]
            case _:
                return self._leave(moment)

    def _enter(self, moment: Moment) -> Told:
        data = SessionStarted(
            store_version=STORE_VERSION,
            clock=moment.clock,
            session=self._name,
            scanner="entry",
            person=f"{self._name[:8]}-1",
        )
        return Told(f"session/{self._name}", data, f"shopper-{self._name}")

    def _change(self, moment: Moment, product: int, direction: Direction) -> Told:
        shelf, plate = divmod(product, 12)
        place = f"g{shelf // 5 + 1}.s{shelf % 5 + 1}"
        on = f"{place}.p{plate + 1}"
        sign = -1 if direction == "pick" else 1
        act = Act(
            session=self._name,
            gtin=_gtin(product),
            quantity=1,
            direction=direction,
            plate=on,
            probability=round(self._rng.uniform(0.95, 1.0), 4),
        )
        felt = PlateDelta(on, sign * self._rng.randrange(600, 9_000) / 10, 0.8, None)
        self._changes += 1
        kind = ItemPicked if direction == "pick" else ItemPutBack
        data = kind(
            store_version=STORE_VERSION,
            clock=moment.clock,
            change=_hash(f"{self._name}/{self._changes}"),
            revision=0,
            acts=[act],
            weights=[felt],
            started=rfc3339(moment.utc_ns - SETTLE_NS),
            ended=rfc3339(moment.utc_ns),
        )
        return Told(f"shelf/{place}", data)

    def _leave(self, moment: Moment) -> list[Told]:
        subject = f"session/{self._name}"
        products = sorted(set(self._held))
        closed = CartClosed(
            store_version=STORE_VERSION,
            clock=moment.clock,
            session=self._name,
            revision=0,
            lines=[
                Line(_gtin(one), f"Product {one}", str(self._held.count(one)), "EA", 0.9973)
                for one in products
            ],
            open=[],
            confirmed="online" if moment.online else "offline",
        )
        ended = SessionEnded(
            store_version=STORE_VERSION, clock=moment.clock, session=self._name, reason="exit"
        )
        return [Told(subject, closed), Told(subject, ended)]


class Visits:
    """The visits of one store, one beginning after the other without end, many at once."""

    def __init__(self, seed: str, epoch: str, per_hour: float) -> None:
        """Begin with nobody in the store.

        Args:
            seed: Decides when what happens.
            epoch: Of the gateway: names of visits are never those of another start.
            per_hour: How many begin, on the average.
        """
        assert per_hour > 0
        self._rng = random.Random(seed)
        self._epoch = epoch
        self._spacing_s = 3_600.0 / per_hour
        self._begun = 0
        self._due: list[tuple[float, int, _Visit]] = []
        self._begin_at(self._rng.expovariate(1 / self._spacing_s))

    @property
    def next_s(self) -> float:
        """When something happens next, seconds from the beginning."""
        return self._due[0][0]

    def until(self, now_s: float, moment: Moment) -> list[Told]:
        """Return what has happened until now, in order."""
        told = []
        while self.next_s <= now_s:
            at_s, number, visit = heapq.heappop(self._due)
            told += visit.act(moment)
            if visit.steps:
                again_s = at_s + self._rng.expovariate(1 / REACH_S)
                heapq.heappush(self._due, (again_s, number, visit))
            if number == self._begun:  # The newest has entered: the next one is on the way.
                self._begin_at(at_s + self._rng.expovariate(1 / self._spacing_s))
        return told

    def _begin_at(self, at_s: float) -> None:
        self._begun += 1
        visit = _Visit(_hash(f"{self._epoch}/{self._begun}"), self._rng)
        heapq.heappush(self._due, (at_s, self._begun, visit))


def _hash(text: str) -> str:
    return blake2b(text.encode(), digest_size=8).hexdigest()


def _gtin(product: int) -> str:
    body = f"0952132{product:06d}"
    return body + check_digit(body)
