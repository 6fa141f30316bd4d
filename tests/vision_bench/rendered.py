# SPDX-License-Identifier: Apache-2.0
"""A case of the exam as cameras would see it: rendered pictures, through the vision code itself.

The exam's cameras are where its store says, and their frames are taken when it says. What it does
not say is how a picture is made: its floor points stand for no lens (pixels would not be square).
So each camera here has a wide lens, as narrow as shows who scans at the door up to the chest, and
the heads of those who stand at the shelves.
"""

import dataclasses
import hashlib
from dataclasses import dataclass

import msgspec
import numpy as np

from drivers.instore.codec import Known, decode
from gateway.domain.inputs import People
from gateway.domain.store import FloorPoint, Lens
from gateway.simulator.camera import body_of, pinhole, scene_of
from gateway.simulator.exam.cases import stamp
from gateway.simulator.exam.poses import Poses
from gateway.simulator.exam.room import middle
from gateway.simulator.exam.stage import START_NS, seconds
from gateway.simulator.exam.trackers import Frame as Told
from tests.vision_bench.apart import apart
from tests.vision_bench.keypoints import Keypoints
from vision.appearance import TorsoColours
from vision.calibration_pose import view_of
from vision.gate import MotionGate
from vision.geometry import Camera
from vision.jpeg import to_jpeg
from vision.placing import Placer
from vision.recall import Kept, Recall
from vision.rendering import Renderer
from vision.second_look import SecondLook
from vision.seeing import Seeing
from vision.worker import shelf_fronts

LENS = (-0.22, 0.05, 0.0006, -0.0004, -0.004)
CHEST_MM = 1_200.0
HEAD_MM = 1_700.0
AROUND_HEAD_MM = 105.0
RIM_PX = 4.0
NEAR_NS = 750_000_000
BODY_NEAR_MM = 350.0
HAND_NEAR_MM = 250.0


def with_lenses(store, layout, seen_mm=CHEST_MM):
    """Return the store with cameras that have a lens, at the places that they have.

    Args:
        store: The case's.
        layout: Of it.
        seen_mm: Up to what height they show who scans.
    """
    return msgspec.structs.replace(
        store, cameras=tuple(_with_lens(camera, store, layout, seen_mm) for camera in store.cameras)
    )


def _with_lens(camera, store, layout, seen_mm):
    half = np.array(camera.size_px) / 2
    eye = Camera.overhead(camera.position_mm, 1.0, camera.size_px, distortion=LENS)
    away = np.abs(eye.project(_wanted(camera, store, layout, seen_mm)) - half)
    focal = round(float(((half - RIM_PX) / away.max(axis=0)).min()), 1)
    eye = Camera.overhead(camera.position_mm, focal, camera.size_px, distortion=LENS)
    x, y, _ = camera.position_mm
    places = [(x + dx, y + dy) for dx in (-1_200.0, 0.0, 1_200.0) for dy in (-800.0, 800.0)]
    pixels = eye.project([(*place, 0.0) for place in places])
    points = tuple(
        FloorPoint(px=(round(float(px), 2), round(float(py), 2)), mm=place)
        for (px, py), place in zip(pixels, places, strict=True)
    )
    lens = Lens(
        size_px=camera.size_px,
        focal_px=(focal, focal),
        centre_px=(float(half[0]), float(half[1])),
        distortion=LENS,
    )
    return msgspec.structs.replace(camera, floor_points=points, lens=lens)


def _wanted(camera, store, layout, seen_mm):
    """Return ``(n, 3)`` what has to be in a camera's picture, of the floor that it is there for."""
    xs = [point.mm[0] for point in camera.floor_points]
    points = [(*middle(store.zones[0]), seen_mm)]
    for place in layout.plates:
        x, y = place.stand_mm
        points.append((x, y + np.copysign(AROUND_HEAD_MM, y), HEAD_MM))
    return [point for point in points if min(xs) <= point[0] <= max(xs)]


class Always(MotionGate):
    """A gate that is open: without pictures nothing is known of movement."""

    def worth(self, _image, _at_s):
        return True


