# SPDX-License-Identifier: Apache-2.0
"""The newest frame of a camera: a thread reads all of them, and whoever looks gets the last.

A camera is opened again with growing, jittered waits when it fails, however that happens: an error
that nobody expected is a reason like any other. It counts as lost while it gives no frames, and
also while it gives some but sees nothing, because it is frozen or covered. Going away and coming
back are each logged once.
"""

import logging
import random
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from vision.framing import FrameTypeError, Framing
from vision.rendering import Image
from vision.sources import CameraSource, Source, shown, without_logins
from vision.timeline import Backlog, Stamp, Timeline
from vision.watchdog import BLIND_AFTER_S, Watchdog

log = logging.getLogger(__name__)

BACKOFF_FIRST_S = 0.5
BACKOFF_CAP_S = 15.0
STEADY_S = 10.0
"""A camera that stayed this long is tried again at once when it goes."""
BROKEN_FRAMES_MAX = 100
"""So many frames in a row that cannot be used end a connection."""
PROBLEM_LETTERS_MAX = 100


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture and when it was taken.

    Attributes:
        image: ``(h, w, 3)`` BGR: the crop, black where masked.
        number: Counts the camera's frames from 0, over reconnections; a result that carries another
            number belongs to another frame.
        boottime_ns: CLOCK_BOOTTIME when it was taken, as far as that is known.
        size_wh: Size of the whole frame.
        origin_px: ``(x, y)`` of the crop's upper left corner in the whole frame.
    """

    image: Image
    number: int
    boottime_ns: int
    size_wh: tuple[int, int]
    origin_px: tuple[int, int] = (0, 0)


@dataclass(slots=True)
class Counts:
    """What happened so far.

    Every frame that a camera gave is looked at, or counted under one of the reasons why it was not.

    Attributes:
        frames: That the camera gave.
        dropped: Newer ones came before anybody took them.
        skipped: Were waiting when the stream was opened.
        thinned: Came faster than the rate that was asked for.
        blind: Showed nothing: the camera was frozen or covered.
        refused: Were broken, or no pictures.
        lost: How many times the camera went.
    """

    frames: int = 0
    dropped: int = 0
    skipped: int = 0
    thinned: int = 0
    blind: int = 0
    refused: int = 0
    lost: int = 0


class Capture:
    """Reads a camera on a thread of its own and keeps its newest frame.

    Use it as a context manager. ``on_change`` is called on that thread, with None when the camera
    is there (its first frame came) and with the reason when it has gone or sees nothing;
    ``on_frame`` likewise, with each frame that can be looked at.
    """

    def __init__(
        self,
        name: str,
        url: str,
        *,
        framing: Framing | None = None,
        fps: float | None = None,
        delay_ms: float | None = None,
        blind_after_s: float = BLIND_AFTER_S,
        on_change: Callable[[str | None], None] = lambda _reason: None,
        on_frame: Callable[[Frame], None] = lambda _frame: None,
        open_source: Callable[[str], Source] = CameraSource,
        backoff_first_s: float = BACKOFF_FIRST_S,
    ) -> None:
        self.counts = Counts()
        self._name, self._url = name, url
        self._framing = framing or Framing()
        self._period_ns = 0 if fps is None else round(1e9 / fps)
        self._delay_ns = None if delay_ms is None else round(delay_ms * 1e6)
        self._watchdog = Watchdog(blind_after_s)
        self._on_change, self._on_frame = on_change, on_frame
        self._open_source = open_source
        self._backoff_first_s = backoff_first_s
        self._state = _State()
        self._told: str | None = _NOTHING_TOLD
        self._size_wh: tuple[int, int] | None = None
        self._thread = threading.Thread(target=self._run, name=f"capture {name}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop reading, waiting a little for a read in progress."""
        self._state.stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=2.0)

    def take(self) -> Frame | None:
        """Return the newest frame, once; None when there has been no new one."""
        with self._state.lock:
            frame, self._state.newest = self._state.newest, None
        return frame

    def _run(self) -> None:
        failures = 0
        while not self._state.stop.is_set():
            steady = False
            try:
                with closing(self._open_source(self._url)) as source:
                    opened_s = time.monotonic()
                    try:
                        reason = self._read_all(source)
                    finally:
                        steady = time.monotonic() - opened_s > STEADY_S
            except OSError as error:
                reason = without_logins(str(error), self._url)
            except Exception as error:  # noqa: BLE001 - the thread would end, and nobody hear of it
                reason = _unexpected(error, self._url)
            if steady:
                failures = 0
            if self._state.stop.is_set():
                return
            failures += 1
            self._tell(reason)
            doubled = self._backoff_first_s * 2.0 ** min(failures - 1, 10)
            wait_s = min(BACKOFF_CAP_S, doubled) * random.uniform(0.5, 1.0)  # noqa: S311
            self._state.stop.wait(wait_s)

    def _read_all(self, source: Source) -> str:
        """Keep the newest frame until the source has no more; return why it ended."""
        reading = _Reading(source, self._delay_ns)
        while not self._state.stop.is_set():
            stamp = source.grab()
            if stamp is None:
                return f"{shown(self._url)}: gives no more frames"
            number = self.counts.frames
            self.counts.frames += 1
            if reading.waited(stamp):
                self.counts.skipped += 1
                continue
            taken_ns = reading.timeline.captured_ns(stamp)
            if not reading.due(taken_ns, self._period_ns):
                self.counts.thinned += 1
                continue
            try:
                cut = self._framing.cut(_retrieved(source))
            except FrameTypeError as error:
                self.counts.refused += 1
                reading.broken += 1
                if reading.broken >= BROKEN_FRAMES_MAX:
                    return f"{shown(self._url)}: {error}"
                continue
            reading.broken = 0
            self._note_size(cut.size_wh)
            self._note_drift(reading)
            reason = self._watchdog.look(cut.image, stamp.arrived_ns, cut.keep)
            self._tell(reason)
            if reason is None:
                self._keep(Frame(cut.image, number, taken_ns, cut.size_wh, cut.origin_px))
            else:
                self._blind()
        return "stopped"

    def _keep(self, frame: Frame) -> None:
        with self._state.lock:
            self.counts.dropped += self._state.newest is not None
            self._state.newest = frame
        self._on_frame(frame)

    def _blind(self) -> None:
        """Count a frame that shows nothing, and take back one that nobody has looked at yet."""
        with self._state.lock:
            self.counts.blind += 1 + (self._state.newest is not None)
            self._state.newest = None

    def _tell(self, reason: str | None) -> None:
        """Log and pass on that the camera is there, or why not, when that has changed."""
        if reason == self._told:
            return
        was, self._told = self._told, reason
        away = was is not None and was is not _NOTHING_TOLD
        if reason is None:
            if away:
                log.info("camera %s is back", self._name)
        elif not away:
            self.counts.lost += 1
            log.warning("camera %s is down: %s", self._name, reason)
        else:
            # Each attempt may fail in other words; that is still the same outage.
            self._told = was
            return
        self._on_change(reason)

    def _note_size(self, size_wh: tuple[int, int]) -> None:
        """Log a size that changed, or that has another shape than the calibration's picture."""
        if size_wh == self._size_wh:
            return
        if self._size_wh is not None:
            log.warning(
                "camera %s gives frames of %dx%d px now, not of %dx%d; they are scaled",
                self._name,
                *size_wh,
                *self._size_wh,
            )
        self._size_wh = size_wh
        own = self._framing.size_wh
        if own is not None and abs(size_wh[0] * own[1] / (size_wh[1] * own[0]) - 1) > 0.02:
            log.warning(
                "camera %s: frames of %dx%d px have another shape than the %dx%d px that it is "
                "calibrated in. If the view differs too, calibrate again or set resolution",
                self._name,
                *size_wh,
                *own,
            )

    def _note_drift(self, reading: "_Reading") -> None:
        if reading.timeline.trusted or reading.told_drift:
            return
        reading.told_drift = True
        log.warning(
            "camera %s: its times do not run like the clock, so arrival counts. If it decodes too "
            "slowly, lower its resolution or rate",
            self._name,
        )


