# SPDX-License-Identifier: Apache-2.0
"""Plain pictures of a store that does not exist, with exact labels.

The simulated camera and the training set of the small model use this one renderer, so that what
the demo shows is what the model has learned. Scenes are deliberately plain, and hands are the only
bright warm discs in them: the model made from these pictures is for the demo and the tests.

Parts are painted from low to high, which for a camera near straight above is from far to near. A
lens that bends lines bends the finished picture of a pinhole.
Units: store millimetres, z up; pixels as in :mod:`vision.geometry`; colours are 8-bit B, G, R.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from vision.bending import Bending
from vision.figure import (
    HEAD_RADIUS_MM,
    Body,
    Colour,
    Point3,
    look_of,
    shade,
    skeleton_of,
)
from vision.flats import Flat, Image, paint_flat
from vision.geometry import Camera, FloatArray

__all__ = [
    "Body",
    "Colour",
    "Flat",
    "Gondola",
    "Image",
    "Labels",
    "Plate",
    "Point3",
    "Renderer",
    "Scene",
]

HAND_RADIUS_MM = 62.0
SUBPIXEL_BITS = 4
"""OpenCV's drawing takes fixed-point coordinates with this many fractional bits."""
BASE_LEVEL_MM = 1000.0
"""Fixtures below this height are painted once: nobody's part is seen beneath them."""
VISIBLE_SHARE_MIN = 0.4
"""A hand counts as visible when at least this share of its disc is."""
PRESENT_PIXELS_MIN = 500
"""... and no fewer than this many of its pixels are seen."""
PRESENT_SHARE_MIN = 0.25
"""A body counts as present when the box around what is seen is at least this share of its whole."""
_GRAIN_MEAN = np.array([8.0, 8.0, 8.0, 0.0])
FAR_PX = 20_000.0
"""Drawing coordinates are cut here, far outside any image, to stay within OpenCV's range."""


@dataclass(frozen=True, slots=True)
class Plate:
    """One plate with products on it, as a block of one colour.

    Attributes:
        box_mm: ``(x0, y0, x1, y1)`` on its shelf.
        z_mm: The shelf's height.
        colour: The products' colour.
        stock_mm: How high they stand; 0 paints an empty plate.
    """

    box_mm: tuple[float, float, float, float]
    z_mm: float
    colour: Colour
    stock_mm: float = 160.0


@dataclass(frozen=True, slots=True)
class Gondola:
    """A closed base up to its lowest shelf and thin decks above it.

    Attributes:
        box_mm: ``(x0, y0, x1, y1)`` on the floor.
        levels_mm: Shelf heights, lowest first.
        colour: Of the decks.
    """

    box_mm: tuple[float, float, float, float]
    levels_mm: tuple[float, ...]
    colour: Colour = (120, 118, 112)


@dataclass(frozen=True, slots=True)
class Scene:
    """What stands still.

    Attributes:
        gondolas: Fixtures.
        plates: Products on them.
        floor: Mean colour of the floor.
        texture: Seed of tiles and stains.
        light: Gain over the image at its left, right, top and bottom edge; 1 changes nothing.
        flats: Boards and tags; those above fixtures' bases hide bodies below their upper edge.
    """

    gondolas: tuple[Gondola, ...] = ()
    plates: tuple[Plate, ...] = ()
    floor: Colour = (96, 96, 92)
    texture: int = 0
    light: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    flats: tuple[Flat, ...] = ()


@dataclass(frozen=True, slots=True)
class Labels:
    """Where ``n`` bodies are in the picture, in its pixels.

    Attributes:
        boxes_xyxy: ``(n, 4)`` around what is seen of each body.
        head_px: ``(n, 2)`` centre of the head.
        feet_px: ``(n, 2)`` the floor point between the feet, seen or not.
        wrists_px: ``(n, 2, 2)`` left and right hand as ``(x, y)``.
        wrists_visible: ``(n, 2)`` whether enough of the hand is seen.
        share: ``(n,)`` area of that box as a share of the whole body's, 0 to 1.
    """

    boxes_xyxy: FloatArray
    head_px: FloatArray
    feet_px: FloatArray
    wrists_px: FloatArray
    wrists_visible: npt.NDArray[np.bool_]
    share: FloatArray

    @property
    def present(self) -> npt.NDArray[np.bool_]:
        """``(n,)`` whether enough of each body is in the frame for it to be found."""
        return np.asarray(self.share >= PRESENT_SHARE_MIN, dtype=np.bool_)


