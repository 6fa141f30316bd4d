# SPDX-License-Identifier: Apache-2.0
"""``python -m tests.endure_vision``: a vision worker on a looped clip, and whether it grows.

The worker runs as a process, with the repository's models, between a rendered clip that begins anew
at its end and a real broker. People walk about in it, hide, leave, and for some seconds nobody is
there. Second looks are asked for as the engine asks. Memory, threads and open files are sampled all
the while, and at the end: memory is flat, nothing else has grown, frames came to the end, and every
look was answered.
"""

import argparse
import json
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

import numpy as np
import psutil

from gateway.domain.store import Camera, FloorPoint, Store
from gateway.simulator.store_files import write_store
from tests.brokers import MOSQUITTO
from tests.e2e.helpers import Peer, Program, outside_broker
from tests.endure import say
from vision.film import Film
from vision.sequences import FPS, Step, sequence

NAME = "endurance"
CAMERA = "aisle"
ROOT = f"shelfgate/v1/{NAME}/camera/{CAMERA}"
MODELS = Path(__file__).parents[1] / "fixtures" / "model"

SLOPE_MB_H_MAX = 5.0
"""Of memory after the warm-up, by least squares; judged from a quarter of an hour on."""
GROWN_MB_MAX = 10.0
"""From the median of the first tenth after the warm-up to that of the last."""
SLOPE_FROM_S = 900.0
WARM_UP_SHARE, WARM_UP_S_MAX = 0.2, 300.0
"""Of the run; what is kept for second looks has filled by then, and allocators have settled."""
LOOK_WAIT_S = 10.0
SILENT_S = 20.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How long, what is seen, and how often it is asked about."""

    seconds: float
    seed: int = 1
    people: int = 3
    clip_s: float = 20.0
    empty_s: float = 6.0
    """At the end of the clip; longer than the model goes on without anybody."""
    clip_fps: int = 15
    fps_max: float = 10.0
    look_every_s: float = 10.0
    sample_every_s: float = 5.0
    messages_min: int = 0
    """Go on for longer if fewer came, on a slow machine."""


@dataclass(frozen=True)
class Sample:
    """What the process had at a time since the run's beginning."""

    at_s: float
    rss_mb: float
    threads: int
    files: int


@dataclass
class Outcome:
    """What was seen of the worker, and what is wrong with it."""

    samples: list[Sample] = field(default_factory=list)
    messages: Counter = field(default_factory=Counter)
    tracks: int = 0
    answered: int = 0
    empty_answers: int = 0
    asked: int = 0
    cpu_s: float = 0.0
    counts: dict = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


class Onlooker(Peer):
    """Counts what a worker says and keeps nothing of it but where somebody stood last."""

    def __init__(self, port):
        self.counts = Counter()
        self.looked = {}
        """Frames with wrists in the answer, by the look's name."""
        self.place_mm = None
        self.tracks = set()
        self.status = {}
        super().__init__(port, f"{ROOT}/#", name="onlooker")

    def heard(self, message):
        self.messages.clear()
        leaf = message.topic.rpartition("/")[2]
        if leaf not in {"people", "looked", "status"}:
            return
        self.counts[leaf] += 1
        told = json.loads(message.payload)
        if leaf == "looked":
            self.looked[told["look"]] = sum(bool(one["people"]) for one in told["frames"])
        elif leaf == "status":
            self.status = told
        elif told["people"]:
            self.tracks.update(person["track"] for person in told["people"])
            self.place_mm = [*told["people"][0]["floor_mm"], 1_000.0]

    def ask(self, number):
        """Ask for a second look at where somebody was seen last, and return its name."""
        look = f"look-{number}"
        request = {"v": 1, "look": look, "place_mm": self.place_mm, "reach_mm": 450}
        self.send(f"{ROOT}/look", {**request, "ago_ms": [2_300, 900], "reply": f"{ROOT}/looked"})
        return look


# What the worker is given.


