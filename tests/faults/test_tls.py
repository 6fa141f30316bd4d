# SPDX-License-Identifier: Apache-2.0
"""TLS to a broker: both sides prove who they are, and nothing turns that off."""

import asyncio
import re
import socket
import ssl
import threading
from contextlib import closing, suppress
from pathlib import Path

import msgspec
import pytest

from drivers.errors import DeviceGoneError
from drivers.mqtt.client import Tls, connect
from drivers.mqtt.config import MqttConfig
from drivers.mqtt.dial import refusal
from drivers.mqtt.tls import Context
from gateway.config import Settings
from gateway.config import Tls as TlsTable
from tests.brokers import mosquitto, needs_mosquitto, run
from tests.certificates import certificate, revocations, tls_lines, write_key
from tests.gateway.config.keys import keys_of

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two authorities, and certificates right and wrong in each way."""
    made = tmp_path_factory.mktemp("tls")
    ours = certificate(made, "authority")
    theirs = certificate(made, "stranger")
    certificate(made, "server", issuer=ours)
    certificate(made, "elsewhere", issuer=ours, host=None)
    certificate(made, "late-server", issuer=ours, days=-1)
    right = certificate(made, "right", issuer=ours)
    certificate(made, "expired", issuer=ours, days=-1)
    certificate(made, "foreign", issuer=theirs)
    revocations(made, ours, certificate(made, "revoked", issuer=ours))
    for name in ("locked", "mixed"):
        (made / f"{name}.crt").write_bytes(right[2].read_bytes())
    write_key(made / "locked.key", right[0], b"a passphrase")
    (made / "mixed.key").write_bytes((made / "expired.key").read_bytes())
    return made


def config(folder, port, client=None, *, authority="authority", **more):
    files = {"ca": str(folder / f"{authority}.crt")}
    if client is not None:
        files |= {"certificate": f"{folder}/{client}.crt", "key": f"{folder}/{client}.key"}
    return MqttConfig(
        host="127.0.0.1", port=port, client_id="gw", tls=Tls(**files), connect_timeout_s=20, **more
    )


async def told(config):
    """Return why there is no connection."""
    with pytest.raises(DeviceGoneError) as said:
        async with connect(config, on_message=lambda _message: None):
            pass
    return str(said.value)


async def taken(config):
    """Publish once, and wait until the broker has it."""
    failures = asyncio.Queue()
    async with connect(
        config,
        on_message=lambda _message: None,
        on_puback=lambda mid, reason_code, failure: failures.put_nowait(failure),  # noqa: ARG005
    ) as link:
        link.publish("a/topic", b"{}")
        assert await failures.get() is False


CLIENTS = {
    "expired": r"refused this client's certificate .*EXPIRED.*tls\.cert",
    "foreign": r"refused this client's certificate .*UNKNOWN_CA.*tls\.cert",
    "revoked": r"refused this client's certificate .*REVOKED.*tls\.cert",
    None: r"refused this client's certificate .*CERTIFICATE_REQUIRED.*tls\.cert",
    "mixed": r"tls\.key is the key of another certificate\. Name the key that tls\.cert",
    "locked": r"tls\.key has a passphrase\. Give a key without one",
    "absent": r"tls\.cert .*absent\.crt cannot be read: No such file.* permissions",
}
CLOSED = r"closed the connection before accepting it\. Check .*client certificate"
"""What is left to say where the broker's reset overtakes its alert."""


@pytest.mark.parametrize("client", ["expired", "foreign", "revoked", None])
def test_an_alert_about_the_certificate_is_told_as_that(client):
    reason = {
        "expired": "SSLV3_ALERT_CERTIFICATE_EXPIRED",
        "foreign": "TLSV1_ALERT_UNKNOWN_CA",
        "revoked": "SSLV3_ALERT_CERTIFICATE_REVOKED",
        None: "TLSV13_ALERT_CERTIFICATE_REQUIRED",
    }[client]
    assert re.search(CLIENTS[client], ". ".join(refusal(reason)))
    assert re.search(CLOSED, ". ".join(refusal(None)))


@needs_mosquitto
def test_a_broker_that_asks_for_certificates_takes_the_right_one_alone(folder, capfd):
    async def main():
        lines = ("require_certificate true", f"crlfile {folder / 'revoked.crl'}")
        async with mosquitto(folder, *tls_lines(folder, "server"), *lines) as broker:
            for protocol in (4, 5):
                await taken(config(folder, broker.port, "right", protocol=protocol))
                for client, words in CLIENTS.items():
                    found = await told(config(folder, broker.port, client, protocol=protocol))
                    assert re.search(f"{words}|{CLOSED}", found), (client, found)
                    assert found.startswith(f"mqtt 127.0.0.1:{broker.port}: ")

    run(main())
    assert "pass phrase" not in "".join(capfd.readouterr()), "nobody is there to be asked"


