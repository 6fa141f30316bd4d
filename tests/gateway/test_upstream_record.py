# SPDX-License-Identifier: Apache-2.0
"""An acknowledgement of much is recorded bit by bit, and what is live goes out meanwhile."""

import asyncio
import json
from contextlib import asynccontextmanager

from drivers.mqtt.client import Message, MqttConfig
from gateway import database as databases
from gateway import history, upstream
from gateway.clock import OsClock
from gateway.database import Batch, open_database
from gateway.upstream import Upstream, UpstreamConfig
from tests.made import lost, started

COUNT, BITE = 100, 10
ROOT = "shelfgate/v1/store/gw"


class Link:
    """A connection whose broker takes everything at once."""

    receive_maximum = 65_535
    malformed = 0

    def __init__(self, on_puback, on_publish):
        self._on_puback, self._on_publish = on_puback, on_publish
        self._mid = 0

    def raise_if_gone(self):
        pass

    def when_gone(self, _callback):
        pass

    def abort(self):
        pass

    def publish(self, topic, payload, **_options):
        self._mid += 1
        if "/events/" in topic:
            event = json.loads(payload)
            self._on_publish(event["epoch"], int(event["sequence"]))
        mid = self._mid
        asyncio.get_running_loop().call_soon(lambda: self._on_puback(mid, 0, failure=False))
        return mid


async def opened(folder):
    return await open_database(folder / "a.db", store="store", gateway="gw")


def test_what_is_live_goes_out_while_much_is_recorded(tmp_path, monkeypatch):
    monkeypatch.setattr(databases, "RECORD_BITE", BITE)
    recorded_when_sent, inbox = {}, {}

    async def main():
        async with await opened(tmp_path) as database:
            old = (await database.begin_epoch(1)).epoch
            events = [lost(old, number) for number in range(COUNT)]
            await database.commit(Batch(events=events, online=False, utc_ns=1))
        async with await opened(tmp_path) as database:
            new = (await database.begin_epoch(1)).epoch
            arrived = asyncio.Event()

            def sent(epoch, sequence):
                recorded_when_sent[epoch, sequence] = database._recorded.get(old, -1)
                if (epoch, sequence) in {(new, 0), (new, 1)}:
                    arrived.set()

            @asynccontextmanager
            async def connect(_config, *, on_message, on_puback, **_options):
                inbox["take"] = on_message
                yield Link(on_puback, sent)

            monkeypatch.setattr(upstream, "connect", connect)
            one = Upstream(
                UpstreamConfig(
                    mqtt=MqttConfig(host="x", port=1, client_id="c"),
                    store="store",
                    gateway="gw",
                    version="1",
                ),
                database,
                clock=OsClock(),
                on_link=lambda _up: None,
                on_command=lambda *_of: True,
            )

            async def commit(event):
                done = await database.commit(Batch(events=[event], online=True, utc_ns=1))
                one.committed(done)

            tasks, calls = [], []
            program = history.record

            def record(*of):
                calls.append(of)
                if len(calls) == 2:
                    tasks.append(asyncio.create_task(commit(lost(new, 1))))
                return program(*of)

            await commit(started(database.epoch, 0))
            running = asyncio.create_task(one.run())
            await arrived.wait()
            arrived.clear()
            monkeypatch.setattr(history, "record", record)
            acknowledged = json.dumps({"acknowledged": {old: str(COUNT - 1)}}).encode()
            inbox["take"](Message(f"{ROOT}/ack", acknowledged, False, 1, 1))
            await arrived.wait()
            while database._recorded.get(old) != COUNT - 1:  # noqa: ASYNC110 - it tells nobody.
                await asyncio.sleep(0)
            await tasks[0]
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            return recorded_when_sent[new, 1]

    assert BITE <= asyncio.run(main()) < COUNT - 1
