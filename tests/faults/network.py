# SPDX-License-Identifier: Apache-2.0
"""The network, the upstream broker and an integrator, in virtual time.

The broker forgets all that it holds when it is killed, as one without persistence does: events
that it had acknowledged and not delivered yet are gone. The integrator is the reference
integrator without its network.
"""

import asyncio
import random
import sqlite3
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec

from drivers.errors import DeviceGoneError
from drivers.mqtt.client import Message
from gateway.simulator.asking import LOOK_S
from gateway.simulator.integrator_core import IntegratorCore
from gateway.simulator.ledger import Ledger
from gateway.simulator.proof import prove_in

NAME = "mqtt simulated"
KEEPALIVE_S = 45.0
"""After this long without an answer a client gives up its connection."""
REFUSALS = (0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99)


@dataclass(slots=True)
class Weather:
    """How the network and the broker behave at present."""

    refuse: bool = False
    black_hole: bool = False
    slow_s: float = 0.0
    refusal: int | None = None
    """PUBACK with this reason code."""
    lose_answers: bool = False
    """What the broker sends to the gateway does not arrive."""


class Link:
    """The gateway's connection: what ``drivers.mqtt.client.Connection`` is to the daemon."""

    receive_maximum = 65_535
    maximum_packet_size = None
    session_present = False
    malformed = 0

    def __init__(
        self,
        broker: "Broker",
        on_message: Callable[[Message], None],
        on_puback: Callable[..., None],
    ) -> None:
        self.gone = False
        self._broker = broker
        self._on_message = on_message
        self._on_puback = on_puback
        self._callbacks: list[Callable[[], None]] = []
        self._mid = 0
        self._arrives_s = 0.0
        self._returns_s = 0.0

    # As the daemon calls it.

    def publish(self, topic: str, payload: bytes, *, retain: bool = False, **_options: Any) -> int:
        self.raise_if_gone()
        if "/events/" in topic:
            self._broker.on_sent(payload)
        self._mid = self._mid % 65_535 + 1
        mid = self._mid
        self._broker.later_up(self, lambda: self._broker.take(self, mid, topic, payload, retain))
        return mid

    def raise_if_gone(self) -> None:
        if self.gone:
            raise DeviceGoneError(NAME, "the connection broke", "Wait")

    def when_gone(self, callback: Callable[[], None]) -> None:
        self._callbacks.append(callback)

    def abort(self) -> None:
        self.cut()

    # As the network does.

    def cut(self) -> None:
        """The connection is over; what is under way is lost."""
        if not self.gone:
            self.gone = True
            self._broker.forget(self)
            for callback in self._callbacks:
                callback()

    def puback(self, mid: int, code: int) -> None:
        self._on_puback(mid, code, failure=code >= 0x80)

    def message(self, topic: str, payload: bytes, retain: bool) -> None:
        self._on_message(Message(topic, payload, retain, 1, 0))


class Broker:
    """One broker; the gateway and the integrator are its clients."""

    def __init__(self, rng: random.Random, root: str) -> None:
        self.weather = Weather()
        self.up = True
        self.link: Link | None = None
        self._rng = rng
        self._root = root
        self._retained: dict[str, bytes] = {}
        self._queue: deque[tuple[str, bytes]] = deque()
        self._pumping = False
        self._lives = 0
        self.integrator: Integrator | None = None
        self.on_sent: Callable[[bytes], None] = lambda _payload: None
        """Hears every event that the gateway hands to the network."""

    @asynccontextmanager
    async def connect(
        self,
        _config: object,
        *,
        on_message: Callable[[Message], None],
        on_puback: Callable[..., None],
        **_options: Any,
    ) -> AsyncIterator[Link]:
        """Take the place of ``drivers.mqtt.client.connect``."""
        await asyncio.sleep(self._delay_s())
        if self.weather.black_hole:
            await asyncio.sleep(10.0)
            raise DeviceGoneError(NAME, "no answer within 10 s", "Wait")
        if not self.up or self.weather.refuse:
            raise DeviceGoneError(NAME, "nothing listens there", "Wait")
        if self.link is not None:
            self.link.cut()  # Another with the same client id takes over.
        link = self.link = Link(self, on_message, on_puback)
        for topic, payload in list(self._retained.items()):
            if topic == f"{self._root}/ack":
                self._down(link, topic, payload, retain=True)
        try:
            yield link
        finally:
            link.cut()

    def take(self, link: Link, mid: int, topic: str, payload: bytes, retain: bool) -> None:
        """A PUBLISH of the gateway arrived."""
        code = self.weather.refusal
        if code is not None and "/events/" in topic:
            self.later_down(link, lambda: link.puback(mid, code))
            return
        if retain:
            self._retained[topic] = payload
        self._queue.append((topic, payload))
        self.later_down(link, lambda: link.puback(mid, 0))
        self._pump()

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Take a message of the integrator or of a head office."""
        if not self.up:
            return
        if retain:
            self._retained[topic] = payload
        if self.link is not None:
            self._down(self.link, topic, payload, retain=False)

    def forget(self, link: Link) -> None:
        """A connection of the gateway is over."""
        if self.link is link:
            self.link = None

    def kill(self) -> None:
        """All that it held in memory is gone."""
        self.up = False
        self._lives += 1
        self._queue.clear()
        self._retained.clear()
        if self.link is not None:
            self.link.cut()

    def start(self) -> None:
        """Listen again; the integrator says at once what it has, as after every reconnect."""
        self.up = True
        if self.integrator is not None:
            self.integrator.reconnected()

    def pump(self) -> None:
        """Deliver what waits, as after the integrator's reconnect."""
        self._pump()

    def _down(self, link: Link, topic: str, payload: bytes, *, retain: bool) -> None:
        self.later_down(link, lambda: link.message(topic, payload, retain))

    def _pump(self) -> None:
        if self._pumping or not self._queue:
            return
        self._pumping = True
        life = self._lives
        asyncio.get_running_loop().call_later(self._delay_s(), self._deliver, life)

    def _deliver(self, life: int) -> None:
        self._pumping = False
        if life != self._lives:
            self._pump()
            return
        integrator = self.integrator
        if integrator is not None and integrator.up and self.up:
            batch = list(self._queue)
            self._queue.clear()
            integrator.receive(batch)

    def later_up(self, link: Link, arrive: Callable[[], None]) -> None:
        """Let something of the gateway's arrive at the broker, in order, unless the link breaks."""
        link._arrives_s = self._later(link, link._arrives_s, arrive, lost=False)

    def later_down(self, link: Link, arrive: Callable[[], None]) -> None:
        """Let something arrive at the gateway, in order, unless the link breaks."""
        lost = self.weather.lose_answers
        link._returns_s = self._later(link, link._returns_s, arrive, lost=lost)

    def _later(
        self, link: Link, after_s: float, arrive: Callable[[], None], *, lost: bool
    ) -> float:
        loop = asyncio.get_running_loop()
        at_s = max(after_s, loop.time() + self._delay_s())

        def happen() -> None:
            if not link.gone and not self.weather.black_hole and not lost:
                arrive()

        loop.call_at(at_s, happen)
        return at_s

    def _delay_s(self) -> float:
        return self._rng.uniform(0.001, 0.02) + self.weather.slow_s * self._rng.random()


