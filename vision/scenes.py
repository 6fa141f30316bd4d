# SPDX-License-Identifier: Apache-2.0
"""Random scenes and bodies: what the small model is trained on and measured with.

The range covers what the simulator shows: any floor place in view, hands at rest, swinging,
crossed or reaching to a shelf at several heights, with and without something in them. Busy
pictures are what a store's cameras show at a bad hour: through wide lenses, people side by side,
before one another, and at the picture's edge.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from vision.figure import Body, Colour, Point3, look_of, resting_wrists, shoulders_of
from vision.geometry import Camera
from vision.rendering import Gondola, Image, Labels, Plate, Renderer, Scene

SIZE_WH = (512, 384)
REACH_MM = 700.0
BODIES_MAX = 5
BESIDE_SHARE = 0.6
"""Of the bodies in a busy picture that come after another: how many stand close to one."""
BESIDE_MM = (440.0, 800.0)
BARREL = (-0.22, 0.05, 0.0006, -0.0004, -0.004)
"""What a usual wide lens bends, as :mod:`vision.lens` has it; busy pictures take it times up to"""
BARREL_MAX = 1.3


@dataclass(frozen=True, slots=True)
class Picture:
    """One labelled picture."""

    image: Image
    labels: Labels


def demo_camera() -> Camera:
    """Return the camera of the demo store: 3.2 m above its middle."""
    return Camera.overhead((0.0, 0.0, 3200.0), 341.3, SIZE_WH)


def demo_scene() -> Scene:
    """Return fixtures like the demo store's: an aisle between two gondolas of two shelves."""
    rng = np.random.default_rng(3)
    gondolas = (
        Gondola((-750, 900, 750, 1250), (800, 1250)),
        Gondola((-750, -1250, 750, -900), (800, 1250)),
    )
    plates = tuple(plate for gondola in gondolas for plate in stocked(gondola, rng, 6))
    return Scene(gondolas, plates)


def pictures(seed: int, count: int, *, per_scene: int = 5, busy: bool = False) -> Iterator[Picture]:
    """Yield random labelled pictures of 512 by 384 pixels; the seed decides all of them.

    Args:
        seed: Of everything.
        count: How many.
        per_scene: How many of one camera and scene.
        busy: Through wide lenses, most people close to somebody.
    """
    rng = np.random.default_rng(seed)
    made = 0
    while made < count:
        renderer = Renderer(wide_camera(rng) if busy else random_camera(rng), random_scene(rng))
        for _ in range(min(per_scene, count - made)):
            bodies = random_bodies(rng, renderer, beside=BESIDE_SHARE if busy else 0.0)
            image = renderer.render(bodies, rng)
            yield Picture(degrade(image, rng), renderer.labels(bodies))
            made += 1


def random_camera(rng: np.random.Generator) -> Camera:
    """Return a camera 2.7 to 3.6 m up, tilted by up to 8 degrees."""
    height = rng.uniform(2700, 3600)
    tilt = np.radians(rng.uniform(-8, 8, 2)) * rng.choice([0.0, 1.0])
    yaw = np.radians(rng.uniform(-10, 10)) * rng.choice([0.0, 1.0])
    half_width_mm = rng.uniform(2000, 2700)
    focal = SIZE_WH[0] / 2 * height / half_width_mm
    place = (float(rng.uniform(-300, 300)), float(rng.uniform(-300, 300)), float(height))
    return Camera.overhead(
        place, float(focal), SIZE_WH, tilt_rad=(float(tilt[0]), float(tilt[1])), yaw_rad=float(yaw)
    )


def wide_camera(rng: np.random.Generator) -> Camera:
    """Return a camera with a wide lens, 2.7 to 3.6 m up, level: its lens is its only bend."""
    height, half_width = rng.uniform(2700, 3600), rng.uniform(0.68, 1.3)
    place = (float(rng.uniform(-900, 900)), float(rng.uniform(-300, 300)), float(height))
    barrel = rng.uniform(0.0, BARREL_MAX) * np.array(BARREL)
    focal = SIZE_WH[0] / 2 / half_width
    yaw = np.radians(rng.normal(0.0, 4.0))
    return Camera.overhead(
        place, float(focal), SIZE_WH, yaw_rad=float(yaw), distortion=tuple(map(float, barrel))
    )


