# SPDX-License-Identifier: Apache-2.0
"""What of a camera's picture is looked at: its type, its size, a crop of it, and what is masked.

Crop and mask are given in pixels of the calibration, whatever size the frames have. A detection in
a crop goes back to the whole frame by :func:`uncropped`, so the calibration stays true.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from vision.detectors import Detections
from vision.rendering import Image

SIDE_PX_MAX = 8_192
PIXELS_MAX = 16_000_000
"""Of a frame: copies of more would fill the worker's memory, and show nobody better."""
SIDE_PX_MIN = 16
"""The least width and height of a frame, and of a crop: less shows nobody."""

Polygon = tuple[tuple[float, float], ...]


class FramingError(ValueError):
    """A crop or mask does not fit the camera's picture."""


class FrameTypeError(ValueError):
    """A camera gave something that is no picture."""


@dataclass(frozen=True, slots=True)
class Cut:
    """The part of a frame that is looked at.

    Attributes:
        image: ``(h, w, 3)`` BGR, contiguous; black where masked.
        keep: ``(h, w)``, False where masked; None without a mask.
        origin_px: ``(x, y)`` of its upper left corner in the whole frame.
        size_wh: Size of the whole frame.
    """

    image: Image
    keep: npt.NDArray[np.bool_] | None
    origin_px: tuple[int, int]
    size_wh: tuple[int, int]


@dataclass(frozen=True)
class Framing:
    """How frames are made ready for detection.

    Attributes:
        size_wh: Size of the picture that crop and mask are given in: the calibration's. None: the
            frame's own.
        resolution: Frames of another size are scaled to this one, ``(width, height)``.
        crop: ``(x, y, width, height)``.
        mask: Polygons that are blackened, each of three points ``(x, y)`` or more.
    """

    size_wh: tuple[int, int] | None = None
    resolution: tuple[int, int] | None = None
    crop: tuple[int, int, int, int] | None = None
    mask: tuple[Polygon, ...] = ()
    _keeps: dict[tuple[int, int], npt.NDArray[np.bool_]] = field(
        default_factory=dict, compare=False, repr=False
    )

    def check(self) -> None:
        """Look whether crop and mask fit the calibration's picture.

        Raises:
            FramingError: They do not.
        """
        if self.size_wh is None:
            return
        width, height = self.size_wh
        whole = f"the picture of {width}x{height} px that the camera is calibrated in"
        if self.crop is not None:
            x, y, wide, high = self.crop
            if min(wide, high) < SIDE_PX_MIN:
                raise FramingError(
                    f"crop: is {wide}x{high} px. Give at least {SIDE_PX_MIN}x{SIDE_PX_MIN}"
                )
            if x < 0 or y < 0 or x + wide > width or y + high > height:
                raise FramingError(
                    f"crop: [{x}, {y}, {wide}, {high}] leaves {whole}. "
                    "Give [x, y, width, height] inside it"
                )
        for number, polygon in enumerate(self.mask, 1):
            inside = all(0 <= x <= width and 0 <= y <= height for x, y in polygon)
            if not inside:
                raise FramingError(f"mask: polygon {number} leaves {whole}. Give points inside it")
        keep = self._keep(self.size_wh, self._window(self.size_wh))
        if keep is not None and not keep.any():
            raise FramingError("mask: hides everything. Leave something to look at")

    def cut(self, raw: npt.NDArray[Any]) -> Cut:
        """Return what is looked at of a frame as the camera gave it.

        Raises:
            FrameTypeError: The frame is no picture, or narrower or lower than 16 px.
        """
        image = as_bgr(raw)
        if self.resolution is not None and image.shape[1::-1] != self.resolution:
            image = np.asarray(
                cv2.resize(image, self.resolution, interpolation=cv2.INTER_AREA), dtype=np.uint8
            )
        size_wh = (image.shape[1], image.shape[0])
        x, y, width, height = self._window(size_wh)
        keep = self._keep(size_wh, (x, y, width, height))
        image = image[y : y + height, x : x + width]
        if keep is not None:
            shown = cv2.bitwise_and(image, image, mask=keep.view(np.uint8))
            image = np.asarray(shown, dtype=np.uint8)
        return Cut(np.ascontiguousarray(image), keep, (x, y), size_wh)

    def _window(self, size_wh: tuple[int, int]) -> tuple[int, int, int, int]:
        """Return the crop in pixels of a frame of this size; never empty."""
        if self.crop is None:
            return 0, 0, *size_wh
        x_scale, y_scale = self._scale(size_wh)
        x, y, width, height = self.crop
        left = min(round(x * x_scale), size_wh[0] - 1)
        top = min(round(y * y_scale), size_wh[1] - 1)
        right = min(max(round((x + width) * x_scale), left + 1), size_wh[0])
        bottom = min(max(round((y + height) * y_scale), top + 1), size_wh[1])
        return left, top, right - left, bottom - top

    def _scale(self, size_wh: tuple[int, int]) -> tuple[float, float]:
        own = self.size_wh or size_wh
        return size_wh[0] / own[0], size_wh[1] / own[1]

    def _keep(
        self, size_wh: tuple[int, int], window: tuple[int, int, int, int]
    ) -> npt.NDArray[np.bool_] | None:
        """Return the crop's ``(h, w)`` pixels that are not masked; drawn once for each size."""
        if not self.mask:
            return None
        known = self._keeps.get(size_wh)
        if known is not None:
            return known
        shown = np.ones((size_wh[1], size_wh[0]), dtype=np.uint8)
        for polygon in self.mask:
            points = np.asarray(polygon, dtype=np.float64) * self._scale(size_wh)
            cv2.fillPoly(shown, [np.round(points).astype(np.int32)], 0)
        x, y, width, height = window
        keep = np.ascontiguousarray(shown[y : y + height, x : x + width]).view(np.bool_)
        self._keeps.clear()  # A camera has one size at a time.
        self._keeps[size_wh] = keep
        return keep


