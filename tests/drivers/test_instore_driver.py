# SPDX-License-Identifier: Apache-2.0
"""All devices on MQTT: over a real broker, and over a fake one that misbehaves."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest

from drivers.entry.tokens import Verified
from drivers.errors import DeviceGoneError
from drivers.instore.driver import InstoreDriver
from drivers.labels.judging import Judge
from drivers.mqtt.client import NO_TOPIC, Message, MqttConfig, connect
from drivers.mqtt.embedded import embedded_broker
from gateway.domain.effects import Look, OpenDoor
from gateway.domain.inputs import DeviceStatus, DoorState, Dropped, EntryScanned, People, Samples
from gateway.intake import Intake
from tests.brokers import free_port, mosquitto, needs_mosquitto, run
from tests.drivers.scanner_line import product_store
from tests.small_store import small_store
from tests.virtual_time import LoopClock, run_virtual

ROOT = "shelfgate/v1/corner/"
SAMPLES = {"v": 1, "boot": "b", "seq": 0, "period_us": 16667, "unit": "g", "w": [[1, 2, None]]}
SCAN = {"v": 1, "boot": "b", "seq": 4, "t_ms": 9, "text": "a.b.c"}
STATUS = {"v": 1, "state": "online", "boot": "b"}
DOOR = {"v": 1, "boot": "b", "seq": 0, "open": False}
PEOPLE = {"v": 1, "boot": "b", "seq": 0, "people": []}
OPEN = OpenDoor(id="effect-1", door="front", session="s1")


def verify(text, _stamp):
    return Verified("valid", "shopper-1", "hash", 99) if text == "a.b.c" else Verified("malformed")


JUDGE = Judge(product_store(), verify)


def make_driver(config, **options):
    return InstoreDriver(config, product_store(), clock=LoopClock(), judge=JUDGE, **options)


class FakeBroker:
    """Delivers what the test says, and ends when it is told."""

    def __init__(self):
        self.subscriptions = None
        self.published = []
        self.expiries = []
        self.on_message = None
        self.end = asyncio.Event()
        self.up = True

    @asynccontextmanager
    async def connect(self, _config, *, subscriptions, on_message):
        self.subscriptions, self.on_message = subscriptions, on_message
        yield self

    def deliver(self, topic, message, *, retain=False):
        payload = message if isinstance(message, bytes) else json.dumps(message).encode()
        self.on_message(Message(ROOT + topic, payload, retain, 1, 1))

    def publish(self, topic, payload, *, expiry_s=None):
        if not self.up:
            raise DeviceGoneError("mqtt fake", "is gone", "Wait")
        self.published.append((topic, json.loads(payload)))
        self.expiries.append(expiry_s)
        return len(self.published)

    async def closed(self):
        await self.end.wait()
        raise DeviceGoneError("mqtt fake", "the connection closed", "Check the broker")


def with_fake(body):
    """Run ``body(broker, driver, intake)`` while the driver is connected to a fake broker."""

    async def main():
        broker, intake, ups = FakeBroker(), Intake(LoopClock()), []
        driver = make_driver(MqttConfig(host="fake", client_id="c"), connect=broker.connect)
        assert not driver.open_door(OPEN)
        async with asyncio.TaskGroup() as group:

            async def run():
                with pytest.raises(DeviceGoneError, match="the connection closed"):
                    await driver.run(intake, lambda: ups.append(1))

            group.create_task(run())
            await asyncio.sleep(1)
            assert ups == [1]
            body(broker, driver, intake)
            broker.end.set()
        assert not driver.open_door(OPEN)

    run_virtual(main())


def test_good_messages_reach_the_intake_and_bad_ones_are_counted():
    def body(broker, _driver, intake):
        broker.deliver("shelf/g1.s1/status", STATUS, retain=True)
        broker.deliver("shelf/g1.s1/samples", SAMPLES)
        broker.deliver("shelf/g1.s1/samples", SAMPLES, retain=True)
        broker.deliver("shelf/g1.s1/samples", b"{")
        broker.deliver("shelf/g7.s1/samples", SAMPLES)
        broker.deliver("shelf/g1.s1/samples", b" " * 65_537)
        broker.deliver("door/front/state", DOOR)
        taken = intake.take(9)
        assert [type(item) for item in taken] == [DeviceStatus, Samples, DoorState]
        assert taken[0].at.mono_ns == 1_000_000_000
        assert intake.totals == {
            "retained": 1,
            "malformed": 1,
            "unknown-device": 1,
            "too-long": 1,
        }

    with_fake(body)


def test_a_topic_that_is_no_text_is_counted_as_a_drop():
    def body(broker, _driver, intake):
        broker.on_message(Message(NO_TOPIC, b"{}", False, 1, 1))
        intake.flush()
        [dropped] = [item for item in intake.take(99) if isinstance(item, Dropped)]
        assert (dropped.device, dropped.reason, dropped.count) == ("mqtt/other", "unknown-topic", 1)

    with_fake(body)


def test_a_scanner_of_products_says_what_was_scanned_or_why_it_was_rejected():
    def body(broker, _driver, intake):
        code = {"text": "0109521321123458\x1d10LOT", "aim": "]C1"}
        broker.deliver("scanner/shop/scan", SCAN | code)
        broker.deliver("scanner/shop/scan", SCAN | {"text": "4006381333932", "seq": 5})
        good, wrong = intake.take(9)
        assert (good.gtin, good.lot, good.aim) == ("09521321123458", "LOT", "]C1")
        assert (good.device, good.seq, good.t_ms) == ("scanner/shop", 4, 9)
        assert (wrong.reason, wrong.seq) == ("check-digit", 5)
        for seq in range(6, 60):
            broker.deliver("scanner/shop/scan", SCAN | {"text": "a.b.c", "seq": seq})
        assert len(intake.take(99)) == 19
        assert intake.totals == {"rejected": 54 - 19}

    with_fake(body)


def test_a_scan_is_verified_before_the_intake():
    def body(broker, _driver, intake):
        broker.deliver("scanner/gate/scan", SCAN)
        broker.deliver("scanner/gate/scan", SCAN | {"text": "x", "seq": 5})
        good, bad = intake.take(9)
        assert isinstance(good, EntryScanned)
        assert (good.verdict, good.shopper, good.token_hash) == ("valid", "shopper-1", "hash")
        assert (good.device, good.boot, good.seq, good.t_ms) == ("scanner/gate", "b", 4, 9)
        assert (bad.verdict, bad.shopper) == ("malformed", None)

    with_fake(body)


def test_a_store_that_changed_brings_its_devices():
    def body(broker, driver, intake):
        broker.deliver("camera/over/people", PEOPLE)
        driver.store_changed(
            type(small_store())(name="corner", products={}, shelves=small_store().shelves[:1])
        )
        broker.deliver("camera/over/people", PEOPLE | {"seq": 1})
        assert [type(item) for item in intake.take(9)] == [People]
        assert intake.totals == {"unknown-device": 1}

    with_fake(body)


def test_a_door_is_asked_to_open_once_or_not_at_all():
    def body(broker, driver, _intake):
        assert driver.open_door(OPEN)
        assert broker.published == [(ROOT + "door/front/open", {"v": 1, "effect": "effect-1"})]
        assert broker.expiries == [5], "a door that comes back later lets nobody in"
        broker.up = False
        assert not driver.open_door(OPEN)

    with_fake(body)


def test_a_camera_is_asked_to_look_again_once_or_not_at_all():
    ask = Look("look-1", "over", (375.0, 1000.0, 905.0), 450.0, (2_300, 900))

    def body(broker, driver, _intake):
        assert driver.look(ask)
        [(topic, request)] = broker.published
        assert topic == ROOT + "camera/over/look"
        assert request == {
            "v": 1,
            "look": "look-1",
            "place_mm": [375.0, 1000.0, 905.0],
            "reach_mm": 450.0,
            "ago_ms": [2300, 900],
            "reply": ROOT + "camera/over/looked",
        }
        broker.up = False
        assert not driver.look(ask)

    with_fake(body)


def test_only_what_can_wait_for_an_answer_is_subscribed_with_qos_1():
    def body(broker, _driver, _intake):
        assert dict(broker.subscriptions) == {
            ROOT + "shelf/+/samples": 0,
            ROOT + "camera/+/people": 0,
            ROOT + "camera/+/looked": 1,
            ROOT + "scanner/+/scan": 1,
            ROOT + "door/+/state": 1,
            ROOT + "+/+/status": 1,
        }

    with_fake(body)


@asynccontextmanager
async def embedded(_folder):
    port = free_port()
    async with embedded_broker(port) as broker:
        yield port, broker


@asynccontextmanager
async def installed(folder):
    async with mosquitto(folder) as broker:
        yield broker.port, broker.process


@pytest.mark.parametrize(
    ("broker", "protocol"),
    [
        pytest.param(embedded, 4, id="embedded"),
        pytest.param(installed, 4, id="mosquitto, MQTT 3.1.1", marks=needs_mosquitto),
        pytest.param(installed, 5, id="mosquitto, MQTT 5", marks=needs_mosquitto),
    ],
)
def test_devices_on_a_real_broker(tmp_path, broker, protocol):
    """Birth before the gateway came, samples, a scan, a door that opens, a will, the end."""

    async def main():
        opened, acknowledged = asyncio.Queue(), asyncio.Queue()
        intake, up = Intake(LoopClock()), asyncio.Event()
        async with broker(tmp_path) as (port, process):

            def config(name):
                return MqttConfig(
                    host="127.0.0.1", port=port, client_id=name, protocol=protocol, clean=True
                )

            driver = make_driver(config("gateway"))
            async with connect(
                config("device"),
                subscriptions=[(ROOT + "door/front/open", 1)],
                on_message=opened.put_nowait,
                on_puback=lambda **puback: acknowledged.put_nowait(puback),
            ) as link:

                def send(topic, message, **options):
                    link.publish(ROOT + topic, json.dumps(message).encode(), **options)

                send("shelf/g1.s1/status", STATUS, retain=True)
                send("shelf/g1.s1/samples", SAMPLES, retain=True)
                for _ in range(2):
                    await acknowledged.get()  # The broker has them before the gateway comes.
                running = asyncio.ensure_future(driver.run(intake, up.set))
                await up.wait()
                send("shelf/g1.s1/samples", SAMPLES | {"seq": 1})
                send("scanner/gate/scan", SCAN)
                seen = []
                while len(seen) < 3:
                    seen += await intake.drain(9)
                assert driver.open_door(OPEN)
                door = await opened.get()
            process.kill()
            with pytest.raises(DeviceGoneError):
                await running
        return seen, door, intake.totals

    seen, door, totals = run(main())
    assert {type(item) for item in seen} == {DeviceStatus, Samples, EntryScanned}
    assert [item.seq for item in seen if isinstance(item, Samples)] == [1]
    assert json.loads(door.payload) == {"v": 1, "effect": "effect-1"}
    assert not door.retain
    assert totals == {"retained": 1}
