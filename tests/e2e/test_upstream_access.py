# SPDX-License-Identifier: Apache-2.0
"""TLS, credentials and access rules of a real Mosquitto."""

import asyncio
import subprocess

import pytest

from drivers.errors import DeviceGoneError
from drivers.mqtt.client import Tls, connect
from tests.brokers import MOSQUITTO_PASSWD, mosquitto, needs_mosquitto, run
from tests.certificates import certificate, tls_lines
from tests.e2e.upstream_parts import ROOT, gateway, integrator, mqtt
from tests.made import rows_waiting

pytestmark = needs_mosquitto
SECRET = "correct horse"


def _ignore(_message):
    pass


def users(folder, *names):
    path = folder / "passwords"
    path.touch(mode=0o600)
    for name in names:
        subprocess.run([MOSQUITTO_PASSWD, "-b", path, name, SECRET], check=True)
    return f"password_file {path}"


@pytest.fixture
def authority(tmp_path):
    made = certificate(tmp_path, "authority")
    certificate(tmp_path, "server", issuer=made)
    certificate(tmp_path, "elsewhere", issuer=made, host=None)
    certificate(tmp_path, "stranger")
    return made


async def _try(config):
    async with connect(config, on_message=_ignore):
        pass


@pytest.mark.parametrize("protocol", [4, 5])
def test_events_arrive_over_tls_with_a_password(tmp_path, authority, protocol):
    async def main():
        lines = (*tls_lines(tmp_path, "server"), users(tmp_path, "gw", "integrator"))
        async with mosquitto(tmp_path, *lines) as broker:

            def config(name):
                return mqtt(
                    broker.port,
                    name,
                    protocol=protocol,
                    username=name,
                    password=SECRET,
                    tls=Tls(ca=str(authority[2])),
                )

            async with (
                integrator(tmp_path, config("integrator")),
                gateway(tmp_path, config("gw")) as one,
            ):
                await one.commit(500)
                await one.delivered()

    run(main())


def test_an_unknown_authority_is_refused(tmp_path, authority):  # noqa: ARG001 - it made files.
    async def main():
        async with mosquitto(tmp_path, *tls_lines(tmp_path, "server")) as broker:
            config = mqtt(broker.port, "gw", tls=Tls(ca=str(tmp_path / "stranger.crt")))
            with pytest.raises(DeviceGoneError, match=r"not trusted.*tls\.ca"):
                await _try(config)

    run(main())


def test_another_hosts_certificate_is_refused(tmp_path, authority):
    async def main():
        async with mosquitto(tmp_path, *tls_lines(tmp_path, "elsewhere")) as broker:
            config = mqtt(broker.port, "gw", tls=Tls(ca=str(authority[2])))
            with pytest.raises(DeviceGoneError, match="not trusted"):
                await _try(config)

    run(main())


def test_a_port_without_tls_is_told_apart(tmp_path, authority):
    async def main():
        async with mosquitto(tmp_path) as broker:
            config = mqtt(broker.port, "gw", tls=Tls(ca=str(authority[2])), connect_timeout_s=3)
            with pytest.raises(DeviceGoneError, match=r"Check that this port speaks TLS"):
                await _try(config)

    run(main())


def test_a_certificate_file_that_is_missing_is_named(tmp_path):
    async def main():
        async with mosquitto(tmp_path) as broker:
            config = mqtt(broker.port, "gw", tls=Tls(ca=str(tmp_path / "no.crt")))
            with pytest.raises(DeviceGoneError, match=r"tls\.ca .*no\.crt cannot be read"):
                await _try(config)

    run(main())


@pytest.mark.parametrize("protocol", [4, 5])
@pytest.mark.parametrize(
    "credentials", [{"username": "gw", "password": "wrong"}, {"username": "nobody"}, {}]
)
def test_wrong_credentials_are_refused_with_a_remedy(tmp_path, protocol, credentials):
    async def main():
        async with mosquitto(tmp_path, users(tmp_path, "gw")) as broker:
            config = mqtt(broker.port, "gw", protocol=protocol, **credentials)
            with pytest.raises(
                DeviceGoneError, match=r"refused the connection.*Check user name"
            ) as said:
                await _try(config)
            assert "wrong" not in str(said.value)

    run(main())


def test_a_refused_publish_is_not_delivered_and_goes_out_once_it_may(tmp_path):
    """MQTT 5 says 0x87 for a topic that the rules forbid; paho calls that published."""

    async def main():
        rules = tmp_path / "rules"
        allowed = [
            "user integrator",
            "topic readwrite #",
            "user gw",
            f"topic readwrite {ROOT}/status",
            f"topic read {ROOT}/ack",
            f"topic read {ROOT}/commands/+",
            f"topic write {ROOT}/events/gateway.started",
        ]
        rules.write_text("\n".join([*allowed, ""]))
        lines = (users(tmp_path, "gw", "integrator"), f"acl_file {rules}")
        async with mosquitto(tmp_path, *lines) as broker:

            def config(name):
                return mqtt(broker.port, name, protocol=5, username=name, password=SECRET)

            async with (
                integrator(tmp_path, config("integrator")),
                gateway(tmp_path, config("gw")) as one,
            ):
                await one.linked(True)
                await one.commit(3)
                counters = one.upstream.uplink.counters
                while counters.refused < 3:  # noqa: ASYNC110 - counters tell nobody.
                    await asyncio.sleep(0.02)
                while (await one.database.backlog())[0] > 3:  # noqa: ASYNC110 - likewise.
                    await asyncio.sleep(0.02)
                assert [row.sequence for row in await rows_waiting(one.database, 0, 9)] == [1, 2, 3]
                rules.write_text("\n".join([*allowed, f"topic write {ROOT}/events/#", ""]))
                broker.process.send_signal(1)  # SIGHUP: Mosquitto reads its rules again.
                await one.delivered()

    run(main())
