# SPDX-License-Identifier: Apache-2.0
"""A camera over RTSP, from a real server: the backlog, loss and return, freezing and covering."""

import logging
import queue

import pytest

from tests.rtsp import RtspCamera
from tests.vision import capture_figures
from vision.capture import Capture
from vision.sources import CameraSource
from vision.timeline import Backlog

WAIT_S = 120


@pytest.fixture(scope="module")
def camera():
    with RtspCamera() as camera:
        yield camera


@pytest.fixture
def capture_of(camera):
    def make(**options):
        changes, frames = queue.Queue(), queue.Queue()
        capture = Capture(
            "cam1",
            camera.url,
            on_change=changes.put,
            on_frame=frames.put,
            backoff_first_s=0.05,
            **options,
        )
        return capture, changes, frames

    return make


def test_what_waited_at_the_opening_is_skipped_and_what_follows_is_new(camera):
    source = CameraSource(camera.url)
    backlog = Backlog(source.period_ns)
    lags_ns, held = [], []
    for _ in range(70):
        stamp = source.grab()
        lags_ns.append(stamp.arrived_ns - stamp.position_ns)
        held.append(backlog.holds(stamp))
    picture = source.retrieve()
    source.close()
    assert picture.shape == (120, 160, 3)
    assert picture.std() > 40
    first = held.index(False)
    assert not any(held[first:])
    assert first >= 10
    late_ms = (lags_ns[0] - min(lags_ns)) / 1e6
    assert late_ms > 500
    assert (lags_ns[first] - min(lags_ns)) / 1e6 < late_ms / 4


def test_frozen_covered_killed_and_started_again(camera, capture_of, caplog):
    caplog.set_level(logging.INFO)
    capture, changes, frames = capture_of(blind_after_s=1.0)
    with capture:
        assert changes.get(timeout=WAIT_S) is None
        assert frames.get(timeout=WAIT_S).size_wh == (160, 120)
        camera.set(horizontal_speed=0)
        assert changes.get(timeout=WAIT_S) == "frozen: the same picture for 1 s"
        assert capture.take() is None
        camera.set(horizontal_speed=4)
        assert changes.get(timeout=WAIT_S) is None
        camera.set(pattern="black")
        assert changes.get(timeout=WAIT_S).startswith("covered or dark")
        camera.set(pattern="smpte100")
        assert changes.get(timeout=WAIT_S) is None
        assert capture.counts.lost == 2

        camera.kill()
        told = changes.get(timeout=WAIT_S)
        assert told == f"rtsp://127.0.0.1:{camera.port}: gives no more frames"
        camera.start()
        assert changes.get(timeout=WAIT_S) is None
        assert changes.empty()
        assert capture.counts.lost == 3
    counts = capture.counts
    assert counts.skipped >= 20
    assert counts.blind > 0
    assert counts.refused == 0
    told = [record.message for record in caplog.records]
    assert [message.partition(":")[0] for message in told] == [
        "camera cam1 is down",
        "camera cam1 is back",
    ] * 3
    assert "secret" not in caplog.text


def test_the_measurement_says_what_it_is_before_it_measures(capsys):
    for words, status in ((["--help"], 0), (["--fast"], 2)):
        with pytest.raises(SystemExit) as ended:
            capture_figures.main(words)
        assert ended.value.code == status
    assert "Needs what the tests over RTSP need" in capsys.readouterr().out