@dataclass(slots=True)
class Integrator:
    """The reference integrator behind the broker, its network left out."""

    broker: Broker
    root: str
    source: str
    up: bool = True
    ledger: Ledger = field(default_factory=lambda: Ledger(":memory:"))
    received: int = 0
    commands: int = 0
    ever: set[tuple[str, int]] = field(default_factory=set)
    """What it had before it was set back."""
    backup: sqlite3.Connection | None = None
    core: IntegratorCore = field(init=False)

    def __post_init__(self) -> None:
        self.core = IntegratorCore(
            self.ledger,
            prove=lambda: [prove_in(self.ledger._connection, self.source)],
            name=self._name,
        )

    def _name(self) -> str:
        self.commands += 1
        return f"ask-{self.commands}"

    def receive(self, batch: Sequence[tuple[str, bytes]]) -> None:
        """Store events in one transaction; answer births and what was stored."""
        events = [payload for topic, payload in batch if "/events/" in topic]
        statuses = [payload for topic, payload in batch if topic.endswith("/status")]
        replies = [(self.source, payload) for topic, payload in batch if "/replies/" in topic]
        self.received += len(events)
        self._turn(events, statuses, replies)

    def _turn(
        self,
        events: Sequence[bytes] = (),
        statuses: Sequence[bytes] = (),
        replies: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        now_s = asyncio.get_running_loop().time()
        told = {self.source: statuses} if statuses else {}
        answers, wishes = self.core.turn(events, told, replies, now_s)
        for answer in answers.values():
            self.broker.publish(f"{self.root}/ack", answer, retain=True)
        for wish in wishes:
            self.broker.publish(f"{self.root}/commands/backfill", wish.payload)

    def acknowledge(self) -> None:
        """Publish what is stored."""
        self.broker.publish(
            f"{self.root}/ack", self.ledger.acknowledgement(self.source), retain=True
        )

    def reconnected(self) -> None:
        """After any reconnect: what it has is told again."""
        if self.up:
            self.acknowledge()
            self.broker.pump()

    async def ask(self) -> None:
        """Look for what is missing now and then, and ask for it."""
        while True:
            await asyncio.sleep(LOOK_S)
            if self.up:
                self._turn()

    def keep(self) -> None:
        """Make a backup."""
        self.backup = sqlite3.connect(":memory:", isolation_level=None)
        self.ledger._connection.backup(self.backup)

    def restore(self) -> None:
        """Go back to the backup: what came after it is not here any more."""
        assert self.backup is not None
        self.ever |= self.stored().keys()
        self.ledger._connection = self.backup
        self.core.look_at_all()
        self.reconnected()

    def stop(self) -> None:
        """Go away; the broker keeps what is published meanwhile."""
        self.up = False

    def start(self) -> None:
        """Come back."""
        self.up = True
        self.reconnected()

    def events_named(self, name: str) -> list[dict[str, Any]]:
        """Return stored events of a name."""
        rows = self.ledger._connection.execute(
            "SELECT payload FROM events WHERE name = ? ORDER BY epoch, sequence", (name,)
        ).fetchall()
        return [msgspec.json.decode(payload) for (payload,) in rows]

    def stored(self) -> dict[tuple[str, int], tuple[str, bytes]]:
        """Return id and payload of each event by epoch and sequence."""
        rows = self.ledger._connection.execute(
            "SELECT epoch, sequence, id, payload FROM events"
        ).fetchall()
        return {(epoch, sequence): (name, payload) for epoch, sequence, name, payload in rows}
