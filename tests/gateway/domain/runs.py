# SPDX-License-Identifier: Apache-2.0
"""Whole runs of the demo's store in virtual time, and what an engine makes of them."""

from collections import Counter
from functools import cache
from pathlib import Path

import msgspec

from gateway.config import load_store
from gateway.domain.effects import OpenDoor
from gateway.domain.engine import Engine
from gateway.domain.inputs import EngineSettings, GatewayGap, GatewayStarted, Tick
from gateway.domain.store import Store
from gateway.simulator.virtual import START_MONO_NS, _stamp, virtual_inputs

STORE = Path(__file__).parents[3] / "fixtures" / "stores" / "demo.toml"


@cache
def demo_store() -> Store:
    return load_store(STORE)


def started(at=None, *, epoch="e", previous=None, state=()):
    """Return the input that begins an epoch."""
    return GatewayStarted(
        at=at or _stamp(START_MONO_NS - 1),
        gateway="gw",
        version="1",
        epoch=epoch * 32,
        previous_epoch=previous and previous * 32,
        previous_sequence=None,
        settings=EngineSettings(),
        store=demo_store(),
        state=list(state),
    )


class Run:
    """A run as it was lived: numbered inputs and, of each, the events."""

    def __init__(self, seed, **wanted):
        self.virtual = virtual_inputs(demo_store(), seed, **wanted)
        self.inputs = []
        self.events = []
        engine = Engine()
        self._step(engine, started())
        for item in self.virtual:
            for effect in self._step(engine, item):
                if isinstance(effect, OpenDoor):
                    self.virtual.door_opened(effect.door)
        self.engine = engine

    def _step(self, engine, item):
        number = len(self.inputs) + 1
        self.inputs.append((number, item))
        stepped = engine.step(number, item)
        self.events.append(stepped.events)
        return stepped.effects

    @property
    def truth(self):
        return self.virtual.truth

    @property
    def flat(self):
        """Return all events in order."""
        return [event for made in self.events for event in made]


@cache
def run(seed, **wanted):
    """Return a run; the same one to every test that asks."""
    return Run(seed, **wanted)


class Books:
    """What a reader of the events concludes: carts, reviews, who is who."""

    def __init__(self, events):
        self.shoppers = {}
        self.carts = {}
        self.reviews = {}
        self.names = Counter()
        for event in events:
            data = msgspec.json.decode(event.data)
            self.names[event.name] += 1
            if event.name == "session.started":
                self.shoppers[data["session"]] = event.shopper
            elif event.name in {"cart.closed", "cart.adjusted"}:
                self.carts[data["session"]] = data
            elif event.name == "review.requested":
                self.reviews[data["review"]] = data

    def lines(self, session):
        return Counter(
            {line["gtin"]: int(line["quantity"]) for line in self.carts[session]["lines"]}
        )

    def open_gtins(self, session):
        """Return the products that open reviews of a cart may add or take away."""
        return {
            act["gtin"]
            for name in self.carts[session]["open"]
            for candidate in self.reviews[name]["candidates"]
            for act in candidate["acts"]
        }

    def wrong(self, truth):
        """Return ``(shopper, problem)`` of receipts that are neither right nor under review."""
        problems = []
        told = {self.shoppers[session]: session for session in self.carts}
        for shopper in truth.left_ns:
            if shopper not in told:
                problems.append((shopper, "no receipt"))
                continue
            lines, basket = self.lines(told[shopper]), Counter(truth.baskets[shopper])
            differ = {gtin for gtin in {*lines, *basket} if lines[gtin] != basket[gtin]}
            if not differ <= self.open_gtins(told[shopper]):
                problems.append((shopper, f"{dict(lines)} is not {dict(+basket)}"))
        return problems

    def right(self, truth):
        """Return how many receipts are exactly what was taken."""
        return sum(
            self.lines(session) == +Counter(truth.baskets[self.shoppers[session]])
            for session in self.carts
        )


def restarted(inputs, cuts, *, down_inputs=0):
    """Fold inputs through an engine that is killed before each of the numbers in ``cuts``.

    What arrives within ``down_inputs`` inputs after a kill is lost. Durable rows are all that
    survives. Returns the events of all epochs, and the last engine.
    """
    engine, rows, events = Engine(), {}, []
    epochs = iter("abcdefghijklmnopqrstuvwxyz")
    epoch = next(epochs)
    number, skip = 0, 0

    def step(item):
        nonlocal number
        number += 1
        events.extend(engine.step(number, item).events)
        for row in engine.changed_rows():
            rows.pop((row.kind, row.key), None)
            if not row.deletes:
                rows[row.kind, row.key] = row

    step(started(epoch=epoch))
    before = inputs[0][1].at
    for at, item in inputs[1:]:
        if at in cuts:
            skip = down_inputs
        if skip:
            skip -= 1
            if skip == 0:
                engine, number = Engine(), 0
                previous, epoch = epoch, next(epochs)
                step(started(item.at, epoch=epoch, previous=previous, state=rows.values()))
                gap = GatewayGap(
                    at=item.at,
                    since_utc_ns=before.utc_ns,
                    since_boot=before.boot,
                    since_mono_ns=before.mono_ns,
                )
                step(gap)
            continue
        step(item)
        before = item.at
    for n in range(1, 300):  # Whoever left unseen is missed after a while.
        step(Tick(at=_stamp(before.mono_ns + n * 100_000_000)))
    return events, engine