@dataclass
class Eye:
    """One camera of a case: pictures at the times of the case's frames, and what is seen in them.

    Attributes:
        camera: As the store file says it, with its lens.
        detector: Of persons.
        poses: Everybody at these times.
        told: What was told of each frame, as the exam has it.
        awake: Whether the worker would have kept it for a second look.
    """

    case: object
    store: object
    camera: object
    detector: object
    aside: bool = True

    def __post_init__(self):
        self.times_s = np.array([frame.at_s for frame in self.case.frames[self.camera.name]])
        self.poses = stepping_aside(self.case, self.times_s, aside=self.aside)
        self.seed = seed_of(f"{self.case.name}/{self.camera.name}")
        self.renderer = Renderer(pinhole(self.camera), scene_of(self.store))
        placer = Placer(view_of(self.camera), self.camera.size_px, shelf_fronts(self.store))
        self.seeing = Seeing(self.detector, TorsoColours(), placer, MotionGate(), Recall())
        self.told, self.awake = [], []

    def image(self, number):
        """Return the picture of a frame, as a camera sends it."""
        rng = np.random.default_rng([self.seed, number])
        image = self.renderer.render([body_of(pose) for pose in self.poses.at(number)], rng)
        return to_jpeg(image)

    def at_ns(self, number):
        return START_NS + int(self.times_s[number] * 1e9)

    def frame(self, number):
        return Kept(self.image(number), number, self.at_ns(number), self.camera.size_px, (0, 0))

    def watch(self):
        """Return all frames, as the exam's cameras would tell of them."""
        return self._watch(lambda number: self.frame(number).opened())

    def watch_keypoints(self):
        """Return the same with a detector that misses nobody in view."""
        keypoints = Keypoints(self, seed_of(f"{self.case.name}/looks"))
        placer = self.seeing.placer
        self.seeing = Seeing(keypoints, keypoints, placer, Always(), Recall())
        return self._watch(keypoints.at)

    def _watch(self, show):
        known = Known.of(self.store)
        topic = f"{known.root}camera/{self.camera.name}/people"
        self.told, self.awake = [], []
        for number, at_s in enumerate(self.times_s):
            frame = show(number)
            at = frame.boottime_ns / 1e9
            people = []
            if self.seeing.gate.worth(frame.image, at):
                people = self.seeing.people(frame)
            self.awake.append(self.seeing.gate.awake(at))
            message = {"v": 1, "boot": "rendered", "seq": number, "people": people}
            payload = msgspec.json.encode(message)
            item = decode(known, topic, payload, retained=False, stamp=stamp(START_NS))
            assert isinstance(item, People), item
            self.told.append(Told(float(at_s), item.people))
        return self.told

    def look_again(self, request, now_ns):
        """Return what a worker answers to a look, and how many frames it looked at."""
        recall = Recall()
        since_ns, until_ns = (now_ns - ago_ms * 1_000_000 for ago_ms in request.ago_ms)
        for number in range(len(self.times_s)):
            at_ns = self.at_ns(number)
            if at_ns > now_ns or not since_ns - 500_000_000 <= at_ns <= until_ns + 500_000_000:
                continue
            if self.awake[number] and since_ns <= at_ns <= until_ns:
                recall.keep(self.frame(number).opened())
            people = [one for one in self.told[number].people if one.floor_mm is not None]
            places = np.array([one.floor_mm for one in people]).reshape(-1, 2)
            recall.note(at_ns / 1e9, [one.track for one in people], places)
        count = len(recall)
        placer = self.seeing.placer
        first_ns, frames = SecondLook(recall, placer, self.detector).answer(request, now_ns)
        return first_ns, frames, count


def stepping_aside(case, times_s, *, aside=True):
    """Return everybody at these times, who step aside for one another."""
    poses = Poses(case, times_s, looks_of(case))
    if aside:
        poses.bodies = list(map(_moved, poses.bodies, apart(poses.bodies)))
    return poses


def _moved(bodies, by_mm):
    wrists_mm = bodies.wrists_mm.copy()
    wrists_mm[:, :, :2] += by_mm[:, None]
    return dataclasses.replace(bodies, floor_mm=bodies.floor_mm + by_mm, wrists_mm=wrists_mm)