@needs_mosquitto
@pytest.mark.parametrize(
    ("server", "authority", "words"),
    [
        ("server", "stranger", r"not trusted .*tls\.ca"),
        ("elsewhere", "authority", "not trusted .*the broker as its certificate does"),
        ("late-server", "authority", r"not trusted \(certificate has expired\)"),
    ],
)
def test_a_broker_that_is_not_who_it_should_be_is_refused(folder, server, authority, words):
    async def main():
        async with mosquitto(folder, *tls_lines(folder, server)) as broker:
            found = await told(config(folder, broker.port, authority=authority))
            assert re.search(words, found), found

    run(main())


class OldServer:
    """Speaks TLS up to a version, with ciphers as weak as it takes, and then nothing."""

    def __init__(self, folder, newest):
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.set_ciphers("ALL:@SECLEVEL=0")
        self._context.minimum_version = ssl.TLSVersion.TLSv1
        self._context.maximum_version = newest
        self._context.load_cert_chain(folder / "server.crt", folder / "server.key")
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.spoken = None
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self):
        peer, _ = self._listener.accept()
        with peer:
            try:
                with self._context.wrap_socket(peer, server_side=True) as tls:
                    self.spoken = tls.version()
            except OSError:
                self.spoken = "refused"

    def close(self):
        self._thread.join()
        self._listener.close()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize(
    ("newest", "spoken"), [("TLSv1", "refused"), ("TLSv1_1", "refused"), ("TLSv1_2", "TLSv1.2")]
)
def test_tls_below_1_2_is_not_spoken(folder, newest, spoken):
    context = Context.of(Tls(ca=str(folder / "authority.crt")))
    context.set_ciphers("ALL:@SECLEVEL=0")  # So that nothing but the version decides.
    with (
        closing(OldServer(folder, ssl.TLSVersion[newest])) as server,
        socket.create_connection(("127.0.0.1", server.port)) as plain,
        suppress(OSError),
    ):
        context.wrap_socket(plain, server_hostname="127.0.0.1").close()
    assert server.spoken == spoken


def test_every_context_checks_certificate_and_name():
    context = Context.of(Tls())
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2


# No switch.

SWITCH = re.compile(r"insecure|verif|unsafe|skip|trust|check|self_?signed|host_?name|cipher|tls_?v")
ENVIRONMENT = {
    *("CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"),
    *("YOLO_CONFIG_DIR", "YOLO_OFFLINE", "YOLO_AUTOINSTALL", "NO_COLOR", "TERM"),
    "ORT_DISABLE_TELEMETRY",
}
"""What the daemon and its tools read or set of their environment, none of it about trust."""


def test_no_setting_turns_a_check_off():
    assert set(TlsTable.__struct_fields__) == {"ca", "cert", "key"}
    assert set(Tls.__struct_fields__) == {"ca", "certificate", "key"}
    # That one is a scale's: whether its frames end with a checksum.
    assert [key for key in keys_of(Settings) if SWITCH.search(key)] == ["checksum"]


def sources():
    for top in ("gateway", "drivers", "vision"):
        for path in (ROOT / top).rglob("*.py"):
            yield path, path.read_text("utf-8")


def test_no_variable_of_the_environment_turns_a_check_off():
    for path, text in sources():
        assert "getenv" not in text, path
        named = set(re.findall(r'environ(?:\.get\(|\[)\s*"(\w+)"', text))
        assert named <= ENVIRONMENT, f"{path}: reads {named - ENVIRONMENT}"


def test_no_code_makes_a_context_that_checks_less():
    forbidden = r"CERT_(NONE|OPT)|(check_hostname|verify_mode)\s*=|_create_unverified|tls_insecure"
    for path, text in sources():
        assert not re.search(forbidden, text), path
        if path != ROOT / "drivers" / "mqtt" / "tls.py":
            assert "SSLContext" not in text.replace("ssl.SSLContext |", ""), path


# TLS towards a port without it.


@pytest.mark.parametrize("answer", [None, b"", b"\x20\x02\x00\x01\x00\x00\x00"])
def test_tls_towards_a_port_without_it_is_named_as_what_may_be_wrong(folder, answer):
    """A plain port waits for more, hangs up, or answers in its own language."""

    def serve(listener):
        peer, _ = listener.accept()
        with peer, suppress(OSError):  # The client hangs up at a wrong answer.
            if answer is not None:
                peer.recv(1_024)
                peer.sendall(answer)
            while answer != b"" and peer.recv(1_024):
                pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=[listener])
        thread.start()
        link = config(folder, listener.getsockname()[1])
        if answer is None:
            link = msgspec.structs.replace(link, connect_timeout_s=0.5)
        found = run(told(link))
        thread.join(20)
    assert "Check that this port speaks TLS" in found