@dataclass(frozen=True, slots=True)
class _Part:
    """A thing to paint at a height: a filled polygon, a thick line, a disc or a printed picture."""

    z_mm: float
    kind: Literal["polygon", "line", "disc", "flat"]
    points_px: FloatArray
    size_px: float
    colour: Colour
    owner: int = 0  # 1 + 3 * body, and one or two more for its left or right hand; 0 for fixtures
    flat: Flat | None = None


class Renderer:
    """Paints bodies into one scene as one camera sees it."""

    def __init__(self, camera: Camera, scene: Scene) -> None:
        self.camera = camera
        self.scene = scene
        self._bending = Bending.of(camera)
        self._eye = camera if self._bending is None else self._bending.eye
        """The pinhole that parts are painted for, in front of the lens."""
        fixtures = [part for gondola in scene.gondolas for part in self._gondola(gondola)]
        fixtures += [part for plate in scene.plates for part in self._plate(plate)]
        fixtures += [_flat_part(flat) for flat in scene.flats]
        fixtures.sort(key=lambda part: part.z_mm)
        self._upper = [part for part in fixtures if part.z_mm >= BASE_LEVEL_MM]
        self._base = _floor(self._eye, scene)
        for part in fixtures:
            if part.z_mm < BASE_LEVEL_MM:
                self._paint(self._base, part)
        self._light = _light(camera.size_wh, scene.light)
        self._noise: Image | None = None

    def render(self, bodies: Sequence[Body], rng: np.random.Generator | None = None) -> Image:
        """Return an ``(h, w, 3)`` BGR picture; with ``rng`` it has sensor noise."""
        image = self._base.copy()
        for body in bodies:
            self._shadow(image, body)
        for part in self._parts(bodies):
            self._paint(image, part)
        if self._bending is not None:
            image = self._bending.bent(image, cv2.INTER_CUBIC)
        if self._light is not None:
            image = np.asarray(cv2.multiply(image, self._light, dtype=cv2.CV_8U), dtype=np.uint8)
        if rng is not None:
            image = self._add_noise(image, rng)
        return image

    def labels(self, bodies: Sequence[Body]) -> Labels:
        """Return where the bodies are in the picture that :meth:`render` gives."""
        count = len(bodies)
        owners = self._owners(bodies)
        boxes, share = np.zeros((count, 4)), np.zeros(count)
        visible = np.zeros((count, 2), dtype=np.bool_)
        heads = np.array([(*body.floor_mm, body.height_mm - HEAD_RADIUS_MM) for body in bodies])
        feet = np.array([(*body.floor_mm, 0.0) for body in bodies])
        wrists = np.array([body.wrists_mm for body in bodies]).reshape(-1, 3)
        for index, body in enumerate(bodies):
            first = 1 + 3 * index
            seen = np.asarray(cv2.inRange(owners, first, first + 2), dtype=np.uint8)
            x, y, wide, high = cv2.boundingRect(seen)
            boxes[index] = (x, y, x + wide, y + high)
            if cv2.countNonZero(seen) >= PRESENT_PIXELS_MIN:
                share[index] = min(wide * high / max(self._full_area(body), 1.0), 1.0)
            for side in (0, 1):
                visible[index, side] = self._hand_seen(
                    owners, first + 1 + side, wrists[2 * index + side]
                )
        return Labels(
            boxes_xyxy=boxes,
            head_px=self.camera.project(heads.reshape(-1, 3)),
            feet_px=self.camera.project(feet.reshape(-1, 3)),
            wrists_px=self.camera.project(wrists).reshape(count, 2, 2),
            wrists_visible=visible,
            share=share,
        )

    def _owners(self, bodies: Sequence[Body]) -> Image:
        """Return ``(h, w)`` whose part each pixel is."""
        width, height = self._eye.size_wh
        owners = np.zeros((height, width), dtype=np.uint8)
        for part in self._parts(bodies):
            if part.flat is None:
                _paint(owners, part, (part.owner, part.owner, part.owner), smooth=False)
        return owners if self._bending is None else self._bending.bent(owners, cv2.INTER_NEAREST)

    def _paint(self, image: Image, part: _Part) -> None:
        if part.flat is None:
            _paint(image, part, part.colour)
        else:
            paint_flat(image, part.flat, self._eye)

    def _parts(self, bodies: Sequence[Body]) -> list[_Part]:
        parts = list(self._upper)
        for index, body in enumerate(bodies):
            parts += self._body(body, index)
        parts.sort(key=lambda part: part.z_mm)
        return parts

    def _px_per_mm(self, point_mm: FloatArray | Point3) -> float:
        offset = np.asarray(point_mm, dtype=np.float64) - self.camera.position_mm
        depth = float(self.camera.rotation[2] @ offset)
        return float(self.camera.intrinsics[0, 0]) / max(depth, 200.0)

    def _hand_seen(self, owners: npt.NDArray[np.uint8], mark: int, centre_mm: FloatArray) -> bool:
        [(x, y)] = self.camera.project(centre_mm)
        height, width = owners.shape
        if not (0 <= x < width and 0 <= y < height):
            return False
        radius = HAND_RADIUS_MM * self._px_per_mm(centre_mm)
        low_x, low_y = int(max(x - radius - 2, 0)), int(max(y - radius - 2, 0))
        near = owners[low_y : int(y + radius + 3), low_x : int(x + radius + 3)]
        return bool(np.count_nonzero(near == mark) >= VISIBLE_SHARE_MIN * np.pi * radius**2)

    def _full_area(self, body: Body) -> float:
        """Return the area, in square pixels, of the box around the whole body, in view or not."""
        lows, highs = [], []
        for part in self._body(body, 0):
            margin = part.size_px if part.kind == "disc" else part.size_px / 2
            ends = [part.points_px.min(axis=0) - margin, part.points_px.max(axis=0) + margin]
            points = np.array(ends) if self._bending is None else self._bending.shown(*ends)
            lows.append(points.min(axis=0))
            highs.append(points.max(axis=0))
        return float(np.prod(np.max(highs, axis=0) - np.min(lows, axis=0)))

    def _body(self, body: Body, index: int) -> list[_Part]:
        """Return the parts of one body: legs, torso, arms, hands with what they hold, head."""
        look = look_of(body.look)
        owner = 1 + 3 * index
        stature = body.height_mm
        skeleton = skeleton_of(body, look)
        pixels = self._eye.project(np.concatenate(list(skeleton.values())))
        where: dict[str, FloatArray] = {}
        start = 0
        for name, points in skeleton.items():
            where[name] = pixels[start : start + len(points)]
            start += len(points)
        mid = self._px_per_mm((*body.floor_mm, 0.6 * stature))
        parts: list[_Part] = []
        for side in (0, 1):
            leg = where[f"leg{side}"]
            parts.append(_Part(5.0, "disc", leg[1:], 46 * mid, look.shoes, owner))
            parts.append(_Part(0.25 * stature, "line", leg, 115 * mid, look.trousers, owner))
            arm, scale = where[f"arm{side}"], self._px_per_mm(skeleton[f"arm{side}"][2])
            parts += _arm(body, side, arm, skeleton[f"arm{side}"][:, 2], scale=scale, owner=owner)
        trunk = np.concatenate([where["shoulders"], where["hips"]]).astype(np.float32)
        hull = np.asarray(cv2.convexHull(trunk), dtype=np.float64).reshape(-1, 2)
        parts.append(_Part(0.6 * stature, "polygon", hull, 0.0, shade(look.shirt, 0.75), owner))
        parts.append(_Part(0.82 * stature, "polygon", where["shoulders"], 0.0, look.shirt, owner))
        radius = HEAD_RADIUS_MM * self._px_per_mm((*body.floor_mm, stature))
        parts.append(_Part(stature, "disc", where["head"], radius, look.hair, owner))
        return parts

    def _shadow(self, image: Image, body: Body) -> None:
        angles = np.linspace(0, 2 * np.pi, 16, endpoint=False)
        ring = np.column_stack([340 * np.cos(angles), 340 * np.sin(angles), np.zeros(16)])
        points = self._eye.project(ring + np.array([*body.floor_mm, 1.0]))
        height, width = image.shape[:2]
        if not np.isfinite(points).all():
            return
        low = np.clip(points.min(axis=0) - 1, 0, (width, height)).astype(int)
        high = np.clip(points.max(axis=0) + 2, 0, (width, height)).astype(int)
        if (high <= low).any():
            return
        window = image[low[1] : high[1], low[0] : high[0]]
        mask = np.zeros(window.shape[:2], dtype=np.uint8)
        cv2.fillConvexPoly(mask, _fixed(points - low), 255, cv2.LINE_AA, SUBPIXEL_BITS)
        cv2.copyTo(cv2.convertScaleAbs(window, alpha=0.72), mask, window)

    def _gondola(self, gondola: Gondola) -> list[_Part]:
        """Return the base as a hull with its lowest shelf, and each deck above it."""
        x0, y0, x1, y1 = gondola.box_mm
        ring = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
        parts: list[_Part] = []
        for number, level in enumerate(gondola.levels_mm):
            foot = 0.0 if number == 0 else level - 30.0
            solid = self._hull([(x, y, z) for x, y in ring for z in (foot, level)])
            deck = self._eye.project([(x, y, level) for x, y in ring])
            parts.append(_Part(level - 1, "polygon", solid, 0.0, shade(gondola.colour, 0.6)))
            parts.append(_Part(level, "polygon", deck, 0.0, gondola.colour))
        return parts

    def _plate(self, plate: Plate) -> list[_Part]:
        x0, y0, x1, y1 = plate.box_mm
        ring = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
        top = plate.z_mm + plate.stock_mm
        lid = self._eye.project([(x, y, top) for x, y in ring])
        # Just above their shelf in painting order: a hand among products is seen.
        if plate.stock_mm <= 0:
            return [_Part(plate.z_mm + 1, "polygon", lid, 0.0, (70, 70, 70))]
        solid = self._hull([(x, y, z) for x, y in ring for z in (plate.z_mm, top)])
        return [
            _Part(plate.z_mm + 1, "polygon", solid, 0.0, shade(plate.colour, 0.7)),
            _Part(plate.z_mm + 2, "polygon", lid, 0.0, plate.colour),
        ]

    def _hull(self, points_mm: Sequence[Point3]) -> FloatArray:
        pixels = self._eye.project(points_mm).astype(np.float32)
        return np.asarray(cv2.convexHull(pixels), dtype=np.float64).reshape(-1, 2)

    def _add_noise(self, image: Image, rng: np.random.Generator) -> Image:
        """Add grain: one large tile made once, laid at a new place each time."""
        height, width = image.shape[:2]
        if self._noise is None:
            grain = rng.normal(8.0, 3.0, (height + 64, width + 64, 3))
            self._noise = np.clip(grain, 0, 16).astype(np.uint8)
        y, x = (int(offset) for offset in rng.integers(0, 64, 2))
        tile = self._noise[y : y + height, x : x + width]
        return np.asarray(cv2.subtract(cv2.add(image, tile), _GRAIN_MEAN), dtype=np.uint8)