_NOTHING_TOLD: Final = ""


class _Reading:
    """What is known of one connection to a camera."""

    def __init__(self, source: Source, delay_ns: int | None) -> None:
        self.timeline = Timeline(delay_ns)
        self.broken = 0
        """Frames in a row that could not be used."""
        self.told_drift = False
        self._backlog = Backlog(source.period_ns) if source.live else None
        self._delay_ns = delay_ns
        self._due_ns = 0

    def waited(self, stamp: Stamp) -> bool:
        """Tell whether a frame was waiting when the stream was opened."""
        if self._backlog is None:
            return False
        if self._backlog.holds(stamp):
            return True
        if self._delay_ns is None:
            self.timeline.delay_ns = self._backlog.decode_ns
        self._backlog = None
        return False

    def due(self, taken_ns: int, period_ns: int) -> bool:
        """Tell whether a frame is to be kept at a rate; a tenth early is in time."""
        if taken_ns < self._due_ns - period_ns // 10:
            return False
        # What is a little late does not lower the rate; what is late by more begins anew.
        late = taken_ns - self._due_ns > period_ns
        self._due_ns = (taken_ns if late else self._due_ns) + period_ns
        return True


def _unexpected(error: Exception, url: str) -> str:
    """Return what to say of an error that no camera should be able to make."""
    problem = " ".join(without_logins(str(error), url).split())[:PROBLEM_LETTERS_MAX]
    where = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(where.filename).name}:{where.lineno}"
    return f"reading failed with {type(error).__name__} at {place} ({problem}). Report this"


def _retrieved(source: Source) -> npt.NDArray[np.generic]:
    image = source.retrieve()
    if image is None:
        raise FrameTypeError("gives frames that cannot be decoded. Check its format")
    return image


@dataclass(slots=True)
class _State:
    """What both threads touch."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    stop: threading.Event = field(default_factory=threading.Event)
    newest: Frame | None = None
