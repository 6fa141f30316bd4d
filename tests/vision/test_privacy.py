# SPDX-License-Identifier: Apache-2.0
"""Frames stay in memory: the disk and the broker never get one."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

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


def test_the_broker_gets_numbers_and_names_alone():
    """No text in any message is long enough for a picture, nor any list of numbers."""

    def parts(value):
        if isinstance(value, dict):
            for one in value.values():
                yield from parts(one)
        elif isinstance(value, list):
            yield value
            for one in value:
                yield from parts(one)
        else:
            yield value

    messages = asyncio.run(watched())
    leaves = {topic.rpartition("/")[2] for topic, *_ in messages}
    assert leaves == {"people", "looked", "status"}
    for _, message, *_ in messages:
        for part in parts(message):
            if isinstance(part, str):
                assert len(part) <= 200
            elif isinstance(part, list) and all(isinstance(one, int | float) for one in part):
                assert len(part) <= 512  # An appearance, by the contract.


def test_the_worker_does_its_work_where_nothing_can_be_written(tmp_path):
    """The kernel lets it write no byte into any file, and it leaves none behind."""
    code = (
        "import asyncio, resource, signal\n"
        "from tests.vision import test_privacy\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_DFL)\n"  # A write ends the process.
        "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
        "messages = asyncio.run(test_privacy.watched())\n"
        "print(len(messages))\n"
    )
    homes = {name: str(tmp_path) for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME")}
    environment = {**os.environ, **homes, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=False,
        cwd=tmp_path,
        env=environment,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert int(done.stdout) >= 8
    assert list(tmp_path.rglob("*")) == []
