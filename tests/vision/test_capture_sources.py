# SPDX-License-Identifier: Apache-2.0
"""Cameras as OpenCV opens them: files whole and broken, devices, and what is neither."""

import itertools
import queue
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from vision.capture import Capture
from vision.sources import CameraSource, device_path, driver_time_ns, shown, without_logins

WAIT_S = 120


def film(path, count=10, fps=100.0, codec="MJPG"):
    """Write a video whose frames get brighter."""
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), fps, (64, 48))
    assert video.isOpened()
    for number in range(count):
        video.write(np.full((48, 64, 3), 10 * (number % 20), np.uint8))
    video.release()
    return path


def test_a_file_begins_anew_at_its_end_without_a_loss(tmp_path):
    path = film(tmp_path / "film.avi")
    frames, changes = queue.Queue(), queue.Queue()
    with Capture("cam1", str(path), on_change=changes.put, on_frame=frames.put) as capture:
        shades = [frames.get(timeout=WAIT_S).image[0, 0, 0] for _ in range(25)]
        assert changes.get(timeout=WAIT_S) is None
    assert changes.empty()
    assert capture.counts.lost == 0
    assert [round(int(shade) / 10) for shade in shades] == [number % 10 for number in range(25)]


def test_a_file_is_read_at_its_own_pace(tmp_path):
    source = CameraSource(str(film(tmp_path / "film.avi", fps=50.0)))
    started_s = time.monotonic()
    for _ in range(26):
        assert source.grab()
    assert time.monotonic() - started_s >= 0.45
    source.close()


