# SPDX-License-Identifier: Apache-2.0
"""Somebody on an in-store broker without access rules, who sends whatever comes to mind."""

import itertools
import secrets
from contextlib import closing, suppress
from types import SimpleNamespace

import pytest

from gateway.simulator.keys import TokenMaker
from gateway.upstream_desk import BUSY
from tests.brokers import needs_mosquitto
from tests.e2e.helpers import Peer, closed, outside_broker, until
from tests.e2e.shop import FILE, PERIOD_US, ROOT, STORE, open_shop
from tests.faults.flood import Flood, rss_kb

pytestmark = [needs_mosquitto, pytest.mark.timeout(600)]

SECOND_CAMERA = """
[[camera]]
name = "back"
size_px = [512, 384]
floor_points = [[76, 32, -1500, 900], [436, 32, 1500, 900],
  [436, 352, 1500, -900], [76, 352, -1500, -900]]
"""
MANY = 100_000
REASONS = {"unknown-device", "too-long", "malformed"}
RSS_KB_MAX = 96 * 1_024
"""How much the daemon may grow by. What is sent is ten times that."""
EVENTS_MAX = 400
SCANS_MAX = 30
# Control characters are no part of them: Mosquitto cuts off who sends those.
NAMES = (
    *("..", "../../../tmp/owned", "etc/passwd", "%2e%2e", "C:\\x", "$SYS", "\u202egnp", "\u2028"),
    *("a" * 200, "x y", "*", "~", "'; DROP TABLE events; --", "${HOME}", "`id`"),
)


def unknown_devices(send):
    for number in range(MANY):
        name = NAMES[number % len(NAMES)].replace("/", "\u2215") + str(number)
        send(f"{('shelf', 'camera', 'door')[number % 3]}/{name}/status", b'{"v":1}')
    for name in NAMES:
        send(f"shelf/{name}/samples", b"{}")
        send(f"{name}/g1.s1/samples", b"{}")