def random_scene(rng: np.random.Generator) -> Scene:
    """Return a floor with up to four gondolas at the aisle's sides."""
    grey = rng.uniform(55, 135)
    floor = tuple(int(value) for value in np.clip(grey + rng.uniform(-12, 12, 3), 40, 140))
    gondolas: list[Gondola] = []
    for side in (1, -1):
        kind = rng.integers(0, 4)
        front, depth = rng.uniform(750, 1200), rng.uniform(280, 480)
        rows = sorted((side * front, side * (front + depth)))
        lows = {0: [], 1: [-750.0], 2: [-1500.0, 100.0], 3: [rng.uniform(-1800, 200)]}[int(kind)]
        for low in lows:
            shelf = rng.uniform(600, 900)
            levels = [(shelf,), (shelf, shelf + rng.uniform(350, 550))][int(rng.integers(0, 3) > 0)]
            length = rng.uniform(900, 1700)
            shade = int(rng.integers(60, 150))
            colour = (shade, shade, max(shade - 10, 0))
            box = (float(low), float(rows[0]), float(low + length), float(rows[1]))
            gondolas.append(Gondola(box, tuple(float(level) for level in levels), colour))
    plates = tuple(
        plate for gondola in gondolas for plate in stocked(gondola, rng, int(rng.integers(3, 8)))
    )
    light = rng.uniform(0.75, 1.15, 4) if rng.random() < 0.6 else np.ones(4)
    return Scene(
        tuple(gondolas),
        plates,
        (floor[0], floor[1], floor[2]),
        int(rng.integers(0, 2**31)),
        (float(light[0]), float(light[1]), float(light[2]), float(light[3])),
    )


def stocked(gondola: Gondola, rng: np.random.Generator, columns: int) -> list[Plate]:
    """Return plates side by side on each shelf, some of them empty."""
    x0, y0, x1, y1 = gondola.box_mm
    width = (x1 - x0) / columns
    return [
        Plate(
            (x0 + (i + 0.1) * width, y0 + 40, x0 + (i + 0.9) * width, y1 - 40),
            level,
            product_colour(rng),
            float(rng.uniform(60, 240)) if rng.random() < 0.9 else 0.0,
        )
        for level in gondola.levels_mm
        for i in range(columns)
    ]


def product_colour(rng: np.random.Generator) -> Colour:
    """Return a colour that no hand has: red is never high together with green."""
    blue, green, red = (int(value) for value in rng.integers(20, 185, 3))
    if red > 120:
        green = min(green, 70)
    return blue, green, red


def random_bodies(
    rng: np.random.Generator, renderer: Renderer, *, beside: float = 0.0
) -> list[Body]:
    """Return up to five bodies in view that do not stand in one another or in a gondola.

    Args:
        rng: Decides.
        renderer: Of the picture.
        beside: Which share of those after the first stands close to somebody.
    """
    bodies: list[Body] = []
    wanted = int(rng.choice([0, 1, 2, 3, 4, BODIES_MAX], p=[0.04, 0.24, 0.28, 0.22, 0.14, 0.08]))
    for _ in range(wanted * 6):
        if len(bodies) == wanted:
            break
        close = beside > 0.0 and bodies and rng.random() < beside
        place = _place_beside(rng, bodies) if close else _place_in_view(rng, renderer.camera)
        blocked = any(_inside(place, gondola.box_mm, 130) for gondola in renderer.scene.gondolas)
        crowded = any(
            np.hypot(place[0] - other.floor_mm[0], place[1] - other.floor_mm[1]) < 430
            for other in bodies
        )
        if not (blocked or crowded):
            bodies.append(random_body(rng, place, renderer.scene))
    return bodies


def _place_in_view(rng: np.random.Generator, camera: Camera) -> tuple[float, float]:
    """Return a floor place of which a point between feet and chest is in view: most of a body."""
    width, height = camera.size_wh
    pixel = (rng.uniform(0, width), rng.uniform(0, height))
    [spot] = camera.at_height(pixel, float(rng.choice([100.0, 600.0, 1100.0])))
    return float(spot[0]), float(spot[1])


def _place_beside(rng: np.random.Generator, bodies: Sequence[Body]) -> tuple[float, float]:
    """Return a floor place close to one of the bodies."""
    other = bodies[int(rng.integers(len(bodies)))].floor_mm
    angle, away = rng.uniform(-np.pi, np.pi), rng.uniform(*BESIDE_MM)
    return float(other[0] + away * np.cos(angle)), float(other[1] + away * np.sin(angle))


