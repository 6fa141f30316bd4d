# SPDX-License-Identifier: Apache-2.0
"""How far places and wrists are off, and whether the errors told are the real ones.

``python -m tests.bench.placing`` prints a table: people who walk up to shelves and reach into
them, seen by cameras as stores have them. Keypoints are the truth's with pixel noise or, with
``--model``, those that the repository's model finds in rendered pictures of the overhead camera.

Seeds 1 to 9 were for tuning; the default ones are for reporting.
"""

import argparse
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from vision.detectors import Detections, build
from vision.figure import Body, resting_wrists
from vision.geometry import Camera, ShelfFront, meet_fronts
from vision.placing import FEET_SHARE, HEAD_SHARE, WRIST_SHARE, Placer
from vision.rendering import Gondola, Plate, Renderer, Scene
from vision.scenes import demo_camera, product_colour

LENS = (-0.22, 0.05, 0.0006, -0.0004, -0.004)
SIZE = (960, 720)
LEVELS = (450.0, 800.0, 1150.0, 1500.0)
LENGTH = 3000.0
FIXTURE = Path(__file__).parents[2] / "fixtures" / "model"
HIGH = {
    "overhead, straight down": Camera.overhead((0, 0, 3200), 480, SIZE),
    "in the aisle's corner": Camera.looking_at(
        (-2600, 0, 2700), (0, 100, 900), 480, SIZE, distortion=LENS
    ),
    "over the other gondola": Camera.looking_at(
        (300, -1000, 2500), (0, 900, 900), 480, SIZE, distortion=LENS
    ),
}


def store(levels):
    """Return an aisle between two gondolas, as fronts and as a scene."""
    rng = np.random.default_rng(5)
    half = LENGTH / 2
    fronts = (
        ShelfFront((-half, 800), (half, 800), levels[0], levels[-1], levels),
        ShelfFront((half, -800), (-half, -800), levels[0], levels[-1], levels),
    )
    gondolas = (
        Gondola((-half, 800, half, 1200), levels),
        Gondola((-half, -1200, half, -800), levels),
    )
    plates = tuple(
        Plate((x, y, x + 240, y + 320), level, product_colour(rng), 120.0)
        for y in (840.0, -1160.0)
        for level in levels
        for x in np.arange(-half + 5, half - 240, 250)
    )
    return fronts, Scene(gondolas, plates)


@dataclass
class Errors:
    """Errors in mm, and the deviations told with them."""

    off: list = field(default_factory=list)
    told: list = field(default_factory=list)
    axes: int = 3

    def add(self, error, sigma):
        self.off.append(float(np.linalg.norm(error)))
        self.told.append(float(sigma))

    def row(self):
        if not self.off:
            return f"{'-':>7}{'-':>7}{'-':>7}{'-':>7}{'-':>7}"
        off, told = np.array(self.off), np.array(self.told)
        normalised = np.sqrt(np.mean(np.square(off / told)) / self.axes)
        p50, p95 = np.percentile(off, [50, 95])
        return f"{len(off):7d}{p50:7.0f}{p95:7.0f}{np.median(told):7.0f}{normalised:7.2f}"


def visits(rng, count, levels):
    """Yield bodies over time: to a place before a front, a reach into a shelf, and back."""
    for _ in range(count):
        side = rng.choice([-1.0, 1.0])
        x = rng.uniform(-1000, 1000)
        stand = np.array([x, side * rng.uniform(330, 520)])
        height = float(np.clip(rng.normal(1700, 90), 1480, 1950))
        look = int(rng.integers(0, 2**31))
        level = rng.choice([one for one in levels if one < height - 250])
        target = np.array(
            [
                x + rng.normal(0, 180),
                side * (800 + rng.uniform(10, 140)),
                level + rng.uniform(70, 200),
            ]
        )
        heading = side * np.pi / 2 + rng.normal(0, 0.25)
        reaching = int(rng.integers(0, 2))
        start = stand + rng.normal(0, 1, 2) * (700, 120)
        for share in (0.0, 0.5, 1.0):
            floor = start + share * (stand - start)
            yield upright(floor, heading, height, look, float(rng.uniform(-200, 200))), None
        for share in (0.3, 0.7, 1.0, 1.0, 1.0, 0.5):
            body = upright(stand, heading, height, look, 0.0)
            eased = share**3 * (10 - 15 * share + 6 * share**2)
            rest = np.array(body.wrists_mm[reaching])
            hand = rest + eased * (target - rest)
            hand[2] += 60 * np.sin(np.pi * eased)
            hands = list(body.wrists_mm)
            hands[reaching] = tuple(hand)
            yield replace(body, wrists_mm=tuple(hands)), reaching if share == 1.0 else None


def upright(floor, heading, height, look, swing):
    place = (float(floor[0]), float(floor[1]))
    hands = resting_wrists(place, heading, height, swing)
    return Body(place, heading, height, hands, look)


def truth(camera, body, rng):
    """Return the body's keypoints as a camera sees them, with noise; and which are in view."""
    width, height = camera.size_wh
    head = (*body.floor_mm, body.height_mm - 105)
    points = camera.project([(*body.floor_mm, 0.0), head, *body.wrists_mm])
    inside = ((points >= 0) & (points < (width, height))).all(axis=1)
    noise = np.array([FEET_SHARE, HEAD_SHARE, WRIST_SHARE, WRIST_SHARE]) * width
    seen = points + rng.normal(0, 1, (4, 2)) * noise[:, None]
    scores = np.where(inside, 0.9, 0.0)
    return Detections(
        boxes_xyxy=np.array([[0.0, 0, 10, 10]]),
        scores=np.array([0.9]),
        head_px=seen[1:2],
        head_scores=scores[1:2],
        feet_px=seen[:1],
        feet_scores=scores[:1],
        wrists_px=seen[None, 2:],
        wrist_scores=scores[None, 2:],
    )