def _flat_part(flat: Flat) -> _Part:
    return _Part(flat.top_mm, "flat", np.zeros((0, 2)), 0.0, (0, 0, 0), flat=flat)


def _arm(
    body: Body, side: int, pixels: FloatArray, z_mm: FloatArray, /, *, scale: float, owner: int
) -> list[_Part]:
    """Return upper arm, forearm, what is held and the hand.

    Args:
        body: Whose arm it is.
        side: 0 for the left arm, 1 for the right.
        pixels: ``(3, 2)`` shoulder, elbow and hand.
        z_mm: ``(3,)`` their heights.
        scale: Pixels per mm at the hand.
        owner: The body's mark.
    """
    look = look_of(body.look)
    sleeve = shade(look.shirt, 0.9)
    upper_mm, fore_mm = float(z_mm[:2].mean()), float(z_mm[1:].mean())
    hand_mm = max(float(z_mm[2]), fore_mm + 1.0)
    parts = [
        _Part(upper_mm, "line", pixels[:2], 100 * scale, sleeve, owner),
        _Part(fore_mm, "line", pixels[1:], 80 * scale, sleeve, owner),
    ]
    held = body.held[side]
    if held is not None:
        away = pixels[2] - pixels[1]
        away = away / max(float(np.linalg.norm(away)), 1e-6)
        aside = np.array([-away[1], away[0]])
        near, far = pixels[2] + 25 * scale * away, pixels[2] + 135 * scale * away
        corners = [near - 45 * scale * aside, near + 45 * scale * aside]
        corners += [far + 45 * scale * aside, far - 45 * scale * aside]
        parts.append(_Part(hand_mm - 0.5, "polygon", np.array(corners), 0.0, held))
    radius = HAND_RADIUS_MM * scale
    parts.append(_Part(hand_mm, "disc", pixels[2:], radius, look.hand, owner + 1 + side))
    return parts