def random_body(rng: np.random.Generator, floor_mm: tuple[float, float], scene: Scene) -> Body:
    """Return a body at a place, doing one of the things that shoppers do."""
    height = float(np.clip(rng.normal(1700, 90), 1450, 1950))
    heading = float(rng.uniform(-np.pi, np.pi))
    look = int(rng.integers(0, 2**31))
    wrists = list(resting_wrists(floor_mm, heading, height, float(rng.uniform(-220, 220))))
    doing = rng.random()
    if doing < 0.5:  # one or both hands reach somewhere
        if scene.gondolas and rng.random() < 0.6:
            heading = _towards_nearest(floor_mm, scene, heading) + float(rng.normal(0, 0.3))
            wrists = list(resting_wrists(floor_mm, heading, height))
        shoulders = shoulders_of(floor_mm, heading, height, look_of(look).shoulder_mm)
        for side in _some_sides(rng):
            wrists[side] = _reach(rng, shoulders[side], heading)
    elif doing < 0.75:  # holds something before the body, arms may cross
        for side in _some_sides(rng):
            ahead, across = rng.uniform(180, 420), rng.uniform(-260, 260)
            wrists[side] = _ahead(
                floor_mm, heading, ahead, across, rng.uniform(0.52, 0.78) * height
            )
    wrists = [_jitter(rng, wrist) for wrist in wrists]
    held = [product_colour(rng) if rng.random() < 0.3 else None for _ in range(2)]
    return Body(
        floor_mm,
        heading,
        height,
        (wrists[0], wrists[1]),
        look,
        (held[0], held[1]),
        float(rng.uniform(-350, 350)),
    )


def degrade(image: Image, rng: np.random.Generator) -> Image:
    """Return the picture after a little blur and JPEG, as a cheap camera gives it."""
    if rng.random() < 0.3:
        image = np.asarray(cv2.GaussianBlur(image, (3, 3), rng.uniform(0.4, 1.1)), dtype=np.uint8)
    if rng.random() < 0.5:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(45, 95))]
        coded = cv2.imencode(".jpg", image, quality)[1]
        image = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), dtype=np.uint8)
    return image


def _some_sides(rng: np.random.Generator) -> tuple[int, ...]:
    return ((0,), (1,), (0, 1))[int(rng.choice(3, p=[0.35, 0.35, 0.3]))]


def _reach(rng: np.random.Generator, shoulder: Point3, heading_rad: float) -> Point3:
    """Return a hand up to 700 mm from its shoulder, between knee and head height."""
    angle = heading_rad + rng.normal(0, 0.5)
    far = rng.uniform(250, REACH_MM)
    z = rng.uniform(700, 1500)
    return (
        float(shoulder[0] + far * np.cos(angle)),
        float(shoulder[1] + far * np.sin(angle)),
        float(z),
    )


def _ahead(
    floor_mm: tuple[float, float], heading_rad: float, ahead: float, across: float, z: float
) -> Point3:
    cos, sin = np.cos(heading_rad), np.sin(heading_rad)
    return (
        float(floor_mm[0] + ahead * cos - across * sin),
        float(floor_mm[1] + ahead * sin + across * cos),
        float(z),
    )


def _jitter(rng: np.random.Generator, wrist: Point3) -> Point3:
    x, y, z = np.asarray(wrist) + rng.normal(0, 35, 3)
    return float(x), float(y), float(z)


def _towards_nearest(floor_mm: tuple[float, float], scene: Scene, otherwise: float) -> float:
    best, heading = np.inf, otherwise
    for gondola in scene.gondolas:
        x0, y0, x1, y1 = gondola.box_mm
        x, y = float(np.clip(floor_mm[0], x0, x1)), float(np.clip(floor_mm[1], y0, y1))
        distance = float(np.hypot(x - floor_mm[0], y - floor_mm[1]))
        if 1e-6 < distance < best:
            best, heading = distance, float(np.arctan2(y - floor_mm[1], x - floor_mm[0]))
    return heading


def _inside(
    point: tuple[float, float], box: tuple[float, float, float, float], margin: float
) -> bool:
    return (
        box[0] - margin <= point[0] <= box[2] + margin
        and box[1] - margin <= point[1] <= box[3] + margin
    )
