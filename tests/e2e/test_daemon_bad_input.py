# SPDX-License-Identifier: Apache-2.0
"""Whatever devices and lines send: it is counted and told upstream, and a purchase stays right."""

import base64
import json
import os
import secrets
import select
import threading
import time
from collections import Counter
from contextlib import closing

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from gateway.simulator.keys import ISSUER, KEY_NAME
from gateway.simulator.lines import Bridge, Line
from tests.e2e.helpers import PATIENCE_S, until
from tests.e2e.shop import (
    BRIDGE,
    CRISPS,
    FILE,
    JAM,
    PERIOD_US,
    ROOT,
    STORE,
    TEA,
    bought,
    complete,
    open_shop,
    visit,
)

MORE = """
[[scanner]]
name = "side"
zone = "entrance"
[[camera]]
name = "back"
size_px = [512, 384]
floor_points = [[76, 32, -1500, 900], [436, 32, 1500, 900],
  [436, 352, 1500, -900], [76, 352, -1500, -900]]
"""
SETTINGS = """
[[device]]
driver = "scanner"
name = "side"
url = "FOLDER/lines/scanner"
[[device]]
driver = "bridge"
name = "g2.s1"
url = "FOLDER/lines/bridge"
channels = [0, 1]
crc = "required"
"""
SHELF = f"{ROOT}/shelf/g1.s1/samples"
SCAN = f"{ROOT}/scanner/entrance/scan"
PEOPLE = f"{ROOT}/camera/back/people"


def samples(rows, **more):
    """Return a message of another boot than the shelf's: it counts nowhere if it is refused."""
    return {"v": 1, "boot": "bad", "seq": 0, "period_us": PERIOD_US, "unit": "g", "w": rows} | more


REFUSED = {
    "cut-off": (SHELF, b'{"v":1,"boot":"bad","seq"', "malformed"),
    "empty": (SHELF, b"", "malformed"),
    "not an object": (SHELF, b"[1,2,3]", "malformed"),
    "nested": (SHELF, b"[" * 50_000, "malformed"),
    "two plates": (SHELF, samples([[1.0, 2.0]]), "malformed"),
    "ragged": (SHELF, samples([[1.0, 2.0, 3.0], [1.0]]), "malformed"),
    "no rows": (SHELF, samples([]), "malformed"),
    "text for a weight": (SHELF, samples([["1", 2.0, 3.0]]), "malformed"),
    "another version": (SHELF, samples([[1.0, 2.0, 3.0]], v=2), "malformed"),
    "no boot": (SHELF, samples([[1.0, 2.0, 3.0]], boot=""), "malformed"),
    "below zero": (SHELF, samples([[1.0, 2.0, 3.0]], seq=-1), "malformed"),
    "unknown unit": (SHELF, samples([[1.0, 2.0, 3.0]], unit="lb"), "malformed"),
    "NaN": (SHELF, json.dumps(samples([[float("nan"), 2.0, 3.0]])).encode(), "malformed"),
    "1e400": (SHELF, json.dumps(samples([["X", 2.0, 3.0]])).encode().replace(b'"X"', b"1e400"),
              "malformed"),
    "invalid UTF-8": (SHELF, b'{"v":1,"note":"\xff\xfe"}', "malformed"),
    "70 KiB": (SHELF, json.dumps(samples([[1.0, 2.0, 3.0]], note="x" * 70_000)).encode(),
               "too-long"),
    "an unknown shelf": (f"{ROOT}/shelf/g9.s9/samples", samples([[1.0]]), "unknown-device"),
    "an unknown camera": (f"{ROOT}/camera/spy/people", {"v": 1}, "unknown-device"),
    "people far away": (PEOPLE, {"v": 1, "boot": "bad", "seq": 0,
                                 "people": [{"track": "1", "floor_mm": [1e300, 0]}]}, "malformed"),
    "a status of nothing": (f"{ROOT}/shelf/g1.s1/status", {"v": 1, "state": "fine", "boot": "b"},
                            "malformed"),
}  # fmt: skip


def signed(keys, **changed):
    """Return a token with claims changed."""
    key = load_pem_private_key((keys / KEY_NAME).read_bytes(), None)
    public = base64.urlsafe_b64encode(key.public_key().public_bytes_raw()).rstrip(b"=").decode()
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "aud": STORE,
        "sub": "mallory",
        "jti": secrets.token_urlsafe(16),
        "iat": now,
        "exp": now + 45,
    } | changed
    return jwt.encode(claims, key, algorithm="EdDSA", headers={"kid": public[:12]})


