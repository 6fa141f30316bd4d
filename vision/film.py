# SPDX-License-Identifier: Apache-2.0
"""Films for people to look at, and what is drawn on their pictures.

Pictures are ``(h, w, 3)`` BGR and are drawn on in place. Places are pixels: x to the right, y down,
the origin in the upper left corner. Colours are 8-bit B, G, R. What lies outside a picture, and
what is not a number, is not drawn.
"""

from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self

import cv2
import numpy as np
import numpy.typing as npt

from vision.figure import Colour
from vision.rendering import Image

PointPx = tuple[float, float]
BoxPx = tuple[float, float, float, float]
"""Left, top, right, bottom."""
Anchor = Literal["left", "middle", "right"]
Floats = npt.NDArray[np.float64]

BITS: Final = 4
"""OpenCV's drawing takes fixed-point coordinates with this many fractional bits."""
FAR_PX: Final = 20_000.0
"""Coordinates are cut here, far outside any picture, to stay within OpenCV's range."""
BOLD: Final = 700
PLAIN: Final = 400


class FilmError(Exception):
    """A film cannot be written: *thing: problem. Remedy*."""


class Film:
    """Writes pictures to an MP4 file one by one; a context manager.

    Args:
        path: The file; its name ends in ``.mp4``. It is written over.
        size_wh: Width and height of every picture in pixels, both even.
        fps: Pictures a second.

    Raises:
        FilmError: It cannot be opened; or, at the end, it is not whole.
    """

    def __init__(self, path: Path, size_wh: tuple[int, int], fps: float) -> None:
        assert not any(side % 2 for side in size_wh), "an MP4's pictures have even sides"
        if path.suffix.lower() != ".mp4":
            raise FilmError(f"{path}: is no name for a film. Give one that ends in .mp4")
        self._path = path
        self._size_wh = size_wh
        self._count = 0
        # FFmpeg alone: other back ends would write pictures of that name, or elsewhere.
        code = cv2.VideoWriter.fourcc(*"mp4v")
        self._writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, code, fps, size_wh)
        if not self._writer.isOpened():
            raise FilmError(
                f"{path}: cannot be opened for a film."
                " Give a file in a folder that exists and can be written to"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writer.release()
        if kind is None:
            self._check()

    def write(self, image: Image) -> None:
        """Append an ``(h, w, 3)`` BGR picture."""
        width, height = self._size_wh
        # OpenCV leaves out pictures of another size without a word.
        assert image.shape == (height, width, 3), "all pictures of a film have its size"
        assert image.dtype == np.uint8, "a film's pictures are 8-bit"
        self._writer.write(image)
        self._count += 1

    def _check(self) -> None:
        """Read the film's index back: OpenCV tells nobody that a disk is full."""
        reader = cv2.VideoCapture(str(self._path), cv2.CAP_FFMPEG)
        found = int(reader.get(cv2.CAP_PROP_FRAME_COUNT)) if reader.isOpened() else 0
        reader.release()
        if found != self._count:
            raise FilmError(
                f"{self._path}: only {found} of {self._count} pictures were written."
                " Make room on the disk"
            )


def blank(size_wh: tuple[int, int], colour: Colour) -> Image:
    """Return a picture of one colour."""
    return np.full((size_wh[1], size_wh[0], 3), colour, dtype=np.uint8)


@lru_cache(maxsize=1)
def _font() -> "cv2.FontFace":
    return cv2.FontFace("sans")


@lru_cache(maxsize=4096)
def text_width_px(words: str, size_px: int, *, bold: bool = False) -> int:
    """Return how wide a line of text is, at a size as in :func:`text`."""
    box = cv2.getTextSize((1, 1), words, (0, 0), _font(), size_px, BOLD if bold else PLAIN)
    return int(box[2])


def text(
    image: Image,
    at_px: PointPx,
    words: str,
    colour: Colour,
    *,
    size_px: int = 14,
    anchor: Anchor = "left",
    bold: bool = False,
) -> None:
    """Write one line.

    Args:
        image: ``(h, w, 3)``.
        at_px: The left end, the middle or the right end of the line on which letters stand.
        words: The text.
        colour: Of the letters.
        size_px: From line to line, about 1.4 times a capital's height.
        anchor: Which part of the text is at ``at_px``.
        bold: Heavier letters.
    """
    width = 0 if anchor == "left" else text_width_px(words, size_px, bold=bold)
    left = at_px[0] - {"left": 0.0, "middle": width / 2, "right": float(width)}[anchor]
    place = (round(left), round(at_px[1]))
    cv2.putText(image, words, place, colour, _font(), size_px, BOLD if bold else PLAIN)


def bar(image: Image, box_px: BoxPx, colour: Colour, *, opacity: float = 1.0) -> None:
    """Fill an upright rectangle.

    Args:
        image: ``(h, w, 3)``.
        box_px: Left, top, right, bottom; the last two are just outside.
        colour: Of the filling.
        opacity: 0 leaves the picture as it is, 1 covers it.
    """
    height, width = image.shape[:2]
    left, right = (min(max(round(x), 0), width) for x in (box_px[0], box_px[2]))
    top, bottom = (min(max(round(y), 0), height) for y in (box_px[1], box_px[3]))
    if right <= left or bottom <= top:
        return
    part = image[top:bottom, left:right]
    if opacity >= 1.0:
        part[:] = colour
    else:
        mixed = part * (1.0 - opacity) + np.asarray(colour) * opacity
        part[:] = np.round(mixed).astype(np.uint8)


def box(image: Image, box_px: BoxPx, colour: Colour, *, width_px: int = 1) -> None:
    """Outline an upright rectangle: left, top, right, bottom."""
    left, top, right, bottom = box_px
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    polyline(image, corners, colour, width_px=width_px, closed=True)


def dot(image: Image, at_px: PointPx, radius_px: float, colour: Colour) -> None:
    """Fill a disc."""
    if np.isfinite(at_px).all():
        centre, radius = _fixed([at_px])[0], round(radius_px * 2**BITS)
        cv2.circle(image, (int(centre[0]), int(centre[1])), radius, colour, -1, cv2.LINE_AA, BITS)


def ring(
    image: Image, at_px: PointPx, radius_px: float, colour: Colour, *, width_px: int = 2
) -> None:
    """Outline a disc."""
    if np.isfinite(at_px).all():
        (x, y), radius = _fixed([at_px])[0], round(radius_px * 2**BITS)
        cv2.circle(image, (int(x), int(y)), radius, colour, width_px, cv2.LINE_AA, BITS)


def cross(
    image: Image,
    at_px: PointPx,
    arm_px: float,
    colour: Colour,
    *,
    edge: Colour = (0, 0, 0),
    slanted: bool = False,
) -> None:
    """Draw a cross with a dark edge, so that it is seen on anything; its middle has its colour.

    Args:
        image: ``(h, w, 3)``.
        at_px: Its middle.
        arm_px: From the middle to an end.
        colour: Of the cross.
        edge: Of its edge.
        slanted: An x rather than a plus.
    """
    x, y = at_px
    if not np.isfinite(at_px).all():
        return
    if slanted:
        arm = arm_px * 0.75
        strokes = [
            [(x - arm, y - arm), (x + arm, y + arm)],
            [(x - arm, y + arm), (x + arm, y - arm)],
        ]
    else:
        strokes = [[(x - arm_px, y), (x + arm_px, y)], [(x, y - arm_px), (x, y + arm_px)]]
    for width, paint in ((5, edge), (3, colour)):
        for stroke in strokes:
            polyline(image, stroke, paint, width_px=width)


def polyline(
    image: Image,
    points_px: npt.ArrayLike,
    colour: Colour,
    *,
    width_px: int = 1,
    closed: bool = False,
) -> None:
    """Draw a line through ``(n, 2)`` points; it has a gap where a point is not a number."""
    points = np.asarray(points_px, dtype=np.float64).reshape(-1, 2)
    known = np.isfinite(points).all(axis=1)
    if known.all():
        pieces = [_fixed(points)]
    else:
        cuts = np.flatnonzero(np.diff(known.astype(np.int8))) + 1
        runs = zip(np.split(points, cuts), np.split(known, cuts), strict=True)
        pieces = [_fixed(run) for run, seen in runs if len(run) and seen[0]]
        closed = False
    cv2.polylines(image, pieces, closed, colour, width_px, cv2.LINE_AA, BITS)


def _fixed(points_px: npt.ArrayLike) -> npt.NDArray[np.int32]:
    cut = np.clip(np.asarray(points_px, dtype=np.float64), -FAR_PX, FAR_PX)
    return np.asarray(np.round(cut * 2**BITS), dtype=np.int32)
