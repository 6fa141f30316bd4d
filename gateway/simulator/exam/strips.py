# SPDX-License-Identifier: Apache-2.0
"""What plates read, as strip charts: one column a shelf, one strip a plate.

Each strip shows the last seconds relative to what the plate read before them, so that offsets and
drift are gone: a base that moves as slowly as the strip itself. Times are seconds of the case.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from gateway.simulator.camera import colour_of
from gateway.simulator.exam import look
from gateway.simulator.exam.cases import Case
from gateway.simulator.exam.stage import RATE_HZ, seconds
from vision.film import BoxPx, bar, blank, polyline, text
from vision.rendering import Image

SHOWN_S: Final = 8.0
BASE_S: Final = 2.0
"""The base is the mean over this long before what is shown."""
SCALES_G: Final = np.array([20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0, 2_000.0, 5_000.0, 1e4])
"""From the middle of a strip to its edge."""
STIR_G: Final = 20.0
STIR_SIGMAS: Final = 6.0
"""A plate that moved by more, and by so many times what it does in quiet, stands out."""
CALM_SAMPLES: Final = 5
"""A median over so many, 0.08 s, leaves out wild samples: they decide no scale."""
HEAD_PX: Final = 26
LEFT_PX: Final = 132
RIGHT_PX: Final = 78
"""Room for words beside a strip."""

Floats = npt.NDArray[np.float64]


class Strips:
    """The strip charts of one case.

    Args:
        case: What to show.
        size_wh: Of the whole block of charts, in pixels.
    """

    def __init__(self, case: Case, size_wh: tuple[int, int]) -> None:
        self._read_g = case.read_g
        self._calm_g = _calm(case.read_g)
        self._stir_g = np.maximum(STIR_G, STIR_SIGMAS * _quiet_g(self._calm_g))
        self._boxes = _boxes(case, size_wh)
        self._acts: list[list[tuple[float, float]]] = [[] for _ in self._boxes]
        numbers = {place.name: n for n, place in enumerate(case.stage.room.layout.plates)}
        for act in case.truth.acts:
            for name in act.plates:
                span = (seconds(act.start_ns), seconds(act.end_ns))
                self._acts[numbers[name]].append(span)
        self._empty = _frame(case, size_wh, self._boxes)
        self._names = [_label(case, number) for number in range(len(self._boxes))]

    def box_px(self, plate: int) -> BoxPx:
        """Return where the strip of a plate, by its number, is in the block."""
        return self._boxes[plate]

    def draw(self, now_s: float) -> Image:
        """Return the block at a time."""
        image = self._empty.copy()
        now = min(int(now_s * RATE_HZ) + 1, len(self._read_g))
        first = max(now - int(SHOWN_S * RATE_HZ), 0)
        base_g = self._base_g(first, now)
        shown_g = self._read_g[first:now] - base_g
        calm_g = self._calm_g[first:now] - base_g
        most_g = np.abs(calm_g).max(axis=0)
        index = np.minimum(np.searchsorted(SCALES_G, most_g), len(SCALES_G) - 1)
        ages_s = now_s - np.arange(first, now) / RATE_HZ
        for plate, strip in enumerate(self._boxes):
            self._truth(image, plate, now_s)
            full_g = float(SCALES_G[index[plate]])
            stirs = bool(most_g[plate] > self._stir_g[plate])
            line = _line(strip, ages_s, shown_g[:, plate] / full_g)
            polyline(image, line, look.READING if stirs else look.QUIET)
            self._words(image, plate, stirs=stirs, now_g=float(calm_g[-1, plate]), full_g=full_g)
        return image

    def _base_g(self, first: int, now: int) -> Floats:
        """Return the ``(plates,)`` base of what is shown from one sample to another."""
        length = int(BASE_S * RATE_HZ)
        since = max(first - length, 0)
        until = max(first, min(length, now))
        return np.asarray(self._calm_g[since:until].mean(axis=0))

    def _truth(self, image: Image, plate: int, now_s: float) -> None:
        """Shade while an act really moved the plate."""
        left, top, right, bottom = self._boxes[plate]
        px_per_s = (right - left) / SHOWN_S
        for start_s, end_s in self._acts[plate]:
            if start_s > now_s or end_s < now_s - SHOWN_S:
                continue
            low = max(right - (now_s - start_s) * px_per_s, left)
            high = min(right - (now_s - end_s) * px_per_s, right)
            bar(image, (low, top, max(high, low + 1), bottom), look.TRUTH, opacity=0.4)

    def _words(self, image: Image, plate: int, *, stirs: bool, now_g: float, full_g: float) -> None:
        left, top, right, bottom = self._boxes[plate]
        middle = (top + bottom) / 2
        colour = look.WORDS if stirs else look.QUIET
        text(image, (left - LEFT_PX + 22, middle + 5), self._names[plate], colour, bold=stirs)
        edge = right + RIGHT_PX - 8
        scale = f"\N{PLUS-MINUS SIGN}{full_g:.0f} g"
        if stirs:
            value = f"{round(now_g):+d} g" if round(now_g) else "0 g"
            text(image, (edge, middle - 1), value, look.READING, anchor="right", bold=True)
            text(image, (edge, middle + 14), scale, look.QUIET, size_px=12, anchor="right")
        else:
            text(image, (edge, middle + 5), scale, look.QUIET, size_px=12, anchor="right")


def _calm(read_g: Floats) -> Floats:
    """Return readings without gaps and wild samples."""
    filled = read_g.copy()
    for plate in range(filled.shape[1]):
        known = np.flatnonzero(np.isfinite(filled[:, plate]))
        filled[:, plate] = np.interp(np.arange(len(filled)), known, filled[known, plate])
    half = CALM_SAMPLES // 2
    around = np.pad(filled, ((half, half), (0, 0)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(around, CALM_SAMPLES, axis=0)
    return np.asarray(np.median(windows, axis=-1))


def _quiet_g(calm_g: Floats) -> Floats:
    """Return the ``(plates,)`` standard deviation of readings while nobody is near: the median."""
    length = int(BASE_S * RATE_HZ)
    count = len(calm_g) // length
    blocks = calm_g[: count * length].reshape(count, length, -1)
    return np.asarray(np.median(blocks.std(axis=1), axis=0))


def _boxes(case: Case, size_wh: tuple[int, int]) -> list[BoxPx]:
    """Return each plate's strip."""
    shelves = case.stage.room.layout.shelf_plates
    width = size_wh[0] / len(shelves)
    high = (size_wh[1] - HEAD_PX) / max(len(plates) for plates in shelves)
    boxes = []
    for column, plates in enumerate(shelves):
        left, right = column * width + LEFT_PX, (column + 1) * width - RIGHT_PX
        for row in range(len(plates)):
            top = HEAD_PX + row * high
            boxes.append((round(left), round(top + 2), round(right), round(top + high - 2)))
    return [(float(a), float(b), float(c), float(d)) for a, b, c, d in boxes]


