# SPDX-License-Identifier: Apache-2.0
"""A network and a broker that misbehave between the real uplink and a real broker.

Whatever happens meanwhile: once it is over, the integrator has each committed event once, without
a gap, and the link was told down and up again.
"""

import asyncio
import random

import pytest

from tests.brokers import every_broker, on, run
from tests.faults.network_scene import complete, scene
from tests.faults.proxy import (
    BLACK_HOLE,
    DEAF,
    NO_PUBACK,
    NONE,
    REFUSE,
    RESET,
    SLOW,
    Fault,
)
from tests.faults.quick_time import run_quick


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


@every_broker
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


@every_broker
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


@pytest.mark.parametrize(("kind", "protocol"), [on("mosquitto-3.1.1"), on("mosquitto-5")])
def test_a_broker_that_accepts_and_never_answers(tmp_path, kind, protocol):
    """Not the embedded one, the in-store link's: with it, a client that was back while its old
    connection lingered was seen to hear nothing more, on a machine with much to do."""

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


@every_broker
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


@every_broker
def test_a_network_that_is_slow_and_tears_packets_apart(tmp_path, kind, protocol):
    async def play(at, one):
        await at.proxy.set(SLOW)
        for _ in range(10):
            await one.commit(2)
        await one.delivered()

    delivery, connections, _ = scenario(tmp_path, kind, protocol, play, run=run)
    assert connections == 1
    assert delivery.repeated == 0


@every_broker
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
