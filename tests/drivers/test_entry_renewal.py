# SPDX-License-Identifier: Apache-2.0
"""Entry keys are fetched over HTTPS while that works, and kept until they are too old."""

import asyncio
import http.client
import json
import logging
import os
import ssl
import threading
from contextlib import contextmanager, suppress
from http.client import BadStatusLine
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from drivers.entry import renewal as renewal_module
from drivers.entry.renewal import AGAIN_S, ASKED_S, Renewal, Source, renew
from drivers.entry.tokens import JWKS_BYTES_MAX, EntryConfig, Verifier, read_jwks
from tests.brokers import run
from tests.certificates import certificate
from tests.drivers.test_entry_tokens import KEY, NOW_S, OTHER_KEY, at, public, token, write_keys
from tests.virtual_time import run_virtual

SET = json.dumps({"keys": [public(KEY, "k1")]}).encode()
OTHER_SET = json.dumps({"keys": [public(OTHER_KEY, "k2")]}).encode()


class Server(ThreadingHTTPServer):
    """Answers with what a test sets."""

    daemon_threads = True

    def __init__(self, folder, name):
        self.answer = (200, SET)
        self.drips = None
        """Which part of an answer never ends, a little of it at a time."""
        self.asked = []
        super().__init__(("127.0.0.1", 0), _Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / f"{name}.crt", folder / f"{name}.key")
        self.socket = context.wrap_socket(self.socket, server_side=True)

    def handle_error(self, _request, _address):
        """Say nothing of clients that hang up."""


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        status, content = self.server.answer
        self.send_response(status)
        if self.server.drips is not None:
            self.send_header("Content-Length", "65000")
            if self.server.drips == "content":
                self.end_headers()
            self.flush_headers()
            while True:
                self.wfile.write(b" ")
                self.connection.settimeout(0.1)
                with suppress(TimeoutError):
                    if not self.connection.recv(1):
                        return
        if status == 302:
            self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        """Say nothing."""


@contextmanager
def served(folder, name="server"):
    with Server(folder, name) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("https")
    ours = certificate(made, "authority")
    certificate(made, "server", issuer=ours)
    certificate(made, "elsewhere", issuer=ours, host=None)
    return made


def source(folder, server, file):
    url = f"https://127.0.0.1:{server.server_address[1]}/keys?tenant=secret"
    return Source(url=url, file=file, ca=str(folder / "authority.crt"))


def test_what_is_fetched_is_kept_and_what_is_the_same_is_not_written_again(folder, tmp_path):
    file = tmp_path / "keys.json"
    with served(folder) as server:
        where = source(folder, server, file)
        renew(where)
        assert server.asked == ["/keys?tenant=secret"]
        assert set(read_jwks(file)) == {"k1"}
        before = file.stat()
        os.utime(file, (NOW_S, NOW_S))
        renew(where)
        assert (file.stat().st_ino, file.read_bytes()) == (before.st_ino, SET)
        assert file.stat().st_mtime > NOW_S - 1e9
        assert file.stat().st_mtime != NOW_S
        server.answer = (200, OTHER_SET)
        renew(where)
        assert set(read_jwks(file)) == {"k2"}
        assert [path.name for path in tmp_path.iterdir()] == ["keys.json"]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((200, b"{}"), "not a JSON Web Key Set. Check url"),
        ((200, b'{"keys":[]}'), "no Ed25519 key with a key id. Check url"),
        ((200, b" " * (JWKS_BYTES_MAX + 1)), f"more than {JWKS_BYTES_MAX} bytes. Check url"),
        ((302, b""), "the server answers 302. Give the address itself"),
        ((503, b""), "the server answers 503"),
    ],
)
def test_what_is_no_key_set_changes_nothing_and_is_said_once(
    folder, tmp_path, answer, said, caplog
):
    file = tmp_path / "keys.json"
    file.write_bytes(OTHER_SET)
    with served(folder) as server:
        server.answer = answer
        renewal = Renewal(source(folder, server, file))
        assert [run(renewal._look()) for _ in range(2)] == [False, False]
        server.answer = (200, SET)
        assert run(renewal._look())
    assert file.read_bytes() == SET
    warning = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warning) == 1
    assert warning[0].startswith("entry keys https://127.0.0.1: ")
    assert said in warning[0]
    assert "secret" not in caplog.text


@pytest.mark.parametrize("wrong", ["name", "authority"])
def test_a_server_that_is_not_who_it_should_be_is_not_believed(folder, tmp_path, wrong, caplog):
    with served(folder, "elsewhere" if wrong == "name" else "server") as server:
        where = source(folder, server, tmp_path / "keys.json")
        if wrong == "authority":
            where = Source(url=where.url, file=where.file)
        assert run(Renewal(where)._look()) is False
        assert server.asked == []
    assert "not trusted" in caplog.text
    assert not where.file.exists()


def test_nobody_there_is_said_once_and_harms_nothing(tmp_path, caplog):
    where = Source(url="https://127.0.0.1:1/keys", file=tmp_path / "keys.json")
    renewal = Renewal(where)
    assert [run(renewal._look()) for _ in range(3)] == [False] * 3
    assert len(caplog.records) == 1
    assert "stay in use until they are too old" in caplog.text


