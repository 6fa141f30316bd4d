# SPDX-License-Identifier: Apache-2.0
"""Recordings of devices, played into their drivers: the same inputs come out, however it is cut."""

import asyncio
import tomllib
from itertools import pairwise
from typing import get_args

import msgspec
import pytest

from drivers import registry
from drivers.door.config import DoorConfig
from drivers.errors import DeviceGoneError
from drivers.labels.judging import Judge
from drivers.modbus.line import Lines
from drivers.mqtt.config import Message, MqttConfig
from drivers.mqtt.topics import Instore
from drivers.mqtt_shelf.config import MqttShelfConfig
from gateway.domain.inputs import Samples
from gateway.intake import Intake
from tests.drivers.scanner_line import Cable, product_store
from tests.test_tidy import ROOT
from tests.virtual_time import LoopClock, run_virtual

RECORDINGS = sorted((ROOT / "fixtures" / "recordings").glob("*.toml"))
READ_AS_BYTES = {"bridge", "scale", "modbus", "scanner", "ssi", "keyboard"}
READ_AS_MESSAGES = {config.__struct_config__.tag for config in get_args(MqttShelfConfig)}
RECORDED = READ_AS_BYTES | READ_AS_MESSAGES
BROKER = MqttConfig(host="127.0.0.1", port=1_883, client_id="recordings", protocol=4)


def play(recording, monkeypatch, *, pieces):
    """Return inputs, drops and answers of a recording whose chunks come in so many pieces."""
    script = []
    for pause_ms, text in recording["sent"]:
        data = bytes.fromhex(text) if recording.get("hex") else text.encode("latin-1")
        cuts = [len(data) * n // pieces for n in range(pieces + 1)]
        parts = [data[start:end] for start, end in pairwise(cuts)]
        script += [(pause_ms / 1_000 * (n == 0), part) for n, part in enumerate(parts) if part]

    async def main():
        clock = LoopClock()
        intake, cable = Intake(clock), Cable(*script)
        monkeypatch.setattr(registry, "keyboard_opener", lambda: cable.open)
        config = msgspec.convert(recording["device"], registry.AnyDriverConfig)
        judge = Judge(product_store(), None)
        lines = Lines(lambda url, baud, _bits: cable.open(url, baud))
        driver = registry.build(
            config, clock=clock, open_stream=cable.open, judge=judge, lines=lines
        )
        with pytest.raises(DeviceGoneError, match="Input/output error"):
            await driver.run(intake, lambda: None)
        return intake.take(99), intake.totals, cable.sent

    items, drops, answers = run_virtual(main())[0]
    return [shown(item) for item in items], drops, [answer.hex(" ") for answer in answers]


def play_messages(recording):
    """Return inputs and drops of a recording of MQTT; its messages come whole."""

    async def main():
        clock, instore = LoopClock(), Instore(BROKER)
        intake, topics = Intake(clock), instore.topics
        config = msgspec.convert(recording["device"], registry.AnyDriverConfig)
        judge = Judge(product_store(), None)
        driver = registry.build(config, clock=clock, open_stream=None, judge=judge, instore=instore)

        async def publish():
            topics.connected(up=True)
            for pause_ms, topic, text, *retained in recording["sent"]:
                await asyncio.sleep(pause_ms / 1_000)
                assert topics.deliver(Message(topic, text.encode(), retained == ["retained"], 0, 0))
            await asyncio.sleep(0)
            topics.connected(up=False)

        publishing = asyncio.create_task(publish())
        with pytest.raises(DeviceGoneError, match="the in-store broker is gone"):
            await driver.run(intake, lambda: None)
        await publishing
        return intake.take(99), intake.totals

    items, drops = run_virtual(main())[0]
    return [shown(item) for item in items], drops


def shown(item):
    """Return what a recording tells of an input."""
    if isinstance(item, Samples):
        rows = [["none" if value is None else value for value in row] for row in item.w]
        return {"unit": item.unit, "period_us": item.period_us, "w": rows}
    told = msgspec.to_builtins(item)
    keys = ("gtin", "lot", "weight_g", "state", "reason")
    return {key: told[key] for key in keys if told.get(key)}


@pytest.mark.parametrize("pieces", [1, 3])
@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_a_recording_gives_what_it_says(path, pieces, monkeypatch):
    recording = tomllib.loads(path.read_text("utf-8"))
    if recording["device"]["driver"] in READ_AS_MESSAGES:
        assert play_messages(recording) == (recording["inputs"], recording.get("drops", {}))
        return
    items, drops, answers = play(recording, monkeypatch, pieces=pieces)
    assert items == recording["inputs"]
    assert drops == recording.get("drops", {})
    assert answers == recording.get("answers", [])


def test_each_driver_that_reads_has_a_recording():
    """Doors are told, and say nothing."""
    doors = {config.__struct_config__.tag for config in get_args(DoorConfig)}
    assert {*registry.NAMES} - doors == RECORDED

    recorded = {tomllib.loads(path.read_text("utf-8"))["device"]["driver"] for path in RECORDINGS}
    assert recorded == RECORDED
