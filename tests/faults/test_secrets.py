# SPDX-License-Identifier: Apache-2.0
"""Passwords and entry tokens: used, and then found nowhere, whatever goes wrong."""

import base64
import gzip
import json
import os
import secrets
import subprocess
import zlib
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from drivers.mqtt.config import MqttConfig
from gateway.app import mqtt_config
from gateway.config import load_settings
from gateway.simulator.keys import TokenMaker
from gateway.upstream import UpstreamConfig
from tests.brokers import MOSQUITTO, MOSQUITTO_PASSWD, free_port, needs_mosquitto
from tests.e2e.helpers import Peer, Program, Witness, accepts, closed, daemon, until
from tests.e2e.shop import FILE, ROOT, STORE

PASSWORD = "xk9-Kobold-4711-geheim"
WRONG = "xk9-Kobold-falsch-0815"
LOGIN = 'username = "gw"\npassword_file = "{}"\n'


@contextmanager
def guarded_broker(folder):
    """Run a Mosquitto with a port that asks for a password and one, for the test, that does not."""
    asks, open_port = free_port(), free_port()
    passwords = folder / "passwd"
    passwords.touch(mode=0o600)
    subprocess.run([MOSQUITTO_PASSWD, "-b", passwords, "gw", PASSWORD], check=True)
    config = folder / "guarded.conf"
    config.write_text(
        "per_listener_settings true\nuser root\npersistence false\n"
        f"listener {asks} 127.0.0.1\nallow_anonymous false\npassword_file {passwords}\n"
        f"listener {open_port} 127.0.0.1\nallow_anonymous true\n"
    )
    program = Program(folder, "guarded", "-c", config, executable=MOSQUITTO).start()
    until(lambda: accepts(asks) and accepts(open_port), "the guarded broker")
    try:
        yield asks, open_port
    finally:
        program.kill()


@contextmanager
def guarded_daemon(folder, port, password):
    """Make a daemon that says everything and logs in to both brokers by secrets from files."""
    (folder / "credentials").mkdir(exist_ok=True)
    for place in (folder / "instore.secret", folder / "credentials" / "uplink"):
        place.touch(mode=0o600)
        place.write_text(password + "\n")
    store = folder / "store.toml"
    store.write_text(FILE)
    TokenMaker.in_directory(STORE, folder / "keys")
    with daemon(folder, store, upstream=port, instore=port, name=f"daemon-{password}") as one:
        text = one.settings.read_text()
        text = text.replace("[uplink]\n", "[uplink]\n" + LOGIN.format("credential:uplink"))
        one.settings.write_text(
            text.replace("[broker]\n", "[broker]\n" + LOGIN.format("instore.secret"))
        )
        one.program._environment["CREDENTIALS_DIRECTORY"] = str(folder / "credentials")
        one.program._command.insert(3, "--verbose")
        one.program.log = folder / "daemon.log"
        yield one


def everything_written(folder):
    """Return every byte that the daemon wrote below a folder, by file; journals are unpacked."""
    given = {"instore.secret", "uplink", "passwd", "guarded.conf", "guarded.log", "entry.pem"}
    found = {}
    for path in folder.rglob("*"):
        if path.is_file() and path.name not in given:
            data = path.read_bytes()
            if path.suffix == ".gz":
                with suppress(zlib.error):
                    data = zlib.decompressobj(31).decompress(data)
            found[path.relative_to(folder).as_posix()] = data
    return found


def proc(pid):
    """Return what everybody on the machine may read of a process, and its environment."""
    return {
        name: Path(f"/proc/{pid}/{name}").read_bytes()
        for name in ("cmdline", "environ", "comm", "status")
    }


def hold_no(words, places):
    for word in words:
        for place, data in places.items():
            assert word.encode() not in data, f"{word} in {place}"