def boots_and_tracks(send):
    """A device that restarts with every message, and ten bodies that nobody saw before."""
    for number in range(MANY // 10):
        people = [
            {"track": f"{number}-{one}", "floor_mm": [90_000 + number * 40, one * 900]}
            for one in range(10)
        ]
        boot = secrets.token_hex(8)
        send("camera/back/people", {"v": 1, "boot": boot, "seq": number, "people": people})
        if number % 10 == 0:
            send("camera/back/status", {"v": 1, "boot": boot, "state": "offline"})


def _reason(event):
    return event["data"]["reason"]


def large(send):
    for size in [70_000] * 300 + [900_000] * 30:
        send("shelf/g1.s1/samples", b'{"v":1,"boot":"' + b"x" * size)
    send("shelf/g1.s1/samples", b"[" * 65_000)


def true_samples(send):
    """A flood of what is right, but for its boot: only its amount is wrong."""
    rows = [[1.0, 2.0, 3.0]] * 12
    for number in range(MANY // 10):
        message = {"v": 1, "boot": "flood", "seq": number, "period_us": PERIOD_US, "unit": "g"}
        send("shelf/g1.s1/samples", {**message, "w": rows})


def enter(at, port):
    """Let a shopper scan until a session begins: what that takes is all in one piece then.

    A scan may be dropped with the flood. A shopper tries again after a while: who scans without
    a pause scans too often, and is refused for a minute.
    """
    maker = TokenMaker.in_directory(STORE, at.folder / "keys")
    before, boot = len(at.witness.named("session.started")), secrets.token_hex(8)

    def inside():
        return len(at.witness.named("session.started")) > before

    with closed(Peer(port, name="scanner")) as scanner:
        for number in range(SCANS_MAX):
            message = {"v": 1, "boot": boot, "seq": number, "text": maker.token("carla")}
            scanner.send(f"{ROOT}/scanner/entrance/scan", message)
            with suppress(AssertionError):
                return until(inside, "a session", patience_s=7)
    raise AssertionError(f"no session after {SCANS_MAX} scans")


def answers(at, name):
    """Ask until there is room for the question: the answer then comes from the engine."""
    replies = (at.witness.command("no-such-command", f"{name}-{n}") for n in itertools.count())
    reply = next(reply for reply in replies if reply["message"] != BUSY)
    assert (reply["status"], reply["message"][:15]) == ("error", "unknown command")


@pytest.fixture(scope="module")
def flooded(tmp_path_factory):
    """A shop that was flooded in each way, then restarted among retained garbage."""
    folder = tmp_path_factory.mktemp("flooded")
    with (
        outside_broker(folder, "instore") as instore,
        open_shop(folder, store_text=FILE + SECOND_CAMERA, instore=instore.port) as at,
    ):
        enter(at, instore.port)
        pid = at.daemon.program.pid
        seen = SimpleNamespace(at=at, grown={}, sent=0, pid=pid)
        before_kb, rows = rss_kb(pid), len(at.daemon.rows())
        for what in (unknown_devices, boots_and_tracks, large, true_samples):
            with closing(Flood(instore.port, ROOT)) as flood:
                what(flood.send)
            answers(at, f"after-{what.__name__}")
            enter(at, instore.port)
            seen.grown[what.__name__] = rss_kb(pid) - before_kb
            seen.sent += flood.bytes
        for reason in REASONS:  # They come in reports some seconds apart.
            at.witness.event("inputs.dropped", lambda event, told=reason: told in _reason(event))
        seen.events = len(at.daemon.rows()) - rows
        seen.told = {
            (event["data"]["device"], event["data"]["reason"])
            for event in at.witness.named("inputs.dropped")
        }
        assert at.daemon.program.process.poll() is None
        with closing(Flood(instore.port, ROOT)) as flood:
            for number in range(2_000):
                flood.send(f"shelf/ghost-{number}/status", b"\xff\x00", retain=True)
            for device in ("shelf/g1.s1", "camera/back", "scanner/entrance", "door/gate"):
                flood.send(f"{device}/status", b'{"v":1,"state":"offline","boot":', retain=True)
                flood.send(f"{device}/samples", b"{}", retain=True)
            # Beyond what a client takes: the link ends, and is there again.
            flood.send("shelf/g1.s1/samples", b" " * (2 << 20))
        until(lambda: "a packet of" in at.daemon.program.words(), "the end of the link")
        enter(at, instore.port)
        assert at.daemon.stop()[0] == 0
        at.daemon.start()
        enter(at, instore.port)
        answers(at, "after-garbage")
        seen.status = at.daemon.stop()[0]
        yield seen


def test_it_goes_on_and_answers(flooded):
    assert flooded.status == 0
    assert "Traceback" not in flooded.at.daemon.program.words()


def test_it_does_not_grow_with_what_is_sent(flooded):
    assert flooded.sent > 50 * 2**20
    assert max(flooded.grown.values()) < RSS_KB_MAX, flooded.grown


def test_drops_are_told_in_few_words(flooded):
    reasons = {reason for _, reason in flooded.told}
    assert reasons >= REASONS
    assert flooded.events < EVENTS_MAX
    strange = {device for device, _ in flooded.told if "/" in device} - {
        *("shelf/g1.s1", "camera/top", "camera/back", "scanner/entrance", "door/gate"),
    }
    assert len(strange) < 60


def test_no_file_is_named_by_a_stranger(flooded):
    folder = flooded.at.folder
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    ours = {"store.toml", "settings.toml", "daemon.log", "instore.conf", "instore.log"}
    ours |= {"upstream.conf", "upstream.log", "keys/entry.pem", "keys/entry.jwks.json"}
    segments = {name for name in names if name.startswith("journal/")}
    databases = {name for name in names if name.startswith("gateway.db")}
    assert names - ours - segments - databases == set()
    assert len(databases) <= 4
    assert all(name[8:18].isdigit() and name[18:] == ".jsonl.gz" for name in segments), segments
    assert not flooded.at.folder.parent.joinpath("owned").exists()


def test_no_escape_reaches_the_log(flooded):
    words = flooded.at.daemon.program.words()
    assert "\x1b" not in words
    assert "\u202e" not in words
