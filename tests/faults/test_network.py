# SPDX-License-Identifier: Apache-2.0
"""A network and a broker that misbehave between the real uplink and a real broker.

Whatever happens meanwhile: once it is over, the integrator has each committed event once, without
a gap, and the link was told down and up again.
"""

import asyncio
import random
import sqlite3
from contextlib import AsyncExitStack, asynccontextmanager, closing

import pytest

from drivers.mqtt.embedded import start_broker, stop_broker
from gateway.simulator.delivery import compare
from tests.brokers import Mosquitto, free_port, needs_mosquitto, run
from tests.e2e.upstream_parts import gateway, integrator, mqtt
from tests.faults.proxy import (
    BLACK_HOLE,
    DEAF,
    NO_PUBACK,
    NONE,
    REFUSE,
    RESET,
    SLOW,
    Fault,
    proxied,
)
from tests.faults.quick_time import run_quick
from tests.virtual_time import LoopClock


class Embedded:
    """The embedded broker, with the methods of ``Mosquitto``."""

    def __init__(self, _folder):
        self.port = free_port()
        self.process = None

    async def start(self):
        self.process = await start_broker(self.port)

    async def kill(self):
        self.process.kill()
        await stop_broker(self.process)


KINDS = {
    "embedded": (Embedded, 4),
    "mosquitto-3.1.1": (Mosquitto, 4),
    "mosquitto-5": (Mosquitto, 5),
}


def on(name, *more, label=""):
    """Return the parameters of a test on one broker."""
    marks = [needs_mosquitto] if name.startswith("mosquitto") else []
    return pytest.param(*KINDS[name], *more, id=f"{label}{name}", marks=marks)


brokers = pytest.mark.parametrize(("kind", "protocol"), [on(name) for name in KINDS])


class Scene:
    """A gateway whose broker is behind a proxy, and an integrator next to the broker."""

    def __init__(self, folder, broker, protocol, proxy, stack):
        self.folder = folder
        self.broker = broker
        self.proxy = proxy
        self.gateway = None
        self._protocol = protocol
        self._stack = stack

    async def open_gateway(self, **uplink):
        config = mqtt(self.proxy.port, "gw", protocol=self._protocol)
        uplink = {"clock": LoopClock(), "progress_s": 30.0, **uplink}
        self.gateway = await self._stack.enter_async_context(gateway(self.folder, config, **uplink))
        return self.gateway

    async def open_integrator(self):
        config = mqtt(self.broker.port, "integrator", protocol=self._protocol)
        await self._stack.enter_async_context(integrator(self.folder, config))

    async def over(self):
        """Wait until everything is acknowledged."""
        await self.gateway.commit(1)
        await self.gateway.delivered()


@asynccontextmanager
async def scene(folder, kind, protocol, *, seed=0):
    broker = kind(folder)
    await broker.start()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(broker.kill)
        proxy = await stack.enter_async_context(proxied(broker.port, seed=seed))
        yield Scene(folder, broker, protocol, proxy, stack)


def complete(folder):
    """Hold the integrator's database against the gateway's; return what was delivered how."""
    delivery = compare(folder / "gateway.db", folder / "integrator.db")
    assert delivery.good, delivery
    assert delivery.committed == delivery.stored
    with closing(sqlite3.connect(folder / "integrator.db")) as connection:
        rows = connection.execute("SELECT epoch, sequence FROM events ORDER BY 1, 2").fetchall()
    for epoch in {epoch for epoch, _ in rows}:
        numbers = [number for one, number in rows if one == epoch]
        assert numbers == list(range(len(numbers)))
    return delivery


def scenario(folder, kind, protocol, play, *, seed=0, run=run_quick, **uplink):
    """Play with gateway and integrator linked; check everything at the end.

    Returns:
        The delivery, how many connections there were, and what was told of the link.
    """

    async def main():
        async with scene(folder, kind, protocol, seed=seed) as at:
            await at.open_integrator()
            one = await at.open_gateway(**uplink)
            await one.linked(True)
            await one.commit(20)
            await play(at, one)
            await at.proxy.set(NONE)
            await one.linked(True)
            await at.over()
            assert one.links[0] is True
            assert all(a != b for a, b in zip(one.links, one.links[1:], strict=False))
            connections, links = one.upstream.counters.connections, list(one.links)
        return complete(folder), connections, links

    return run(main())


@brokers
def test_a_broker_that_refuses(tmp_path, kind, protocol):
    async def play(at, one):
        await at.proxy.set(REFUSE)
        assert await at.proxy.cut() == 1
        await one.linked(False)
        for _ in range(10):
            await one.commit(5)

    delivery, connections, links = scenario(tmp_path, kind, protocol, play)
    assert delivery.committed == 1 + 20 + 50 + 1
    assert connections >= 2
    assert links[:2] == [True, False]


