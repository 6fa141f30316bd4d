# SPDX-License-Identifier: Apache-2.0
"""Frames stay in memory: the disk and the broker never get one."""

import asyncio
import json
import os
import subprocess
import sys
from contextlib import closing, contextmanager
from pathlib import Path

from tests.e2e.helpers import PATIENCE_S, Peer, outside_broker, until
from tests.endure_vision import ROOT as TOPIC
from tests.endure_vision import Plan, words
from tests.vision.test_second_look import REQUEST, Colours, picture
from tests.vision.test_vision_worker import Broker, Frames, config, feed, running
from vision.worker import Worker

ROOT = Path(__file__).parents[2]


async def watched():
    """Let a worker see frames and look again; return the messages that it published."""
    broker, frames = Broker(), Frames((1_024, 768))
    frames.blank = picture((1_024, 768))
    worker = Worker(config(), broker.publish, detector=Colours(), open_source=lambda _url: frames)
    async with running(worker):
        await feed(broker, frames, 6)
        worker.look(json.dumps(REQUEST).encode())
        await broker.until(lambda: broker.of("looked"))
        frames.left.put(None)
    assert broker.of("looked")[0]["frames"]
    assert len(worker._recall) > 0
    return broker.messages


def parts(value):
    """Return every list, text and number in a message, however deep."""
    if isinstance(value, dict):
        for one in value.values():
            yield from parts(one)
    elif isinstance(value, list):
        yield value
        for one in value:
            yield from parts(one)
    else:
        yield value


def check_small(message):
    """Look whether a message has no room for a picture: in no part of it, nor in all together.

    Of somebody there is a track, a place, two wrists with what is known of each, and how the
    torso looks, in 16 numbers. A picture of 16 by 16 pixels has more.
    """
    found = list(parts(message))
    texts = [one for one in found if isinstance(one, str)]
    numbers = [one for one in found if isinstance(one, int | float)]
    shown = message.get("frames", [message])
    persons = sum(len(one.get("people", [])) for one in shown)
    assert persons <= 8 * len(shown)
    assert max((len(one) for one in found if isinstance(one, list)), default=0) <= 512
    assert max(map(len, texts)) <= 200
    assert sum(map(len, texts)) <= 400 + 20 * persons
    assert len(numbers) <= 16 + 2 * len(shown) + 48 * persons
    assert max(numbers, default=0) < 2**64  # nor in the digits of one
    assert len(json.dumps(message)) <= 1_000 + 40 * len(shown) + 800 * persons


def test_the_broker_gets_numbers_and_names_alone():
    """No text in any message is long enough for a picture, nor are all its numbers together."""
    messages = asyncio.run(watched())
    leaves = {topic.rpartition("/")[2] for topic, *_ in messages}
    assert leaves == {"people", "looked", "status"}
    for _, message, *_ in messages:
        check_small(message)


BAN = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # A write ends the process.
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
"""
"""From then on the kernel lets a Python write no byte into any file."""
BANNED = f"import sys\nfrom gateway.cli import main\n{BAN}\nsys.exit(main(sys.argv[1:]))\n"
"""``shelfgate``, which can write none."""


def bare(folder):
    """Return an environment in which all that a program may write goes to a folder."""
    homes = {name: str(folder) for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME")}
    return {**os.environ, **homes, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(ROOT)}


@contextmanager
def banned(folder, *told):
    """Run ``shelfgate`` where it can write nothing; at the end nothing is left of it."""
    with subprocess.Popen(
        [sys.executable, "-c", BANNED, *told],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd=folder,
        env=bare(folder),
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_real_worker_of_a_real_camera_writes_nothing_and_tells_a_real_broker_little(tmp_path):
    """From a film through OpenCV and the models to the broker, which is listened to as a whole."""
    folder = tmp_path / "bare"
    folder.mkdir()
    plan = Plan(seconds=0.0, people=2, clip_s=1.6, empty_s=0.0, clip_fps=10)
    with outside_broker(tmp_path) as broker, closing(Peer(broker.port, "#")) as peer:

        def told(leaf):
            return [json.loads(one[2]) for one in peer.messages if one[1] == f"{TOPIC}/{leaf}"]

        with banned(folder, *words(tmp_path, plan, broker.port)) as process:

            def seen(look, what):
                until(lambda: look() or process.poll() is not None, what)
                assert process.poll() is None, process.stderr.read().decode()
                return look()

            [[person, *_], *_] = seen(
                lambda: [one["people"] for one in told("people") if one["people"]], "somebody"
            )
            request = REQUEST | {"place_mm": [*person["floor_mm"], 1_000.0], "ago_ms": [2_300, 0]}
            peer.send(f"{TOPIC}/look", request | {"reply": f"{TOPIC}/looked"})
            seen(lambda: told("looked"), "an answer")
            process.terminate()
            assert process.wait(PATIENCE_S) == 0, process.stderr.read().decode()
            peer.wait(lambda: told("status")[-1]["state"] == "offline", "its last word")
        asked = [one for one in peer.messages if one[1] == f"{TOPIC}/look"]
        assert {one[1] for one in peer.messages if one not in asked} == {
            f"{TOPIC}/{leaf}" for leaf in ("people", "looked", "status")
        }
        for message in peer.messages:
            check_small(json.loads(message[2]))
    assert list(folder.rglob("*")) == []


def test_the_worker_does_its_work_where_nothing_can_be_written(tmp_path):
    """The kernel lets it write no byte into any file, and it leaves none behind."""
    code = (
        "import asyncio\n"
        f"from tests.vision import test_privacy\n{BAN}"
        "messages = asyncio.run(test_privacy.watched())\n"
        "print(len(messages))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=False,
        cwd=tmp_path,
        env=bare(tmp_path),
        timeout=50,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert int(done.stdout) >= 8
    assert list(tmp_path.rglob("*")) == []
