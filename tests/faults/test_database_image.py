# SPDX-License-Identifier: Apache-2.0
"""An image of the whole disk put back: only the integrator knows that there was more."""

import asyncio
import json
import shutil

from drivers.mqtt.client import connect
from drivers.mqtt.embedded import embedded_broker
from gateway.database import open_database
from tests.brokers import free_port, run
from tests.e2e.upstream_parts import ROOT, gateway, mqtt

LAST = 4
"""Sequence of the last event in the image."""


async def status(states, condition):
    while not condition(told := await states.get()):
        pass
    return told


async def told_after(folder, claim):
    """Start on an image; return the epoch in it and the status after an acknowledgement of it."""
    here, image = folder / "here", folder / "image"
    port, states = free_port(), asyncio.Queue()
    async with (
        embedded_broker(port),
        connect(
            mqtt(port, "integrator"),
            subscriptions=[(f"{ROOT}/status", 1)],
            on_message=lambda message: states.put_nowait(json.loads(message.payload)),
        ) as integrator,
    ):
        here.mkdir()
        async with gateway(here, mqtt(port, "gw")) as one:
            await one.commit(LAST)
            epoch = one.database.epoch.epoch
        shutil.copytree(here, image)
        shutil.rmtree(here)
        shutil.copytree(image, here)
        async with gateway(here, mqtt(port, "gw")) as one:
            assert one.database.recovery is None, "nothing beside it tells"
            assert one.database.ends == {epoch: LAST}
            current = one.database.epoch.epoch
            await status(states, lambda told: told["epoch"] == current)
            marks = {epoch: f"{claim:020d}", "f" * 32: f"{7:020d}"}
            payload = json.dumps({"acknowledged": marks}).encode()
            for _ in range(2):
                integrator.publish(f"{ROOT}/ack", payload)
            while (await one.database.backlog())[0] > 1:  # noqa: ASYNC110 - it tells nobody.
                await asyncio.sleep(0.02)
            one.upstream.set_degraded(["camera/c1"])
            told = await status(states, lambda told: "camera/c1" in told["degraded"])
    return epoch, told


async def ends_of(folder):
    async with await open_database(
        folder / "here" / "gateway.db", store="store", gateway="gw"
    ) as database:
        await database.begin_epoch(1)
        return dict(database.ends)


def test_an_older_image_is_known_by_what_the_integrator_acknowledges(tmp_path, caplog):
    epoch, told = run(told_after(tmp_path, LAST + 5))
    assert told["degraded"] == ["camera/c1", "database"]
    assert told["counters"]["ahead_acks"] >= 1
    [record] = [one for one in caplog.records if "is older than what was sent" in one.message]
    assert record.levelname == "ERROR"
    assert f"of epoch {epoch} the integrator has 9, and here it ends at 4. " in record.message
    assert "shelfgate backup" in record.message
    assert epoch not in run(ends_of(tmp_path)), "the next start does not tell it again"


def test_an_acknowledgement_up_to_the_end_and_one_of_a_strange_epoch_tell_nothing(tmp_path, caplog):
    epoch, told = run(told_after(tmp_path, LAST))
    assert told["degraded"] == ["camera/c1"]
    assert "ahead_acks" not in told["counters"]
    assert "is older" not in caplog.text
    assert run(ends_of(tmp_path))[epoch] == LAST
