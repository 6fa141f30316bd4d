# SPDX-License-Identifier: Apache-2.0
"""What a camera's calibration says, laid over its picture: floor grid, shelves, points, persons.

Pictures are ``(h, w, 3)`` BGR and are drawn on in place. A picture of another size than the
calibration's is drawn on at its own scale.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from vision.calibration_pose import ViewFit
from vision.detectors import Detections
from vision.figure import Colour
from vision.film import bar, box, cross, dot, polyline, ring, text, text_width_px
from vision.flats import Image
from vision.geometry import FloatArray, ShelfFront, View
from vision.placing import Placer

GRID: Final[Colour] = (200, 200, 90)
AXIS_X: Final[Colour] = (60, 60, 235)
AXIS_Y: Final[Colour] = (60, 200, 60)
SHELF: Final[Colour] = (40, 190, 250)
SEEN: Final[Colour] = (255, 255, 255)
FITTED: Final[Colour] = (80, 80, 255)
PERSON: Final[Colour] = (255, 180, 60)
WRIST: Final[Colour] = (200, 90, 255)
WORDS: Final[Colour] = (255, 255, 255)
DARK: Final[Colour] = (30, 30, 30)
STEP_MM = 500.0
FINE_MM = 50.0
"""Lines are drawn in pieces so short that a lens may bend them."""
LINES_MAX = 200
AROUND_MM = 1_000.0


@dataclass(frozen=True, slots=True)
class Overlay:
    """Draws one camera's calibration.

    Attributes:
        view: The calibration.
        size_wh: Size of the image that it was made in.
        fronts: The store's shelf fronts.
        area_mm: ``(x0, y0, x1, y1)`` of the floor that gets a grid.
    """

    view: View
    size_wh: tuple[int, int]
    fronts: tuple[ShelfFront, ...]
    area_mm: tuple[float, float, float, float]

    def floor(self, image: Image) -> None:
        """Draw a line every 500 mm; x and y of the store's origin have colours of their own."""
        x0, y0, x1, y1 = self.area_mm
        for x in _marks(x0, x1):
            self._line(image, (x, y0, 0), (x, y1, 0), AXIS_Y if x == 0 else GRID)
        for y in _marks(y0, y1):
            self._line(image, (x0, y, 0), (x1, y, 0), AXIS_X if y == 0 else GRID)
        for (x, y), words, colour in (
            ((STEP_MM, 0.0), "x 500", AXIS_X),
            ((0.0, STEP_MM), "y 500", AXIS_Y),
        ):
            self._label(image, (x, y, 0.0), words, colour)

    def shelves(self, image: Image) -> None:
        """Draw each front: its line on the floor, its uprights and the edge of every shelf."""
        for front in self.fronts:
            levels = front.levels_mm or (front.z_min_mm, front.z_max_mm)
            for level in (0.0, *levels):
                one, other = (*front.start_mm, level), (*front.end_mm, level)
                self._line(image, one, other, SHELF, width_px=2 if level else 1)
            for x, y in (front.start_mm, front.end_mm):
                self._line(image, (x, y, 0.0), (x, y, front.z_max_mm), SHELF)

    def points(self, image: Image, fit: ViewFit) -> None:
        """Draw where points were seen, where the view shows them, and how far they are off."""
        shown = self._project(image, fit.points_mm)
        scale = self._scale(image)
        for seen, fitted, error in zip(fit.points_px * scale, shown, fit.errors_mm, strict=True):
            ring(image, (float(fitted[0]), float(fitted[1])), 7.0, FITTED)
            cross(image, (float(seen[0]), float(seen[1])), 6.0, SEEN)
            _words(image, (float(seen[0]) + 9, float(seen[1]) - 6), f"{error:.0f} mm", SEEN)

    def persons(self, image: Image, found: Detections, placer: Placer) -> None:
        """Draw persons with their place on the floor, and wrists with theirs.

        Args:
            image: The frame.
            found: What a detector found in it, in its pixels.
            placer: The camera's.
        """
        scale = self._scale(image)
        there = placer.scaled(found, (image.shape[1], image.shape[0]))
        places = placer.places(there)
        for index in range(len(found)):
            left, top, right, below = (float(side) for side in found.boxes_xyxy[index])
            box(image, (left, top, right, below), PERSON, width_px=2)
            floor = places.floor_mm[index]
            if np.isfinite(floor).all():
                words = f"{floor[0]:.0f}, {floor[1]:.0f} +-{places.sigma_mm[index]:.0f}"
                _words(image, (left, top - 5), words, PERSON)
                self._circle(image, floor, 250.0)
            stance = placer.stance(there, index, places)
            for pixel, _ in there.wrists(index):
                x, y = (float(value) for value in pixel * scale)
                dot(image, (x, y), 5.0, WRIST)
                where = placer.wrist(pixel, stance)
                if where is not None:
                    _words(image, (x + 8, y), f"z {where[0][2]:.0f} +-{where[1]:.0f}", WRIST)

    def _circle(self, image: Image, middle: FloatArray, radius_mm: float) -> None:
        angles = np.linspace(0, 2 * np.pi, 33)
        around = middle + radius_mm * np.column_stack([np.cos(angles), np.sin(angles)])
        points = np.column_stack([around, np.zeros(len(around))])
        polyline(image, self._project(image, points), PERSON, width_px=2)

    def _line(
        self,
        image: Image,
        start: Sequence[float],
        end: Sequence[float],
        colour: Colour,
        *,
        width_px: int = 1,
    ) -> None:
        one, other = np.asarray(start, dtype=np.float64), np.asarray(end, dtype=np.float64)
        count = int(np.clip(np.linalg.norm(other - one) / FINE_MM, 2, 1_000))
        points = one + np.linspace(0, 1, count)[:, None] * (other - one)
        pixels = self._project(image, points)
        height, width = image.shape[:2]
        near = (np.abs(pixels - (width / 2, height / 2)) <= (2 * width, 2 * height)).all(axis=1)
        polyline(image, np.where(near[:, None], pixels, np.nan), colour, width_px=width_px)

    def _label(self, image: Image, point: Sequence[float], words: str, colour: Colour) -> None:
        [(x, y)] = self._project(image, [point])
        if np.isfinite([x, y]).all():
            _words(image, (float(x), float(y)), words, colour)

    def _project(self, image: Image, points: npt.ArrayLike) -> FloatArray:
        return np.asarray(self.view.project(points) * self._scale(image))

    def _scale(self, image: Image) -> FloatArray:
        height, width = image.shape[:2]
        return np.array([width / self.size_wh[0], height / self.size_wh[1]])


