# SPDX-License-Identifier: Apache-2.0
"""The access rules shipped for Mosquitto, held by a real Mosquitto."""

import asyncio
import os
import shutil
import socket
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest

from drivers.errors import DeviceGoneError
from drivers.mqtt.client import MqttConfig, connect

ROOT = Path(__file__).parents[2]
NOT_AUTHORISED = 0x87
TOOLS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"
USERS = ("gateway", "shelf/g1.s1", "door/gate", "shelf")


@contextmanager
def mosquitto(folder):
    """Run a broker with the shipped rules; everyone's password is ``secret``."""
    broker = shutil.which("mosquitto", path=TOOLS)
    passwords = shutil.which("mosquitto_passwd", path=TOOLS)
    if broker is None or passwords is None:
        reason = "Mosquitto: not installed. Install mosquitto"
        assert "CI" not in os.environ, reason
        pytest.skip(reason)
    (folder / "passwd").touch(mode=0o600)
    for user in USERS:
        subprocess.run([passwords, "-b", folder / "passwd", user, "secret"], check=True)
    shutil.copy(ROOT / "systemd" / "mosquitto.acl", folder / "acl")
    (folder / "acl").chmod(0o600)
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    shipped = (ROOT / "systemd" / "mosquitto.conf").read_text("utf-8")
    files = ("password_file", "acl_file", "cafile", "certfile", "keyfile", "listener")
    kept = [line for line in shipped.splitlines() if not line.startswith(files)]
    kept += [f"password_file {folder}/passwd", f"acl_file {folder}/acl"]
    kept += [f"listener {port} 127.0.0.1", *(["user root"] if os.getuid() == 0 else [])]
    (folder / "conf").write_text("\n".join(kept) + "\n")
    log = (folder / "log").open("wb")
    process = subprocess.Popen([broker, "-c", folder / "conf"], stdout=log, stderr=log)
    try:
        yield port
    finally:
        process.terminate()
        process.wait(10)
        log.close()


class Client:
    """Publishes and says what the broker answered."""

    def __init__(self, port, user):
        self.config = MqttConfig(
            host="127.0.0.1",
            port=port,
            client_id=f"test-{user}",
            username=user,
            password="secret",
            clean=True,
        )
        self.answers = asyncio.Queue()
        self.messages = asyncio.Queue()

    async def open(self, *subscriptions):
        while True:
            try:
                return await self._open(subscriptions)
            except DeviceGoneError:  # The broker is still starting.
                await asyncio.sleep(0.02)

    async def _open(self, subscriptions):
        self.link = connect(
            self.config,
            subscriptions=subscriptions,
            will=None,
            on_message=self.messages.put_nowait,
            on_puback=lambda mid, reason_code, failure: self.answers.put_nowait(
                (mid, reason_code, failure)
            ),
        )
        self.connection = await self.link.__aenter__()
        return self

    async def publish(self, topic):
        mid = self.connection.publish(topic, b"{}", qos=1)
        answered, code, failure = await self.answers.get()
        assert answered == mid
        assert failure == (code >= 0x80)
        return code

    async def close(self):
        await self.link.__aexit__(None, None, None)


def test_a_device_writes_its_own_topics_and_no_others(tmp_path):
    async def main(port):
        shelf = await Client(port, "shelf/g1.s1").open()
        own = "shelfgate/v1/demo/shelf/g1.s1"
        assert await shelf.publish(f"{own}/samples") < 0x80
        assert await shelf.publish(f"{own}/status") < 0x80
        for other in (
            "shelfgate/v1/demo/shelf/g1.s2/samples",
            "shelfgate/v1/demo/camera/g1.s1/people",
            "shelfgate/v1/demo/door/gate/open",
            "shelfgate/v1/demo/gw-1/events/item.picked",
            f"{own}/samples/more",
        ):
            assert await shelf.publish(other) == NOT_AUTHORISED, other
        await shelf.close()
        # A user named after a kind alone gains nothing.
        kind = await Client(port, "shelf").open()
        assert await kind.publish("shelfgate/v1/demo/shelf/g1.s1/samples") == NOT_AUTHORISED
        await kind.close()

    with mosquitto(tmp_path) as port:
        asyncio.run(main(port))


def test_the_daemon_hears_devices_and_asks_doors(tmp_path):
    async def main(port):
        daemon = await Client(port, "gateway").open(("shelfgate/v1/demo/shelf/+/samples", 0))
        door = await Client(port, "door/gate").open(("shelfgate/v1/demo/door/gate/open", 1))
        shelf = await Client(port, "shelf/g1.s1").open()
        await shelf.publish("shelfgate/v1/demo/shelf/g1.s1/samples")
        heard = await daemon.messages.get()
        assert heard.topic == "shelfgate/v1/demo/shelf/g1.s1/samples"
        assert await daemon.publish("shelfgate/v1/demo/door/gate/open") < 0x80
        assert (await door.messages.get()).topic == "shelfgate/v1/demo/door/gate/open"
        assert await daemon.publish("shelfgate/v1/demo/shelf/g1.s1/samples") == NOT_AUTHORISED
        for client in (daemon, door, shelf):
            await client.close()

    with mosquitto(tmp_path) as port:
        asyncio.run(main(port))