def meets(camera, pixel, fronts):
    """Return whether a line of sight meets a front from its aisle."""
    facing = [front for front in fronts if front.start_mm[1] * camera.position_mm[1] < 799 * 800]
    return meet_fronts(camera, pixel, facing) is not None


def crossing(rays):
    """Return ``(3,)`` the point nearest to several lines of sight, each (from, to)."""
    left, right = np.zeros((3, 3)), np.zeros(3)
    for start, end in rays:
        along = (end - start) / np.linalg.norm(end - start)
        across = np.eye(3) - np.outer(along, along)
        left, right = left + across, right + across @ start
    return np.linalg.solve(left, right)


def by_truth(seeds, count):
    fronts, _ = store(LEVELS)
    names = [*HIGH, "two cameras: corner and gondola"]
    floor = {name: Errors(axes=2) for name in names}
    front = {name: Errors() for name in names}
    other = {name: Errors() for name in names}
    for seed in seeds:
        rng = np.random.default_rng(seed)
        for body, reaching in visits(rng, count, LEVELS):
            lines = {0: [], 1: []}
            places = []
            for name, camera in HIGH.items():
                placer = Placer(camera, camera.size_wh, fronts)
                found = truth(camera, body, rng)
                stands = placer.places(found)
                if found.feet_scores[0] and np.isfinite(stands.floor_mm).all():
                    floor[name].add(stands.floor_mm[0] - body.floor_mm, stands.sigma_mm[0])
                    if name != "overhead, straight down":
                        places.append((stands.floor_mm[0], stands.sigma_mm[0]))
                stance = placer.stance(found, 0, stands)
                for side, pixel in enumerate(found.wrists_px[0]):
                    got = placer.wrist(pixel, stance) if found.wrist_scores[0, side] else None
                    if got is None:
                        continue
                    met = meets(camera, pixel, fronts)
                    group = front if met and side == reaching else other
                    group[name].add(got[0] - body.wrists_mm[side], got[1])
                    if name != "overhead, straight down":
                        lines[side].append((camera.position_mm, got[0]))
            if len(places) == 2:
                weights = np.array([1 / sigma**2 for _, sigma in places])
                middle = sum(w * place for w, (place, _) in zip(weights, places, strict=True))
                floor[names[-1]].add(middle / weights.sum() - body.floor_mm, weights.sum() ** -0.5)
            for side in (0, 1):
                if len(lines[side]) == 2:
                    point = crossing(lines[side])
                    group = front if side == reaching else other
                    group[names[-1]].add(point - body.wrists_mm[side], np.nan)
    return floor, front, other


def by_model(seeds, count):
    """Measure the repository's model on pictures of the demo's camera and shelves."""
    levels = (800.0, 1250.0)
    camera = demo_camera()
    fronts, scene = store(levels)
    detector = build(
        "onnxruntime", FIXTURE / "people.onnx", hands=FIXTURE / "hands.onnx", threads=1
    )
    renderer, placer = Renderer(camera, scene), Placer(camera, camera.size_wh, fronts)
    name = "overhead, the model's keypoints"
    floor, front, other = {name: Errors(axes=2)}, {name: Errors()}, {name: Errors()}
    for seed in seeds:
        rng = np.random.default_rng(seed)
        for body, reaching in visits(rng, count, levels):
            found = detector.detect(renderer.render([body], rng))
            labels = renderer.labels([body])
            if len(found) != 1 or not labels.present[0]:
                continue
            stands = placer.places(found)
            if found.feet_scores[0] >= 0.3:
                floor[name].add(stands.floor_mm[0] - body.floor_mm, stands.sigma_mm[0])
            stance = placer.stance(found, 0, stands)
            for pixel, score in zip(found.wrists_px[0], found.wrist_scores[0], strict=True):
                near = np.linalg.norm(labels.wrists_px[0] - pixel, axis=1)
                side = int(near.argmin())
                got = placer.wrist(pixel, stance) if score >= 0.3 else None
                if got is None or near[side] > 12.0:
                    continue  # What the model misses is the model's figure.
                met = meets(camera, pixel, fronts)
                group = front if met and side == reaching else other
                group[name].add(got[0] - body.wrists_mm[side], got[1])
    return floor, front, other


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[101, 102, 103])
    parser.add_argument("--visits", type=int, default=60, help="for each seed")
    parser.add_argument("--model", action="store_true", help="the model's keypoints")
    options = parser.parse_args()
    tables = (by_model if options.model else by_truth)(options.seeds, options.visits)
    titles = ("feet on the floor", "wrist, line of sight meets a front", "wrist elsewhere")
    head = "".join(f"{word:>7}" for word in ("count", "p50", "p95", "told", "norm"))
    for title, table in zip(titles, tables, strict=True):
        print(f"{title + ' [mm]':36}{head}")
        for name, errors in table.items():
            print(f"  {name:34}{errors.row()}")


if __name__ == "__main__":
    main()
