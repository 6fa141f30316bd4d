# SPDX-License-Identifier: Apache-2.0
"""A camera that gives frames but sees nothing: frozen, covered or dark. Pure.

Frozen: the picture stays the same but for what an encoder makes of one and the same picture.
Covered: the picture is nearly uniform, whatever its noise.
"""

import cv2
import numpy as np
import numpy.typing as npt

from vision.rendering import Image

BLIND_AFTER_S = 5.0
SAME_LEVELS_MAX = 0.75
"""Mean difference of pixels, in levels of 256, up to which two pictures are the same.

Measured (docs/vision.md): a still picture over x264 differs by 0.65 at most, real cameras that look
at an empty hall by 1.8 at least, because their sensors have noise.
"""
UNIFORM_LEVELS_MAX = 20.0
"""Spread of grey, from the 10th to the 90th of 100 parts, up to which a picture is uniform..."""
SEEN_LEVELS_MIN = 24.0
"""... and from which one that was uniform is not any more."""
CHECK_NS = 250_000_000
SAMPLES = 3_072
"""How many pixels are compared, spread over the picture. Averages would hide a sensor's noise."""
_THUMB_WH = (32, 24)


class Watchdog:
    """Looks at a camera's frames a few times a second."""

    def __init__(self, after_s: float = BLIND_AFTER_S) -> None:
        """``after_s``: how long a camera has to see nothing; 0 turns this off."""
        self._after_s = after_s
        self._after_ns = round(after_s * 1e9)
        self._reason: str | None = None
        self._looked_ns: int | None = None
        self._sample: npt.NDArray[np.int16] | None = None
        self._same_ns = 0
        self._uniform_ns: int | None = None

    def look(
        self, image: Image, at_ns: int, keep: npt.NDArray[np.bool_] | None = None
    ) -> str | None:
        """Take a frame; return why the camera sees nothing, or None when it does.

        Args:
            image: ``(h, w, 3)`` BGR.
            at_ns: When it came, on any clock that does not go back.
            keep: ``(h, w)``, False where the picture is masked and says nothing.
        """
        if not self._after_ns:
            return None
        last_ns = self._looked_ns
        if last_ns is not None and at_ns - last_ns < CHECK_NS and self._reason is None:
            return None
        self._looked_ns = at_ns
        # Nobody knows what a camera saw while no picture came; one that was blind may still be.
        longest_ns = max(self._after_ns // 2, CHECK_NS * 2)
        paused = self._reason is None and (last_ns is None or at_ns - last_ns > longest_ns)
        self._compare(image, at_ns, keep, anew=paused)
        self._measure(image, at_ns, keep, anew=paused)
        if self._uniform_ns is not None and at_ns - self._uniform_ns >= self._after_ns:
            self._reason = f"covered or dark: a nearly uniform picture for {self._after_s:g} s"
        elif at_ns - self._same_ns >= self._after_ns:
            self._reason = f"frozen: the same picture for {self._after_s:g} s"
        else:
            self._reason = None
        return self._reason

    def _compare(
        self, image: Image, at_ns: int, keep: npt.NDArray[np.bool_] | None, *, anew: bool
    ) -> None:
        """Note since when the picture is the same."""
        step = max(1, int((image.shape[0] * image.shape[1] / SAMPLES) ** 0.5))
        sample = image[::step, ::step].astype(np.int16)
        if keep is not None:
            sample = sample[keep[::step, ::step]]
        known = self._sample
        if (
            anew
            or known is None
            or known.shape != sample.shape
            or (sample.size and float(np.abs(sample - known).mean()) > SAME_LEVELS_MAX)
        ):
            self._sample, self._same_ns = sample, at_ns

    def _measure(
        self, image: Image, at_ns: int, keep: npt.NDArray[np.bool_] | None, *, anew: bool
    ) -> None:
        """Note since when the picture is uniform; averages take a dark sensor's noise away."""
        thumb = cv2.resize(image, _THUMB_WH, interpolation=cv2.INTER_AREA)
        grey = np.asarray(cv2.cvtColor(thumb, cv2.COLOR_BGR2GRAY))
        if keep is not None:
            shown = cv2.resize(keep.view(np.uint8), _THUMB_WH, interpolation=cv2.INTER_NEAREST)
            grey = grey[shown.view(np.bool_)] if shown.any() else grey
        low, high = np.percentile(grey, [10, 90])
        limit = UNIFORM_LEVELS_MAX if self._uniform_ns is None else SEEN_LEVELS_MIN
        if high - low > limit:
            self._uniform_ns = None
        elif self._uniform_ns is None or anew:
            self._uniform_ns = at_ns
