# SPDX-License-Identifier: Apache-2.0
"""The access rules shipped for Mosquitto, held by a real Mosquitto."""

import asyncio
import os
import shutil
import subprocess
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest

from drivers.errors import DeviceGoneError
from drivers.instore.driver import SUBSCRIPTIONS
from drivers.mqtt.client import MqttConfig, Tls, connect
from tests.brokers import free_port
from tests.certificates import certificate

ROOT = Path(__file__).parents[2]
NOT_AUTHORISED = 0x87
NUMBERS = count(1)
TOOLS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"
USERS = ("gateway", "shelf/g1.s1", "scanner/in", "camera/top", "door/gate", "shelf", "+/+", "#")


@contextmanager
def mosquitto(folder):
    """Run a broker with the shipped files, in another place; everyone's password is ``secret``."""
    broker = shutil.which("mosquitto", path=TOOLS)
    passwords = shutil.which("mosquitto_passwd", path=TOOLS)
    if broker is None or passwords is None:
        reason = "Mosquitto: not installed. Install mosquitto"
        assert "CI" not in os.environ, reason
        pytest.skip(reason)
    certificate(folder, "broker", issuer=certificate(folder, "store-ca"))
    (folder / "shelfgate.passwd").touch(mode=0o600)
    for user in USERS:
        subprocess.run([passwords, "-b", folder / "shelfgate.passwd", user, "secret"], check=True)
    shutil.copy(ROOT / "systemd" / "mosquitto.acl", folder / "shelfgate.acl")
    (folder / "shelfgate.acl").chmod(0o600)
    port = free_port()
    text = (ROOT / "systemd" / "mosquitto.conf").read_text("utf-8")
    moved = {
        "listener 8883\n": f"listener {port} 127.0.0.1\n",
        "/etc/mosquitto/certs/store-ca.pem": f"{folder}/store-ca.crt",
        "/etc/mosquitto/certs/broker.pem": f"{folder}/broker.crt",
        "/etc/mosquitto/certs/broker.key": f"{folder}/broker.key",
        "/etc/mosquitto/shelfgate": f"{folder}/shelfgate",
    }
    for there, here in moved.items():
        assert there in text
        text = text.replace(there, here)
    (folder / "conf").write_text(text + ("user root\n" if os.getuid() == 0 else ""))
    log = (folder / "log").open("wb")
    process = subprocess.Popen([broker, "-c", folder / "conf"], stdout=log, stderr=log)
    try:
        yield SimpleNamespace(port=port, tls=Tls(ca=str(folder / "store-ca.crt")))
    finally:
        process.terminate()
        process.wait(10)
        log.close()


class Client:
    """Publishes and says what the broker answered."""

    def __init__(self, broker, user, password="secret"):
        self.config = MqttConfig(
            host="127.0.0.1",
            port=broker.port,
            client_id=f"test-{next(NUMBERS)}",
            username=user,
            password=password,
            clean=True,
            tls=broker.tls,
        )
        self.answers = asyncio.Queue()
        self.messages = asyncio.Queue()

    async def open(self, *subscriptions):
        while True:
            try:
                return await self._open(subscriptions)
            except DeviceGoneError as error:
                if "nothing listens there" not in str(error):
                    raise
                await asyncio.sleep(0.02)  # The broker is still starting.

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

    async def publish(self, topic, payload=b"{}", *, retain=False):
        mid = self.connection.publish(topic, payload, qos=1, retain=retain)
        answered, code, failure = await self.answers.get()
        assert answered == mid
        assert failure == (code >= 0x80)
        return code

    async def close(self):
        await self.link.__aexit__(None, None, None)


def test_a_device_writes_its_own_topics_and_no_others(tmp_path):
    async def main(broker):
        shelf = await Client(broker, "shelf/g1.s1").open()
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
        kind = await Client(broker, "shelf").open()
        assert await kind.publish("shelfgate/v1/demo/shelf/g1.s1/samples") == NOT_AUTHORISED
        await kind.close()

    with mosquitto(tmp_path) as broker:
        asyncio.run(main(broker))


def test_the_daemon_hears_devices_and_asks_doors(tmp_path):
    async def main(broker):
        daemon = await Client(broker, "gateway").open(("shelfgate/v1/demo/shelf/+/samples", 0))
        door = await Client(broker, "door/gate").open(("shelfgate/v1/demo/door/gate/open", 1))
        shelf = await Client(broker, "shelf/g1.s1").open()
        await shelf.publish("shelfgate/v1/demo/shelf/g1.s1/samples")
        heard = await daemon.messages.get()
        assert heard.topic == "shelfgate/v1/demo/shelf/g1.s1/samples"
        assert await daemon.publish("shelfgate/v1/demo/door/gate/open") < 0x80
        assert (await door.messages.get()).topic == "shelfgate/v1/demo/door/gate/open"
        assert await daemon.publish("shelfgate/v1/demo/shelf/g1.s1/samples") == NOT_AUTHORISED
        for client in (daemon, door, shelf):
            await client.close()

    with mosquitto(tmp_path) as broker:
        asyncio.run(main(broker))


