# SPDX-License-Identifier: Apache-2.0
"""The real clip of people who cross a hall one by one, through a real model and the tracker."""

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
