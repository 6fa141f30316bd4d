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
SAME_LEVELS_MAX = 1.0
"""Mean difference of pixels, in levels of 256, up to which two pictures may be the same.

Real cameras that look at an empty hall differ by 2 at least, because their sensors have noise;
one still picture, sent again and again, by less than 1 where the bit rate is fair (docs/vision.md).
"""
MOVED_LEVELS_MIN = 6
"""Change of one of 32 x 24 averages that shows that something moved, however little noise there is.

Of a still picture they change by 4 at most, even where bits are scarce.
"""
UNIFORM_LEVELS_MAX = 20.0
"""Spread of grey, from the 10th to the 90th of 100 parts, up to which a picture is uniform..."""
SEEN_LEVELS_MIN = 24.0
"""... and from which one that was uniform is not any more."""
CHECK_NS = 250_000_000
SAMPLES = 3_072
"""How many pixels are compared, spread over the picture. Averages would hide a sensor's noise."""
_THUMB_WH = (32, 24)
_AVERAGED_PX = 192


class Watchdog:
    """Looks at a camera's frames a few times a second."""

    def __init__(self, after_s: float = BLIND_AFTER_S) -> None:
        """``after_s``: how long a camera has to see nothing; 0 turns this off."""
        self._after_s = after_s
        self._after_ns = round(after_s * 1e9)
        self._reason: str | None = None
        self._looked_ns: int | None = None
        self._sample: npt.NDArray[np.int16] | None = None
        self._averages: npt.NDArray[np.int16] | None = None
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
        averages = _averages(image, keep)
        self._compare(_sample(image, keep), averages, at_ns, anew=paused)
        self._measure(averages, at_ns, anew=paused)
        if self._uniform_ns is not None and at_ns - self._uniform_ns >= self._after_ns:
            self._reason = f"covered or dark: a nearly uniform picture for {self._after_s:g} s"
        elif at_ns - self._same_ns >= self._after_ns:
            self._reason = f"frozen: the same picture for {self._after_s:g} s"
        else:
            self._reason = None
        return self._reason

    def _compare(
        self,
        sample: npt.NDArray[np.int16],
        averages: npt.NDArray[np.int16],
        at_ns: int,
        *,
        anew: bool,
    ) -> None:
        """Note since when the picture is the same."""
        if (
            anew
            or self._sample is None
            or self._averages is None
            or self._sample.shape != sample.shape
            or self._averages.shape != averages.shape
            or float(np.abs(sample - self._sample).mean()) > SAME_LEVELS_MAX
            or int(np.abs(averages - self._averages).max()) >= MOVED_LEVELS_MIN
        ):
            self._sample, self._averages, self._same_ns = sample, averages, at_ns

    def _measure(self, averages: npt.NDArray[np.int16], at_ns: int, *, anew: bool) -> None:
        """Note since when the picture is uniform."""
        low, high = np.percentile(averages, [10, 90])
        limit = UNIFORM_LEVELS_MAX if self._uniform_ns is None else SEEN_LEVELS_MIN
        if high - low > limit:
            self._uniform_ns = None
        elif self._uniform_ns is None or anew:
            self._uniform_ns = at_ns


def _sample(image: Image, keep: npt.NDArray[np.bool_] | None) -> npt.NDArray[np.int16]:
    """Return pixels spread over the picture, those masked left out, with their noise."""
    step = max(1, int((image.shape[0] * image.shape[1] / SAMPLES) ** 0.5))
    sample = image[::step, ::step].astype(np.int16)
    shown = None if keep is None else keep[::step, ::step]
    return sample if shown is None or not shown.any() else sample[shown]


def _averages(image: Image, keep: npt.NDArray[np.bool_] | None) -> npt.NDArray[np.int16]:
    """Return grey averages over the picture, those masked left out: a sensor's noise is gone."""
    # A few pixels of each part are enough, and all of a large picture are dear.
    step = max(1, min(image.shape[:2]) // _AVERAGED_PX)
    few = (-(-image.shape[1] // step), -(-image.shape[0] // step))
    thinned = cv2.resize(image, few, interpolation=cv2.INTER_NEAREST)
    thumb = cv2.resize(thinned, _THUMB_WH, interpolation=cv2.INTER_AREA)
    grey = np.asarray(cv2.cvtColor(thumb, cv2.COLOR_BGR2GRAY), dtype=np.int16)
    if keep is None:
        return grey
    # Only averages wholly outside the mask: a masked part makes an edge of its own.
    whole = cv2.resize(keep.view(np.uint8) * 255, few, interpolation=cv2.INTER_NEAREST)
    shown = cv2.resize(whole, _THUMB_WH, interpolation=cv2.INTER_AREA) == 255
    return grey[shown] if shown.any() else grey
