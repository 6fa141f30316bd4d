# SPDX-License-Identifier: Apache-2.0
"""One clip through the real worker's process, through the plain way, and through a decoder alone.

Each is a process of its own on one core and one thread. The worker is ``shelfgate vision``: it
takes the clip as a camera at the clip's own pace and publishes to a real broker, and its CPU is
counted between two of its messages. The decoder and the plain way keep that pace, too: a core that
slept, and did other things meanwhile, takes up to twice as long for the same picture. Start,
imports and first pictures count for none.
"""

import json
import os
import re
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec
import numpy as np
import psutil

from gateway.domain.store import Camera, FloorPoint
from gateway.simulator.store_files import write_store
from gateway.simulator.stores import nano_store
from tests.e2e.helpers import Peer, Program, closed, outside_broker
from tests.vision_bench.films import floor_points
from vision.detectors import persons_from_pose
from vision.placing import Placer
from vision.sources import CameraSource

CAMERA = "aisle"
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
WARM_FRAMES = 5
"""Pictures at the beginning of the plain way's loop that are not counted."""
LOOKED = re.compile(r"looked at (\d+)")


@contextmanager
def on_one_core():
    """Start processes within it on one core of those that this one may use."""
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(mine)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, mine)


def plain(clip, model, input_px, tracker=None):
    """Run the plain way over a clip, in the clip's time.

    Returns:
        ``cpu_ms``: a picture, ``cpu_people_ms`` of those with people alone; ``cpu_percent``: of a
        core, at the clip's pace; ``memory_mb``; ``told``: for :func:`films.figures`.
    """
    words = [str(clip.path), str(model), str(input_px), str(clip.rate)]
    words += [tracker] if tracker else []
    with on_one_core():
        done = subprocess.run(
            [sys.executable, "-m", "tests.vision.yolo.plain", *words],
            check=True,
            stdout=subprocess.PIPE,
            env=os.environ | ONE_THREAD,
        )
    answer = json.loads(done.stdout)
    assert len(answer["found"]) == len(clip.people), "the clip is another"
    each_ms = 1e3 * np.diff(answer["cpu_s"])[WARM_FRAMES:]
    with_people = clip.people[1 + WARM_FRAMES :]
    placer = Placer(clip.camera.view(), clip.camera.size_wh)
    return {
        "cpu_ms": round(float(each_ms.mean()), 2),
        "cpu_people_ms": round(float(each_ms[with_people].mean()), 2),
        "cpu_percent": round(float(each_ms.mean()) * clip.rate / 10, 2),
        "memory_mb": round(answer["memory_mb"], 1),
        "told": [(n / clip.rate, _places(placer, one)) for n, one in enumerate(answer["found"])],
    }


def _places(placer, found):
    """Return where those stand whom the plain way found: by their feet, as the worker does it."""
    if found is None:
        return {}
    persons = persons_from_pose(
        np.array(found["boxes"]), np.array(found["scores"]), np.array(found["keypoints"])
    )
    floor_mm = placer.places(persons).floor_mm
    return {
        name: place
        for name, place in zip(found["names"], floor_mm, strict=True)
        if np.isfinite(place).all()
    }


def decoding(clip, seconds):
    """Return CPU percent of a core of decoding a clip in its own time, by the worker's own code."""
    code = f"from tests.vision_bench.workers import decode; print(decode({str(clip.path)!r}, "
    with on_one_core():
        done = subprocess.run(
            [sys.executable, "-c", f"{code}{round(seconds * clip.rate)}))"],
            check=True,
            capture_output=True,
            text=True,
            env=os.environ | ONE_THREAD,
        )
    return round(float(done.stdout) * clip.rate / 10, 2)


def decode(path, count):
    """Read so many of a file's frames at their pace; return CPU milliseconds a frame."""
    source = CameraSource(path)
    for number in range(count + WARM_FRAMES):
        if number == WARM_FRAMES:
            began_s = time.process_time()
        assert source.grab() is not None
        assert source.retrieve() is not None
    spent_s = time.process_time() - began_s
    source.close()
    return 1e3 * spent_s / count


