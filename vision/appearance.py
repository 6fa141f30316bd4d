# SPDX-License-Identifier: Apache-2.0
"""What people look like, as a few numbers by which a track is told from others.

The default is the colours of the torso: the square root of a histogram in CIELAB, so that squared
distances are those of Hellinger (Pérez et al., *Color-based probabilistic tracking*, 2002, use the
same coefficient), brought to 16 numbers by projection on signs, which keeps distances (Achlioptas,
*Database-friendly random projections*, 2003). The signs are Walsh functions, so that every worker
and version has the same and looks of several cameras can be compared. With a re-identification
model the numbers come from it, and are projected in the same way.

No face is looked at: the torso is a square below the head, and colour is all that is left of it.
"""

from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from gateway.domain.identity import Scatter
from vision.detectors import POINT_SCORE_MIN, Detections
from vision.geometry import FloatArray
from vision.rendering import Image

LOOK = 16
"""Numbers of a descriptor; the contract takes up to 512."""
BINS = (4, 8, 8)
"""Of lightness, green to red and blue to yellow. Light changes more than colour does."""
CHROMA = 112.0
"""Range of the two colour axes around grey; few fabrics have more."""
SIDE_PX = 24
"""Torsos are scaled to this size: a histogram needs no more, and the time is bounded."""
MIDDLE_SIGMA = 1 / 3
"""Standard deviation of the pixels' weight about the middle, as a share of the side."""
DOWN_SHARE = 0.25
"""How far from the head to the feet the torso's square is centred..."""
HALF_SHARE = 0.22
"""... and half its side, as a share of the box's geometric mean side."""
HEAD_SHARE = 0.12
"""How far below its box's top a head is that was not found."""
TORSO_PX_MIN = 6.0
"""Of a smaller torso, or of one this little in view, nothing is said."""
COVERED_MAX = 0.5
"""Nor of one of which another's torso covers more than this share."""
NOISE2 = 0.073
"""Squared distance of a look from its body's mean, and..."""
APART2 = 1.24
"""... of two bodies' means, on rendered people; docs/vision.md has other seeds and a clip."""


class Appearance(Protocol):
    """Describes the persons of a frame. One thread at a time calls it."""

    def describe(self, frame: Image, found: Detections) -> FloatArray:
        """Return ``(n, d)`` descriptors of the persons found; NaN rows where nothing can be said.

        Args:
            frame: ``(h, w, 3)`` BGR.
            found: Persons in this frame's own pixels.
        """
        ...

    def scatter(self) -> Scatter:
        """Return what is known of distances between descriptors before any are seen."""
        ...


def build_appearance(model: Path | None = None, *, threads: int = 1) -> Appearance:
    """Return the default, or a re-identification model in ONNX Runtime.

    Raises:
        ModelError: The file is missing or no such model.
    """
    if model is None:
        return TorsoColours()
    # Imported here so that colours need no ONNX Runtime.
    from vision.reidentification import ReidentificationModel  # noqa: PLC0415

    return ReidentificationModel(model, threads=threads)


