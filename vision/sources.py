# SPDX-License-Identifier: Apache-2.0
"""Cameras as OpenCV opens them: network streams, V4L2 devices and files, behind one protocol."""

import logging
import os
import re
import time
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from vision.timeline import Stamp

log = logging.getLogger(__name__)

# OpenCV and ffmpeg would write of every attempt; an outage is told twice, by the capture. Whoever
# looks for a fault sets these two in the environment.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
if "OPENCV_LOG_LEVEL" not in os.environ:
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

OPEN_TIMEOUT_MS = 5_000
READ_TIMEOUT_MS = 3_000
"""A network camera that gives no frame for this long has gone."""
DECODING_THREADS = 1
"""FFmpeg holds back one more frame for each further thread."""
FPS_UNKNOWN = 25.0
UNCOMPRESSED_PX_MAX = 640 * 480
"""Above this size USB cameras give few frames a second unless they compress them."""
FRESH_NS_MAX = 2_000_000_000
"""A driver's time of capture older than this at arrival is on another clock."""
_BOOTTIME = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_DEVICES = Path("/dev")
HIDDEN = "…"
"""Stands for a host that cannot be told from a login."""
_PATH = re.compile(r"[/?#]")
_HOST = re.compile(r"(?:[\w.-]+|\[[0-9A-Fa-f:.%]+\])(?::\d{1,5})?")
_ADDRESS = re.compile(r"""([A-Za-z][\w+.-]*://(?:.*@)?\S*?)([:.,;)'"]*(?:\s|$))""", re.DOTALL)
"""An address in a text, to the last ``@``, and what ends the sentence or the quotation after it."""


class Source(Protocol):
    """An opened camera."""

    live: bool
    """Whether frames may have been waiting when it was opened, and go on without us."""
    period_ns: int
    """Time between two frames, as far as the camera says so."""

    def grab(self) -> Stamp | None:
        """Wait for the next frame and return when it came; None once there is no more."""
        ...

    def retrieve(self) -> npt.NDArray[Any] | None:
        """Return the frame grabbed last, ``(h, w, 3)`` BGR if all is well; None if it is broken."""
        ...

    def close(self) -> None:
        """Give the camera back."""
        ...


class CameraSource:
    """A camera opened by OpenCV.

    A file is read at its own pace, as a camera would give it, and begins anew at its end.
    """

    def __init__(
        self, url: str, *, resolution: tuple[int, int] | None = None, fps: float | None = None
    ) -> None:
        """Open it.

        Args:
            url: An address, a device (a number, ``/dev/video0``, ``/dev/v4l/by-id/…``) or a file.
            resolution: ``(width, height)`` that a device is asked for.
            fps: Frames a second that a device is asked for.

        Raises:
            OSError: It cannot be opened.
        """
        self._url = url
        self._device = device_path(url)
        self._streamed = "://" in url
        self.live = self._streamed
        self._frames = 0
        self._cut_short = False
        self._capture = self._open()
        if self._device is not None:
            self._ask(resolution, fps)
        told = self._capture.get(cv2.CAP_PROP_FPS)
        self.period_ns = round(1e9 / min(max(told if told > 0 else FPS_UNKNOWN, 1.0), 1_000.0))
        # Pictures over HTTP carry no times; ffmpeg makes some up.
        self._timed = self._streamed and not url.lower().startswith(("http:", "https:"))
        self._start_ns = time.monotonic_ns()

    def grab(self) -> Stamp | None:
        """Wait for the next frame; None at a file's unreadable end or when the camera has gone."""
        if not self._capture.grab() and not self._begin_anew():
            return None
        self._frames += 1
        position_ms = self._capture.get(cv2.CAP_PROP_POS_MSEC)
        if self._device is None and not self._streamed:
            self._pace(position_ms)
        arrived_ns = time.clock_gettime_ns(_BOOTTIME)
        if self._device is not None:
            return Stamp(arrived_ns, captured_ns=driver_time_ns(position_ms, arrived_ns))
        timed = self._timed and position_ms >= 0
        return Stamp(arrived_ns, round(position_ms * 1e6) if timed else None)

    def retrieve(self) -> npt.NDArray[Any] | None:
        """Return the frame grabbed last."""
        try:
            good, image = self._capture.retrieve()
        except cv2.error:  # A frame that changed its format half-way.
            return None
        return np.asarray(image) if good else None

    def close(self) -> None:
        """Give the camera back."""
        self._capture.release()

    def _open(self) -> cv2.VideoCapture:
        if self._device is not None:
            _check_device(self._url, self._device)
            capture = cv2.VideoCapture(str(self._device), cv2.CAP_V4L2)
            remedy = "Check that it is a camera and that nothing else uses it"
        elif self._streamed:
            limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, OPEN_TIMEOUT_MS]
            limits += [cv2.CAP_PROP_READ_TIMEOUT_MSEC, READ_TIMEOUT_MS]
            limits += [cv2.CAP_PROP_N_THREADS, DECODING_THREADS]
            capture = cv2.VideoCapture(self._url, cv2.CAP_FFMPEG, limits)
            remedy = "Check address, login and network"
        else:
            if not Path(self._url).is_file():
                raise FileNotFoundError(
                    f"{self._url}: no such file or device. "
                    "Give a file by its whole path, and begin an address with its scheme"
                )
            threads = [cv2.CAP_PROP_N_THREADS, DECODING_THREADS]
            capture = cv2.VideoCapture(self._url, cv2.CAP_FFMPEG, threads)
            remedy = "Check that it is a whole video"
        if not capture.isOpened():
            capture.release()
            raise ConnectionError(f"{shown(self._url)}: cannot be opened. {remedy}")
        return capture

    def _ask(self, resolution: tuple[int, int] | None, fps: float | None) -> None:
        """Ask a device for size and rate; what it gives otherwise is scaled and thinned later."""
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        if resolution is not None:
            if resolution[0] * resolution[1] > UNCOMPRESSED_PX_MAX:
                self._capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
            self._capture.set(cv2.CAP_PROP_FRAME_WIDTH, resolution[0])
            self._capture.set(cv2.CAP_PROP_FRAME_HEIGHT, resolution[1])
        if fps is not None:
            self._capture.set(cv2.CAP_PROP_FPS, fps)

    def _begin_anew(self) -> bool:
        """Read a file from its start again; tell whether there is a frame."""
        if self._streamed or self._device is not None or not self._frames:
            return False
        promised = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        if self._frames < 0.9 * promised and not self._cut_short:
            self._cut_short = True
            log.warning(
                "%s: ends after %d of %d frames. Check that it is a whole video",
                self._url,
                self._frames,
                promised,
            )
        self._capture.release()
        try:
            self._capture = self._open()
        except OSError:
            return False
        self._frames = 0
        self._start_ns = time.monotonic_ns()
        return bool(self._capture.grab())

    def _pace(self, position_ms: float) -> None:
        """Wait until a file's frame is due, by its own times and else by its rate."""
        due_ns = self._start_ns + (self._frames - 1) * self.period_ns
        if position_ms > 0:
            due_ns = self._start_ns + round(position_ms * 1e6)
        wait_ns = due_ns - time.monotonic_ns()
        if wait_ns > 0:
            time.sleep(min(wait_ns, 60_000_000_000) / 1e9)
        else:
            self._start_ns -= wait_ns  # What was missed is not caught up with.


