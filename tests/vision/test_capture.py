# SPDX-License-Identifier: Apache-2.0
"""The newest frame, and a camera that comes and goes."""

import itertools
import logging
import queue
import threading

import numpy as np
import pytest

from vision.capture import BROKEN_FRAMES_MAX, Capture
from vision.framing import Framing
from vision.timeline import Stamp

WAIT_S = 120


class Camera:
    """A camera whose frames the test hands out; None ends it. A frame may come with its stamp."""

    def __init__(self, *, live=False, period_ns=50_000_000):
        self.live, self.period_ns = live, period_ns
        self.frames = queue.Queue()
        self.closed = threading.Event()

    def grab(self):
        given = self.frames.get(timeout=WAIT_S)
        if given is None:
            return None
        stamp, self.image = given if isinstance(given, tuple) else (Stamp(next(TIMES)), given)
        return stamp

    def retrieve(self):
        return self.image

    def close(self):
        self.closed.set()


TIMES = itertools.count(1_000_000_000, 50_000_000)


def at(seconds, image):
    """Return a frame that came after so many seconds."""
    return Stamp(round(seconds * 1e9)), image


def picture(shade):
    return np.full((24, 32, 3), shade, dtype=np.uint8)


def scene(number):
    """Return one of many pictures that are all neither uniform nor the same."""
    return np.random.default_rng(number).integers(0, 256, (24, 32, 3), dtype=np.uint8)


def capture_of(outcomes, changes, seen, **options):
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
        on_frame=seen.put,
        open_source=open_source,
        backoff_first_s=0.001,
        **options,
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


class Broken(Camera):
    """A camera whose library fails as nobody expects, in one of its calls."""

    def __init__(self, call):
        super().__init__()
        self.call = call
        self.frames.put(scene(1))

    def fail(self, call):
        if call == self.call:
            raise KeyError("no key in rtsp://user:secret@camera/1")

    def grab(self):
        self.fail("grab")
        return super().grab()

    def retrieve(self):
        self.fail("retrieve")
        return super().retrieve()

    def close(self):
        super().close()
        self.fail("close")


@pytest.mark.parametrize("call", ["open", "grab", "retrieve", "close"])
def test_an_error_that_nobody_expected_is_a_reason_and_the_camera_is_tried_again(call, caplog):
    caplog.set_level(logging.INFO)
    changes, seen, opened = queue.Queue(), queue.Queue(), []
    broken, good = [Broken(call) for _ in range(3)], Camera()
    for one in broken:
        one.frames.put(None)

    def open_source(_url):
        opened.append(1)
        if len(opened) > len(broken):
            return good
        broken[len(opened) - 1].fail("open")
        return broken[len(opened) - 1]

    with Capture(
        "cam1",
        "fake",
        on_change=changes.put,
        on_frame=seen.put,
        open_source=open_source,
        backoff_first_s=0.001,
    ):
        told = [changes.get(timeout=WAIT_S)]
        while told[-1] is None:  # It gave frames before it failed.
            told.append(changes.get(timeout=WAIT_S))
        good.frames.put(scene(2))
        while changes.get(timeout=WAIT_S) is not None:
            pass
        good.frames.put(None)
    assert told[-1].startswith("reading failed with KeyError at test_capture.py:")
    assert "secret" not in caplog.text + told[-1]
    assert broken[0].closed.is_set() or call == "open"
    down = [one.message for one in caplog.records if "is down" in one.message]
    assert down[0] == f"camera cam1 is down: {told[-1]}"
    assert "Traceback" not in caplog.text


def test_an_error_in_what_hears_of_frames_is_told_as_well():
    camera, changes = Camera(), queue.Queue()

    def fails(_frame):
        raise ValueError("too many")

    with Capture(
        "cam1",
        "fake",
        on_change=changes.put,
        on_frame=fails,
        open_source=lambda _url: camera,
        backoff_first_s=0.001,
    ):
        camera.frames.put(scene(1))
        assert changes.get(timeout=WAIT_S) is None
        assert "ValueError" in changes.get(timeout=WAIT_S)
        camera.frames.put(None)


def test_a_camera_that_never_was_there_is_told_once():
    changes, seen = queue.Queue(), queue.Queue()
    with capture_of([], changes, seen) as capture:
        assert changes.get(timeout=WAIT_S) == "no such camera"
        assert capture.take() is None
    assert changes.empty()


