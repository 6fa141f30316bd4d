# SPDX-License-Identifier: Apache-2.0
"""The vision worker's links to the in-store broker: whose they are, and how they end."""

import asyncio
import contextlib
import itertools
import logging
import types

import pytest

from drivers.errors import DeviceGoneError
from drivers.mqtt.config import MqttConfig
from gateway import vision_link
from gateway.backoff import Backoff
from gateway.config_settings import Broker
from gateway.domain.store import Store
from gateway.vision_link import SHORT_S, SHORT_STAYS, Link, _keep, _link
from tests.virtual_time import run_virtual
from tests.vision.test_vision_worker import Broker as Messages
from tests.vision.test_vision_worker import Frames, OnePerson, config, feed
from vision.detectors import FrameError, ModelError
from vision.worker import Worker


def store(name):
    return Store(name=name, products={}, shelves=())


@pytest.mark.parametrize("client_id", [None, "gw"])
def test_every_link_has_an_id_of_its_own(client_id):
    settings = types.SimpleNamespace(broker=Broker(client_id=client_id))
    stores = [store("one"), store("two")] if client_id is None else [store("one")]
    names = [
        _link(settings, where, kind, name).name
        for where in stores
        for kind, name in (("vision", "top"), ("vision", "side"), ("codes", "top"))
    ]
    assert len({*names, client_id}) == len(names) + 1
    assert names[0] == ("shelfgate-one-vision-top" if client_id is None else "gw-vision-top")


class Device:
    """A camera that has nothing to say."""

    will = ("will", b"")
    look_topic = None

    async def announce(self):
        pass


def test_connections_that_are_soon_over_are_told_once(monkeypatch, caplog):
    stays = [1.0] * (SHORT_STAYS - 1) + [SHORT_S] + [1.0] * (SHORT_STAYS + 5)

    class Connection:
        async def closed(self):
            await asyncio.sleep(stays.pop(0))
            raise DeviceGoneError("broker", "the connection closed", "Check the broker")

    @contextlib.asynccontextmanager
    async def connect(_config, **_options):
        yield Connection()

    async def main():
        link = Link(MqttConfig(host="h", client_id="shelfgate-one-vision-top"))
        while stays:
            with pytest.raises(DeviceGoneError):
                await link.run(Device(), lambda: None)
            told.append([one for one in caplog.messages if "Another client" in one])

    told = []
    monkeypatch.setattr(vision_link, "connect", connect)
    caplog.set_level(logging.WARNING)
    run_virtual(main())
    assert [len(one) for one in told] == [0] * (2 * SHORT_STAYS - 1) + [1] * 6
    [line] = told[-1]
    assert line == (
        "shelfgate-one-vision-top: lost 3 times running within 10 s of connecting. "
        "Another client may use this id: run one worker a camera"
    )


class Failing:
    """A detector that fails on its first frame."""

    def detect(self, _frame):
        raise ModelError("m.onnx: on a frame of 512 x 384 its output is not finite. Export it")


def test_a_camera_whose_model_fails_begins_anew_and_the_others_go_on(monkeypatch, caplog):
    monkeypatch.setattr(vision_link, "MODEL_BACKOFF", Backoff(first_s=0.01))
    caplog.set_level(logging.WARNING)
    stop, made = asyncio.Event(), {"a": [], "b": []}
    detectors = {"a": [Failing(), Failing(), OnePerson()], "b": [OnePerson()]}
    frames = {"a": [Frames() for _ in range(3)], "b": [Frames()]}
    messages = {"a": Messages(), "b": Messages()}

    def make(name):
        source, detector = frames[name][len(made[name])], detectors[name][len(made[name])]
        worker = Worker(
            config(camera=name),
            messages[name].publish,
            detector=detector,
            open_source=lambda _url: source,
        )
        made[name].append(worker)
        return [], worker

    async def main():
        async with asyncio.timeout(50), asyncio.TaskGroup() as group:
            for name in made:
                group.create_task(_keep(name, lambda name=name: make(name), stop))
            for source in frames["a"][:2]:
                source.left.put(source.blank)
                source.left.put(None)
            await messages["a"].until(lambda: len(made["a"]) == 3)
            await feed(messages["a"], frames["a"][2], 2)
            await feed(messages["b"], frames["b"][0], 2)
            stop.set()
            for source in (frames["a"][2], frames["b"][0]):
                source.left.put(None)

    asyncio.run(main())
    assert len(made["b"]) == 1
    assert {one["boot"] for one in messages["b"].of("people")} == {made["b"][0].boot}
    assert {one["boot"] for one in messages["a"].of("people")} == {made["a"][2].boot}
    gone = [one for one in messages["a"].of("status") if one["state"] == "offline"]
    gone = [one for one in gone if "no more frames" not in one["reason"]]  # The source's end.
    assert [one["boot"] for one in gone] == [one.boot for one in made["a"]]
    assert [one["reason"].split(":")[0] for one in gone] == ["m.onnx", "m.onnx", "stopped"]
    told = [line for line in caplog.messages if "tried again" in line]
    assert len(told) == 1
    assert told[0].startswith("camera a is offline: m.onnx: on a frame of 512 x 384 its output")


class Broken:
    """A worker that fails with an error as soon as it runs."""

    def __init__(self, error):
        self.error, self.left = error, []

    async def run(self, _stop):
        raise ExceptionGroup("tasks", [self.error])

    async def leave(self, reason):
        self.left.append(reason)


def test_the_waits_for_a_model_grow_to_a_minute_and_end_with_the_process():
    began_s, stop = [], asyncio.Event()

    def make():
        began_s.append(asyncio.get_running_loop().time())
        return [], Broken(FrameError("m.onnx: failed"))

    async def main():
        async with asyncio.TaskGroup() as group:
            group.create_task(_keep("a", make, stop))
            await asyncio.sleep(600.0)
            stop.set()

    _, took_s = run_virtual(main())
    waits_s = [after - before for before, after in itertools.pairwise(began_s)]
    assert waits_s[0] <= 1.0
    assert 30.0 <= max(waits_s) <= 60.0
    assert 12 <= len(began_s) <= 30
    assert took_s == pytest.approx(600.0)


def test_a_model_that_hangs_ends_the_process():
    worker = Broken(ModelError("m.onnx: has hung"))

    async def main():
        async with asyncio.timeout(600.0):
            await _keep("a", lambda: ([], worker), asyncio.Event())

    with pytest.raises(BaseExceptionGroup) as ended:
        run_virtual(main())
    assert ended.group_contains(ModelError, match="has hung")
    assert worker.left == []