def looks_of(case):
    """Return seeds of how the case's bodies look."""
    rng = np.random.default_rng(seed_of(f"{case.name}/looks"))
    return [int(seed) for seed in rng.integers(0, 2**31, len(case.stage.actors))]


def seed_of(name):
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=7).digest())


def rendered(case, detector=None, *, aside=True, seen_mm=CHEST_MM):
    """Return the case as rendered cameras see it, and these.

    Args:
        case: Of the exam.
        detector: Of persons; None for keypoints of everybody in view, with errors.
        aside: Bodies step aside for one another.
        seen_mm: Up to what height cameras show who scans.
    """
    store = with_lenses(case.store, case.stage.room.layout, seen_mm)
    eyes = {camera.name: Eye(case, store, camera, detector, aside) for camera in store.cameras}
    frames = {
        name: eye.watch() if detector is not None else eye.watch_keypoints()
        for name, eye in eyes.items()
    }
    return dataclasses.replace(case, store=store, frames=frames), eyes


def why_wrong(case, eyes, before, after):
    """Count acts that are right in one answer and not in another, by what cameras saw of them.

    *unseen*: whose hand it was, was told of in less than half of the frames about the act (missed,
    or one box with somebody beside); *another's track*: the track there was somebody else's for
    most of its time; *no wrist*: no wrist was told within 250 mm of the hand; *else*.
    """
    causes = {}
    for act in case.truth.acts:
        if act.undecidable or not _right(act, case, before) or _right(act, case, after):
            continue
        cause = _cause(act, list(eyes.values()))
        causes[cause] = causes.get(cause, 0) + 1
    return causes


def _right(act, case, answer):
    owner = act.shopper if act.shopper in case.truth.baskets else None
    return any(
        (claim.shopper, claim.gtin, claim.quantity, claim.direction)
        == (owner, act.gtin, act.quantity, act.direction)
        and decision.since_ns <= act.end_ns + NEAR_NS
        and act.start_ns <= decision.until_ns + NEAR_NS
        for decision in answer.decisions
        for claim in decision.claims
    )


def _cause(act, eyes):
    who, at_s = act.hand or act.shopper, seconds(act.lift_ns or act.start_ns)
    frames = seen = hands = 0
    tracks = set()
    for eye in eyes:
        for number in np.flatnonzero(np.abs(eye.times_s - at_s) < 0.5):
            pose = next((one for one in eye.poses.at(number) if one.shopper == who), None)
            if pose is None:
                continue
            frames += 1
            person = _nearest(eye.told[number].people, pose.floor_mm)
            if person is not None:
                seen += 1
                tracks.add((eye.camera.name, person.track))
                gaps = [np.subtract(w.mm, h) for w in person.wrists for h in pose.wrists_mm]
                hands += any(np.hypot(*gap[:2]) < HAND_NEAR_MM for gap in gaps)
    if 2 * seen < frames / max(len(eyes), 1):
        return "unseen"
    if any(_mostly(eyes, *track) != who for track in tracks):
        return "another's track"
    return "else" if hands else "no wrist"


def _nearest(people, place_mm):
    """Return who stands at a place, of those whom a camera told of."""
    near = [
        (float(np.hypot(*np.subtract(one.floor_mm, place_mm))), number)
        for number, one in enumerate(people)
        if one.floor_mm is not None
    ]
    return people[min(near)[1]] if near and min(near)[0] < BODY_NEAR_MM else None


def _mostly(eyes, camera, track):
    """Return whose body a track was on most."""
    eye = next(one for one in eyes if one.camera.name == camera)
    counts = {}
    for number, told in enumerate(eye.told):
        for person in told.people:
            if person.track != track or person.floor_mm is None:
                continue
            for pose in eye.poses.at(number):
                if np.hypot(*np.subtract(pose.floor_mm, person.floor_mm)) < BODY_NEAR_MM:
                    counts[pose.shopper] = counts.get(pose.shopper, 0) + 1
    return max(counts, key=counts.get, default=None)
