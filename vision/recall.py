# SPDX-License-Identifier: Apache-2.0
"""The last seconds of a camera, in memory, for a second and closer look.

Frames are kept as JPEG, bounded in time and in bytes, and are never written anywhere. A look runs
the model on crops around a place, at up to the full rate, and finds whose hands were there.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock

import cv2
import numpy as np

from vision.capture import Frame
from vision.geometry import FloatArray

KEPT_S = 10.0
BYTES_MAX = 24_000_000
"""Of all kept frames; ten seconds of 640 x 480 at 30 a second are about 12 MB."""
QUALITY = 85
NAMES_KEPT = 400
"""Frames of which it is known who stood where."""
FRAMES_MAX = 64
"""Of one answer."""
NEAR_S = 0.4
SAME_MM = 500.0
"""A body in a crop is a track that stood this near at about that moment."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One frame as it is kept: see :class:`vision.capture.Frame`."""

    jpeg: bytes
    number: int
    boottime_ns: int
    size_wh: tuple[int, int]
    origin_px: tuple[int, int]

    def opened(self) -> Frame:
        """Return the frame, as good as JPEG keeps it."""
        image = cv2.imdecode(np.frombuffer(self.jpeg, dtype=np.uint8), cv2.IMREAD_COLOR)
        assert image is not None, "it was encoded here"
        pixels = np.asarray(image, dtype=np.uint8)
        return Frame(pixels, self.number, self.boottime_ns, self.size_wh, self.origin_px)


@dataclass(frozen=True, slots=True)
class Known:
    """Who stood where in one frame: names, and ``(n, 2)`` places in mm."""

    at_s: float
    names: tuple[str, ...]
    floor_mm: FloatArray


class Recall:
    """Keeps what a camera showed. Frames come on one thread, questions on another."""

    def __init__(self, kept_s: float = KEPT_S, bytes_max: int = BYTES_MAX) -> None:
        self._kept_ns, self._bytes_max = round(kept_s * 1e9), bytes_max
        self._frames: deque[Kept] = deque()
        self._bytes = 0
        self._known: deque[Known] = deque(maxlen=NAMES_KEPT)
        self._lock = Lock()

    @property
    def size_bytes(self) -> int:
        """Return how much memory the kept frames take."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._frames)

    def keep(self, frame: Frame) -> None:
        """Keep a frame; the oldest go once they are too old or too large together."""
        good, jpeg = cv2.imencode(".jpg", frame.image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        if not good:
            return
        kept = Kept(jpeg.tobytes(), frame.number, frame.boottime_ns, frame.size_wh, frame.origin_px)
        with self._lock:
            self._frames.append(kept)
            self._bytes += len(kept.jpeg)
            while self._frames and (
                self._bytes > self._bytes_max
                or kept.boottime_ns - self._frames[0].boottime_ns > self._kept_ns
            ):
                self._bytes -= len(self._frames.popleft().jpeg)

    def note(self, at_s: float, names: Sequence[str | None], floor_mm: FloatArray) -> None:
        """Note who stood where in a frame that was looked at."""
        told = [index for index, name in enumerate(names) if name is not None]
        if told:
            known = Known(at_s, tuple(str(names[index]) for index in told), floor_mm[told])
            with self._lock:
                self._known.append(known)

    def between(self, since_ns: int, until_ns: int) -> list[Kept]:
        """Return the frames of a time, evenly thinned where there are too many for one answer."""
        with self._lock:
            found = [one for one in self._frames if since_ns <= one.boottime_ns <= until_ns]
        if len(found) <= FRAMES_MAX:
            return found
        chosen = np.linspace(0, len(found) - 1, FRAMES_MAX).round().astype(int)
        return [found[index] for index in chosen]

    def name_at(self, at_s: float, place_mm: FloatArray) -> str | None:
        """Return the track that stood nearest to a place at about a moment; None: nobody did."""
        best, least_mm = None, SAME_MM
        with self._lock:
            around = [one for one in self._known if abs(one.at_s - at_s) <= NEAR_S]
        for known in around:
            far_mm = np.hypot(*(known.floor_mm - place_mm).T)
            far_mm = np.where(np.isfinite(far_mm), far_mm, np.inf)
            index = int(far_mm.argmin())
            if far_mm[index] < least_mm:
                best, least_mm = known.names[index], float(far_mm[index])
        return best


def around(
    centre_px: FloatArray, radius_px: float, frame_wh: tuple[int, int]
) -> tuple[int, int, int, int] | None:
    """Return the square ``(left, top, right, bottom)`` about a point that lies in the frame."""
    wide, high = frame_wh
    half = min(max(radius_px, 16.0), min(wide, high) / 2)
    x = min(max(float(centre_px[0]), half), wide - half)
    y = min(max(float(centre_px[1]), half), high - half)
    beside_px = abs(centre_px[0] - x) + abs(centre_px[1] - y)
    if not beside_px < 2 * half:  # Also where it is no number.
        return None
    return round(x - half), round(y - half), round(x + half), round(y + half)