def bad_tokens(keys):
    """Return tokens that open nothing, with the reason told upstream."""
    old = int(time.time()) - 300_000
    good = signed(keys)
    return [
        (signed(keys, iat=old, exp=old + 45), "token-expired"),
        (signed(keys, aud="another-store"), "token-other-store"),
        (signed(keys, iss="somebody"), "token-bad-signature"),
        (good[:-8] + "AAAAAAAA", "token-bad-signature"),
        ("garbage", "token-malformed"),
        ("a.b.c", "token-malformed"),
        ("0" * 1_025, "malformed"),  # Longer than a scan may be: refused before it is a token.
    ]


class Bench:
    """The bridge's end of a line: one sample of two plates every tenth of a second."""

    def __init__(self, link):
        self.line = Line(link)
        self._bridge = Bridge(self.line, "g2.s1", 10)
        self.counts = [210_000, 310_000]
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._live)
        self._thread.start()

    def _live(self):
        count = 0
        while not self._ended.wait(0.1):
            self._bridge.sample(list(self.counts), count * 100)
            count += 1

    def close(self):
        self._ended.set()
        self._thread.join()
        self.line.close()


def pour(descriptor, data):
    """Write all of it to a line, at the pace of whoever reads."""
    while data:
        assert select.select([], [descriptor], [], PATIENCE_S)[1], "nobody reads the line"
        data = data[os.write(descriptor, data) :]


@pytest.fixture(scope="module")
def bruised(tmp_path_factory):
    """A shop that is mistreated in every way while people shop, stopped after it."""
    folder = tmp_path_factory.mktemp("bruised")
    (folder / "lines").mkdir()
    scanner = Line(folder / "lines" / "scanner")
    bench = Bench(folder / "lines" / "bridge")
    with (
        closing(scanner),
        open_shop(
            folder,
            store_text=FILE + BRIDGE + MORE,
            more=SETTINGS.replace("FOLDER", str(folder)),
        ) as at,
    ):
        at.expected = Counter()
        at.carts = []
        try:
            worker = threading.Thread(target=refuse_all, args=(at,))
            worker.start()
            at.carts.append(visit(at, "17", [("g1.s1.p1", -165.0), ("g1.s1.p3", -330.0)]))
            worker.join()
            again_and_out_of_order(at)
            replay_token(at)
            restart_shelf(at)
            at.carts.append(visit(at, "18", [("g1.s1.p2", -160.0)]))
            bench = pull_bridge(at, bench)
            scanner_line(at, scanner._device)
            at.stop = at.daemon.stop()
        finally:
            bench.close()
        complete(at)
        at.counted = Counter()
        for event in at.witness.named("inputs.dropped"):
            data = event["data"]
            at.counted[data["device"], data["reason"]] += data["count"]
        yield at


def refuse_all(at):
    for topic, payload, reason in REFUSED.values():
        at.shop.send(topic, payload)
        at.expected["/".join(topic.split("/")[3:5]), reason] += 1
    for text, reason in bad_tokens(at.folder / "keys"):
        at.shop.scan(text)
        at.expected["scanner/entrance", reason] += 1
    # Its number is missing then: what was refused before the engine was never heard.
    at.expected["scanner/entrance", "missing"] += 1


def again_and_out_of_order(at):
    """0, 2, 1, and 1 again: one repeat, nothing missing."""
    for seq in (0, 2, 1, 1):
        message = {"v": 1, "boot": "back-1", "seq": seq, "people": [], "unknown": [None]}
        at.shop.send(PEOPLE, message)
    at.expected["camera/back", "repeat"] += 1
    at.shop.send(PEOPLE, {"v": 1, "boot": "back-1", "seq": 6, "people": []})
    at.expected["camera/back", "missing"] += 3


def replay_token(at):
    """Show the token of the first visit again, from another scanner message."""
    at.shop.scan(at.shop.token)
    at.expected["scanner/entrance", "token-replayed"] += 1