class Viewer(Peer):
    """Hears what the worker tells of people."""

    def __init__(self, port, topic):
        self.people = []
        """Messages as they came."""
        self.marks = []
        """``(seconds since the first picture, callback)`` yet to come, in their order."""
        super().__init__(port, topic)

    def heard(self, message):
        """Keep it, and call what was waiting for its time."""
        self.people.append(json.loads(message.payload))
        at_s = (self.people[-1]["host_mono_ms"] - self.people[0]["host_mono_ms"]) / 1e3
        while self.marks and at_s >= self.marks[0][0]:
            self.marks.pop(0)[1](len(self.people))


def own(folder, clip, model, *, from_s=0.0, until_s=None, hands=None, **settings):
    """Run the worker over a clip, in the clip's time.

    Args:
        folder: For its files, empty.
        clip: To watch.
        model: Of persons.
        from_s: From when on it is measured, in seconds of the clip.
        until_s: And until when; else to its end.
        hands: Model of hands, if any.
        settings: Of its ``[[vision]]`` table.

    Returns:
        ``seconds`` measured, ``told_count`` messages in them, ``looked`` pictures that the model
        saw in all and ``people_messages`` messages in all; ``cpu_ms`` a message, ``cpu_percent`` of
        a core; ``memory_mb``; ``told``: for :func:`films.figures`.
    """
    until_s = clip.seconds - 1 / clip.rate if until_s is None else until_s
    folder.mkdir()
    samples = []
    with ExitStack() as stack:
        broker = stack.enter_context(outside_broker(folder))
        store = _store(clip.camera)
        write_store(folder / "store.toml", store)
        settings = {"url": str(clip.path), "model": str(model), **settings}
        if hands is not None:
            settings["hands"] = str(hands)
        _write_settings(folder / "settings.toml", broker.port, settings)
        topic = f"shelfgate/v1/{store.name}/camera/{CAMERA}/people"
        viewer = stack.enter_context(closed(Viewer(broker.port, topic)))
        files = ("--settings", folder / "settings.toml", "--store", folder / "store.toml")
        program = Program(
            folder, "vision", "-m", "gateway.cli", "vision", *files, environment=ONE_THREAD
        )
        viewer.marks = [
            (at_s, lambda count: samples.append((count, *_used(program.pid))))
            for at_s in (from_s, until_s)
        ]
        stack.callback(program.kill)
        with on_one_core():
            program.start()
        viewer.wait(lambda: len(samples) == 2, "the clip's end", 60 + until_s)
        status, _ = program.stop()
    assert status == 0, program.words()
    (first, cpu_s, _), (last, end_s, memory_mb) = samples
    messages = viewer.people[:last]
    began_ms = messages[0]["host_mono_ms"]
    spent_s, count = end_s - cpu_s, last - first
    seconds = (messages[-1]["host_mono_ms"] - messages[first - 1]["host_mono_ms"]) / 1e3
    looked = LOOKED.findall(program.words())
    return {
        "seconds": round(seconds, 2),
        "told_count": count,
        "looked": int(looked[-1]),
        "people_messages": len(viewer.people),
        "cpu_ms": round(1e3 * spent_s / count, 2),
        "cpu_percent": round(100 * spent_s / seconds, 2),
        "memory_mb": round(memory_mb, 1),
        "told": [((one["host_mono_ms"] - began_ms) / 1e3, _named(one)) for one in messages],
    }


def _named(message):
    return {person["track"]: person["floor_mm"] for person in message["people"]}


def _used(pid):
    """Return the CPU seconds that a process used, and the most memory it has held, in MB."""
    times = psutil.Process(pid).cpu_times()
    told = Path(f"/proc/{pid}/status").read_text("ascii").splitlines()
    peak = next(line for line in told if line.startswith("VmHWM:"))
    return times.user + times.system, int(peak.split()[1]) / 1024


def _store(camera):
    """Return a store with this camera in it."""
    points = tuple(FloorPoint(px=px, mm=mm) for px, mm in floor_points(camera))
    one = Camera(
        name=CAMERA,
        size_px=camera.size_wh,
        floor_points=points,
        position_mm=tuple(float(value) for value in camera.position_mm),
    )
    return msgspec.structs.replace(nano_store(12, 1), cameras=(one,))


def _write_settings(path, port, vision):
    lines = [
        'gateway = "gw-1"\ndatabase = "gateway.db"\n',
        f'[broker]\nhost = "127.0.0.1"\nport = {port}\nprotocol = 4\n',
        f'[[vision]]\ncamera = "{CAMERA}"',
        *(f"{name} = {json.dumps(value)}" for name, value in vision.items()),
    ]
    path.write_text("\n".join(lines) + "\n")