def film(path, plan):
    """Write the clip; return its camera."""
    made = sequence(plan.seed, people=plan.people, seconds=plan.clip_s)
    nobody = tuple(Step(0.0, ()) for _ in range(round(plan.empty_s * FPS)))
    made = replace(made, steps=made.steps + nobody).every(FPS // plan.clip_fps)
    camera = made.renderer.camera
    with Film(path, camera.size_wh, plan.clip_fps) as clip:
        for image in made.images():
            clip.write(image)
    return camera


def words(folder, plan, port):
    """Write the worker's files into a folder; return what ``shelfgate`` is told to run it."""
    clip, store, settings = folder / "clip.mp4", folder / "store.toml", folder / "settings.toml"
    camera = film(clip, plan)
    spots = [(60.0, 60.0), (450.0, 60.0), (450.0, 330.0), (60.0, 330.0)]
    places = camera.floor(spots)
    points = tuple(
        FloorPoint(px=px, mm=(float(x), float(y))) for px, (x, y) in zip(spots, places, strict=True)
    )
    position_mm = tuple(float(value) for value in camera.position_mm)
    one = Camera(name=CAMERA, size_px=camera.size_wh, floor_points=points, position_mm=position_mm)
    write_store(store, Store(name=NAME, products={}, shelves=(), cameras=(one,)))
    settings.write_text(
        f'gateway = "gw-1"\ndatabase = "gateway.db"\n'
        f'[broker]\nhost = "127.0.0.1"\nport = {port}\nprotocol = 4\n'
        f'[[vision]]\ncamera = "{CAMERA}"\nurl = "{clip}"\nfps_max = {plan.fps_max}\n'
        f'model = "{MODELS / "people.onnx"}"\nhands = "{MODELS / "hands.onnx"}"\n'
    )
    return ("vision", "--settings", str(settings), "--store", str(store))


# The run.


def endure(folder, plan, say):
    """Run it all in a folder that is empty; return the outcome."""
    outcome = Outcome()
    with ExitStack() as stack:
        broker = stack.enter_context(outside_broker(folder, "instore"))
        onlooker = stack.enter_context(closing(Onlooker(broker.port)))
        arguments = words(folder, plan, broker.port)
        program = Program(folder, "vision", "-m", "gateway.cli", *arguments).start()
        stack.callback(program.kill)
        onlooker.wait(lambda: onlooker.place_mm, "the first person")
        watch(program, onlooker, plan, outcome, say)
        if program.process.poll() is None:
            status, _ = program.stop()
            if status != 0:
                outcome.wrong.append(f"the worker ended with {status}")
            onlooker.wait(lambda: onlooker.status.get("state") == "offline", "its last word")
        outcome.counts = onlooker.status.get("counts", {})
        outcome.messages, outcome.tracks = onlooker.counts, len(onlooker.tracks)
    outcome.wrong += faults(outcome, plan)
    return outcome


def watch(program, onlooker, plan, outcome, say):
    """Sample and ask until the time is over; the worker's own end ends it too."""
    process = psutil.Process(program.pid)
    began_s = told_s = time.monotonic()
    next_look_s, next_sample_s = plan.look_every_s / 2, 0.0
    heard, heard_s = 0, 0.0
    while (now_s := time.monotonic() - began_s) < plan.seconds or heard < plan.messages_min:
        if program.process.poll() is not None:
            outcome.wrong.append(f"the worker ended by itself:\n{program.words()[-2_000:]}")
            return
        if onlooker.counts["people"] > heard:
            heard, heard_s = onlooker.counts["people"], now_s
        if now_s - heard_s > SILENT_S:
            outcome.wrong.append(f"no message for {SILENT_S:.0f} s, {now_s:.0f} s after its start")
            return
        if now_s >= next_sample_s:
            next_sample_s += plan.sample_every_s
            outcome.samples.append(sample(process, now_s))
        if now_s >= next_look_s:
            next_look_s += plan.look_every_s
            second_look(onlooker, outcome)
        if time.monotonic() - told_s >= 60.0:
            told_s = time.monotonic()
            say(f"{now_s / 60:.0f} min: {standing(onlooker, outcome)}")
        until_s = min(next_sample_s, next_look_s) - (time.monotonic() - began_s)
        time.sleep(max(until_s, 0.0))
    used = process.cpu_times()
    outcome.cpu_s = used.user + used.system


def sample(process, at_s):
    with process.oneshot():
        rss_mb = process.memory_info().rss / 1e6
        return Sample(at_s, rss_mb, process.num_threads(), process.num_fds())


def second_look(onlooker, outcome):
    look = onlooker.ask(outcome.asked)
    outcome.asked += 1
    try:
        with_wrists = onlooker.wait(lambda: _taken(onlooker, look), "an answer", LOOK_WAIT_S)
    except AssertionError:
        return  # Counted as asked alone.
    outcome.answered += 1
    outcome.empty_answers += with_wrists == (0,)


def _taken(onlooker, look):
    return (onlooker.looked.pop(look),) if look in onlooker.looked else None


def standing(onlooker, outcome):
    last, answered = outcome.samples[-1], f"{outcome.answered} of {outcome.asked} looks answered"
    had = f"{last.rss_mb:.1f} MB, {last.threads} threads, {last.files} files"
    return f"{had}; {onlooker.counts['people']} messages, {answered}"


# What is made of it.


def warm(samples, seconds):
    """Return the samples after the warm-up."""
    until_s = min(WARM_UP_SHARE * seconds, WARM_UP_S_MAX)
    return [one for one in samples if one.at_s >= until_s]


def slope_mb_h(samples):
    """Return by how much memory grows, by least squares."""
    line = np.polyfit([one.at_s for one in samples], [one.rss_mb for one in samples], 1)
    return float(line[0]) * 3_600


def tenths(samples, what):
    """Return what the first and the last tenth of the samples have, three samples at least."""
    values = [getattr(one, what) for one in samples]
    count = max(len(values) // 10, 3)
    return values[:count], values[-count:]


def faults(outcome, plan):
    """Return what is wrong with what was sampled and counted."""
    wrong = []
    steady = warm(outcome.samples, plan.seconds)
    if len(steady) < 6:
        return [f"only {len(steady)} samples after the warm-up, of 6 at least"]
    first, last = map(median, tenths(steady, "rss_mb"))
    if last - first > GROWN_MB_MAX:
        wrong.append(f"memory grew from {first:.1f} to {last:.1f} MB, at most {GROWN_MB_MAX:g} MB")
    slope = slope_mb_h(steady)
    if plan.seconds >= SLOPE_FROM_S and slope > SLOPE_MB_H_MAX:
        wrong.append(f"memory grows by {slope:.1f} MB an hour, at most {SLOPE_MB_H_MAX:g} MB")
    for what in ("threads", "files"):
        first, last = tenths(steady, what)
        if min(last) > max(first):  # A clip that is just opened anew has some more or fewer.
            wrong.append(f"{what} grew from {max(first)} to {min(last)}")
    if outcome.answered < outcome.asked:
        wrong.append(f"only {outcome.answered} of {outcome.asked} looks answered in time")
    if outcome.asked and outcome.empty_answers == outcome.answered:
        wrong.append("no look showed a wrist")
    return wrong


def told(plan, outcome):
    """Return the outcome for people."""
    steady = warm(outcome.samples, plan.seconds)
    if len(steady) < 6:  # It ended early.
        return "\n".join([f"WRONG: {one}" for one in outcome.wrong])
    memory, threads, files = (
        [*map(median, tenths(steady, what))] for what in ("rss_mb", "threads", "files")
    )
    most = max(one.rss_mb for one in steady)
    counts = ", ".join(f"{name} {count}" for name, count in outcome.counts.items())
    shown = outcome.answered - outcome.empty_answers
    judged = "" if plan.seconds >= SLOPE_FROM_S else "; too short a run to judge it"
    clip = f"a clip of {plan.clip_s + plan.empty_s:g} s at {plan.clip_fps} frames a second, looped"
    lines = [
        f"seed {plan.seed}, {plan.seconds / 60:.1f} min, {plan.people} people, {clip}",
        f"memory     {memory[0]:.1f} MB when warm, {memory[1]:.1f} at the end, {most:.1f} at most",
        f"slope      {slope_mb_h(steady):+.2f} MB an hour, at most {SLOPE_MB_H_MAX:g}{judged}",
        f"threads    {threads[0]:g}, then {threads[1]:g}",
        f"open files {files[0]:g}, then {files[1]:g}",
        f"camera     {counts}",
        f"messages   {dict(outcome.messages)}, of {outcome.tracks} tracks",
        f"looks      {outcome.asked} asked, {outcome.answered} answered, {shown} with wrists",
        f"CPU        {100 * outcome.cpu_s / plan.seconds:.0f} % of one core",
    ]
    lines += [f"WRONG: {one}" for one in outcome.wrong]
    return "\n".join([*lines, "NOT FLAT, or not well" if outcome.wrong else "FLAT"])


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m tests.endure_vision", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="(%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the clip (%(default)s)")
    parser.add_argument("--people", type=int, default=3, help="in it (%(default)s)")
    parser.add_argument("--look-every", type=float, default=10.0, metavar="S", help="(%(default)s)")
    parser.add_argument("--folder", type=Path, help="keep the files here; made, must be empty")
    options = parser.parse_args(arguments)
    plan = Plan(
        seconds=60 * options.minutes,
        seed=options.seed,
        people=options.people,
        look_every_s=options.look_every,
    )
    # What it started ends with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = options.folder or Path(tempfile.mkdtemp(prefix="shelfgate-endure-vision-"))
    folder.mkdir(parents=True, exist_ok=True)
    broker = "the embedded broker" if MOSQUITTO is None else "Mosquitto"
    say(f"{plan.seconds / 60:.1f} minutes of a worker and {broker}, files in {folder}")
    outcome = endure(folder, plan, say)
    (folder / "samples.csv").write_text(
        "at_s,rss_mb,threads,files\n"
        + "".join(
            f"{one.at_s:.1f},{one.rss_mb:.3f},{one.threads},{one.files}\n"
            for one in outcome.samples
        )
    )
    say(f"done\n{told(plan, outcome)}")
    if outcome.wrong:
        say(f"what it left: {folder}")
        return 1
    if options.folder is None:
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