@pytest.mark.timeout(30)
@pytest.mark.parametrize("part", ["headers", "content"])
def test_a_server_that_never_ends_is_left_by_the_thread_that_asked(
    folder, tmp_path, part, monkeypatch
):
    """Else each look would leave one behind, for years."""
    monkeypatch.setattr(renewal_module, "WHOLE_S", 0.5)
    with served(folder) as server:
        server.drips = part
        with pytest.raises(TimeoutError, match="too slow"):
            renew(source(folder, server, tmp_path / "keys.json"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("broken", [ConnectionResetError(104, "reset"), BadStatusLine("")])
def test_however_a_cut_shows_it_is_told_as_too_slow(folder, tmp_path, monkeypatch, broken):
    def answer(_connection):
        raise broken

    monkeypatch.setattr(http.client.HTTPSConnection, "getresponse", answer)
    with served(folder) as server:
        where = source(folder, server, tmp_path / "keys.json")
        with pytest.raises(type(broken)):
            renew(where)
        monkeypatch.setattr(renewal_module, "WHOLE_S", 0.0)
        with pytest.raises(TimeoutError, match="too slow"):
            renew(where)


class Clockwork:
    """Counts looks in virtual time."""

    def __init__(self):
        self.looks_s = []
        self.works = True

    def fetch(self, _source):
        self.looks_s.append(self.loop.time())
        if not self.works:
            raise OSError(101, "Network is unreachable")

    def play(self, body, every_s=3_600.0):
        async def main():
            self.loop = asyncio.get_running_loop()
            renewal = Renewal(
                Source(url="https://x/", file=None, every_s=every_s), fetch=self.fetch
            )

            async def look():
                try:
                    self.fetch(None)
                except OSError:
                    return False
                return True

            renewal._look = look  # The thread of a real look knows no virtual time.
            async with asyncio.TaskGroup() as group:
                running = group.create_task(renewal.run())
                await body(renewal)
                running.cancel()

        run_virtual(main())
        return self.looks_s


def test_a_look_is_made_at_the_start_and_from_time_to_time():
    looks_s = Clockwork().play(lambda _: asyncio.sleep(24 * 3_600))
    assert looks_s[0] == 0
    assert 21 <= len(looks_s) <= 28


def test_a_look_that_failed_is_made_again_soon():
    clockwork = Clockwork()
    clockwork.works = False
    looks_s = clockwork.play(lambda _: asyncio.sleep(3_000))
    assert [round(at_s) for at_s in looks_s] == [AGAIN_S * turn for turn in range(10)]


def test_unknown_keys_make_one_look_in_thirty_seconds_at_most():
    async def body(renewal):
        for _ in range(900):
            await asyncio.sleep(0.1)
            renewal.ask()
        await asyncio.sleep(1_000)

    looks_s = Clockwork().play(body)
    assert [round(at_s) for at_s in looks_s] == [0, ASKED_S, 2 * ASKED_S, 3 * ASKED_S]


def config(tmp_path, **more):
    path = tmp_path / "keys.json"
    return EntryConfig(jwks=path, issuer="https://id.example", store="corner", **more)


def test_a_token_of_an_unknown_key_asks_for_keys_and_is_valid_once_they_are_there(tmp_path):
    write_keys(tmp_path / "keys.json", public(OTHER_KEY, "k2"))
    asked = []
    verifier = Verifier(config(tmp_path), lambda: asked.append(1))
    assert verifier.verify(token(), at()).verdict == "bad-signature"
    assert verifier.verify("not.a.token", at()).verdict == "malformed"
    assert asked == [1]
    write_keys(tmp_path / "keys.json", public(KEY, "k1"), age_s=-1)
    assert verifier.verify(token(), at(mono_s=2)).verdict == "valid"
    assert asked == [1]


def test_keys_that_are_too_old_open_nothing_and_say_why(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    file = tmp_path / "keys.json"
    verifier = Verifier(config(tmp_path, renew="Check the network"))
    assert not verifier.opens(at())
    write_keys(file, public(KEY, "k1"), age_s=14 * 86_400 + 1)
    for second in range(2, 9):
        assert not verifier.opens(at(mono_s=second))
        assert verifier.verify(token(), at(mono_s=second)).verdict == "keys-too-old"
        file.unlink(missing_ok=True)  # Two things wrong at once are said once each, too.
    old = [text for text in caplog.messages if "older than 14 days" in text]
    assert len(old) == 1
    assert "so no entry token is valid. Check the network" in old[0]
    assert len(caplog.messages) <= 3
    write_keys(file, public(KEY, "k1"))
    assert verifier.opens(at(mono_s=20))
    assert verifier.verify(token(), at(mono_s=20)).verdict == "valid"


def test_keys_that_a_wrong_clock_dated_do_not_last_for_ever(tmp_path, caplog):
    file = tmp_path / "keys.json"
    verifier = Verifier(config(tmp_path, renew="Check the network"))
    write_keys(file, public(KEY, "k1"), age_s=-2 * 86_400)
    assert verifier.verify(token(), at()).verdict == "keys-too-old"
    assert "dated in the future" in caplog.text
    assert "Check the network" in caplog.text
    assert verifier.verify(token(), at(trusted=False)).verdict == "valid", (
        "this clock may be behind"
    )
    write_keys(file, public(KEY, "k1"))
    assert verifier.verify(token(), at(mono_s=20)).verdict == "valid"
