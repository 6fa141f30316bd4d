# SPDX-License-Identifier: Apache-2.0
"""Commands from somebody who means harm: bounded, checked, done once, and always answered."""

import json
import re
import secrets
from contextlib import closing
from types import SimpleNamespace

import pytest

from tests.brokers import needs_mosquitto
from tests.e2e.helpers import GATEWAY, until
from tests.e2e.shop import CRISPS, ROOT, open_shop
from tests.faults.flood import Flood, rss_kb

pytestmark = needs_mosquitto

MANY = 10_000
RSS_KB_MAX = 96 * 1_024
REMEMBERED = 500
TOPIC = re.compile(
    rf"{ROOT}/{GATEWAY}/(events/[a-z.-]+|status|ack|commands/.*|replies/[A-Za-z0-9._-]{{1,128}})"
)


def body(text):
    """Return a command's payload around a value that JSON has not."""
    return b'{"id":"odd","x":' + text + b"}"


UNREADABLE = [
    *(body(text) for text in (b"NaN", b"Infinity", b"1e999", b"\xff", b'"\\ud800"', b"[" * 60_000)),
    *(body(text) for text in (b"9" * 60_000, b"{" * 60_000, b"", b"-", b"01", b"[1,]")),
    *(b"", b"{", b"[]", b"null", b'"id"', b"\x00" * 1_000, b"\xef\xbb\xbf{}", b'{"id":1}'),
    json.dumps({"id": "large", "x": "y" * 66_000}).encode(),
]
IDS = [
    *("../../etc/passwd", "..\\x", "+", "#", "a/#", "$SYS/x", "a b", "a\x00b", "é", "a" * 129),
    *("", "a/b", "/", "a\n", "\u202e", "%2e", "a;b"),
]
"""None of them may become a level of a topic."""
WELL_FORMED = {
    "deep": b'{"id":"deep","facings":' + b"[" * 400 + b"]" * 400 + b"}",
    "huge-number": b'{"id":"huge-number","epoch":"e","from":' + b"9" * 4_000 + b"}",
    "far-number": b'{"id":"far-number","epoch":"e","from":"99999999999999999999"}',
    "unknown-field": b'{"id":"unknown-field","' + b"k" * 60_000 + b'":1}',
    "long-text": b'{"id":"long-text","review":"' + b"r" * 60_000 + b'","acts":[],"by":"x"}',
    "dots..": b'{"id":"dots..","version":"v","prices":[]' + b" " * 60_000 + b"}",
}
NAMES = {
    **dict.fromkeys(("deep",), "planogram"),
    **dict.fromkeys(("huge-number", "far-number"), "backfill"),
    **dict.fromkeys(("unknown-field", "long-text"), "review"),
    "dots..": "prices",
}


def prices(unit_price_minor):
    return [{"gtin": CRISPS, "unit_price_minor": unit_price_minor, "currency": "EUR"}]


def answered(at):
    """Ask until there is an answer: a broker drops what is too much for it, and so may we."""
    asked = []

    def ask():
        asked.append(f"asked-{secrets.token_hex(4)}")
        at.witness.send(f"{ROOT}/{GATEWAY}/commands/nothing", {"id": asked[-1]})
        found = [at.witness.replies[one] for one in asked if one in at.witness.replies]
        return any("unknown command" in one["message"] for one in found)

    until(ask, "an answer")


@pytest.fixture(scope="module")
def assailed(tmp_path_factory):
    """A daemon that was given good, bad and many commands, and started again among them."""
    with open_shop(tmp_path_factory.mktemp("assailed")) as at:
        seen = SimpleNamespace(at=at, replies={})
        pid = at.daemon.program.pid
        before_kb = rss_kb(pid)
        root = f"{ROOT}/{GATEWAY}"
        first = at.witness.command("prices", "once", version="p1", prices=prices(100))
        assert first["status"] == "ok"
        with closing(Flood(at.upstream.port, root)) as flood:
            for payload in UNREADABLE:
                flood.send("commands/prices", payload)
            for name in IDS:
                flood.send("commands/prices", {"id": name, "version": "v", "prices": []})
            for name in ("no-such", "x" * 30_000, "..", "events"):
                flood.send(f"commands/{name}", {"id": f"named-{len(name)}"})
            for command, payload in WELL_FORMED.items():
                flood.send(f"commands/{NAMES[command]}", payload)
            for _ in range(3):
                flood.send("commands/prices", {"id": "twice", "id2": 1})
            flood.send("commands/prices", b'{"id":"hidden","id":"shown","version":"v","prices":[]}')
            flood.send("commands/prices", {"id": "kept", "version": "v", "prices": []}, retain=True)
        for command in [*WELL_FORMED, "named-7", "named-30000", "named-2", "named-6", "shown"]:
            seen.replies[command] = at.witness.wait(
                lambda command=command: at.witness.replies.get(command), f"the reply to {command}"
            )
        with closing(Flood(at.upstream.port, root)) as flood:
            for number in range(MANY):
                command = {"id": f"many-{number}", "version": "v", "prices": prices(number)}
                flood.send("commands/prices", command | {"prices": [{}] * (number % 50)})
        answered(at)
        seen.grown_kb = rss_kb(pid) - before_kb
        seen.commands = at.daemon.rows("SELECT count(*) FROM state WHERE kind = 'command'")[0][0]
        at.daemon.stop()
        at.daemon.start()
        answered(at)
        yield seen
        assert at.daemon.stop()[0] == 0


def test_what_cannot_be_read_changes_nothing_and_is_told_in_few_lines(assailed):
    words = assailed.at.daemon.program.words()
    assert "Traceback" not in words
    assert 1 <= words.count("Refused a command") < 12
    assert max(map(len, words.splitlines())) < 2_000


def test_no_id_becomes_a_topic(assailed):
    topics = {topic for _, topic, _, _ in assailed.at.witness.messages}
    assert [topic for topic in topics if not TOPIC.fullmatch(topic)] == []
    assert not {"hidden", "large"} & assailed.at.witness.replies.keys()
    assert assailed.at.witness.replies["odd"]["status"] == "error"


def test_what_a_broker_has_kept_is_not_done_at_the_next_start(assailed):
    topics = [topic for _, topic, _, _ in assailed.at.witness.messages]
    assert len([topic for topic in topics if topic.endswith("/replies/kept")]) == 1


def test_what_is_wrong_is_answered_with_why_in_few_words(assailed):
    good = {"shown", "dots.."}
    for command, reply in assailed.replies.items():
        assert reply["status"] == ("ok" if command in good else "error"), reply
        assert len(reply["message"]) <= 500
        assert reply["message"] or command in good


def test_many_take_no_memory_and_few_rows(assailed):
    assert assailed.grown_kb < RSS_KB_MAX
    assert assailed.commands <= REMEMBERED


def test_a_repeat_after_a_restart_is_answered_and_not_done(assailed):
    at = assailed.at
    first = at.witness.command("prices", "last", version="p2", prices=prices(250))
    assert first["status"] == "ok"
    query = "SELECT value FROM state WHERE kind = 'store'"
    kept = at.daemon.rows(query)
    assert b"250" in kept[0][0].encode()
    at.daemon.stop()
    at.daemon.start()
    del at.witness.replies["last"]
    assert at.witness.command("prices", "last", version="p3", prices=prices(999)) == first
    until(lambda: at.daemon.rows(query), "the store's row")
    assert at.daemon.rows(query) == kept