STORE = "shelfgate/v1/demo"
OWN = {
    "shelf/g1.s1": ("samples", "status"),
    "scanner/in": ("scan", "status"),
    "camera/top": ("people", "looked", "status"),
    "door/gate": ("state", "status"),
}


def test_the_daemon_hears_everything_that_it_subscribes_to(tmp_path):
    async def main(broker):
        wanted = [(f"{STORE}/{topic}", qos) for topic, qos in SUBSCRIPTIONS]
        daemon = await Client(broker, "gateway").open(*wanted)
        for user, leaves in OWN.items():
            device = await Client(broker, user).open()
            for leaf in leaves:
                assert await device.publish(f"{STORE}/{user}/{leaf}") < 0x80
                assert (await daemon.messages.get()).topic == f"{STORE}/{user}/{leaf}"
            await device.close()
        await daemon.close()

    with mosquitto(tmp_path) as broker:
        asyncio.run(main(broker))


def test_a_device_reads_nobody_elses_scans_or_weights(tmp_path):
    """What a door may hear is the proof that it was handed nothing before."""

    async def main(broker):
        spy = await Client(broker, "door/gate").open(("#", 1), (f"{STORE}/scanner/+/scan", 1))
        daemon = await Client(broker, "gateway").open()
        for user, leaves in OWN.items():
            device = await Client(broker, user).open()
            for leaf in leaves:
                assert await device.publish(f"{STORE}/{user}/{leaf}") < 0x80
            await device.close()
        assert await daemon.publish(f"{STORE}/door/other/open") < 0x80
        assert await daemon.publish(f"{STORE}/door/gate/open") < 0x80
        heard = await spy.messages.get()
        assert heard.topic == f"{STORE}/door/gate/open"
        await spy.close()
        await daemon.close()

    with mosquitto(tmp_path) as broker:
        asyncio.run(main(broker))


def test_nobody_opens_a_door_or_speaks_for_another(tmp_path):
    async def main(broker):
        for user in OWN:
            device = await Client(broker, user).open()
            topics = [f"{STORE}/{other}/{leaf}" for other in OWN for leaf in OWN[other]]
            topics += [f"{STORE}/door/gate/open", f"{STORE}/{user}/open", "other", "$SYS/x"]
            topics += [f"{STORE}/camera/top/look", f"{STORE}/{user}/look"]
            topics += [f"{STORE}/gw-1/commands/prices", f"{STORE}/gw-1/ack", f"{STORE}/gw-1/status"]
            for topic in topics:
                asked = topic.endswith(("/open", "/look"))
                if asked or not topic.startswith(f"{STORE}/{user}/"):
                    assert await device.publish(topic, retain=True) == NOT_AUTHORISED, topic
            await device.close()
        daemon = await Client(broker, "gateway").open()
        for topic in ("scanner/in/scan", "shelf/g1.s1/status", "door/gate/state"):
            assert await daemon.publish(f"{STORE}/{topic}") == NOT_AUTHORISED, topic
        # The vision worker speaks for cameras.
        assert await daemon.publish(f"{STORE}/camera/top/people") < 0x80
        camera = await Client(broker, "camera/top").open((f"{STORE}/camera/top/look", 1))
        assert await daemon.publish(f"{STORE}/camera/top/look") < 0x80
        assert (await camera.messages.get()).topic == f"{STORE}/camera/top/look"
        await camera.close()
        await daemon.close()

    with mosquitto(tmp_path) as broker:
        asyncio.run(main(broker))


@pytest.mark.parametrize("user", ["+/+", "#"])
def test_a_user_named_like_a_wildcard_gains_nothing(tmp_path, user):
    """Mosquitto does not even let such a user in; a version that does must not let it write."""

    async def main(broker):
        try:
            odd = await Client(broker, user).open()
        except DeviceGoneError as error:
            refused = "refused the connection" in str(error)
            assert refused, error  # noqa: PT017 - either answer will do.
            return
        for topic in ("shelf/g1.s1/samples", "scanner/in/scan", "door/gate/open"):
            assert await odd.publish(f"{STORE}/{topic}") == NOT_AUTHORISED, topic
        await odd.close()

    with mosquitto(tmp_path) as broker:
        asyncio.run(main(broker))


@pytest.mark.parametrize(
    ("user", "password"), [(None, None), ("gateway", "wrong"), ("gateway", None), ("nobody", "x")]
)
def test_who_has_no_password_is_refused(tmp_path, user, password):
    async def main(broker):
        with pytest.raises(DeviceGoneError, match=r"refused the connection .*Check user name"):
            await Client(broker, user, password).open()

    with mosquitto(tmp_path) as broker:
        asyncio.run(main(broker))


def test_a_message_beyond_the_contract_is_not_taken(tmp_path):
    async def main(broker):
        shelf = await Client(broker, "shelf/g1.s1").open()
        topic = f"{STORE}/shelf/g1.s1/samples"
        assert await shelf.publish(topic, b"x" * 65_536) < 0x80
        shelf.connection.publish(topic, b"x" * 67_000)
        with pytest.raises(DeviceGoneError):
            await shelf.connection.closed()
        await shelf.close()

    with mosquitto(tmp_path) as broker:
        asyncio.run(main(broker))