def _floor(camera: Camera, scene: Scene) -> Image:
    """Return a picture of the empty floor: its colour, tile joints and soft stains."""
    width, height = camera.size_wh
    rng = np.random.default_rng(scene.texture)
    stains = rng.normal(0, 9, (9, 12)).astype(np.float32)
    soft = cv2.resize(stains, (width, height), interpolation=cv2.INTER_CUBIC)
    flat = np.asarray(scene.floor, dtype=np.float32) + np.asarray(soft)[:, :, None]
    image: Image = np.clip(flat, 0, 170).astype(np.uint8)
    joint = shade(scene.floor, 0.88)
    tile = float(rng.uniform(350, 700))
    marks = np.arange(-8, 9) * tile
    lines = [((mark, -6000, 0), (mark, 6000, 0)) for mark in marks]
    lines += [((-6000, mark, 0), (6000, mark, 0)) for mark in marks]
    for start, end in lines:
        pixels = camera.project([start, end])
        if np.isfinite(pixels).all():
            _paint(image, _Part(0.0, "line", pixels, 1.0, joint), joint)
    return image


def _light(
    size_wh: tuple[int, int], edges: tuple[float, float, float, float]
) -> npt.NDArray[np.float32] | None:
    """Return the ``(h, w, 3)`` gain between the edges' gains, or None where it is 1 all over."""
    if edges == (1.0, 1.0, 1.0, 1.0):
        return None
    width, height = size_wh
    across = np.linspace(edges[0], edges[1], width)[None, :]
    down = np.linspace(edges[2], edges[3], height)[:, None]
    gain = ((across + down) / 2).astype(np.float32)
    return np.repeat(np.asarray(gain, dtype=np.float32)[:, :, None], 3, axis=2)


def _paint(image: Image, part: _Part, colour: Colour, *, smooth: bool = True) -> None:
    if not np.isfinite(part.points_px).all():
        return  # behind the camera
    kind = cv2.LINE_AA if smooth else cv2.LINE_8
    points = _fixed(part.points_px)
    if part.kind == "polygon":
        cv2.fillConvexPoly(image, points, colour, kind, SUBPIXEL_BITS)
    elif part.kind == "line":
        width = max(1, round(part.size_px))
        start, end = (tuple(int(value) for value in point) for point in points)
        cv2.line(image, start, end, colour, width, kind, SUBPIXEL_BITS)
    else:
        radius = max(16, round(part.size_px * 2**SUBPIXEL_BITS))
        centre = (int(points[0][0]), int(points[0][1]))
        cv2.circle(image, centre, radius, colour, -1, kind, SUBPIXEL_BITS)


def _fixed(points_px: FloatArray) -> npt.NDArray[np.int32]:
    cut = np.clip(points_px, -FAR_PX, FAR_PX)
    return np.asarray(np.round(cut * 2**SUBPIXEL_BITS), dtype=np.int32)
