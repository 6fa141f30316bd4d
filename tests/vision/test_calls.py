# SPDX-License-Identifier: Apache-2.0
"""The thread of detections: turns, times, and calls that never end."""

import asyncio
import logging
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest

from gateway.supervise import leaves
from tests.vision.test_vision_worker import Broker, Frames, config
from vision import calls as calls_module
from vision.calls import Calls
from vision.detectors import Detections, ModelError
from vision.worker import Worker

WAIT_S = 120


class Hanging:
    """A detector that finds nobody once, and then hangs until the test is over."""

    def __init__(self):
        self.count, self.hangs, self.over = 0, threading.Event(), threading.Event()

    def detect(self, _frame):
        self.count += 1
        if self.count > 1:
            self.hangs.set()
            self.over.wait(WAIT_S)
        return Detections.empty()


@pytest.fixture
def hanging():
    """Return a detector that hangs, and let it go at the end."""
    detector = Hanging()
    yield detector
    detector.over.set()


def test_a_calls_time_is_its_own_and_others_go_between(monkeypatch):
    clock, order = SimpleNamespace(now_s=0.0), []
    monkeypatch.setattr(calls_module.time, "monotonic", lambda: clock.now_s)

    def call(name, takes_s):
        clock.now_s += takes_s
        order.append(name)
        return name

    async def some(calls, name, takes_s):
        return [await calls.timed(call, name, takes_s) for _ in range(3)]

    async def main():
        with Calls("test") as calls:
            return await asyncio.gather(some(calls, "look", 10.0), some(calls, "live", 1.0))

    assert asyncio.run(main()) == [[("look", 10.0)] * 3, [("live", 1.0)] * 3]
    assert order == ["look", "live"] * 3


def test_what_a_call_raises_is_raised_where_it_was_asked_for():
    async def main():
        with Calls("test") as calls:
            with pytest.raises(ZeroDivisionError):
                await calls.timed(lambda: 1 // 0)
            return await calls.timed(lambda: "on")

    assert asyncio.run(main())[0] == "on"


def run(hanging, meanwhile, **options):
    """Let a worker run into a call that hangs, and do something then; return what it published."""

    async def main():
        broker, frames, stop = Broker(), Frames(), asyncio.Event()
        worker = Worker(
            config(blind_after_s=0.0),
            broker.publish,
            detector=hanging,
            open_source=lambda _url: frames,
            **options,
        )
        frames.left.put(frames.blank)
        async with asyncio.timeout(WAIT_S / 2), asyncio.TaskGroup() as group:
            group.create_task(worker.run(stop))
            await broker.until(lambda: broker.of("people"))
            frames.left.put(frames.blank)
            await asyncio.get_running_loop().run_in_executor(None, hanging.hangs.wait, WAIT_S)
            frames.left.put(None)
            meanwhile(stop)
        return broker

    return asyncio.run(main())


def test_a_detection_that_hangs_ends_the_worker_with_a_clear_error(hanging):
    with pytest.raises(BaseExceptionGroup) as ended:
        run(hanging, lambda _stop: None, hang_s=0.2)
    [error] = leaves(ended.value)
    assert type(error) is ModelError, "only a new process can go on"
    assert "people.onnx: onnxruntime has hung on a frame of camera cam1 for 0.2 s. " in str(error)
    assert not hanging.over.is_set()


def test_a_worker_stops_while_a_detection_hangs(hanging, caplog):
    caplog.set_level(logging.INFO)
    broker = run(hanging, lambda stop: stop.set())
    assert broker.of("status")[-1]["reason"] == "stopped"
    assert not hanging.over.is_set()


HANGING_PROCESS = """
import asyncio, atexit, ctypes, sys
from vision import calls

atexit.register(print, "tidied up")
calls.PARTING_S = 0.1

async def main():
    with calls.Calls("test") as one:
        print("begun")
        if sys.argv[1] == "hangs":
            await one.timed(ctypes.CDLL(None).pause, limit_s=0.1)
        else:
            await one.timed(int)

asyncio.run(main())
"""


@pytest.mark.parametrize("does", ["hangs", "ends"])
def test_a_process_ends_though_a_call_hangs(does):
    ended = subprocess.run(
        [sys.executable, "-c", HANGING_PROCESS, does],
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    hangs = does == "hangs"
    assert ended.returncode == (1 if hangs else 0)
    assert ended.stdout.split("\n")[:-1] == ["begun"] + ["tidied up"] * (not hangs)
    assert ("TimeoutError" in ended.stderr) is hangs
