# SPDX-License-Identifier: Apache-2.0
"""The newest frame of a camera: a thread reads all of them, and whoever looks gets the last.

A camera is anything that OpenCV opens: an address, a device or a file. It is opened again with
growing, jittered waits when it fails. Going away and coming back are each logged once.
"""

import logging
import os
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import cv2
import numpy as np

from vision.rendering import Image

log = logging.getLogger(__name__)

# OpenCV and ffmpeg would write of every attempt; an outage is told twice, below. Whoever looks for
# a fault sets these two in the environment.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
if "OPENCV_LOG_LEVEL" not in os.environ:
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

BACKOFF_FIRST_S = 0.5
BACKOFF_CAP_S = 15.0
OPEN_TIMEOUT_MS = 5_000
READ_TIMEOUT_MS = 3_000
"""A network camera that gives no frame for this long has gone."""
_BOOTTIME = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Source(Protocol):
    """An opened camera."""

    def read(self) -> Image | None:
        """Wait for the next frame, ``(h, w, 3)`` BGR; None once there is no more."""
        ...

    def close(self) -> None:
        """Give the camera back."""
        ...


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture and when it came.

    Attributes:
        image: ``(h, w, 3)`` BGR.
        number: Counts the camera's frames from 0, over reconnections; a result that carries another
            number belongs to another frame.
        boottime_ns: CLOCK_BOOTTIME when it was read.
    """

    image: Image
    number: int
    boottime_ns: int


class CameraSource:
    """A camera opened by OpenCV. A file is read at its own pace, as a camera would give it."""

    def __init__(self, url: str) -> None:
        """Open it.

        Raises:
            OSError: It cannot be opened.
        """
        if "://" not in url and not url.isdigit() and not Path(url).exists():
            raise FileNotFoundError(f"{url}: no such file or device")
        if "://" in url:
            limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, OPEN_TIMEOUT_MS]
            limits += [cv2.CAP_PROP_READ_TIMEOUT_MSEC, READ_TIMEOUT_MS]
            self._capture = cv2.VideoCapture(url, cv2.CAP_FFMPEG, limits)
        elif url.isdigit():
            self._capture = cv2.VideoCapture(int(url))
        else:
            self._capture = cv2.VideoCapture(url)
        if not self._capture.isOpened():
            self._capture.release()
            raise ConnectionError(f"{url}: cannot be opened")
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        self._period_s = 0.0
        if "://" not in url and Path(url).is_file():
            self._period_s = 1.0 / min(max(self._capture.get(cv2.CAP_PROP_FPS), 1.0), 1_000.0)
        self._next_s = time.monotonic()

    def read(self) -> Image | None:
        """Wait for the next frame; None at the end of a file or when the camera has gone."""
        if self._period_s:
            time.sleep(max(self._next_s - time.monotonic(), 0.0))
            self._next_s = max(self._next_s + self._period_s, time.monotonic())
        good, image = self._capture.read()
        return np.asarray(image, dtype=np.uint8) if good else None

    def close(self) -> None:
        """Give the camera back."""
        self._capture.release()


@dataclass(slots=True)
class Counts:
    """What happened so far: frames read, frames never looked at, and times the camera went."""

    frames: int = 0
    dropped: int = 0
    lost: int = 0


class Capture:
    """Reads a camera on a thread of its own and keeps its newest frame.

    Use it as a context manager. ``on_change`` is called on that thread, with None when the camera
    is there (its first frame came) and with the reason when it has gone.
    """

    def __init__(
        self,
        name: str,
        url: str,
        *,
        on_change: Callable[[str | None], None] = lambda _reason: None,
        on_frame: Callable[[], None] = lambda: None,
        open_source: Callable[[str], Source] = CameraSource,
        backoff_first_s: float = BACKOFF_FIRST_S,
    ) -> None:
        self.counts = Counts()
        self._name, self._url = name, url
        self._on_change, self._on_frame = on_change, on_frame
        self._open_source = open_source
        self._backoff_first_s = backoff_first_s
        self._state = _State()
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
        failures, told = 0, False
        while not self._state.stop.is_set():
            reason = None
            try:
                source = self._open_source(self._url)
            except OSError as error:
                reason = str(error)
            else:
                before = self.counts.frames
                try:
                    reason = self._read_all(source, lost=told)
                finally:
                    source.close()
                if self.counts.frames > before:
                    failures, told = 0, False
            if self._state.stop.is_set():
                return
            failures += 1
            if not told:
                told = True
                self.counts.lost += 1
                log.warning("camera %s is down: %s", self._name, reason)
                self._on_change(reason)
            doubled = self._backoff_first_s * 2.0 ** min(failures - 1, 10)
            wait_s = min(BACKOFF_CAP_S, doubled) * random.uniform(0.5, 1.0)  # noqa: S311
            self._state.stop.wait(wait_s)

    def _read_all(self, source: Source, *, lost: bool) -> str:
        """Keep the newest frame until the source has no more; return why it ended."""
        first = True
        while not self._state.stop.is_set():
            image = source.read()
            if image is None:
                return f"{self._url}: gives no more frames"
            now_ns = time.clock_gettime_ns(_BOOTTIME)
            with self._state.lock:
                self.counts.dropped += self._state.newest is not None
                self._state.newest = Frame(image, self.counts.frames, now_ns)
                self.counts.frames += 1
            if first:
                first = False
                if lost:
                    log.info("camera %s is back", self._name)
                self._on_change(None)
            self._on_frame()
        return "stopped"


@dataclass(slots=True)
class _State:
    """What both threads touch."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    stop: threading.Event = field(default_factory=threading.Event)
    newest: Frame | None = None
