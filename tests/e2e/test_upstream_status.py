# SPDX-License-Identifier: Apache-2.0
"""What the retained status tells about odd messages, and what is done when it is refreshed."""

import asyncio
import json
import sqlite3
import time
from contextlib import closing

import pytest

from drivers.mqtt.client import connect
from drivers.mqtt.embedded import embedded_broker
from gateway import clock
from gateway.database import DAY_NS, Batch
from gateway.domain import timekeeping
from tests.brokers import free_port, run
from tests.e2e.upstream_parts import ROOT, gateway, mqtt
from tests.made import lost


def test_odd_acknowledgements_are_counted_in_the_status_and_logged_once(tmp_path, caplog):
    async def main():
        port = free_port()
        states = asyncio.Queue()

        def on_message(message):
            states.put_nowait(json.loads(message.payload))

        async with embedded_broker(port):
            watch = [(f"{ROOT}/status", 1)]
            config = mqtt(port, "integrator")
            async with connect(config, subscriptions=watch, on_message=on_message) as integrator:
                async with gateway(tmp_path, mqtt(port, "gw")) as one:
                    assert (await states.get())["counters"] == {"connections": 1}
                    epoch = one.database.epoch.epoch
                    marks = {"acknowledged": {epoch: f"{99:020d}"}}
                    for payload in (b"[]", b"{", json.dumps(marks).encode()):
                        integrator.publish(f"{ROOT}/ack", payload)
                    integrator.publish(f"{ROOT}/commands/prices", b"{}")
                    integrator.publish(f"{ROOT}/commands/prices", b'{"id":"last"}')
                    await one.until(lambda: one.commands)
                    one.upstream.set_degraded(["camera/c1"])
                    counters = (await states.get())["counters"]
                    assert counters["malformed_acks"] == 2
                    assert counters["unbelievable_acks"] == 1
                    assert counters["malformed_commands"] == 1
                    assert "retained_commands" not in counters
                    assert "inputs.malformed" not in counters
                    one.counts["inputs.malformed"] = 7
                    one.upstream.set_degraded([])
                    assert (await states.get())["counters"]["inputs.malformed"] == 7
                assert "counters" not in await states.get()

    run(main())
    told = [record for record in caplog.records if "acknowledgement" in record.message]
    assert len(told) == 1
    assert told[0].levelname == "WARNING"


@pytest.mark.parametrize(("steady_ns", "left"), [(0, 2), (timekeeping.STEADY_NS, 6)])
def test_history_is_trimmed_as_the_status_is_refreshed(tmp_path, monkeypatch, steady_ns, left):
    """By age only once UTC has been steady for long: it may be years ahead until then."""
    monkeypatch.setattr(clock, "STEADY_NS", steady_ns)

    async def main():
        port = free_port()
        states = asyncio.Queue()

        def on_message(message):
            states.put_nowait(json.loads(message.payload))

        async with embedded_broker(port):
            watch = [(f"{ROOT}/status", 1)]
            async with (
                connect(mqtt(port, "watcher"), subscriptions=watch, on_message=on_message),
                gateway(tmp_path, mqtt(port, "gw"), acknowledge="broker") as one,
            ):
                await states.get()
                epoch = one.database.epoch.epoch
                events = [lost(epoch, number) for number in range(1, 6)]
                long_ago_ns = time.time_ns() - 40 * DAY_NS
                done = await one.database.commit(
                    Batch(events=events, online=True, utc_ns=long_ago_ns)
                )
                assert count(tmp_path) == 6
                one.upstream.committed(done)
                await one.delivered()
                # Trimming comes after a status, and before the next one.
                for parts in (["camera/c1"], [], ["camera/c1"]):
                    one.upstream.set_degraded(parts)
                    await states.get()
                # Kept are, at least, the start, which is young, and the end of the sequence.
                assert count(tmp_path) == left

    run(main())


def count(folder):
    with closing(sqlite3.connect(folder / "gateway.db")) as connection:
        return connection.execute("SELECT count(*) FROM events").fetchone()[0]
