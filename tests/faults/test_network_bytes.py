# SPDX-License-Identifier: Apache-2.0
"""The network is cut after every single byte between CONNECT and PUBACK, either way."""

import asyncio

import pytest

from tests.brokers import on
from tests.faults.network_scene import complete, scene
from tests.faults.proxy import Fault
from tests.faults.quick_time import run_quick

pytestmark = pytest.mark.slow

QUICKLY = {"retry_first_s": 0.001, "retry_cap_s": 0.001, "answer_s": 0.05}


async def measured(at, one):
    """Return how many bytes each way a connection takes until its first event has its PUBACK."""
    await one.commit(1)
    published = one.upstream.uplink.counters.published
    await at.proxy.cut()
    accepted = at.proxy.accepted
    uplink = one.upstream.uplink
    while uplink.counters.published == published or not uplink.idle:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    assert at.proxy.accepted == accepted + 1
    return dict(at.proxy.last.passed)


@pytest.mark.parametrize(
    ("kind", "protocol", "way"),
    [
        on("mosquitto-5", "up", label="up-"),
        on("mosquitto-5", "down", label="down-"),
        on("mosquitto-3.1.1", "down", label="down-"),
    ],
)
def test_a_cut_after_any_byte_loses_and_repeats_nothing(tmp_path, kind, protocol, way):
    async def main():
        async with scene(tmp_path, kind, protocol) as at:
            await at.open_integrator()
            one = await at.open_gateway(**QUICKLY)
            await one.linked(True)
            await one.delivered()
            until_puback = (await measured(at, one))[way]
            proxy = at.proxy
            proxy.script.extend(Fault(**{f"cut_{way}": count}) for count in range(until_puback))
            await proxy.cut()
            for left in reversed(range(until_puback)):
                await one.commit(1)  # So that each of these connections has something to send.
                await proxy.until(lambda left=left: len(proxy.script) <= left)
            await proxy.until(lambda: proxy.scripted[-1].over)
            await one.delivered()
            assert [link.passed[way] for link in proxy.scripted] == list(range(until_puback))
        delivery = complete(tmp_path)
        assert delivery.committed == until_puback + 2

    run_quick(main(), limit_s=100)
