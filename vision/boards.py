# SPDX-License-Identifier: Apache-2.0
"""The ChArUco board: what it is, and a picture of it to print at its true size.

The picture says its resolution (PNG's ``pHYs``), so that a printer that scales nothing prints
squares of the size that was asked for.
"""

import re
import struct
import zlib
from dataclasses import dataclass

import cv2
import numpy as np

from vision.film import text
from vision.flats import Image
from vision.geometry import FloatArray

DEFAULT = "9x6x28"
"""Fits A4 and Letter, landscape."""
MARKER_SHARE = 0.75
SIDES = range(4, 21)
SQUARE_MM = (5.0, 300.0)
MARKERS_MAX = 100
MARGIN_MM = 10.0
BAR_MM = 100.0
PX_PER_MM = 12
SIDE_MAX_PX = 9_000
PNG_HEAD = 8 + 25
"""PNG's signature and its first chunk, IHDR: what follows is where ``pHYs`` may stand."""


class BoardError(ValueError):
    """No board can be made of what was given: *thing: problem. Remedy*."""


@dataclass(frozen=True, slots=True)
class Board:
    """A chessboard with an ArUco marker in each white square (dictionary 5X5_100).

    Attributes:
        columns: Squares across.
        rows: Squares down.
        square_mm: Side of a square.
    """

    columns: int
    rows: int
    square_mm: float

    @classmethod
    def parse(cls, words: str) -> "Board":
        """Read ``COLUMNSxROWSxSQUARE_MM``, such as ``9x6x28``.

        Raises:
            BoardError: It is no such board.
        """
        found = re.fullmatch(r"(\d{1,2})x(\d{1,2})x(\d{1,3}(?:\.\d{1,3})?)", words)
        if found is None:
            raise BoardError(
                f"board {words!r}: not COLUMNSxROWSxSQUARE_MM. Give for example {DEFAULT}"
            )
        board = cls(int(found[1]), int(found[2]), float(found[3]))
        if board.columns not in SIDES or board.rows not in SIDES:
            raise BoardError(f"board {words!r}: not 4 to 20 squares a side. Give others")
        if not SQUARE_MM[0] <= board.square_mm <= SQUARE_MM[1]:
            raise BoardError(f"board {words!r}: squares are not of 5 to 300 mm. Give another size")
        if board.columns * board.rows // 2 > MARKERS_MAX:
            raise BoardError(
                f"board {words!r}: needs more than {MARKERS_MAX} markers. Give fewer squares"
            )
        return board

    @property
    def size_mm(self) -> tuple[float, float]:
        """Return width and height without the margin."""
        return self.columns * self.square_mm, self.rows * self.square_mm

    def __str__(self) -> str:
        return f"{self.columns}x{self.rows}x{self.square_mm:g}"

    def pattern(self) -> "cv2.aruco.CharucoBoard":
        """Return the board as OpenCV knows it."""
        family = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_5X5_100)
        marker = MARKER_SHARE * self.square_mm
        return cv2.aruco.CharucoBoard((self.columns, self.rows), self.square_mm, marker, family)

    def corners_mm(self) -> FloatArray:
        """Return ``(n, 3)`` inner corners, by number: x across, y down, z 0."""
        corners = self.pattern().getChessboardCorners()
        return np.asarray(corners, dtype=np.float64).reshape(-1, 3)

    def outline_mm(self) -> FloatArray:
        """Return ``(4, 2)`` outer corners, from the upper left one clockwise."""
        width, height = self.size_mm
        return np.array([[0, 0], [width, 0], [width, height], [0, height]], dtype=np.float64)

    def squares(self, px_per_mm: float) -> Image:
        """Return an ``(h, w)`` grey picture of the squares alone."""
        width, height = (round(side * px_per_mm) for side in self.size_mm)
        return np.asarray(self.pattern().generateImage((width, height)), dtype=np.uint8)

    def page(self) -> tuple[Image, float]:
        """Return a ``(h, w, 3)`` picture to print, with margin, words and bar; and pixels a mm."""
        longest = max(self.size_mm) + 3 * MARGIN_MM
        scale = float(min(PX_PER_MM, max(int(SIDE_MAX_PX / longest), 1)))
        squares = self.squares(scale)
        margin, foot = round(MARGIN_MM * scale), round(1.8 * MARGIN_MM * scale)
        height, width = squares.shape
        page = np.full((height + margin + foot, width + 2 * margin, 3), 255, dtype=np.uint8)
        page[margin : margin + height, margin : margin + width] = squares[:, :, None]
        self._sign(page, margin, margin + height, scale)
        return page, scale

    def png(self) -> bytes:
        """Return :meth:`page` as a PNG file's content, with its resolution."""
        page, scale = self.page()
        coded = cv2.imencode(".png", page)[1].tobytes()
        return coded[:PNG_HEAD] + _resolution(scale) + coded[PNG_HEAD:]

    def _sign(self, page: Image, left: int, below: int, scale: float) -> None:
        """Write what it is, and draw a bar that tells whether it was printed at its size."""
        black = (0, 0, 0)
        bar_mm = min(BAR_MM, 10.0 * int(self.size_mm[0] / 20.0) or 10.0)
        size = max(round(4.5 * scale), 8)
        words = f"shelfgate board {self}: squares of {self.square_mm:g} mm. Print at 100 %"
        text(page, (left, below + 6.5 * scale), words, black, size_px=size)
        top, end = round(below + 10 * scale), left + round(bar_mm * scale)
        page[top : top + max(round(scale), 1), left:end] = 0
        told = f"this bar is {bar_mm:g} mm"
        text(page, (end + 3 * scale, below + 11.5 * scale), told, black, size_px=size)


def _resolution(px_per_mm: float) -> bytes:
    """Return PNG's ``pHYs`` chunk: pixels a metre, both ways."""
    per_metre = round(1000 * px_per_mm)
    body = b"pHYs" + struct.pack(">IIB", per_metre, per_metre, 1)
    return struct.pack(">I", 9) + body + struct.pack(">I", zlib.crc32(body))
