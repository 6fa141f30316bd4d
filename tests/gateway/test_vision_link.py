# SPDX-License-Identifier: Apache-2.0
"""The vision worker's links to the in-store broker: whose they are, and how they end."""

import asyncio
import contextlib
import logging
import types

import pytest

from drivers.errors import DeviceGoneError
from drivers.mqtt.config import MqttConfig
from gateway import vision_link
from gateway.config_settings import Broker
from gateway.domain.store import Store
from gateway.vision_link import SHORT_S, SHORT_STAYS, Link, _link
from tests.virtual_time import run_virtual


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
