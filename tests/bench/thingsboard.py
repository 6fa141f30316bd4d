# SPDX-License-Identifier: Apache-2.0
"""A backlog drains out of a thingsboard-gateway, where one is installed.

It reads a Mosquitto of the store, as it is meant to, and keeps what it reads in its SQLite storage
while the broker upstream is away; then that is back, and what comes out is counted. It is looked
for on the path, or is what ``THINGSBOARD_GATEWAY`` names: it brings a paho of its own, and wants a
virtual environment of its own. Settings are those it is shipped with, but for durable storage,
which is not the default there, and for packs of 1,000 records instead of 10.
"""

import asyncio
import json
import os
import shutil
import signal
import sqlite3
import time
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path

import psutil

from drivers.mqtt.client import connect
from tests.brokers import free_port, mosquitto
from tests.e2e.upstream_parts import mqtt

NAMED = os.environ.get("THINGSBOARD_GATEWAY")
PROGRAM = str(Path(NAMED).absolute()) if NAMED else shutil.which("thingsboard-gateway")
FROM = "events/x"
TO = "v1/gateway/telemetry"
ASKED = "v1/devices/me/rpc/request/"
LIMITS = json.dumps(
    {
        "maxPayloadSize": 65_536,
        "maxInflightMessages": 100,
        "rateLimits": {},
        "gatewayRateLimits": {},
    }
).encode()
"""What ThingsBoard answers before anything is sent: no limit of rates."""
PATIENCE_S = 120.0


def write_settings(folder, store_port, upstream_port):
    """Write what the gateway reads: its own settings and one connector."""
    own = {
        "thingsboard": {
            "host": "127.0.0.1",
            "port": upstream_port,
            "remoteConfiguration": False,
            "statistics": {"enable": False},
            "security": {"type": "accessToken", "accessToken": "bench"},
            "qos": 1,
        },
        "storage": {
            "type": "sqlite",
            "data_file_path": f"{folder}/data/",
            "max_read_records_count": 1_000,
        },
        "grpc": {"enabled": False},
        "connectors": [{"type": "mqtt", "name": "store", "configuration": "mqtt.json"}],
    }
    device = {
        "deviceNameExpressionSource": "constant",
        "deviceNameExpression": "store",
        "deviceProfileExpressionSource": "constant",
        "deviceProfileExpression": "default",
    }
    converter = {"type": "json", "deviceInfo": device, "attributes": [], "timeseries": ["*"]}
    connector = {
        "broker": {
            "host": "127.0.0.1",
            "port": store_port,
            "clientId": "thingsboard",
            "version": 5,
            "maxMessageNumberPerWorker": 10,
            "maxNumberOfWorkers": 100,
            "security": {"type": "anonymous"},
        },
        "mapping": [{"topicFilter": FROM, "subscriptionQos": 1, "converter": converter}],
    }
    for name, settings in (("tb_gateway.json", own), ("mqtt.json", connector)):
        (folder / name).write_text(json.dumps(settings))


@asynccontextmanager
async def gateway(folder):
    """Run a thingsboard-gateway as a process of its own."""
    with (folder / "out.log").open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            PROGRAM,
            cwd=folder,
            env=os.environ | {"TB_GW_CONFIG_DIR": str(folder)},
            stdout=out,
            stderr=asyncio.subprocess.STDOUT,
        )
    try:
        yield process
    finally:
        process.kill()
        await process.wait()


def stored(folder):
    """Return how many records wait in its storage."""
    count = 0
    for path in (folder / "data").glob("*.db"):
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            count += database.execute("SELECT count(*) FROM messages").fetchone()[0]
    return count


class Upstream:
    """A Mosquitto in ThingsBoard's place, which can go and come back, and who listens there."""

    def __init__(self, folder, lines, on_message):
        self.port = free_port()
        self._folder, self._lines, self._on_message = folder, lines, on_message
        self._running = AsyncExitStack()
        self.link = None

    async def come(self):
        # As ThingsBoard does: what a gateway asks does not come back to it.
        rights = self._folder / "rights"
        rights.write_text(
            "topic readwrite #\nuser bench\ntopic write #\ntopic read +/+/+/rpc/response/+\n"
        )
        broker = mosquitto(self._folder, *self._lines, f"acl_file {rights}", port=self.port)
        await self._running.enter_async_context(broker)
        self.link = await self._running.enter_async_context(
            connect(
                mqtt(self.port, "sink", protocol=5),
                subscriptions=[(TO, 1), (f"{ASKED}+", 1)],
                on_message=self._on_message,
            )
        )

    async def leave(self):
        await self._running.aclose()

    async def __aenter__(self):
        await self.come()
        return self

    async def __aexit__(self, *_):
        await self.leave()


async def until(holds, what):
    """Wait until something holds that nobody tells of."""
    began_s = time.monotonic()
    while not holds():
        if time.monotonic() - began_s > PATIENCE_S:
            raise TimeoutError(f"{what}: not within {PATIENCE_S:.0f} s")
        await asyncio.sleep(0.1)


async def drain(folder, count, size, *lines):
    """Return how many records a second come out of it while a backlog drains.

    Each has a name of its own, so that none can hide behind another.

    Args:
        folder: Where files go.
        count: Records in the backlog.
        size: Bytes of each.
        lines: Configuration of both brokers.
    """
    store_port = free_port()
    subscribed = folder / "store.log"
    telling = (f"log_dest file {subscribed}", "log_type subscribe")
    arrived, times_s = set(), []

    def on_message(message):
        if message.topic.startswith(ASKED):
            upstream.link.publish(message.topic.replace("request", "response"), LIMITS)
            return
        records = json.loads(message.payload)["store"]
        arrived.update(key for record in records for key in record["values"])
        times_s.append((time.monotonic(), len(arrived)))

    def linked():
        links = psutil.Process(process.pid).net_connections("tcp")
        return any(link.raddr and link.raddr.port == upstream.port for link in links)

    def publish(name):
        filling.publish(FROM, json.dumps({name: "x" * size}).encode())

    upstream = Upstream(folder, lines, on_message)
    write_settings(folder, store_port, upstream.port)
    async with (
        upstream,
        mosquitto(folder, *lines, *telling, port=store_port),
        gateway(folder) as process,
        connect(mqtt(store_port, "source", protocol=5), on_message=on_message) as filling,
    ):
        await until(lambda: subscribed.exists() and FROM in subscribed.read_text(), "connector")
        # A device that it first hears of in an outage would keep it from storing anything.
        publish("before")
        await until(lambda: arrived, "first event")
        await upstream.leave()
        await until(lambda: not linked(), "noticing the outage")
        for number in range(count):
            publish(f"event {number}")
            await filling.room()
        await until(lambda: stored(folder) == count, "storing")
        process.send_signal(signal.SIGSTOP)  # Until somebody listens.
        await upstream.come()
        arrived.clear()
        times_s.clear()
        process.send_signal(signal.SIGCONT)
        await until(lambda: len(arrived) == count, "draining")
    (began_s, before), (ended_s, _) = times_s[0], times_s[-1]
    return round((count - before) / max(ended_s - began_s, 1e-3))
