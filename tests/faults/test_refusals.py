# SPDX-License-Identifier: Apache-2.0
"""A broker that refuses: publishes, connections, sizes, more than so many at once.

The real uplink with the real MQTT client against a scripted broker. Whatever it says, each
committed event is taken by it in the end, and the daemon lives on.
"""

import asyncio
import json
import logging

import pytest

from gateway.database import Limits
from gateway.domain.effects import Reply
from tests.brokers import run
from tests.e2e.upstream_parts import ROOT, gateway, mqtt
from tests.scripted_broker import Script, scripted_broker

PUBACK_CODES = (0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99)
ODD_CODES = (0x81, 0x9F, 0xFE)
"""That MQTT 5 knows for other packets, or not at all."""
CONNACK_CODES = (0x80, 0x81, 0x82, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x95, 0x97, 0x9C, 0x9F)
DISCONNECT_CODES = (0x80, 0x81, 0x82, 0x87, 0x89, 0x8B, 0x8D, 0x8E, 0x93, 0x97, 0x98, 0x9D)


def config(broker):
    return mqtt(broker.port, "gw", protocol=5)


def sequences(broker):
    return [int(json.loads(payload)["sequence"]) for payload in broker.taken]


def degraded(broker):
    return any("uplink" in status["degraded"] for status in broker.statuses)


def once_each(numbers):
    """Return numbers in the order of their first coming."""
    return list(dict.fromkeys(numbers))


def refuse_first(code, count=2):
    """Refuse the first events of a connection."""
    return lambda topic, events: code if "/events/" in topic and events < count else 0


@pytest.mark.parametrize("code", PUBACK_CODES)
def test_each_refusal_of_a_publish_is_told_and_tried_again(tmp_path, code, caplog):
    caplog.set_level(logging.INFO)

    async def main():
        async with (
            scripted_broker(Script()) as broker,
            gateway(tmp_path, config(broker), acknowledge="broker") as one,
        ):
            # Until it is told upstream.
            broker.scripts[0].puback = lambda topic, _events: (
                code if "/events/" in topic and not degraded(broker) else 0
            )
            await one.commit(5)
            await one.delivered()
            assert sorted(sequences(broker)) == [0, 1, 2, 3, 4, 5]
            assert one.upstream.uplink.counters.refused >= 1
            assert broker.connections == 1, "a refusal is no reason to connect anew"
            await broker.until(lambda: broker.statuses[-1]["degraded"] == [])
            assert degraded(broker)

    run(main())
    assert f"Broker refuses events (code 0x{code:02x})" in caplog.text
    assert "Broker takes events again" in caplog.text


def test_what_is_refused_for_good_and_given_up_for_room_is_told_no_more(tmp_path):
    async def main():
        async with (
            scripted_broker(
                Script(puback=lambda topic, _events: 0x87 if topic.endswith("device.lost") else 0)
            ) as broker,
            gateway(tmp_path, config(broker), acknowledge="broker") as one,
        ):
            await one.commit()
            await broker.until(lambda: degraded(broker))
            one.database._limits = Limits(pending_max=0)
            await one.commit()
            await one.delivered()
            await broker.until(lambda: broker.statuses[-1]["degraded"] == [])
            assert not one.upstream.uplink.refusing

    run(main())


@pytest.mark.parametrize("code", ODD_CODES)
def test_an_answer_that_mqtt_does_not_know_loses_nothing(tmp_path, code):
    async def main():
        async with (
            scripted_broker(Script(puback=refuse_first(code)), Script()) as broker,
            gateway(tmp_path, config(broker), acknowledge="broker") as one,
        ):
            await one.commit(5)
            await one.delivered()
            assert set(sequences(broker)) == set(range(6))

    run(main())


def test_a_broker_without_subscribers_takes_events_and_that_is_counted(tmp_path):
    async def main():
        async with (
            scripted_broker(Script(puback=lambda _topic, _events: 0x10)) as broker,
            gateway(tmp_path, config(broker), answer_s=0.05) as one,
        ):
            await one.commit(3)
            while one.upstream.counters.unheard < 4:  # noqa: ASYNC110 - counters tell nobody.
                await asyncio.sleep(0.01)
            assert (await one.database.backlog())[0] == 4, "nobody has said that it is stored"

    run(main())


def test_each_refusal_of_a_connection_is_told_once_and_tried_again(tmp_path, caplog):
    caplog.set_level(logging.INFO)

    async def main():
        scripts = [Script(connack=code) for code in CONNACK_CODES]
        async with (
            scripted_broker(*scripts, Script()) as broker,
            gateway(
                tmp_path, config(broker), acknowledge="broker", retry_first_s=0.01, retry_cap_s=0.02
            ) as one,
        ):
            await one.commit(3)
            await one.delivered()
            assert broker.connections == len(CONNACK_CODES) + 1
            assert sequences(broker) == [0, 1, 2, 3]

    run(main())
    assert caplog.text.count("Uplink is down") == 1
    assert caplog.text.count("Uplink is back") == 1


def test_each_way_of_being_disconnected_loses_nothing(tmp_path):
    def cut(code):
        return lambda topic, events: -code if "/events/" in topic and events == 1 else 0

    async def main():
        scripts = [Script(puback=cut(code)) for code in DISCONNECT_CODES]
        async with (
            scripted_broker(*scripts, Script()) as broker,
            gateway(
                tmp_path, config(broker), acknowledge="broker", retry_first_s=0.01, retry_cap_s=0.02
            ) as one,
        ):
            await one.commit(40)
            await one.delivered()
            assert broker.connections == len(DISCONNECT_CODES) + 1
            assert once_each(sequences(broker)) == list(range(41))

    run(main())


