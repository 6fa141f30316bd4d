# SPDX-License-Identifier: Apache-2.0
"""A gateway and an integrator at a real broker, with a misbehaving network between."""

import sqlite3
from contextlib import AsyncExitStack, asynccontextmanager, closing

from gateway.simulator.delivery import compare
from tests.brokers import broker_of
from tests.e2e.upstream_parts import gateway, integrator, mqtt
from tests.faults.proxy import proxied
from tests.virtual_time import LoopClock


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
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(broker_of(kind, folder))
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
