# SPDX-License-Identifier: Apache-2.0
"""``python -m tests.vision_bench.clip``: a real clip through a real model and the tracker.

In it people cross a hall one by one. Prints how many tracks they became, and of how many frames.
"""

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np

from vision.appearance import TorsoColours
from vision.detectors import build
from vision.geometry import FloorView
from vision.placing import Placer
from vision.tracking import Tracker

DATA = Path(__file__).parents[3] / "shared" / "data"
POSE = DATA / "models" / "yolo11n-pose-256-int.onnx"
CLIP = DATA / "videos" / "one-by-one-person-detection.mp4"
SIZE_WH = (768, 432)
FPS = 10
FRAMES = 1_394
PRESENCES = (134, 218, 192, 120, 273, 123)
"""For how many frames each of the six who cross is in view, in their order."""


def missing():
    """Return why the clip cannot be watched, or nothing."""
    absent = [path.name for path in (POSE, CLIP) if not path.exists()]
    return f"{' and '.join(absent)} not at hand" if absent else ""


def watch(every=1, threads=1):
    """Yield time, frame's number, names and looks of what is found in every so many-th frame.

    The hall's measures are guessed by eye: nobody knows them, and a tracker has to bear that.
    """
    view = FloorView.from_points(
        [(0, 432), (768, 432), (768, 245), (0, 235)],
        [(0, 0), (2_600, 0), (3_300, 1_800), (-700, 1_800)],
        position_mm=(1_300, -2_000, 2_600),
    )
    placer, torso = Placer(view, SIZE_WH), TorsoColours()
    detector, tracker = build("onnxruntime", POSE, threads=threads), Tracker(torso.scatter())
    video = cv2.VideoCapture(str(CLIP))
    number = 0
    while video.grab():
        number += 1
        if number % every:
            continue
        frame = np.asarray(video.retrieve()[1], dtype=np.uint8)
        found = detector.detect(frame)
        places, looks = placer.places(found), torso.describe(frame, found)
        at_s = number / FPS
        names = tracker.update(places.floor_mm, places.sigma_mm, found.scores, at_s, looks)
        yield at_s, number, names, looks
    video.release()
    assert number == FRAMES, "the clip is another"


def counts(every):
    """Return in how many frames each track was told of, in their order."""
    found: dict[str, int] = {}
    for _, _, names, _ in watch(every):
        for name in names:
            if name is not None:
                found[name] = found.get(name, 0) + 1
    return found


def main():
    """Watch and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1, help="look at every so many-th frame")
    every = parser.parse_args().every
    if missing():
        sys.exit(f"clip: {missing()}. It is among the shared data")
    found = counts(every)
    rate = f"{FPS / every:g} frames a second"
    sys.stdout.write(f"{rate}: {len(found)} tracks, of {[*found.values()]} frames\n")


if __name__ == "__main__":
    main()
