# SPDX-License-Identifier: Apache-2.0
"""``shelfgate devices watch`` where no daemon runs: what it reads, and what it leaves alone."""

import asyncio
import json

from drivers.mqtt.client import connect
from drivers.mqtt.config import MqttConfig
from drivers.mqtt.embedded import embedded_broker
from gateway.cli import main
from gateway.simulator.lines import Line
from tests.brokers import free_port

SETTINGS = """gateway = "gw-1"
database = "gateway.db"
[broker]
host = "127.0.0.1"
port = {port}
protocol = 4
[[device]]
driver = "number"
name = "g1.s1"
topics = ["cold/weight"]
unit = "g"
sends = "always"
[[device]]
driver = "relay"
name = "gate"
url = "{relay}"
when_dead = "locked"
"""
STORE = """version = 1
[store]
name = "corner"
[[gondola]]
name = "g1"
[[gondola.shelf]]
name = "g1.s1"
front_mm = [0, 0, 1000, 0]
z_mm = 800
depth_mm = 350
plates = 1
[[door]]
name = "gate"
"""


def test_shelves_on_mqtt_are_read_and_no_door_is_moved(tmp_path, capfd):
    port, relay = free_port(), Line(tmp_path / "relay")
    settings, store = tmp_path / "settings.toml", tmp_path / "store.toml"
    settings.write_text(SETTINGS.format(port=port, relay=tmp_path / "relay"))
    store.write_text(STORE)
    files = ["--settings", str(settings), "--store", str(store)]

    async def run():
        config = MqttConfig(host="127.0.0.1", port=port, client_id="shelf", protocol=4)
        async with (
            embedded_broker(port),
            connect(config, subscriptions=[], on_message=print) as shelf,
            asyncio.TaskGroup() as group,
        ):

            async def publish():
                while True:
                    shelf.publish("cold/weight", b"412.0")
                    await asyncio.sleep(0.1)

            publishing = group.create_task(publish())
            command = ["devices", "watch", "--json", "--count", "4", *files]
            assert await asyncio.to_thread(main, command) == 0
            publishing.cancel()

    asyncio.run(run())
    told, warned = capfd.readouterr()
    [shelf] = json.loads(told.splitlines()[-1])
    assert (shelf["device"], shelf["state"], shelf["values"]) == ("shelf/g1.s1", "up", [412.0])
    assert relay.read() == b""
    assert "door/gate: not looked at, it would lock and open. Start the daemon\n" in warned
    relay.close()


def test_what_only_the_daemon_can_read_is_said(tmp_path, capsys):
    settings, store = tmp_path / "settings.toml", tmp_path / "store.toml"
    words = SETTINGS.format(port=free_port(), relay=tmp_path / "relay")
    settings.write_text(words.replace('host = "127.0.0.1"', "embedded = true"))
    store.write_text(STORE)
    files = ["--settings", str(settings), "--store", str(store)]
    assert main(["devices", "watch", "--json", "--count", "1", *files]) == 0
    told, warned = capsys.readouterr()
    assert json.loads(told) == []
    assert "shelf/g1.s1: its broker is the daemon's own. Start the daemon\n" in warned
