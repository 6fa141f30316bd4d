# SPDX-License-Identifier: Apache-2.0
"""A case's store from overhead: people as they are, and on top what the cameras say of them.

One eye over the middle of the store sees all of it, higher than the store's own cameras hang, so
that nobody is out of the picture and heads do not hide hands. Everything that is painted is true;
markers are the cameras' word: frames as they were taken, before any wire delays or loses them.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np

from gateway.domain.inputs import PersonSeen
from gateway.simulator.camera import body_of, scene_of
from gateway.simulator.exam import look
from gateway.simulator.exam.actors import Floats
from gateway.simulator.exam.cases import Case
from gateway.simulator.exam.poses import Poses
from gateway.simulator.exam.stage import seconds
from gateway.simulator.layout import view_box
from gateway.simulator.stock import TrueAct
from vision.figure import Colour
from vision.film import (
    BoxPx,
    PointPx,
    bar,
    cross,
    dot,
    polyline,
    ring,
    text,
    text_width_px,
)
from vision.geometry import Camera
from vision.rendering import Image, Renderer

VIEW_HEIGHT_MM: Final = 9_000.0
BEYOND_SHELVES_MM: Final = 2_050.0
"""How far beyond the shelves the picture goes: doors and scanner are in it."""
BEHIND_MM: Final = 170.0
"""How far behind the gondolas it goes."""
HALF_MM: Final = 900.0
"""At least so much of the aisle to either side is in it."""
STALE_S: Final = 0.35
"""What a camera said longer ago than this is not shown."""
LOOKS: Final = (260, 312, 244, 316, 587, 230, 201, 450)
"""Renderer's bodies whose shirts are bright and differ."""
MARKED_S: Final = 2.0
"""How long plates of an act stay marked."""
STOCK_MM: Final = 150.0
BESIDE_PX: Final = 40
"""From a body's middle to its name."""
FAR_STEPS: Final = 1
"""Words that moved on by more lines are tied to what they are about."""
SIGHT: Final[Colour] = (165, 150, 130)
"""Of the outline of what a camera sees."""


class Said(NamedTuple):
    """Somebody in a camera's frame; ``slanted`` crosses tell the second camera from the first."""

    camera: str
    person: PersonSeen
    slanted: bool


class Label(NamedTuple):
    """Words that want to be at a place, and make room for others.

    Attributes:
        at_px: The middle of the line they stand on.
        words: What to write.
        colour: Of the letters.
        way: Where they make room first: 1 downwards, -1 upwards.
        mark_px: What they are about: a line leads there from words that had to go far.
    """

    at_px: PointPx
    words: str
    colour: Colour
    way: int = 1
    mark_px: PointPx | None = None


