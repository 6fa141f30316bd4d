# SPDX-License-Identifier: Apache-2.0
"""The daemon fetches the keys of entry tokens, and says so while it has none."""

import json

from tests.certificates import certificate
from tests.drivers.test_entry_renewal import SET, served
from tests.e2e.helpers import Peer, closed, daemon, outside_broker, until
from tests.e2e.shop import FILE, STORE


def test_keys_are_fetched_at_the_start_and_missed_until_then(tmp_path):
    certificate(tmp_path, "server", issuer=certificate(tmp_path, "authority"))
    store = tmp_path / "store.toml"
    store.write_text(FILE)
    keys = tmp_path / "keys.json"
    with (
        served(tmp_path) as server,
        outside_broker(tmp_path) as upstream,
        daemon(tmp_path, store, upstream=upstream.port) as one,
        closed(Peer(upstream.port, f"shelfgate/v1/{STORE}/+/status")) as peer,
    ):
        server.answer = (503, b"")
        entry = 'jwks = "keys.json"\nissuer = "x"\nca = "authority.crt"\nurl = "https://127.0.0.1:'
        text = one.settings.read_text()
        head, _, rest = text.partition("jwks = ")
        tail = rest.partition("\n[")[2]
        one.settings.write_text(f'{head}{entry}{server.server_address[1]}/keys"\n[{tail}')

        def degraded():
            return json.loads(peer.messages[-1][2])["degraded"] if peer.messages else []

        one.start()
        peer.wait(lambda: "entry/keys" in degraded(), "a status that misses the keys")
        assert "the server answers 503" in until(one.program.words, "words")
        one.stop()
        server.answer = (200, SET)
        one.start()
        until(keys.exists, "the keys")
        peer.wait(lambda: "entry/keys" not in degraded(), "a status that has them")
        assert keys.read_bytes() == SET
        assert one.stop()[0] == 0
