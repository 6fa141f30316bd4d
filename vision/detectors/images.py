# SPDX-License-Identifier: Apache-2.0
"""Frames fitted into a model's input, and the way back."""

from dataclasses import dataclass

import cv2
import numpy as np

from vision.geometry import FloatArray
from vision.rendering import Image
from vision.scaling import shrunk

PADDING = (114, 114, 114)
"""The grey that ultralytics and YOLOX train their letterboxes with."""


@dataclass(frozen=True, slots=True)
class Letterbox:
    """A frame fitted into a model's input without changing its aspect.

    Attributes:
        scale: Input pixels per frame pixel.
        offset_px: Left and upper margin in input pixels.
    """

    scale: float
    offset_px: tuple[float, float]

    def back(self, points_px: FloatArray) -> FloatArray:
        """Return ``(..., 2)`` input points in frame pixels."""
        return np.asarray((points_px - np.asarray(self.offset_px)) / self.scale)


def letterbox(frame: Image, size_wh: tuple[int, int]) -> tuple[Image, Letterbox]:
    """Return the frame scaled to fit and centred on grey, and the way back."""
    height, width = frame.shape[:2]
    scale = min(size_wh[0] / width, size_wh[1] / height)
    wide, high = max(round(width * scale), 1), max(round(height * scale), 1)
    fitted = shrunk(frame, (wide, high))
    left, top = (size_wh[0] - wide) // 2, (size_wh[1] - high) // 2
    if (wide, high) != size_wh:
        rest = (top, size_wh[1] - high - top, left, size_wh[0] - wide - left)
        padded = cv2.copyMakeBorder(fitted, *rest, cv2.BORDER_CONSTANT, value=PADDING)
        fitted = np.asarray(padded, dtype=np.uint8)
    return fitted, Letterbox(scale, (left, top))
