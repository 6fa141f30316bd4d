# SPDX-License-Identifier: Apache-2.0
"""A gateway's upstream half against a real broker: database, uplink, integrator, no engine."""

import asyncio
import time
from contextlib import asynccontextmanager, suppress

from drivers.mqtt.client import MqttConfig
from gateway.database import Batch, open_database
from gateway.domain.inputs import Stamp
from gateway.simulator.integrator import run_integrator
from gateway.uplink import UplinkSettings
from gateway.upstream import Upstream, UpstreamConfig
from tests.made import lost, started

ROOT = "shelfgate/v1/store/gw"


class OsClock:
    """The machine's clocks."""

    def stamp(self):
        mono_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        return Stamp(mono_ns, time.time_ns(), True, 1, "boot")


def mqtt(port, client_id, **changes):
    return MqttConfig(
        **{"host": "127.0.0.1", "port": port, "client_id": client_id, "protocol": 4} | changes
    )


class Gateway:
    """What a daemon does with its database and its uplink."""

    def __init__(self, database, config, *, clock=None, **uplink):
        self.database = database
        self.links = []
        self.commands = []
        self.busy = False
        self.counts = {}
        self.changed = asyncio.Event()
        self.number = 0
        self.upstream = Upstream(
            UpstreamConfig(
                mqtt=config,
                store="store",
                gateway="gw",
                version="1",
                uplink=UplinkSettings(
                    **{"retry_first_s": 0.05, "retry_cap_s": 0.2, "progress_s": 3.0} | uplink
                ),
            ),
            database,
            clock=clock or OsClock(),
            on_link=self.on_link,
            on_command=self.on_command,
            others=lambda: self.counts,
        )

    def on_link(self, online):
        self.links.append(online)
        self.changed.set()

    def on_command(self, command, name, data):
        if self.busy:
            return False
        self.commands.append((command, name, data))
        self.changed.set()
        return True

    async def commit(self, count=1):
        epoch = self.database.epoch.epoch
        events = []
        for _ in range(count):
            self.number += 1
            events.append(lost(epoch, self.number))
        batch = Batch(events=events, online=bool(self.links[-1:]), utc_ns=time.time_ns())
        done = await self.database.commit(batch)
        self.upstream.committed(done)
        return done.rows

    async def linked(self, online):
        """Wait until the link is up, or down."""
        await self.until(lambda: self.links[-1:] == [online])

    async def until(self, condition):
        """Wait for a condition over links and commands."""
        while not condition():
            self.changed.clear()
            await self.changed.wait()

    async def delivered(self):
        """Wait until nothing waits for the integrator any more."""
        while (await self.database.backlog())[0]:  # noqa: ASYNC110 - a database tells nobody.
            await asyncio.sleep(0.02)


@asynccontextmanager
async def running(*coroutines):
    """Run tasks beside the body; a failure of one ends it."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one) for one in coroutines]
        yield tasks
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def gateway(folder, config, **uplink):
    """Run a gateway whose first event is its start."""
    database = await open_database(folder / "gateway.db", store="store", gateway="gw")
    async with database:
        epoch = await database.begin_epoch(time.time_ns())
        one = Gateway(database, config, **uplink)
        await database.commit(
            Batch(events=[started(epoch, 0)], online=False, utc_ns=time.time_ns())
        )
        async with running(one.upstream.run()):
            yield one


@asynccontextmanager
async def integrator(folder, config):
    """Run the reference integrator."""
    stop = asyncio.Event()
    task = asyncio.create_task(run_integrator(config, folder / "integrator.db", stop))
    try:
        yield
    finally:
        stop.set()
        with suppress(asyncio.CancelledError):
            await task
