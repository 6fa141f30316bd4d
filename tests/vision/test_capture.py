# SPDX-License-Identifier: Apache-2.0
"""The newest frame, and a camera that comes and goes."""

import logging
import queue
import threading

import numpy as np
import pytest

from vision.capture import CameraSource, Capture

WAIT_S = 20


class Camera:
    """A camera whose frames the test hands out; None ends it."""

    def __init__(self):
        self.frames = queue.Queue()
        self.closed = threading.Event()

    def read(self):
        return self.frames.get(timeout=WAIT_S)

    def close(self):
        self.closed.set()


def picture(shade):
    return np.full((4, 4, 3), shade, dtype=np.uint8)


def capture_of(outcomes, changes, seen):
    """Return a capture that gets these outcomes of opening, one after the other."""
    left = iter(outcomes)

    def open_source(_url):
        outcome = next(left, OSError("no such camera"))
        if isinstance(outcome, OSError):
            raise outcome
        return outcome

    return Capture(
        "cam1",
        "fake",
        on_change=changes.put,
        on_frame=lambda: seen.put(None),
        open_source=open_source,
        backoff_first_s=0.001,
    )


def test_only_the_newest_frame_is_given_and_the_others_are_counted():
    camera, changes, seen = Camera(), queue.Queue(), queue.Queue()
    with capture_of([camera], changes, seen) as capture:
        for shade in range(5):
            camera.frames.put(picture(shade))
        for _ in range(5):
            seen.get(timeout=WAIT_S)
        frame = capture.take()
        assert frame is not None
        assert frame.image[0, 0, 0] == 4
        assert frame.number == 4
        assert capture.take() is None
        assert (capture.counts.frames, capture.counts.dropped) == (5, 4)
        camera.frames.put(None)


def test_going_and_coming_back_are_each_told_and_logged_once(caplog):
    caplog.set_level(logging.INFO)
    first, second = Camera(), Camera()
    changes, seen = queue.Queue(), queue.Queue()
    gone = OSError("cannot be opened")
    with capture_of([first, gone, gone, gone, second], changes, seen) as capture:
        first.frames.put(picture(1))
        assert changes.get(timeout=WAIT_S) is None
        first.frames.put(None)
        assert "no more frames" in changes.get(timeout=WAIT_S)
        assert first.closed.wait(WAIT_S)
        second.frames.put(picture(2))
        assert changes.get(timeout=WAIT_S) is None
        assert changes.empty()
        assert capture.counts.lost == 1
        frame = capture.take()
        assert frame is not None
        assert frame.number == 1
        second.frames.put(None)
    assert [record.message for record in caplog.records][:2] == [
        "camera cam1 is down: fake: gives no more frames",
        "camera cam1 is back",
    ]


def test_a_camera_that_never_was_there_is_told_once():
    changes, seen = queue.Queue(), queue.Queue()
    with capture_of([], changes, seen) as capture:
        assert changes.get(timeout=WAIT_S) == "no such camera"
        assert capture.take() is None
    assert changes.empty()


def test_a_file_that_is_not_there_is_a_clear_error(tmp_path):
    with pytest.raises(OSError, match="no such file or device"):
        CameraSource(str(tmp_path / "none.mp4"))


def test_a_file_that_is_no_video_is_a_clear_error(tmp_path):
    path = tmp_path / "noise.mp4"
    path.write_bytes(b"noise" * 100)
    with pytest.raises(OSError, match="cannot be opened"):
        CameraSource(str(path))
