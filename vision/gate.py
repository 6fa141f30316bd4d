# SPDX-License-Identifier: Apache-2.0
"""When to run the model: where something moves or somebody is, and never faster than it can.

An empty aisle is most of a store's day. Each frame is compared with what the camera usually shows,
which costs a hundredth of a detection; only now and then is an unchanged picture looked at all the
same, because somebody may stand very still.
"""

import logging
from collections import deque
from dataclasses import dataclass, field
from statistics import median_low

import cv2
import numpy as np
import numpy.typing as npt

from vision.rendering import Image
from vision.scaling import shrunk

log = logging.getLogger(__name__)

WIDE_PX = 96
"""Frames are compared at this width..."""
HIGH_PX_MAX = 192
"""... and at no more than this height, however narrow they are."""
LEVELS = 10.0
"""A pixel has changed by more than this; its own noise at this size is about 1."""
SHARE = 0.002
"""Of the picture that has to change: a head from above, at four metres, is 0.5 %."""
FOLLOW_S = 4.0
"""Time constant with which the usual picture follows what stays; light changes slowly."""
BUSY_S = 1.0
"""The model is run on every frame for so long after the last movement, or the last person seen."""
AWAKE_S = 3.0
"""Somebody may be there for so long after that..."""
LINGER_S = 0.25
"""... and the model is run once in so long: who comes back, moves."""
ASLEEP_S = 1.0
"""Then once in so long: at first..."""
ASLEEP_MORE = 2.0
"""... longer by this factor each time that nobody is found..."""
ASLEEP_MAX_S = 4.0
"""... and at last. Who stands still was seen to come: the model had three seconds to find him."""
SLOW_SHARE = 0.9
"""A model that takes more of its period than this has to be run more rarely."""
SLOW_AFTER = 20
"""Detections in a row that say so before it is told."""
TIMES = 5
"""A detection takes the median of so many: a single slow one, or two, say nothing of the next."""
TIMES_MIN = 3
"""Of fewer nothing is known: the first one warms the runtime up."""


@dataclass(slots=True)
class MotionGate:
    """Tells whether a frame is worth running the model on."""

    _usual: npt.NDArray[np.float32] | None = None
    _at_s: float = 0.0
    _active_s: float = -AWAKE_S
    """When something moved, or somebody was seen, last."""
    _looked_s: float = -1e9
    _pause_s: float = ASLEEP_S

    def worth(self, image: Image, at_s: float) -> bool:
        """Return whether to look at a frame: something moved lately, or it is time.

        Args:
            image: ``(h, w, 3)`` BGR.
            at_s: When it was captured, monotonic seconds.
        """
        if self._moved(image, at_s):
            self._active_s, self._pause_s = at_s, ASLEEP_S
        if at_s - self._active_s <= BUSY_S:
            return True
        return at_s - self._looked_s >= (LINGER_S if self.awake(at_s) else self._pause_s)

    def awake(self, at_s: float) -> bool:
        """Return whether something moved, or somebody was seen, lately."""
        return at_s - self._active_s <= AWAKE_S

    def looked(self, persons: int, at_s: float) -> None:
        """Note that the model was run on a frame, and how many persons it found."""
        self._looked_s = at_s
        if persons:
            self._active_s, self._pause_s = at_s, ASLEEP_S
        elif not self.awake(at_s):
            self._pause_s = min(self._pause_s * ASLEEP_MORE, ASLEEP_MAX_S)

    def _moved(self, image: Image, at_s: float) -> bool:
        height, width = image.shape[:2]
        size = (WIDE_PX, min(max(round(WIDE_PX * height / width), 1), HIGH_PX_MAX))
        small = shrunk(image, size).astype(np.float32)
        if self._usual is None or self._usual.shape != small.shape:
            self._usual, self._at_s = small, at_s
            return True
        away = small - self._usual
        away -= _middle(away)  # The light of the whole room.
        share = min(max((at_s - self._at_s) / FOLLOW_S, 0.0), 1.0)
        self._usual += share * (small - self._usual)
        self._at_s = at_s
        still = cv2.countNonZero(cv2.inRange(away, (-LEVELS,) * 3, (LEVELS,) * 3))
        return bool(still < (1.0 - SHARE) * size[0] * size[1])


def _middle(away: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the ``(3,)`` median of every third pixel each way: hundreds say what all would."""
    some = np.ascontiguousarray(away[::3, ::3].reshape(-1, 3).T)
    middle = some.shape[1] // 2
    some.partition(middle, axis=1)
    return some[:, middle]


@dataclass(slots=True)
class Pace:
    """Spreads detections over time, and says when the machine is too slow for what is wanted.

    Attributes:
        fps_max: Detections a second that are wanted.
        more_threads: Whether the model could have more threads on this machine.
        slow: Whether there are fewer.
    """

    camera: str
    fps_max: float
    more_threads: bool = True
    slow: bool = False
    _took_s: deque[float] = field(default_factory=lambda: deque(maxlen=TIMES))
    _next_s: float = 0.0
    _against: int = field(default=0)

    @property
    def takes_s(self) -> float:
        """Return how long a detection takes; 0 while that is not known."""
        return median_low(self._took_s) if len(self._took_s) >= TIMES_MIN else 0.0

    @property
    def fps(self) -> float:
        """Return the detections a second that the machine can do, at most those wanted."""
        return min(self.fps_max, SLOW_SHARE / max(self.takes_s, 1e-6))

    def wait_s(self, now_s: float) -> float:
        """Return how long to wait before the next detection."""
        return max(self._next_s - now_s, 0.0)

    def begin(self, now_s: float) -> None:
        """Note that a detection begins."""
        self._next_s = max(self._next_s, now_s) + 1.0 / self.fps

    def done(self, took_s: float) -> None:
        """Note how long a detection took; tell once when that is too long, and when it is over."""
        self._took_s.append(took_s)
        late = self.takes_s * self.fps_max > SLOW_SHARE
        self._against = self._against + 1 if late is not self.slow else 0
        if self._against < SLOW_AFTER:
            return
        self.slow, self._against = late, 0
        if late:
            log.warning(
                "camera %s: the model takes %.0f ms, so it looks %.1f times a second, not %g. "
                "Use a smaller model%s, or lower fps_max",
                self.camera,
                1e3 * self.takes_s,
                self.fps,
                self.fps_max,
                " or more threads" if self.more_threads else "",
            )
        else:
            log.info("camera %s: it looks %g times a second again", self.camera, self.fps_max)
