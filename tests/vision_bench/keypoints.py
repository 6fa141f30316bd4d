# SPDX-License-Identifier: Apache-2.0
"""What a detector would give that misses nobody who is in view: labels with a model's errors.

Beside the model's own detections this says what tracker, placing and what hides hands cost, and
what is the model's. Nobody of whom less than 35 % is in view is found, nor a hand that is hidden.
"""

import numpy as np

from gateway.simulator.camera import body_of
from vision.appearance import APART2, LOOK, NOISE2, TorsoColours
from vision.capture import Frame
from vision.detectors import Detections

SHARE_MIN = 0.35
FEET_PX, HEAD_PX, WRIST_PX = 6.4, 10.0, 1.2
"""The small model's errors at 512 pixels wide (fixtures/model/README.md), root mean square."""


class Keypoints:
    """Detector and appearance of one eye: the truth of the frame that it is at, with errors."""

    def __init__(self, eye, seed):
        self._eye, self._rng = eye, np.random.default_rng([seed, 3])
        names = [actor.name for actor in eye.case.stage.actors]
        means = np.random.default_rng(seed).normal(
            0, np.sqrt(APART2 / 2 / LOOK), (len(names), LOOK)
        )
        self._means = dict(zip(names, means, strict=True))
        self._looks = np.zeros((0, LOOK))

    def at(self, number):
        """Return a frame without a picture, and be at it."""
        poses = list(self._eye.poses.at(number))
        labels = self._eye.renderer.labels([body_of(pose) for pose in poses])
        seen = np.flatnonzero(labels.share >= SHARE_MIN)
        rng, count, width = self._rng, len(seen), self._eye.camera.size_px

        def noisy(pixels, sigma):
            return pixels[seen] + rng.normal(0, sigma / np.sqrt(2), pixels[seen].shape)

        def inside(pixels):
            return ((pixels >= 0) & (pixels < width)).all(axis=-1) * 1.0

        wrists = noisy(labels.wrists_px, WRIST_PX)
        self.found = Detections(
            boxes_xyxy=labels.boxes_xyxy[seen],
            scores=np.full(count, 0.8),
            head_px=noisy(labels.head_px, HEAD_PX),
            head_scores=inside(labels.head_px[seen]),
            feet_px=noisy(labels.feet_px, FEET_PX),
            feet_scores=inside(labels.feet_px[seen]),
            wrists_px=wrists,
            wrist_scores=labels.wrists_visible[seen] * inside(labels.wrists_px[seen]),
        )
        means = np.array([self._means[poses[who].shopper] for who in seen]).reshape(-1, LOOK)
        self._looks = means + rng.normal(0, np.sqrt(NOISE2 / LOOK), means.shape)
        at_ns = self._eye.at_ns(number)
        return Frame(np.zeros((1, 1, 3), np.uint8), number, at_ns, width)

    def detect(self, _image):
        return self.found

    def describe(self, _image, _found):
        return self._looks

    def scatter(self):
        return TorsoColours().scatter()
