# SPDX-License-Identifier: Apache-2.0
"""``python -m tests.vision_bench.steps``: what each step of a frame takes, one after the other.

CPU milliseconds on one thread, the median over the frames of a rendered clip with three people,
by the fixture's model at its own size of 256 px. In the worker the same runs on three threads.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import cv2
import msgspec

from tests.vision_bench.films import make_clip
from vision.appearance import TorsoColours
from vision.capture import Frame
from vision.detectors import build
from vision.detectors.images import letterbox
from vision.gate import MotionGate
from vision.placing import Placer, people_payload
from vision.recall import Recall
from vision.sources import DECODING_THREADS
from vision.tracking import Tracker
from vision.watchdog import CHECK_NS, Watchdog

MODEL = Path(__file__).parents[2] / "fixtures" / "model" / "people.onnx"
SECONDS = 10.0


class Clock:
    """Keeps what each step took."""

    def __init__(self):
        self.spent_ms = {}

    def __call__(self, name, step, *values):
        """Carry a step out and return what it gives."""
        began_ns = time.process_time_ns()
        result = step(*values)
        self.spent_ms.setdefault(name, []).append((time.process_time_ns() - began_ns) / 1e6)
        return result


def watch(clip):
    """Take a clip through all steps; return milliseconds of each step and frame."""
    clock, torso, gate, recall = Clock(), TorsoColours(), MotionGate(), Recall()
    detector = build("onnxruntime", MODEL)
    placer, tracker = Placer(clip.camera.view(), clip.camera.size_wh), Tracker(torso.scatter())
    watchdog = Watchdog()
    video = cv2.VideoCapture(
        str(clip.path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, DECODING_THREADS]
    )
    for number in range(len(clip.people)):
        at_s = number / clip.rate
        _, image = clock("decode", video.read)
        clock("watch for blindness (4 a second)", watchdog.look, image, number * CHECK_NS)
        frame = Frame(image, number, round(at_s * 1e9), clip.camera.size_wh)
        clock("keep as JPEG", recall.keep, frame)
        clock("motion gate", gate.worth, image, at_s)
        clock("scale to 320 px", letterbox, image, (320, 256))
        found = clock("scale, detect", detector.detect, image)
        looks = clock("looks", torso.describe, image, found)
        places = clock("places", placer.places, found)
        names = clock(
            "track", tracker.update, places.floor_mm, places.sigma_mm, found.scores, at_s, looks
        )
        people = clock("people", people_payload, found, places, names, placer)
        clock("encode", msgspec.json.encode, people)
    video.release()
    return clock.spent_ms


def main():
    """Measure and print."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory(prefix="shelfgate-steps-") as folder:
        spent = watch(make_clip(Path(folder) / "clip.mp4", [(3, SECONDS)]))
    for name, taken in spent.items():
        sys.stdout.write(f"{name:<34} {statistics.median(taken[5:]):7.3f} ms\n")


if __name__ == "__main__":
    main()