class TorsoColours:
    """The default: what colours a torso has, without a model."""

    def __init__(self) -> None:
        self._signs = signs(LOOK, int(np.prod(BINS)))
        offset = (np.arange(SIDE_PX) - (SIDE_PX - 1) / 2) / (MIDDLE_SIGMA * SIDE_PX)
        weight = np.exp(-(offset[:, None] ** 2 + offset[None] ** 2) / 2)
        self._weight = (weight / weight.sum()).ravel()
        self._places, self._shares = _tables()

    def describe(self, frame: Image, found: Detections) -> FloatArray:
        """Return ``(n, 16)`` descriptors; see :meth:`Appearance.describe`."""
        looks = np.full((len(found), LOOK), np.nan)
        for index, square in visible(torsos(found), frame.shape[1], frame.shape[0]):
            left, top, right, bottom = square
            torso = cv2.resize(
                frame[top:bottom, left:right], (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA
            )
            colours = cv2.cvtColor(torso, cv2.COLOR_BGR2LAB).reshape(-1, 3)
            looks[index] = self._signs @ np.sqrt(self._histogram(np.asarray(colours, np.uint8)))
        return looks

    def scatter(self) -> Scatter:
        """Return the scatter measured on rendered people: it counts for some looks, not for all."""
        return Scatter(noise2=NOISE2, noise_looks=20.0, apart2=APART2, apart_looks=20.0)

    def _histogram(self, colours: npt.NDArray[np.uint8]) -> FloatArray:
        """Return the ``(256,)`` histogram, of sum 1, of ``(576, 3)`` 8-bit CIELAB colours.

        Each pixel is shared among its eight nearest bins by trilinear weights.
        """
        # Of each pixel two places and two shares in each colour: all pairs of pairs are eight bins.
        (x, y, z), (u, v, w) = (
            [np.take(table[axis], colours[:, axis], axis=1) for axis in range(3)]
            for table in (self._places, self._shares)
        )
        bins = x[:, None, None] + y[None, :, None] + z[None, None]
        weights = (u * self._weight)[:, None, None] * v[None, :, None] * w[None, None]
        total = np.bincount(bins.ravel(), weights.ravel(), minlength=int(np.prod(BINS)))
        return np.asarray(total, dtype=np.float64)


def _tables() -> tuple[npt.NDArray[np.int64], FloatArray]:
    """Return of every 8-bit CIELAB value the two nearest bins and how much is in each.

    Both are ``(3, 2, 256)``: colours, lower and upper bin, values. Bins are counted so that those
    of the three colours add up to a bin of the histogram.
    """
    values = np.arange(256.0)
    chroma = np.clip((values - 128.0) / CHROMA + 0.5, 0.0, 1.0)
    strides = (BINS[1] * BINS[2], BINS[2], 1)
    places, shares = np.zeros((3, 2, 256), dtype=np.int64), np.zeros((3, 2, 256))
    for axis, share in enumerate((values / 256.0, chroma, chroma)):
        place = np.clip(share * BINS[axis] - 0.5, 0.0, BINS[axis] - 1.0001)
        low = place.astype(np.int64)
        places[axis] = np.stack([low, low + 1]) * strides[axis]
        shares[axis] = np.stack([1.0 - (place - low), place - low])
    return places, shares


def torsos(found: Detections) -> FloatArray:
    """Return ``(n, 4)`` squares on the torsos: left, top, right, bottom, in or out of view."""
    left, top, right, bottom = found.boxes_xyxy.T
    guess = np.column_stack([(left + right) / 2, top + HEAD_SHARE * (bottom - top)])
    head = np.where(_seen(found.head_px, found.head_scores), found.head_px, guess)
    feet = np.where(
        _seen(found.feet_px, found.feet_scores),
        found.feet_px,
        np.column_stack([head[:, 0], bottom]),
    )
    middle = head + DOWN_SHARE * (feet - head)
    half = HALF_SHARE * np.sqrt(np.maximum((right - left) * (bottom - top), 1.0))[:, None]
    return np.hstack([middle - half, middle + half])


def _seen(points_px: FloatArray, scores: FloatArray) -> npt.NDArray[np.bool_]:
    """Return ``(n, 1)`` whether a point was found."""
    return ((scores >= POINT_SCORE_MIN) & np.isfinite(points_px).all(axis=1))[:, None]


def visible(
    squares: FloatArray, width: int, height: int
) -> list[tuple[int, tuple[int, int, int, int]]]:
    """Return index and whole pixels of those squares that show one person's torso."""
    inner = np.clip(squares, 0.0, (width, height, width, height))
    sides = (inner[:, 2:] - inner[:, :2]).min(axis=1, initial=np.inf)
    shown = []
    for index in np.flatnonzero(np.isfinite(squares).all(axis=1) & (sides >= TORSO_PX_MIN)):
        square, others = squares[index], np.delete(squares, index, axis=0)
        if len(others):
            common = np.minimum(square[2:], others[:, 2:]) - np.maximum(square[:2], others[:, :2])
            covered = np.maximum(common, 0.0).prod(axis=1) / (square[2:] - square[:2]).prod()
            if covered.max() > COVERED_MAX:
                continue
        left, top = np.floor(inner[index, :2]).astype(int).tolist()
        right, bottom = np.ceil(inner[index, 2:]).astype(int).tolist()
        shown.append((int(index), (left, top, right, bottom)))
    return shown


def signs(count: int, size: int) -> FloatArray:
    """Return the ``(count, size)`` projection: signs of Walsh functions, over ``sqrt(count)``.

    Rows and bins are stepped through by numbers that have no factor with a power of two, so that
    no function goes by the bins' order, and the constant one is not among the first rows.
    """
    length = 1 << max(size - 1, count, 1).bit_length()
    rows = (np.arange(count) * 37 + 91) % length
    columns = (np.arange(size) * 167 + 13) % length
    both = rows[:, None] & columns[None]
    odd = np.zeros_like(both, dtype=np.int64)
    while both.any():
        odd ^= both & 1
        both = both >> 1
    return np.asarray(np.where(odd == 1, -1.0, 1.0) / np.sqrt(count), dtype=np.float64)


def look_payload(look: npt.NDArray[np.float64]) -> list[float] | None:
    """Return a descriptor as the contract's ``appearance``; None where there is none."""
    if not look.size or not np.isfinite(look).all():
        return None
    return [round(float(value), 3) for value in look]