@pytest.mark.parametrize("receive_maximum", [1, 2, 7])
def test_no_more_is_in_flight_than_the_broker_takes_whatever_it_is(tmp_path, receive_maximum):
    """Events, answers and the status share the broker's limit."""

    async def main():
        async with (
            scripted_broker(Script(receive_maximum=receive_maximum)) as broker,
            gateway(tmp_path, config(broker), acknowledge="broker") as one,
        ):
            broker.holding = True
            await one.commit(30)
            for number in range(20):
                one.upstream.publish_reply(Reply(f"c-{number}", "ok", ""))
            one.upstream._board.at_ns = 0  # Overdue, and no room for it.
            one.upstream.set_degraded(["camera/c1"])
            waiting = True
            while waiting:
                broker.release()
                await asyncio.sleep(0.005)
                waiting = (await one.database.backlog())[0] or len(broker.replies) < 20
            assert broker.violations == []
            assert sequences(broker) == list(range(31))
            assert [reply["id"] for reply in broker.replies] == [f"c-{n}" for n in range(20)]
            broker.holding = False
            broker.release()
            await broker.until(lambda: broker.statuses[-1]["degraded"] == ["camera/c1"])

    run(main())


def test_an_event_larger_than_the_broker_takes_waits_and_is_told(tmp_path, caplog):
    async def main():
        small = Script(maximum_packet=420)
        async with (
            scripted_broker(small, Script()) as broker,
            gateway(tmp_path, config(broker), acknowledge="broker") as one,
        ):
            await one.commit(3)
            await broker.until(lambda: degraded(broker))
            assert broker.violations == []
            assert broker.taken == []
            assert (await one.database.backlog())[0] == 4
            broker.writer.close()  # The operator has raised the limit and started the broker anew.
            await one.delivered()
            assert once_each(sequences(broker)) == [0, 1, 2, 3]

    run(main())
    assert "takes packets of 420 bytes" in caplog.text


def test_a_broker_that_takes_next_to_nothing_does_not_end_the_daemon(tmp_path, caplog):
    async def main():
        async with (
            scripted_broker(Script(maximum_packet=60), Script()) as broker,
            gateway(tmp_path, config(broker), acknowledge="broker") as one,
        ):
            one.upstream.publish_reply(Reply("c-1", "ok", "a" * 100))
            await one.linked(True)
            await one.commit(1)
            counters = one.upstream.uplink.counters
            while not counters.refused:  # noqa: ASYNC110 - counters tell nobody.
                await asyncio.sleep(0.01)
            assert one.upstream.desk.counters.replies_dropped == 1
            assert broker.violations == []
            assert one.upstream.counters.too_large >= 2
            broker.writer.close()
            await one.delivered()
            await broker.until(lambda: broker.statuses)
            assert broker.statuses[-1]["counters"]["too_large"] >= 2

    run(main())
    assert caplog.text.count("Raise the broker's largest packet") == 1


def test_a_broker_that_answers_no_status_is_left_for_a_new_connection(tmp_path):
    """Without PUBACKs of anything but events, too, the link is no good."""

    async def main():
        mute = Script(
            receive_maximum=1, puback=lambda topic, _events: None if "/status" in topic else 0
        )
        async with (
            scripted_broker(mute, Script()) as broker,
            gateway(tmp_path, config(broker), acknowledge="broker", stall_s=0.2) as one,
        ):
            await one.commit(3)
            await one.delivered()
            assert broker.connections == 2

    run(main())


def test_a_flood_of_commands_is_answered_within_bounds(tmp_path):
    async def main():
        async with (
            scripted_broker() as broker,
            gateway(tmp_path, config(broker), acknowledge="broker") as one,
        ):
            await one.linked(True)
            broker.holding = True
            one.busy = True
            for number in range(3_000):
                broker.send(f"{ROOT}/commands/prices", json.dumps({"id": f"c-{number}"}).encode())
            await broker.writer.drain()
            desk = one.upstream.desk
            while desk.counters.commands_without_room < 3_000:  # noqa: ASYNC110 - likewise.
                await asyncio.sleep(0.01)
            assert len(desk._replies) + len(desk._replying) <= 1_000
            assert len(desk._commands) <= 1_000
            assert desk.counters.replies_dropped > 0
            broker.holding = False
            broker.release()
            await broker.until(lambda: any(one["id"] == "c-2999" for one in broker.replies))

    run(main())


def test_a_flood_of_acknowledgements_is_one_write_and_no_pile(tmp_path):
    async def main():
        async with (
            scripted_broker() as broker,
            gateway(tmp_path, config(broker), answer_s=0.01) as one,
        ):
            await one.commit(200)
            await broker.until(lambda: len(broker.taken) >= 201)
            epoch = one.database.epoch.epoch
            for number in range(201):
                for claim in (number, 10**18, 0):
                    told = {"acknowledged": {epoch: f"{claim:020d}", "f" * 32: "7"}}
                    broker.send(f"{ROOT}/ack", json.dumps(told).encode())
                broker.send(f"{ROOT}/ack", b"[" * 1_000)
            await one.delivered()
            assert len(one.upstream._news) <= 1
            counters = one.upstream.uplink.counters
            assert (counters.malformed_acks, counters.unbelievable_acks) == (201, 201)

    run(main())