class Overhead:
    """The store of one case.

    Args:
        case: What to show.
        times_s: ``(n,)`` when, in order.
        size_wh: Of the picture in pixels.
    """

    def __init__(self, case: Case, times_s: Floats, size_wh: tuple[int, int]) -> None:
        self._case = case
        self._times_s = times_s
        self._top_mm = max(shelf.z_mm for shelf in case.store.shelves) + STOCK_MM
        self.camera = _camera(case, size_wh, self._top_mm)
        scene = scene_of(case.store)
        self._renderer = Renderer(self.camera, scene)
        self._signs = self._signs_in(Renderer(self.camera, replace(scene, gondolas=(), plates=())))
        self._poses = Poses(case, times_s, LOOKS)
        self._frame_s = {
            name: np.array([frame.at_s for frame in frames]) for name, frames in case.frames.items()
        }
        self._colours = _track_colours(case)

    def colour_of_track(self, camera: str, track: str) -> Colour:
        """Return the colour of a camera's track."""
        return self._colours[camera, track]

    def draw(self, number: int) -> Image:
        """Return the picture of an instant, by its number."""
        now_s = float(self._times_s[number])
        image = self._renderer.render([body_of(pose) for pose in self._poses.at(number)])
        self._signs.put(image)
        labels = list(dict.fromkeys(self._acts(image, now_s)))
        labels += self._true_names(image, number)
        said = list(self._said(now_s))
        for one in said:
            labels += self._stands(image, one)
        hands = [hand for one in said for hand in self._hands(image, one)]
        _write(image, labels, [(x - 8, y - 8, x + 8, y + 8) for x, y in hands])
        return image

    def px(self, x: float, y: float, z: float) -> PointPx:
        """Return where a point of the store is in the picture."""
        [(across, down)] = self.camera.project([(x, y, z)])
        return float(across), float(down)

    # What is true.

    def _true_names(self, image: Image, number: int) -> Iterator[Label]:
        """Ring true hands in shelves, which decks hide, and yield everybody's name."""
        for actor, bodies in zip(self._poses.actors, self._poses.bodies, strict=True):
            if not bodies.present[number]:
                continue
            for side in (0, 1):
                if bodies.inside[number, side]:
                    x, y, z = bodies.wrists_mm[number, side]
                    ring(image, self.px(x, y, z), 9, look.TRUTH)
            x, y = bodies.floor_mm[number]
            at, way = self.px(x, y, 0.0), self._way(y)
            yield Label((at[0], at[1] + 5 + way * BESIDE_PX), actor.name, look.TRUTH, way, at)

    def _acts(self, image: Image, now_s: float) -> Iterator[Label]:
        """Outline the plates of the latest acts, and yield their names."""
        layout = self._case.stage.room.layout
        for act in self._case.truth.acts:
            if not _shown(act, now_s):
                continue
            for place in layout.plates:
                if place.name not in act.plates:
                    continue
                x0, y0, x1, y1 = place.box_mm
                z = place.middle_mm[2] + STOCK_MM
                corners = [(x0, y0, z), (x1, y0, z), (x1, y1, z), (x0, y1, z)]
                outline = self.camera.project(corners)
                polyline(image, outline, look.TRUTH, width_px=2, closed=True)
                if place.name == act.plates[0]:
                    back = y1 if place.inward[1] > 0 else y0
                    x, y = self.px((x0 + x1) / 2, back, self._top_mm)
                    name, way = look.plates_named(act.plates), -1 if place.inward[1] > 0 else 1
                    yield Label((x, y + 5 + way * 12), name, look.TRUTH, way)

    # What the cameras say.

    def _said(self, now_s: float) -> Iterator[Said]:
        """Yield everybody of each camera's latest frame."""
        for index, (camera, frames) in enumerate(self._case.frames.items()):
            latest = int(np.searchsorted(self._frame_s[camera], now_s + 1e-6)) - 1
            if latest >= 0 and now_s - frames[latest].at_s < STALE_S:
                for person in frames[latest].people:
                    yield Said(camera, person, slanted=index % 2 == 1)

    def _stands(self, image: Image, said: Said) -> Iterator[Label]:
        """Mark where somebody stands and whose wrists are whose, and yield the track's number."""
        camera, person, _ = said
        if person.floor_mm is None:
            return
        colour = self.colour_of_track(camera, person.track)
        at = self.px(*person.floor_mm, 0.0)
        for wrist in person.wrists:
            polyline(image, [at, self.px(*wrist.mm)], colour)
        ring(image, at, 9, (0, 0, 0), width_px=4)
        ring(image, at, 9, colour)
        dot(image, at, 3, colour)
        more = "" if len(self._case.frames) == 1 else f" {camera}"
        way = self._way(person.floor_mm[1])
        place = (at[0], at[1] + 5 + way * BESIDE_PX)
        yield Label(place, f"#{person.track}{more}", colour, way, at)

    def _hands(self, image: Image, said: Said) -> Iterator[PointPx]:
        """Mark somebody's wrists, over all else, and yield their places."""
        colour = self.colour_of_track(said.camera, said.person.track)
        for wrist in said.person.wrists:
            hand = self.px(*wrist.mm)
            cross(image, hand, 8, colour, slanted=said.slanted)
            yield hand

    def _way(self, y_mm: float) -> int:
        """Return where a body's labels hide no hands: away from the shelf it is nearer to."""
        fronts = [place.front_mm[1] for place in self._case.stage.room.layout.plates]
        nearest = min(fronts, key=lambda front: abs(front - y_mm))
        return 1 if nearest > y_mm else -1

    # What stands still.

    def _signs_in(self, bare: Renderer) -> "_Signs":
        """Return what is written on floor and shelves; ``bare`` paints the floor alone."""
        store = self._renderer.render([])
        floor = store.copy()
        self._floor(floor)
        hidden = (store != bare.render([])).any(axis=2)
        floor[hidden] = store[hidden]
        self._shelves(floor)
        return _Signs(store, floor)

    def _floor(self, image: Image) -> None:
        """Name the doors, and outline where each camera sees feet."""
        for number, camera in enumerate(self._case.store.cameras):
            x0, y0, x1, y1 = view_box(camera)
            self._outline(image, (x0, y0, x1, y1), SIGHT)
            words = f"{camera.name} sees feet in here"
            if number == 0:
                x, y = self.px(x0, y0, 0.0)
                text(image, (max(x, 0.0) + 6, y - 6), words, SIGHT, size_px=12)
            else:
                x, y = self.px(x1, y0, 0.0)
                text(
                    image,
                    (min(x, image.shape[1]) - 6, y - 6),
                    words,
                    SIGHT,
                    size_px=12,
                    anchor="right",
                )
        for zone in self._case.store.zones:
            (x0, x1), (y0, y1) = zone.x_mm, zone.y_mm
            self._outline(image, (x0, y0, x1, y1), look.QUIET)
            if zone.kind == "entry":
                x, y = self.px(x1, y1, 0.0)
                text(image, (x - 6, y + 18), zone.kind, look.WORDS, anchor="right")
            else:
                x, y = self.px(x0, y1, 0.0)
                text(image, (x + 6, y + 18), zone.kind, look.WORDS)

    def _shelves(self, image: Image) -> None:
        """Name gondolas, and number the plates of their highest shelves."""
        layout, shelves = self._case.stage.room.layout, self._case.store.shelves
        for number, shelf in enumerate(shelves):
            if shelf.z_mm < max(one.z_mm for one in shelves if one.gondola == shelf.gondola):
                continue
            x0, y0, x1, y1 = layout.boxes[number]
            z = shelf.z_mm + STOCK_MM
            up = layout.plates[layout.shelf_plates[number].start].inward[1] > 0
            for plate in layout.shelf_plates[number]:
                place = layout.plates[plate]
                left, low, right, high = place.box_mm
                x, y = self.px((left + right) / 2, high if up else low, z)
                name = place.name.rpartition(".")[2].removeprefix("p")
                at = (x, y + (17 if up else -7))
                text(image, at, name, look.WORDS, size_px=12, anchor="middle", bold=True)
            x, y = self.px(x0, (y0 + y1) / 2, z)
            name = f"gondola {shelf.gondola}"
            if layout.boxes[number][0] > min(box[0] for box in layout.boxes):
                x, y = self.px(x1, (y0 + y1) / 2, z)
                x += text_width_px(name, 14, bold=True) + 16
            x -= text_width_px(name, 14, bold=True) / 2 + 8
            _write(image, [Label((x, y + 5), name, look.WORDS)], [])

    def _outline(self, image: Image, box_mm: BoxPx, colour: Colour) -> None:
        x0, y0, x1, y1 = box_mm
        corners = [(x0, y0, 0.0), (x1, y0, 0.0), (x1, y1, 0.0), (x0, y1, 0.0)]
        polyline(image, self.camera.project(corners), colour, closed=True)


