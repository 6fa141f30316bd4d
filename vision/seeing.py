# SPDX-License-Identifier: Apache-2.0
"""One camera's way from a frame to the contract's people: detector, looks, places, tracks.

No clock and no wire: a frame brings its time. The worker runs it on the newest frame of a camera;
who plays a recording gives it one frame after the other.
"""

from dataclasses import dataclass, field
from typing import Any

from vision.appearance import Appearance, look_payload
from vision.capture import Frame
from vision.detectors import Detector
from vision.framing import uncropped
from vision.gate import MotionGate
from vision.placing import Placer, people_payload
from vision.recall import Recall
from vision.tracking import Tracker


@dataclass(slots=True)
class Seeing:
    """What one camera's frames go through. One thread at a time calls :meth:`people`.

    Attributes:
        detector: Finds persons.
        appearance: Says what they look like.
        placer: Turns pixels into the store's millimetres.
        gate: Is told how many persons were found.
        recall: Is told who stood where, for second looks.
    """

    detector: Detector
    appearance: Appearance
    placer: Placer
    gate: MotionGate
    recall: Recall
    tracker: Tracker = field(init=False)

    def __post_init__(self) -> None:
        """Begin with nobody followed."""
        self.tracker = Tracker(self.appearance.scatter())

    def people(self, frame: Frame) -> list[dict[str, Any]]:
        """Return the contract's people of a frame, which is newer than those before it."""
        detected = self.detector.detect(frame.image)
        looks = self.appearance.describe(frame.image, detected)
        found = self.placer.scaled(uncropped(detected, frame.origin_px), frame.size_wh)
        places = self.placer.places(found)
        at_s = frame.boottime_ns / 1e9
        names = self.tracker.update(places.floor_mm, places.sigma_mm, found.scores, at_s, looks)
        self.recall.note(at_s, names, places.floor_mm)
        self.gate.looked(len(found), at_s)
        people = people_payload(found, places, names, self.placer)
        told = [index for index, name in enumerate(names) if name is not None]
        for person, index in zip(people, told, strict=True):
            look = look_payload(looks[index])
            if look is not None:
                person["appearance"] = look
        return people