def test_a_file_that_was_cut_short_gives_what_it_has_and_says_so_once(tmp_path, caplog):
    whole = film(tmp_path / "film.avi", count=40, fps=500.0).read_bytes()
    path = tmp_path / "short.avi"
    path.write_bytes(whole[: len(whole) // 2])
    source = CameraSource(str(path))
    for _ in range(60):
        assert source.grab()
        assert source.retrieve().shape == (48, 64, 3)
    source.close()
    [told] = [record.message for record in caplog.records]
    assert "of 40 frames. Check that it is a whole video" in told


def test_a_file_without_its_index_is_a_clear_error(tmp_path):
    whole = film(tmp_path / "film.mp4", count=40, codec="mp4v").read_bytes()
    path = tmp_path / "short.mp4"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(OSError, match=r"cannot be opened\. Check that it is a whole video"):
        CameraSource(str(path))


def test_a_file_that_is_gone_at_its_end_is_a_loss(tmp_path):
    path = film(tmp_path / "film.avi")
    source = CameraSource(str(path))
    assert source.grab()
    path.unlink()
    assert sum(1 for _ in itertools.takewhile(bool, iter(source.grab, None))) == 9
    source.close()


def test_a_stream_whose_pictures_change_their_size_goes_on(tmp_path):
    """Real JPEGs of two sizes in one stream; ffmpeg scales them to the first."""
    path = tmp_path / "film.mjpeg"
    with path.open("wb") as opened:
        for number in range(20):
            size_wh = (64, 48) if number < 10 else (96, 72)
            picture = np.full((size_wh[1], size_wh[0], 3), 10 * number, np.uint8)
            opened.write(cv2.imencode(".jpg", picture)[1].tobytes())
    frames, changes = queue.Queue(), queue.Queue()
    with Capture("cam1", str(path), on_change=changes.put, on_frame=frames.put) as capture:
        got = [frames.get(timeout=WAIT_S) for _ in range(20)]
    assert {frame.size_wh for frame in got} == {(64, 48)}
    assert [round(float(frame.image.mean()) / 10) for frame in got] == [*range(20)]
    assert (capture.counts.lost, capture.counts.refused) == (0, 0)


def test_a_file_that_is_not_there_is_a_clear_error(tmp_path):
    remedy = r"Give a file by its whole path, and begin an address with its scheme$"
    with pytest.raises(OSError, match=rf"none\.mp4: no such file or device\. {remedy}"):
        CameraSource(str(tmp_path / "none.mp4"))
    with pytest.raises(OSError, match="no such file or device"):
        CameraSource(str(tmp_path))


def test_a_file_that_is_no_video_is_a_clear_error(tmp_path):
    path = tmp_path / "noise.mp4"
    path.write_bytes(b"noise" * 100)
    with pytest.raises(OSError, match="cannot be opened"):
        CameraSource(str(path))


def test_devices_are_named_by_number_and_path(tmp_path):
    assert device_path("0") == Path("/dev/video0")
    assert device_path("12") == Path("/dev/video12")
    for name in ("/dev/video0", "/dev/v4l/by-id/usb-cam", "/dev/v4l/by-path/usb-0:1"):
        assert device_path(name) == Path(name)
    for name in ("rtsp://host/0", "film.mp4", "/srv/film.mp4", "¹", str(tmp_path)):
        assert device_path(name) is None
    link = tmp_path / "by-id"
    link.symlink_to("/dev/null")
    assert device_path(str(link)) == link


def test_a_device_that_is_no_camera_is_a_clear_error(tmp_path):
    with pytest.raises(OSError, match=r"/dev/video99: no such device\. Check the cable"):
        CameraSource("/dev/video99")
    with pytest.raises(OSError, match=r"99: no such device"):
        CameraSource("99")
    with pytest.raises(OSError, match=r"/dev/shm: is no device"):
        CameraSource("/dev/shm")
    link = tmp_path / "usb-cam"
    link.symlink_to("/dev/null")
    with pytest.raises(OSError, match=r"usb-cam: cannot be opened\. Check that it is a camera"):
        CameraSource(str(link))


def test_a_drivers_time_counts_where_it_can_be_true():
    asleep_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.monotonic_ns()
    arrived_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    taken_ms = (arrived_ns - asleep_ns) / 1e6 - 33
    taken_ns = driver_time_ns(taken_ms, arrived_ns)
    assert abs(arrived_ns - taken_ns - 33_000_000) < 1_000_000
    assert driver_time_ns(taken_ms - 5_000, arrived_ns) is None
    assert driver_time_ns(taken_ms + 5_000, arrived_ns) is None
    assert driver_time_ns(0.0, arrived_ns) is None or arrived_ns < 2_000_000_000


LOGINS = {
    "rtsp://u:s3cret@host:554/x": "rtsp://host:554",
    "rtsp://u:s3@cret@host:554/x?channel=1": "rtsp://host:554",
    "rtsp://u:s3/cret@host/x": "rtsp://host",
    "rtsp://u:s3#cret@host": "rtsp://host",
    "rtsp://u:s3?cret@host:8554?x": "rtsp://host:8554",
    "rtsp://host:554/user=admin&password=s3cret&channel=1": "rtsp://host:554",
    "http://host/x?user=admin&pwd=s3cret": "http://host",
    "http://[fd00::1]:80/x?pwd=s3cret": "http://[fd00::1]:80",
    "http://host/x?user=me@shop&pwd=s3cret": "http://…",
    "http://host/x?pwd=any@s3cret": "http://…",
    "rtsp://u:1/s3@s3cret/x": "rtsp://…",
    "rtsp://u:any/any@s3cret@host/x": "rtsp://…",
    "rtsp://u:s3 cret@host/x y": "rtsp://host",
    "rtsp://u:s3cret": "rtsp://…",
}


@pytest.mark.parametrize("url", LOGINS)
def test_no_login_is_shown(url):
    assert shown(url) == LOGINS[url]
    assert shown(LOGINS[url]) == LOGINS[url]
    told = f"cannot open '{url}': refused ({url.partition('://')[2]}). Try {url}."
    kept = LOGINS[url]
    host = kept.partition("://")[2]
    assert without_logins(told, url) == f"cannot open '{kept}': refused ({host}). Try {kept}."
    assert without_logins(f"{kept}: refused. Try on", url) == f"{kept}: refused. Try on"
    for other in ("rtsp://else/x", "/dev/video0"):
        assert "cret" not in without_logins(f"cannot open '{url}': refused", other)


@pytest.mark.parametrize("failure", [ConnectionError, ValueError])
def test_no_login_is_told_of_a_camera_that_cannot_be_opened(failure, caplog):
    changes = queue.Queue()

    def refused(url):
        raise failure(f"Could not open {url}")

    url = "rtsp://host/user=admin&password=s3cret&channel=1"
    with Capture("cam1", url, on_change=changes.put, open_source=refused):
        reason = changes.get(timeout=WAIT_S)
    assert "Could not open rtsp://host" in reason
    assert "s3cret" not in reason + caplog.text
    assert "admin" not in reason + caplog.text


def test_a_file_is_shown_as_it_is():
    assert shown("/srv/film@home.mp4") == "/srv/film@home.mp4"
    assert without_logins("/srv/film@home.mp4: gone", "/srv/film@home.mp4").endswith("4: gone")