class _Signs:
    """Writing on floor and shelves, which bodies and their shadows hide.

    Args:
        store: ``(h, w, 3)`` without it.
        written: The same with it.
    """

    def __init__(self, store: Image, written: Image) -> None:
        self._where = np.nonzero((store != written).any(axis=2))
        self._store = store[self._where]
        self._written = written[self._where]

    def put(self, image: Image) -> None:
        """Write on a picture wherever it shows the store alone."""
        now = image[self._where]
        bare = (now == self._store).all(axis=1)
        now[bare] = self._written[bare]
        image[self._where] = now


def _camera(case: Case, size_wh: tuple[int, int], top_mm: float) -> Camera:
    """Return an eye that sees the whole store, with products up to a height."""
    layout = case.stage.room.layout
    x0 = min(box[0] for box in layout.boxes) - BEYOND_SHELVES_MM
    x1 = max(box[2] for box in layout.boxes) + BEYOND_SHELVES_MM
    y0 = min(-HALF_MM, *(box[1] for box in layout.boxes)) - BEHIND_MM
    y1 = max(HALF_MM, *(box[3] for box in layout.boxes)) + BEHIND_MM
    eye = ((x0 + x1) / 2, (y0 + y1) / 2, VIEW_HEIGHT_MM)
    # Gondolas stand at the edge above and below, people at the edges left and right.
    far = ((x1 - x0) / 2 / VIEW_HEIGHT_MM, (y1 - y0) / 2 / (VIEW_HEIGHT_MM - top_mm))
    focal = min(size_wh[0] / 2 / far[0], size_wh[1] / 2 / far[1])
    return Camera.overhead(eye, focal, size_wh)


def _track_colours(case: Case) -> dict[tuple[str, str], Colour]:
    """Return each track's colour, by camera and track: a new one gets the longest unused."""
    seen = sorted(
        (frame.at_s, camera, person.track)
        for camera, frames in case.frames.items()
        for frame in frames
        for person in frame.people
    )
    used_s = dict.fromkeys(look.TRACKS, -math.inf)
    colours: dict[tuple[str, str], Colour] = {}
    for at_s, camera, track in seen:
        colour = colours.setdefault((camera, track), min(used_s, key=lambda one: used_s[one]))
        used_s[colour] = at_s
    return colours


def _shown(act: TrueAct, now_s: float) -> bool:
    return seconds(act.start_ns) <= now_s <= seconds(act.end_ns) + MARKED_S


def _write(image: Image, labels: list[Label], taken: list[BoxPx]) -> None:
    """Write labels where they want to be, or as near as they cover no other and nothing taken."""
    height, width = image.shape[:2]
    for label in labels:
        half = text_width_px(label.words, 14, bold=True) / 2 + 4
        x = min(max(label.at_px[0], half), width - half)
        for steps in (*range(9), *range(-1, -9, -1)):
            y = min(max(label.at_px[1] + 19 * steps * label.way, 16.0), height - 6.0)
            place = (x - half, y - 14, x + half, y + 4)
            if not any(_overlap(place, other) for other in taken):
                break
        taken = [*taken, place]
        if label.mark_px is not None and not 0 <= steps <= FAR_STEPS:
            polyline(image, [(x, y - 5), label.mark_px], label.colour)
        bar(image, place, (0, 0, 0), opacity=0.6)
        text(image, (x, y), label.words, label.colour, anchor="middle", bold=True)


def _overlap(one: BoxPx, other: BoxPx) -> bool:
    across = one[0] < other[2] and other[0] < one[2]
    return across and one[1] < other[3] and other[1] < one[3]