def restart_shelf(at):
    """The shelf restarts and counts from 0; what comes late from before is stale."""
    shop, before = at.shop, at.shop.boots["shelf"]
    shop._seqs["shelf"], shop.boots["shelf"] = 0, secrets.token_hex(8)
    until(lambda: shop._seqs["shelf"] >= 4, "messages of the new boot")
    shop.send(SHELF, samples([[0.0, 0.0, 0.0]], boot=before, seq=9_999))
    at.expected["shelf/g1.s1", "stale"] += 1


def scanner_line(at, descriptor):
    """A megabyte without end, half a line, and then a good scan."""
    pour(descriptor, b"x" * 1_000_000 + b"\r")
    at.expected["scanner/side", "too-long"] += 1
    os.write(descriptor, b"half a li")
    query = "SELECT count(*) FROM events WHERE name = 'session.started'"
    before = at.daemon.rows(query)[0][0]
    # No event says when half a line is given up; a line that is whole again does.
    until(lambda: scanned(at, descriptor, query) > before, "a session at the side")


def scanned(at, descriptor, query):
    os.write(descriptor, at.shop.tokens.token("side-door").encode() + b"\r")
    before = at.daemon.rows(query)[0][0]
    end = time.monotonic() + 2
    while at.daemon.rows(query)[0][0] == before and time.monotonic() < end:
        time.sleep(0.05)
    return at.daemon.rows(query)[0][0]


def pull_bridge(at, bench):
    """Noise on the line, then the line is pulled and put back."""
    for noise in (b"\x00\xff\xfe garbage\n", b'{"v":1,"ch":[[0,1]],"crc":"0000"}\n'):
        bench.line.write(noise)
    # What the line says afterwards is weighed: 300 g go, and one of the cameras does not look.
    bench.counts[1] -= 30_000
    gone = at.witness.event("shelf.changed-unattended")["data"]
    [felt] = gone["weights"]
    assert (gone["reason"], felt["plate"], felt["calibration"]) == ("no-camera", "g2.s1.p2", "c1")
    assert felt["delta_g"] == pytest.approx(-300.0, abs=1)
    bench.close()
    lost = at.witness.event("device.lost", lambda e: e["data"]["device"] == "shelf/g2.s1")
    bench = Bench(at.folder / "lines" / "bridge")
    back = at.witness.event("device.recovered", lambda e: e["data"]["device"] == "shelf/g2.s1")
    assert back["data"]["clock"]["mono_ns"] > lost["data"]["clock"]["mono_ns"]
    return bench


def test_purchases_stay_right(bruised):
    assert [bought(cart) for cart in bruised.carts] == [{CRISPS: 1, JAM: 1}, {TEA: 2}]
    assert all(cart["data"]["open"] == [] for cart in bruised.carts)


def test_everything_refused_is_counted_and_told_upstream(bruised):
    counted = {key: bruised.counted[key] for key in bruised.expected}
    assert counted == dict(bruised.expected)


def test_nothing_else_is_counted_but_noise_on_the_lines(bruised):
    lines = {
        ("scanner/side", "malformed"),
        ("scanner/side", "token-malformed"),
        ("shelf/g2.s1", "malformed"),
    }
    extra = {key: bruised.counted[key] for key in set(bruised.counted) - set(bruised.expected)}
    assert extra.keys() <= lines, extra
    assert bruised.counted["shelf/g2.s1", "malformed"] >= 2
    half = bruised.counted["scanner/side", "malformed"]
    assert half + bruised.counted["scanner/side", "token-malformed"] >= 1


def test_only_good_tokens_open_a_session_and_each_once(bruised):
    shoppers = Counter(e["data"]["shopper"] for e in bruised.witness.named("session.started"))
    assert shoppers.pop("side-door") >= 1
    assert shoppers == {"shopper-17": 1, "shopper-18": 1}
    doors = [topic for _, topic, _, _ in bruised.shop.messages]
    assert len(doors) == 2  # The side has none.


def test_the_daemon_did_not_mind(bruised):
    status, took_s = bruised.stop
    words = bruised.daemon.program.words()
    assert status == 0
    assert took_s < 5
    assert "Traceback" not in words
    assert words.count("shelf/g2.s1 is down") == 1
    assert words.count("shelf/g2.s1 is back") == 1


def test_no_token_is_written_anywhere(bruised):
    for name in ("gateway.db", "gateway.db-wal"):
        path = bruised.folder / name
        assert not path.exists() or b"eyJ" not in path.read_bytes()
    assert "eyJ" not in bruised.daemon.program.words()