def _frame(case: Case, size_wh: tuple[int, int], boxes: list[BoxPx]) -> Image:
    """Return the block without what changes."""
    image = blank(size_wh, look.GROUND)
    layout = case.stage.room.layout
    width = size_wh[0] / len(case.store.shelves)
    for column, shelf in enumerate(case.store.shelves):
        title = f"shelf {shelf.name}, {shelf.z_mm / 1e3:.2f} m high"
        text(image, (column * width + 10, 18), title, look.WORDS, size_px=15, bold=True)
        if column:
            bar(image, (column * width - 1, 4, column * width, size_wh[1] - 4), look.RULE)
    for plate, (left, top, right, bottom) in enumerate(boxes):
        bar(image, (left, top, right, bottom), (46, 41, 38))
        middle = (top + bottom) / 2
        bar(image, (left, middle, right, middle + 1), look.RULE)
        swatch = (left - LEFT_PX + 10, middle - 6, left - LEFT_PX + 18, middle + 6)
        bar(image, swatch, colour_of(layout.plates[plate].gtin or ""))
    return image


def _label(case: Case, plate: int) -> str:
    """Return a plate's short name and its product's."""
    place = case.stage.room.layout.plates[plate]
    product = case.store.products[place.gtin].name if place.gtin else "empty"
    return f"{place.name.rpartition('.')[2]} {product}"


def _line(strip: BoxPx, ages_s: Floats, shares: Floats) -> Floats:
    """Return ``(n, 2)`` points of values from -1 at the lower edge to 1 at the upper."""
    left, top, right, bottom = strip
    half = (bottom - top) / 2 - 1
    x = right - ages_s * (right - left) / SHOWN_S
    return np.column_stack((x, (top + bottom) / 2 - half * np.clip(shares, -1.0, 1.0)))