@needs_mosquitto
def test_passwords_and_tokens_are_found_nowhere(tmp_path):
    with guarded_broker(tmp_path) as (asks, open_port):
        root = f"{ROOT}/gw-1"
        with (
            closed(Peer(open_port, f"{root}/status", name="watcher")) as watcher,
            closed(Witness(open_port, STORE)) as witness,
        ):
            with guarded_daemon(tmp_path, asks, PASSWORD) as one:
                one.start()
                tokens = use_tokens(tmp_path, open_port, witness)
                seen = proc(one.program.pid)
                watcher.wait(lambda: len(watcher.messages) > 0, "a status")
                assert one.stop()[0] == 0
            seen |= everything_written(tmp_path)
            seen |= {f"status {n}": m[2] for n, m in enumerate(watcher.messages)}
            seen |= {f"heard {n}": m[2] for n, m in enumerate(witness.messages)}
    assert b"refused" not in seen["daemon.log"]
    assert any(name.startswith("journal/") and b'"entry-scanned"' in seen[name] for name in seen)
    assert b"carla" in seen["gateway.db"] + seen.get("gateway.db-wal", b""), "the pseudonym is kept"
    parts = [part for token in tokens for part in token.split(".")[1:]]
    hold_no([PASSWORD, *tokens, *parts, *map(token_id, tokens)], seen)


def use_tokens(folder, port, witness):
    """Scan a good token, the same again, and a forged one; return all that were shown."""
    maker = TokenMaker.in_directory(STORE, folder / "keys")
    boot, shown = secrets.token_hex(8), []

    def scan(text):
        message = {"v": 1, "boot": boot, "seq": len(shown), "text": text}
        shown.append(text)
        scanner.send(f"{ROOT}/scanner/entrance/scan", message)

    def let_in():
        """Nothing tells when the daemon has subscribed, so shoppers try until one gets in."""
        scan(maker.token("carla"))
        return witness.named("session.started")

    with closed(Peer(port, name="scanner")) as scanner:
        until(let_in, "a session")
        scan(shown[-1])
        scan(maker.token("mallory")[:-6] + "AAAAAA")
    reasons = {"token-replayed", "token-bad-signature"}
    witness.event("inputs.dropped", lambda event: event["data"]["reason"] in reasons, count=2)
    return shown


def token_id(token):
    body = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(body + "=="))["jti"]


@needs_mosquitto
def test_a_password_that_is_refused_is_told_without_being_shown(tmp_path):
    with guarded_broker(tmp_path) as (asks, _), guarded_daemon(tmp_path, asks, WRONG) as one:
        one.start()
        words = "refused the connection"
        until(lambda: one.program.words().count(words) >= 2, "both refusals")
        seen = proc(one.program.pid)
        os.kill(one.program.pid, 6)  # A core would hold it; what the log says about it must not.
        one.program.process.wait()
    seen |= everything_written(tmp_path)
    assert b"Check user name" in seen["daemon.log"]
    hold_no([WRONG], seen)


def test_nothing_shows_a_password_in_its_repr(tmp_path):
    (tmp_path / "secret").write_text(PASSWORD)
    (tmp_path / "settings.toml").write_text(
        'gateway = "gw-1"\ndatabase = "x.db"\n[uplink]\nhost = "localhost"\n'
        + LOGIN.format("secret")
    )
    settings = load_settings(tmp_path / "settings.toml")
    config = mqtt_config(settings.uplink, "gw")
    assert config.password == PASSWORD
    upstream = UpstreamConfig(mqtt=config, store="s", gateway="g", version="1")
    for shown in (repr(settings), repr(config), str(config), repr(upstream), f"{upstream}"):
        assert PASSWORD not in shown
    with pytest.raises(TypeError) as said:
        MqttConfig(config)
    assert PASSWORD not in str(said.value)


def test_the_secret_scan_would_find_one(tmp_path):
    """What looks for secrets sees into the journal, too."""
    (tmp_path / "journal").mkdir()
    (tmp_path / "journal" / "0000000000.jsonl.gz").write_bytes(gzip.compress(PASSWORD.encode()))
    with pytest.raises(AssertionError, match="in journal/"):
        hold_no([PASSWORD], everything_written(tmp_path))