def as_bgr(raw: npt.NDArray[Any]) -> Image:
    """Return a frame of any usual type as ``(h, w, 3)`` 8-bit BGR.

    Grey becomes colour, a fourth channel goes, and of 16 bits the upper eight count.

    Raises:
        FrameTypeError: It is no picture, narrower or lower than 16 px, or of too many pixels.
    """
    channels = raw.shape[2] if raw.ndim == 3 else 1
    sound = raw.ndim in (2, 3) and channels in (1, 3, 4) and raw.dtype in (np.uint8, np.uint16)
    if not sound or not all(0 < side <= SIDE_PX_MAX for side in raw.shape[:2]):
        raise FrameTypeError(
            f"gives frames of {raw.dtype} in the shape {raw.shape}, which are no pictures. "
            "Set the camera to colour of 8 bits"
        )
    height, width = raw.shape[:2]
    if min(width, height) < SIDE_PX_MIN:
        raise FrameTypeError(
            f"gives frames of {width}x{height} px, which show nobody. "
            f"Set the camera to {SIDE_PX_MIN}x{SIDE_PX_MIN} px or more"
        )
    if width * height > PIXELS_MAX:
        raise FrameTypeError(
            f"gives frames of {width}x{height} px, more than {PIXELS_MAX / 1e6:.0f} million. "
            "Set the camera to fewer, 1920x1080 for example"
        )
    image: npt.NDArray[Any] = raw
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    if channels == 1:
        image = cv2.cvtColor(image.reshape(image.shape[:2]), cv2.COLOR_GRAY2BGR)
    elif channels == 4:
        image = cv2.cvtColor(image, cv2.COLOR_BGRA2BGR)
    return np.asarray(image, dtype=np.uint8)


def uncropped(found: Detections, origin_px: tuple[int, int]) -> Detections:
    """Return detections of a crop in pixels of the whole frame.

    Args:
        found: In pixels of the crop.
        origin_px: ``(x, y)`` of the crop's upper left corner in the whole frame.
    """
    if origin_px == (0, 0):
        return found
    return replace(found, **dict(_moved(found, np.array(origin_px, dtype=np.float64))))


def _moved(
    found: Detections, origin: npt.NDArray[np.float64]
) -> Iterator[tuple[str, npt.NDArray[np.float64]]]:
    """Yield each field that holds pixels, moved; names end in their unit."""
    for item in fields(found):
        value = getattr(found, item.name)
        if item.name.endswith("_px"):
            yield item.name, value + origin
        elif item.name.endswith("_xyxy"):
            yield item.name, value + np.tile(origin, 2)
