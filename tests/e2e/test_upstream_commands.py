# SPDX-License-Identifier: Apache-2.0
"""Commands from upstream: answered, deduplicated, refused; and backfills."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest

from drivers.mqtt.client import connect
from drivers.mqtt.embedded import embedded_broker
from gateway.domain.effects import Backfill, Reply
from tests.brokers import free_port, run
from tests.e2e.upstream_parts import ROOT, gateway, mqtt


class Office:
    """Whoever sends commands."""

    def __init__(self):
        self.connection = None
        self.replies = asyncio.Queue()
        self.events = asyncio.Queue()
        self.port = None

    def on_message(self, message):
        command = message.topic.removeprefix(f"{ROOT}/replies/")
        self.replies.put_nowait((command, json.loads(message.payload)))

    def on_event(self, message):
        self.events.put_nowait(message.payload)

    def send(self, name, payload, *, retain=False):
        self.connection.publish(f"{ROOT}/commands/{name}", payload, retain=retain)


@asynccontextmanager
async def link(folder):
    port = free_port()
    async with embedded_broker(port):
        office = Office()
        office.port = port
        async with (
            connect(
                mqtt(port, "office"),
                subscriptions=[(f"{ROOT}/replies/+", 1)],
                on_message=office.on_message,
            ) as office.connection,
            gateway(folder, mqtt(port, "gw"), acknowledge="broker") as one,
        ):
            await one.linked(True)
            yield office, one


def test_a_command_is_handed_on_whole_and_its_repeat_answered_again(tmp_path):
    async def main():
        async with link(tmp_path) as (office, one):
            office.send("prices", b'{"id": "c-1",\n "version": "7", "text": "\\u00e9"}')
            await one.until(lambda: one.commands)
            [(command, name, data)] = one.commands
            assert (command, name) == ("c-1", "prices")
            assert b"\n" not in data
            assert json.loads(data) == {"id": "c-1", "version": "7", "text": "é"}
            office.send("prices", b'{"id":"c-1"}')
            office.send("prices", b'{"id":"c-2"}')
            await one.until(lambda: len(one.commands) == 2)
            assert one.upstream.desk.counters.repeated_commands == 1
            assert office.replies.empty()
            one.upstream.publish_reply(Reply("c-1", "ok", "done"))
            answer = {"id": "c-1", "status": "ok", "message": "done"}
            assert await office.replies.get() == ("c-1", answer)
            office.send("prices", b'{"id":"c-1"}')
            assert await office.replies.get() == ("c-1", answer)
            assert len(one.commands) == 2
            assert one.upstream.desk.counters.repeated_commands == 2

    run(main())


@pytest.mark.parametrize(
    "payload",
    [
        *(b"", b"[]", b"null", b"{}", b'{"id":7}', b'{"id":"a b"}', b'{"id":"a/b"}', b'{"id":"#"}'),
        *(b'{"id":""}', b'{"id":"' + b"a" * 200 + b'"}', b"[" * 60_000, b'{"id":"\xff"}'),
        *(b'{"id":"big","x":"' + b"a" * 66_000 + b'"}', b'{"id":"c","x":"\\ud800"}'),
        b'{"id":"c","x":' + b"[" * 9,
    ],
)
def test_a_command_without_a_usable_id_is_counted(tmp_path, payload):
    async def main():
        async with link(tmp_path) as (office, one):
            office.send("prices", payload)
            office.send("prices", b'{"id":"after"}')
            await one.until(lambda: one.commands)
            assert [command for command, _, _ in one.commands] == ["after"]
            assert one.upstream.desk.counters.malformed_commands == 1
            assert office.replies.empty()

    run(main())


def test_a_malformed_command_is_answered_when_its_id_can_be_read(tmp_path):
    async def main():
        async with link(tmp_path) as (office, one):
            office.send("prices", b'{"id":"c","x":"\xff"}')
            command, reply = await office.replies.get()
            assert command == "c"
            assert reply["status"] == "error"
            assert "malformed JSON" in reply["message"]
            assert one.upstream.desk.counters.malformed_commands == 1
            assert one.commands == []

    run(main())


def test_a_command_without_room_is_refused_and_taken_when_repeated(tmp_path):
    async def main():
        async with link(tmp_path) as (office, one):
            one.busy = True
            office.send("prices", b'{"id":"c"}')
            command, reply = await office.replies.get()
            assert (command, reply["status"]) == ("c", "error")
            assert "Send it again" in reply["message"]
            one.busy = False
            office.send("prices", b'{"id":"c"}')
            await one.until(lambda: one.commands)
            one.upstream.publish_reply(Reply("c", "ok", ""))
            assert (await office.replies.get())[1]["status"] == "ok"
            assert one.upstream.desk.counters.commands_without_room == 1
            assert one.upstream.desk.counters.repeated_commands == 0

    run(main())


def test_a_retained_command_is_of_unknown_age_and_refused(tmp_path):
    async def main():
        port = free_port()
        async with embedded_broker(port):
            office = Office()
            async with connect(mqtt(port, "office"), on_message=office.on_message) as connection:
                office.connection = connection
                office.send("prices", b'{"id":"old"}', retain=True)
                async with gateway(tmp_path, mqtt(port, "gw"), acknowledge="broker") as one:
                    await one.linked(True)
                    office.send("prices", b'{"id":"new"}')
                    await one.until(lambda: one.commands)
                    assert [command for command, _, _ in one.commands] == ["new"]
                    assert one.upstream.desk.counters.retained_commands == 1

    run(main())


def test_a_backfill_sends_history_again_beside_what_is_live(tmp_path):
    async def main():
        async with link(tmp_path) as (office, one):
            epoch = one.database.epoch.epoch
            rows = await one.commit(20)
            await one.delivered()
            async with connect(
                mqtt(office.port, "witness"),
                subscriptions=[(f"{ROOT}/events/#", 1)],
                on_message=office.on_event,
            ):
                wish = Backfill("b-1", epoch, 10, None)
                await one.upstream.backfill(wish)
                command, told = await office.replies.get()
                assert (command, told["status"]) == ("b-1", "ok")
                assert told["message"] == "11 events are sent again"
                answer = {"epoch": epoch, "from": f"{10:020d}", "to": f"{20:020d}", "count": 11}
                assert told["backfill"] == {"state": "sending", **answer, "missing": []}
                assert await one.database.backlog() == (0, None), "they do not count as waiting"
                command, told = await office.replies.get()
                assert told["backfill"] == {"state": "done", **answer, "missing": []}
                again = [await office.events.get() for _ in range(11)]
                assert again == [row.payload for row in rows[-11:]]
                await one.upstream.backfill(wish)
                command, told = await office.replies.get()
                assert (told["status"], told["backfill"]["state"]) == ("ok", "done")
                await one.upstream.backfill(Backfill("b-2", "f" * 32, 0, 9))
                command, told = await office.replies.get()
                assert (told["status"], told["backfill"]["state"]) == ("error", "refused")
                assert told["backfill"]["missing"] == [{"first": f"{0:020d}", "last": f"{9:020d}"}]
                await one.commit(1)
                await office.events.get()
                assert office.events.empty(), "a repeated command sends nothing again"

    run(main())
