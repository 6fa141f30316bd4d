# SPDX-License-Identifier: Apache-2.0
"""One camera's way from a frame to people: who is found keeps the model running."""

import numpy as np

from vision.appearance import TorsoColours
from vision.capture import Frame
from vision.detectors import Detections, persons_from_boxes
from vision.gate import MotionGate
from vision.placing import Placer
from vision.recall import Recall
from vision.scenes import demo_camera
from vision.seeing import Seeing

SIZE_WH = (512, 384)
PERIOD_NS = 100_000_000


class Finding:
    """A detector that finds the same persons in every frame."""

    def __init__(self, found):
        self.found = found

    def detect(self, _frame):
        return self.found


def looks_at_a_still_picture(found, seconds):
    """Return for each of ten identical frames a second whether the model was asked."""
    placer = Placer(demo_camera().view(), SIZE_WH)
    seeing = Seeing(Finding(found), TorsoColours(), placer, MotionGate(), Recall())
    image = np.full((SIZE_WH[1], SIZE_WH[0], 3), 90, dtype=np.uint8)
    asked = []
    for number in range(10 * seconds):
        frame = Frame(image, number, number * PERIOD_NS, SIZE_WH)
        asked.append(seeing.gate.worth(image, frame.boottime_ns / 1e9))
        if asked[-1]:
            seeing.people(frame)
    return asked


def test_whoever_was_found_keeps_the_model_running_though_nothing_moves():
    one = persons_from_boxes(np.array([[200.0, 120.0, 260.0, 220.0]]), np.array([0.9]))
    assert all(looks_at_a_still_picture(one, 8)[60:])
    assert sum(looks_at_a_still_picture(Detections.empty(), 8)[60:]) < 3