def area_of(
    fronts: Sequence[ShelfFront], points_mm: npt.ArrayLike = ()
) -> tuple[float, float, float, float]:
    """Return the floor that shelves and points (``(n, 2)``) take up, and a metre around it."""
    ends = [end for front in fronts for end in (front.start_mm, front.end_mm)]
    ends += [(float(x), float(y)) for x, y in np.asarray(points_mm).reshape(-1, 2)]
    spots = np.asarray(ends or [(0.0, 0.0)], dtype=np.float64)
    low, high = spots.min(axis=0) - AROUND_MM, spots.max(axis=0) + AROUND_MM
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def heading(image: Image, words: str) -> None:
    """Write a line into the upper left corner."""
    bar(image, (0, 0, text_width_px(words, 16) + 16, 26), DARK, opacity=0.7)
    text(image, (8, 18), words, WORDS, size_px=16)


def _marks(low: float, high: float) -> list[float]:
    first, last = int(np.floor(low / STEP_MM)), int(np.ceil(high / STEP_MM))
    every = max(1, (last - first) // LINES_MAX)
    return [STEP_MM * number for number in range(first, last + 1, every)]


def _words(image: Image, at_px: tuple[float, float], words: str, colour: Colour) -> None:
    x, y = at_px
    bar(image, (x - 2, y - 11, x + text_width_px(words, 13) + 2, y + 4), DARK, opacity=0.6)
    text(image, at_px, words, colour, size_px=13)