@brokers
def test_a_broker_that_resets_each_connection(tmp_path, kind, protocol):
    async def play(at, one):
        await at.proxy.set(RESET)
        await at.proxy.cut()
        await one.linked(False)
        before = at.proxy.accepted
        for count in range(1, 9):
            await one.commit(3)
            await at.proxy.until(lambda count=count: at.proxy.accepted >= before + count)

    delivery, connections, _ = scenario(tmp_path, kind, protocol, play)
    assert delivery.committed == 1 + 20 + 24 + 1
    assert connections >= 2


@brokers
def test_a_broker_that_accepts_and_never_answers(tmp_path, kind, protocol):
    async def play(at, one):
        await at.proxy.set(BLACK_HOLE)
        await at.proxy.cut()
        await one.linked(False)
        before = at.proxy.accepted
        await one.commit(30)
        # Given up after ten seconds each, and tried again.
        await at.proxy.until(lambda: at.proxy.accepted >= before + 3)

    _, connections, _ = scenario(tmp_path, kind, protocol, play)
    assert connections >= 2


@pytest.mark.parametrize(
    ("kind", "protocol", "fault"),
    [
        on("embedded", BLACK_HOLE, label="hole-"),
        on("mosquitto-3.1.1", BLACK_HOLE, label="hole-"),
        on("mosquitto-5", DEAF, label="deaf-"),
        on("mosquitto-5", NO_PUBACK, label="no-puback-"),
    ],
)
def test_a_link_that_falls_silent_is_told_down_and_dialled_anew(tmp_path, kind, protocol, fault):
    async def play(at, one):
        await at.proxy.set(fault)
        await one.commit(10)
        await one.linked(False)
        await one.commit(10)
        # A PUBACK that is 30 s late will not come: a new connection, which fares no better.
        accepted = at.proxy.accepted
        await at.proxy.until(lambda: at.proxy.accepted > accepted)

    delivery, connections, links = scenario(tmp_path, kind, protocol, play)
    assert delivery.committed == 42
    assert connections >= 2
    assert links[1] is False


@brokers
def test_what_is_committed_between_the_cut_and_its_detection_arrives(tmp_path, kind, protocol):
    """The seconds that other gateways lose: the cable is out, and nobody knows yet."""

    async def play(at, one):
        for _ in range(5):
            await at.proxy.set(BLACK_HOLE)
            sent = one.upstream.uplink.counters.published
            while one.links[-1]:
                await one.commit(1)
                await asyncio.sleep(0.2)
            assert one.upstream._connected, "it is told before the connection is given up"
            unseen = one.upstream.uplink.counters.published - sent
            assert unseen > 0, "something was handed to the dead link"
            await at.proxy.cut()
            await at.proxy.set(NONE)
            await one.linked(True)

    delivery, connections, links = scenario(tmp_path, kind, protocol, play)
    assert delivery.committed > 25
    assert connections >= 6
    assert links.count(False) >= 5


@brokers
def test_a_network_that_is_slow_and_tears_packets_apart(tmp_path, kind, protocol):
    async def play(at, one):
        await at.proxy.set(SLOW)
        for _ in range(10):
            await one.commit(2)
        await one.delivered()

    delivery, connections, _ = scenario(tmp_path, kind, protocol, play, run=run)
    assert connections == 1
    assert delivery.repeated == 0


@brokers
def test_a_broker_that_is_killed_after_it_acknowledged(tmp_path, kind, protocol):
    """It kept nothing: what it had acknowledged and not passed on is sent again."""

    async def main():
        async with scene(tmp_path, kind, protocol) as at:
            one = await at.open_gateway()
            await one.linked(True)
            await one.commit(200)
            while not one.upstream.uplink.idle:  # noqa: ASYNC110 - tells nobody.
                await asyncio.sleep(0.1)
            assert one.upstream.uplink.counters.published == 201
            assert (await one.database.backlog())[0] == 201
            await at.broker.kill()
            await one.linked(False)
            await at.broker.start()
            await at.open_integrator()
            await one.linked(True)
            await at.over()
        delivery = complete(tmp_path)
        assert delivery.committed == 202

    run_quick(main())


FAULTS = [
    NONE,
    REFUSE,
    RESET,
    BLACK_HOLE,
    DEAF,
    NO_PUBACK,
    SLOW,
    Fault(cut_up=700),
    Fault(cut_down=20),
]


@pytest.mark.parametrize(
    ("kind", "protocol", "seed"),
    [on("embedded", 1), on("mosquitto-3.1.1", 2), on("mosquitto-5", 3)],
)
def test_any_of_it_at_random(tmp_path, kind, protocol, seed):
    rng = random.Random(f"{seed}-{kind.__name__}-{protocol}")

    async def play(at, one):
        for _ in range(40):
            await at.proxy.set(rng.choice(FAULTS))
            if rng.random() < 0.5:
                await at.proxy.cut(reset=rng.random() < 0.5)
            for _ in range(rng.randrange(4)):
                await one.commit(rng.randint(1, 10))
                await asyncio.sleep(rng.uniform(0.0, 2.0))

    scenario(tmp_path, kind, protocol, play, seed=seed)
