# SPDX-License-Identifier: Apache-2.0
"""The engine sits the exam: what its events say, as any integrator would read them."""

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from math import ceil
from typing import Any, Final

import msgspec

from gateway.domain.engine import Engine
from gateway.domain.events import Event
from gateway.domain.inputs import AnyInput, EngineSettings, GatewayStarted, StoreChanged
from gateway.domain.store import Store
from gateway.simulator.exam.answers import Answer, Claim, Decision
from gateway.simulator.exam.cases import stamp
from gateway.simulator.exam.stage import START_NS

EPOCH = "e" * 32
AS_SHIPPED: Final = EngineSettings()


def sit(store: Store, inputs: Iterable[AnyInput], settings: EngineSettings = AS_SHIPPED) -> Answer:
    """Return what the engine makes of a case."""
    engine = Engine()
    reader = EventReader()
    for number, item in enumerate([started(store, settings), *inputs], start=1):
        for event in engine.step(number, item).events:
            reader.take(event, item)
        engine.changed_rows()
    return reader.answer


def started(store: Store, settings: EngineSettings = AS_SHIPPED) -> GatewayStarted:
    """Return the input that begins a case."""
    return GatewayStarted(
        at=stamp(START_NS - 1_000_000),
        gateway="exam",
        version="exam",
        epoch=EPOCH,
        previous_epoch=None,
        previous_sequence=None,
        settings=settings,
        store=store,
        state=[],
    )


class EventReader:
    """Turns events into an answer."""

    def __init__(self) -> None:
        self.answer = Answer()
        self.shoppers: set[str] = set()
        """Who came in."""
        self.gtins: set[str] = set()
        """Products of the store."""
        self.plates: set[str] = set()
        """Plates of the store."""
        self._shoppers: dict[str, str] = {}
        self._decisions: dict[str, Decision] = {}
        self._revisions: dict[str, int] = {}
        self._reviews: dict[str, Decision] = {}

    def take(self, event: Event, cause: AnyInput) -> None:
        """Take in an event and the input that caused it."""
        data: dict[str, Any] = msgspec.json.decode(event.data)
        match event.name:
            case "session.started":
                self._shoppers[data["session"]] = event.shopper or data["session"]
                self.shoppers.add(self._shoppers[data["session"]])
            case "item.picked" | "item.put-back" | "attribution.revised":
                self._decide(data, cause)
            case "review.requested":
                self._ask(data, cause)
            case "review.resolved":  # What was decided comes as a revision.
                done = self._reviews.pop(data["review"], None)
                decisions = self.answer.decisions
                decisions[:] = [one for one in decisions if one is not done]
            case "cart.closed":
                self._close(data)

    def note_store(self, item: AnyInput) -> None:
        """Learn what the store sells from an input that brings one."""
        if isinstance(item, GatewayStarted | StoreChanged):
            self.gtins |= item.store.products.keys()
            self.plates |= {plate.name for shelf in item.store.shelves for plate in shelf.plates}

    def _decide(self, data: dict[str, Any], cause: AnyInput) -> None:
        name = data["change"]
        claims = [
            Claim(
                self._shoppers.get(act["session"]), act["gtin"], act["quantity"], act["direction"]
            )
            for act in data["acts"]
        ]
        known = self._decisions.get(name)
        if known is None:
            self._decisions[name] = known = self._decision(data, cause)
        if data["revision"] >= self._revisions.get(name, 0):
            self._revisions[name] = data["revision"]
            known.claims = claims

    def _ask(self, data: dict[str, Any], cause: AnyInput) -> None:
        decision = self._reviews[data["review"]] = self._decision(data, cause)
        decision.open = True
        decision.probability = max((one["probability"] for one in data["candidates"]), default=0.0)

    def _decision(self, data: dict[str, Any], cause: AnyInput) -> Decision:
        at = cause.at
        decision = Decision(
            plates=frozenset(one["plate"] for one in data["weights"]),
            since_ns=_mono_ns(data["started"], at.utc_ns - at.mono_ns),
            until_ns=_mono_ns(data["ended"], at.utc_ns - at.mono_ns),
            told_ns=at.mono_ns,
            claims=[],
        )
        self.answer.decisions.append(decision)
        return decision

    def _close(self, data: dict[str, Any]) -> None:
        shopper = self._shoppers.get(data["session"], data["session"])
        self.answer.receipts.setdefault(shopper, {})
        for line in data["lines"]:
            quantity = ceil(Decimal(line["quantity"]))  # What is weighed counts as one.
            self.answer.bill(shopper, line["gtin"], quantity, line["probability"])


def _mono_ns(label: str, offset_ns: int) -> int:
    """Return an event's label of UTC on the monotonic clock."""
    return round(datetime.fromisoformat(label).timestamp() * 1_000_000) * 1_000 - offset_ns