def test_a_frozen_or_covered_camera_is_told_withheld_and_told_back():
    camera, changes, seen = Camera(), queue.Queue(), queue.Queue()
    with capture_of([camera], changes, seen) as capture:
        for second in range(5):
            camera.frames.put(at(second, scene(0)))
        assert changes.get(timeout=WAIT_S) is None
        camera.frames.put(at(5, scene(0)))
        assert changes.get(timeout=WAIT_S) == "frozen: the same picture for 5 s"
        assert capture.take() is None
        camera.frames.put(at(5.1, scene(1)))
        assert changes.get(timeout=WAIT_S) is None
        for second in range(6, 12):
            dark = np.random.default_rng(second).integers(0, 9, (24, 32, 3), dtype=np.uint8)
            camera.frames.put(at(second, dark))
        assert "covered or dark" in changes.get(timeout=WAIT_S)
        camera.frames.put(at(12, scene(2)))
        assert changes.get(timeout=WAIT_S) is None
        camera.frames.put(None)
        assert "no more frames" in changes.get(timeout=WAIT_S)
    counts = capture.counts
    assert (counts.frames, counts.blind, counts.lost) == (14, 4, 3)
    assert seen.qsize() == 5 + 1 + 5 + 1


def test_a_frame_that_is_no_picture_is_passed_over_and_many_end_the_connection():
    first, second = Camera(), Camera()
    changes, seen = queue.Queue(), queue.Queue()
    with capture_of([first, second], changes, seen) as capture:
        for odd in (np.zeros((24, 32)), np.zeros((24, 32, 2), np.uint8), None):
            first.frames.put(at(0, odd))
        first.frames.put(picture(1))
        assert changes.get(timeout=WAIT_S) is None
        assert seen.get(timeout=WAIT_S).number == 3
        for _ in range(BROKEN_FRAMES_MAX):
            first.frames.put(np.zeros((24, 32), np.float32))
        told = changes.get(timeout=WAIT_S)
        assert "float32 in the shape (24, 32), which are no pictures. Set the camera" in told
        second.frames.put(picture(1))
        assert changes.get(timeout=WAIT_S) is None
        assert capture.counts.refused == 3 + BROKEN_FRAMES_MAX
        second.frames.put(None)


def test_a_camera_that_changes_resolution_goes_on_and_says_so_once(caplog):
    camera, changes, seen = Camera(), queue.Queue(), queue.Queue()
    framing = Framing(size_wh=(32, 24), crop=(16, 0, 16, 24))
    with capture_of([camera], changes, seen, framing=framing):
        for height, width in ((24, 32), (48, 64), (48, 64)):
            camera.frames.put(np.zeros((height, width, 3), np.uint8))
        frames = [seen.get(timeout=WAIT_S) for _ in range(3)]
        camera.frames.put(None)
        assert changes.get(timeout=WAIT_S) is None
        assert changes.get(timeout=WAIT_S)
    assert [frame.size_wh for frame in frames] == [(32, 24), (64, 48), (64, 48)]
    assert [frame.origin_px for frame in frames] == [(16, 0), (32, 0), (32, 0)]
    assert [frame.image.shape for frame in frames] == [(24, 16, 3), (48, 32, 3), (48, 32, 3)]
    told = [record.message for record in caplog.records if "px" in record.message]
    assert told == ["camera cam1 gives frames of 64x48 px now, not of 32x24; they are scaled"]


def test_frames_that_waited_and_frames_above_the_rate_are_counted_and_not_given():
    camera, changes, seen = Camera(live=True), queue.Queue(), queue.Queue()
    with capture_of([camera], changes, seen, fps=10.0) as capture:
        for number in range(30):  # A burst of 30 frames, then 20 a second.
            camera.frames.put((Stamp(10**9 + number * 10**6, number * 50_000_000), picture(0)))
        for number in range(30, 50):
            position_ns = number * 50_000_000
            camera.frames.put((Stamp(position_ns, position_ns), picture(0)))
        camera.frames.put(None)
        assert changes.get(timeout=WAIT_S) is None
        assert "no more frames" in changes.get(timeout=WAIT_S)
    counts = capture.counts
    assert (counts.frames, counts.skipped, counts.thinned, seen.qsize()) == (50, 32, 9, 9)
