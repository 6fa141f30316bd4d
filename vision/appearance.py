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
from vision.detectors import Detections
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
POINT_SCORE_MIN = 0.3
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

    def describe(self, frame: Image, found: Detections) -> FloatArray:
        """Return ``(n, 16)`` descriptors; see :meth:`Appearance.describe`."""
        looks = np.full((len(found), LOOK), np.nan)
        for index, square in visible(torsos(found), frame.shape[1], frame.shape[0]):
            left, top, right, bottom = square
            torso = cv2.resize(
                frame[top:bottom, left:right], (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA
            )
            colours = np.asarray(cv2.cvtColor(torso, cv2.COLOR_BGR2LAB), dtype=np.float64)
            looks[index] = self._signs @ np.sqrt(self._histogram(colours.reshape(-1, 3)))
        return looks

    def scatter(self) -> Scatter:
        """Return the scatter measured on rendered people: it counts for some looks, not for all."""
        return Scatter(noise2=NOISE2, noise_looks=20.0, apart2=APART2, apart_looks=20.0)

    def _histogram(self, colours: FloatArray) -> FloatArray:
        """Return the ``(256,)`` histogram, of sum 1, of ``(n, 3)`` 8-bit CIELAB colours.

        Each pixel is shared among its eight nearest bins by trilinear weights.
        """
        share = np.column_stack(
            [colours[:, 0] / 256.0, np.clip((colours[:, 1:] - 128.0) / CHROMA + 0.5, 0.0, 1.0)]
        )
        bins = np.asarray(BINS)
        place = np.clip(share * bins - 0.5, 0.0, bins - 1.0001)
        low = place.astype(np.int64)
        upper = place - low
        total = np.zeros(int(np.prod(BINS)))
        strides = np.array([BINS[1] * BINS[2], BINS[2], 1])
        for corner in np.ndindex(2, 2, 2):
            weight = self._weight * np.where(corner, upper, 1.0 - upper).prod(axis=1)
            total += np.bincount((low + corner) @ strides, weight, minlength=len(total))
        return total


def torsos(found: Detections) -> FloatArray:
    """Return ``(n, 4)`` squares on the torsos: left, top, right, bottom, in or out of view."""
    squares = np.zeros((len(found), 4))
    for index, (left, top, right, bottom) in enumerate(found.boxes_xyxy):
        head = found.head_px[index]
        if not (found.head_scores[index] >= POINT_SCORE_MIN and np.isfinite(head).all()):
            head = np.array([(left + right) / 2, top + HEAD_SHARE * (bottom - top)])
        feet = found.feet_px[index]
        if not (found.feet_scores[index] >= POINT_SCORE_MIN and np.isfinite(feet).all()):
            feet = np.array([head[0], bottom])
        middle = head + DOWN_SHARE * (feet - head)
        half = HALF_SHARE * np.sqrt(max((right - left) * (bottom - top), 1.0))
        squares[index] = (*(middle - half), *(middle + half))
    return squares


def visible(
    squares: FloatArray, width: int, height: int
) -> list[tuple[int, tuple[int, int, int, int]]]:
    """Return index and whole pixels of those squares that show one person's torso."""
    shown = []
    for index, square in enumerate(squares):
        inner = np.clip(square, 0.0, (width, height, width, height))
        if not np.isfinite(square).all() or (inner[2:] - inner[:2]).min() < TORSO_PX_MIN:
            continue
        others = np.delete(squares, index, axis=0)
        common = np.minimum(square[2:], others[:, 2:]) - np.maximum(square[:2], others[:, :2])
        covered = np.clip(common, 0.0, None).prod(axis=1) / float((square[2:] - square[:2]).prod())
        if covered.max(initial=0.0) <= COVERED_MAX:
            left, top = (int(value) for value in np.floor(inner[:2]))
            right, bottom = (int(value) for value in np.ceil(inner[2:]))
            shown.append((index, (left, top, right, bottom)))
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
