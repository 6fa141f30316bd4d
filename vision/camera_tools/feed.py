# SPDX-License-Identifier: Apache-2.0
"""Frames of a camera that somebody looks at: a camera that fails is told at once, not tried again.

Cameras read on a thread of their own, since some wait for ever.
"""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import cv2
import numpy as np

from vision.flats import Image
from vision.framing import FrameTypeError, as_bgr
from vision.sources import CameraSource, shown

FIRST_S = 12.0
"""Longer than a camera takes to open and to give its first frame."""
NEXT_S = 6.0
PICTURE_BYTES_MAX = 64 * 1024 * 1024
PICTURE_SIDE_MAX = 20_000
FILE_FRAMES_MAX = 100_000
SHOWN_MAX = 200


class CameraError(Exception):
    """A camera or a picture cannot be used: *thing: problem. Remedy*."""


class Feed:
    """The newest frame of one camera; a context manager.

    Args:
        name: The camera, for messages.
        url: What OpenCV opens.
        resolution: ``(width, height)`` that a device is asked for.
        fps: Frames a second that a device is asked for.
    """

    def __init__(
        self,
        name: str,
        url: str,
        *,
        resolution: tuple[int, int] | None = None,
        fps: float | None = None,
    ) -> None:
        self._name, self._url = name, url
        self._resolution, self._fps = resolution, fps
        self._changed = threading.Condition()
        self._image: Image | None = None
        self._reason: str | None = None
        self._stopped = False
        self.count = 0
        """Frames so far."""
        self.arrived_s = 0.0
        """When the frame that was returned last arrived, on the monotonic clock."""
        self._arrived_s = 0.0
        self._thread = threading.Thread(target=self._run, name=f"feed {name}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        with self._changed:
            self._stopped = True
        self._thread.join(timeout=2.0)

    def newest(self) -> Image:
        """Wait for a frame that was not returned before.

        Raises:
            CameraError: There is none, for the camera is away or silent.
        """
        wait_s = NEXT_S if self.count else FIRST_S
        with self._changed:
            self._changed.wait_for(lambda: self._image is not None or self._reason, wait_s)
            image, self._image = self._image, None
            if image is not None:
                self.arrived_s = self._arrived_s
                return image
            reason = self._reason or f"no frame for {wait_s:g} s"
        raise CameraError(
            f"camera {self._name}: {reason[:SHOWN_MAX]}. Check its address, power and cable, "
            "and that no other program holds it"
        )

    def _run(self) -> None:
        try:
            source = CameraSource(self._url, resolution=self._resolution, fps=self._fps)
        except OSError as error:
            self._end(str(error))
            return
        try:
            while not self._stopped:
                if source.grab() is None:
                    self._end(f"{shown(self._url)}: gives no more frames")
                    return
                arrived_s = time.monotonic()
                image = source.retrieve()
                if image is None:
                    continue  # A broken one; the next may be whole.
                try:
                    picture = as_bgr(image)
                except FrameTypeError as error:
                    self._end(f"{shown(self._url)}: {error}")
                    return
                with self._changed:
                    self._image, self._arrived_s = picture, arrived_s
                    self.count += 1
                    self._changed.notify_all()
        finally:
            source.close()

    def _end(self, reason: str) -> None:
        with self._changed:
            self._reason = reason
            self._changed.notify_all()


def measure(camera: Feed, seconds: float) -> tuple[tuple[int, int], float]:
    """Return a camera's picture size ``(width, height)`` and how many frames a second it gives.

    Args:
        camera: Not yet entered.
        seconds: How long to count.

    Raises:
        CameraError: It gives none.
    """
    with camera as feed:
        image = feed.newest()
        began_s, before = time.monotonic(), feed.count
        while time.monotonic() - began_s < seconds:
            try:
                image = feed.newest()
            except CameraError:
                break  # A short file has ended, or the camera went: what came is told.
        rate = (feed.count - before) / max(time.monotonic() - began_s, 1e-3)
    height, width = image.shape[:2]
    return (int(width), int(height)), rate


def read_picture(path: Path) -> Image:
    """Return a picture file as ``(h, w, 3)`` BGR.

    Raises:
        CameraError: It is not there, is no picture or is too large.
    """
    try:
        with path.open("rb") as file:
            content = file.read(PICTURE_BYTES_MAX + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise CameraError(f"{path}: cannot be read: {reason}. Check the path") from error
    if len(content) > PICTURE_BYTES_MAX:
        raise CameraError(f"{path}: larger than {PICTURE_BYTES_MAX} bytes. Give a smaller picture")
    try:
        image = cv2.imdecode(np.frombuffer(content, dtype=np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        image = None
    if image is None:
        raise CameraError(f"{path}: is no picture. Give a PNG or JPEG file, or a video")
    if max(image.shape[:2]) > PICTURE_SIDE_MAX:
        raise CameraError(f"{path}: wider or higher than {PICTURE_SIDE_MAX} pixels. Give another")
    return np.asarray(image, dtype=np.uint8)


def read_frames(path: Path, every: int = 10) -> Iterator[Image]:
    """Yield a picture file's picture, or every so many frames of a video file.

    Raises:
        CameraError: It is neither.
    """
    if not path.is_file():
        raise CameraError(f"{path}: no such file. Give pictures or videos of the camera")
    video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    frames = int(video.get(cv2.CAP_PROP_FRAME_COUNT)) if video.isOpened() else 0
    if frames <= 1:
        video.release()
        yield read_picture(path)
        return
    try:
        for number in range(FILE_FRAMES_MAX):
            if not video.grab():
                return
            if number % every == 0:
                good, image = video.retrieve()
                if good:
                    yield np.asarray(image, dtype=np.uint8)
    finally:
        video.release()


def write_picture(path: Path, image: Image) -> None:
    """Write a picture as PNG or JPEG, by its name.

    Raises:
        CameraError: Its name is of neither, or it cannot be written.
    """
    kind = path.suffix.lower()
    if kind not in {".png", ".jpg", ".jpeg"}:
        raise CameraError(f"{path}: is no name for a picture. Give one that ends in .png or .jpg")
    coded = cv2.imencode(kind, image)[1].tobytes()
    write_bytes(path, coded)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file.

    Raises:
        CameraError: It cannot be written.
    """
    try:
        path.write_bytes(content)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise CameraError(f"{path}: cannot be written: {reason}. Check the folder") from error