def device_path(url: str) -> Path | None:
    """Return the device that is meant by a number or a path; None if it is an address or a file."""
    if url.isascii() and url.isdigit():
        return _DEVICES / f"video{int(url)}"
    path = Path(url)
    if "://" not in url and (path.is_relative_to(_DEVICES) or path.is_char_device()):
        return path
    return None


def _check_device(url: str, device: Path) -> None:
    if not device.exists():
        raise FileNotFoundError(f"{url}: no such device. Check the cable; see /dev/v4l/by-id")
    if not device.is_char_device():
        raise ConnectionError(f"{url}: is no device. Name one of /dev/v4l/by-id")
    if not os.access(device, os.R_OK | os.W_OK):
        raise PermissionError(f"{url}: no permission. Add the user to the group video")


def driver_time_ns(monotonic_ms: float, arrived_ns: int) -> int | None:
    """Return CLOCK_BOOTTIME of a V4L2 buffer, which is dated by CLOCK_MONOTONIC; None if it is not.

    Args:
        monotonic_ms: The buffer's time as OpenCV gives it.
        arrived_ns: CLOCK_BOOTTIME when it was read.
    """
    asleep_ns = time.clock_gettime_ns(_BOOTTIME) - time.monotonic_ns()
    taken_ns = round(monotonic_ms * 1e6) + asleep_ns
    return taken_ns if 0 <= arrived_ns - taken_ns <= FRESH_NS_MAX else None


def shown(url: str) -> str:
    """Return an address for logs and messages: scheme, host and port, never login, path or query.

    Cameras take logins in each of these. An unescaped ``@`` or ``/`` in a login makes more than one
    reading possible; where the host might be a piece of a password, it is left out as well. What
    has no ``://`` is a device or a file, and is returned as it is.
    """
    scheme, slashes, rest = url.partition("://")
    if not slashes:
        return url
    first = _PATH.split(rest, maxsplit=1)[0]
    if "@" not in rest[len(first) :]:
        host = first.rpartition("@")[2]
    elif rest.count("@") == 1 and not _HOST.fullmatch(first):
        host = _PATH.split(rest.partition("@")[2], maxsplit=1)[0]
    else:
        host = ""
    return f"{scheme}://{host if _HOST.fullmatch(host) else HIDDEN}"


def without_logins(text: str, url: str) -> str:
    """Return a text that may quote an address, or part of it, as :func:`shown` gives addresses.

    Args:
        text: What a library or the system said.
        url: The camera's address.
    """
    if "://" in url:
        text = text.replace(url, shown(url))
        rest, host = (whole.partition("://")[2] for whole in (url, shown(url)))
        if rest.rstrip("/") != host:
            text = text.replace(rest, host)
    return _ADDRESS.sub(lambda found: shown(found[1]) + found[2], text)
