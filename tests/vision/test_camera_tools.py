# SPDX-License-Identifier: Apache-2.0
"""Looking at cameras: devices of a machine, feeds, pictures, the live page."""

import contextlib
import dataclasses
import http.client
import socket
import threading

import cv2
import numpy as np
import pytest

from gateway.camera_view import annotated
from vision.camera_tools.devices import find_devices
from vision.camera_tools.feed import CameraError, Feed, measure, read_frames, write_picture
from vision.camera_tools.live import VIEWERS_MAX, PageServer, Screen
from vision.detectors import Detections
from vision.film import Film, blank
from vision.framing import Framing
from vision.geometry import Camera
from vision.overlay import Overlay
from vision.placing import Placer


@pytest.fixture
def film(tmp_path):
    path = tmp_path / "film.mp4"
    with Film(path, (64, 48), 50.0) as writer:
        for number in range(30):
            writer.write(blank((64, 48), (number * 8, 90, 90)))
    return path


def test_devices_have_their_stable_names(tmp_path):
    dev, sysfs = tmp_path / "dev", tmp_path / "sys"
    for folder in ("v4l/by-id", "v4l/by-path"):
        (dev / folder).mkdir(parents=True)
    for number, (name, index) in enumerate([("USB cam", 0), ("USB cam", 1), ("Pi\x1b cam", 0)]):
        (dev / f"video{number}").touch()
        (sysfs / f"video{number}").mkdir(parents=True)
        (sysfs / f"video{number}" / "name").write_text(name + "\n")
        (sysfs / f"video{number}" / "index").write_text(f"{index}\n")
    (dev / "v4l/by-id/usb-ACME-index0").symlink_to("../../video0")
    (dev / "v4l/by-path/platform-1-index0").symlink_to("../../video0")
    (dev / "v4l/by-path/platform-2-index0").symlink_to("../../video2")
    first, second = find_devices(dev, sysfs)
    assert (first.path, first.label) == (str(dev / "video0"), "USB cam")
    assert first.stable.endswith("by-id/usb-ACME-index0")
    assert second.label == "Pi cam"
    assert second.stable.endswith("by-path/platform-2-index0")
    assert find_devices(tmp_path / "none", sysfs) == []


def test_a_camera_that_is_not_there_is_told_with_what_to_do(tmp_path):
    (tmp_path / "words.mp4").write_text("no film")
    for name in ("none.mp4", "words.mp4"):
        told = rf"camera door: .*{name}.*Check its address"
        with Feed("door", str(tmp_path / name)) as feed, pytest.raises(CameraError, match=told):
            feed.newest()


def test_a_camera_is_measured(film):
    size, rate = measure(Feed("door", str(film)), 0.4)
    assert size == (64, 48)
    assert 5 < rate <= 60


def test_a_feed_of_a_film_begins_anew_at_its_end(film):
    with Feed("door", str(film)) as feed:
        seen = [feed.newest() for _ in range(35)]
    assert feed.count >= 35, "the film has 30"
    assert {image.shape for image in seen} == {(48, 64, 3)}


def test_pictures_and_films_are_read_alike(film, tmp_path):
    still = tmp_path / "still.png"
    write_picture(still, blank((64, 48), (1, 2, 3)))
    [image] = read_frames(still)
    assert image[0, 0].tolist() == [1, 2, 3]
    assert len(list(read_frames(film))) == 3
    (tmp_path / "bad.png").write_bytes(still.read_bytes()[:40])
    with pytest.raises(CameraError, match="is no picture"):
        list(read_frames(tmp_path / "bad.png"))
    with pytest.raises(CameraError, match="no such file"):
        list(read_frames(tmp_path / "none.png"))
    with pytest.raises(CameraError, match=r"ends in \.png or \.jpg"):
        write_picture(tmp_path / "still.gif", image)
    with pytest.raises(CameraError, match="cannot be written"):
        write_picture(tmp_path / "none" / "still.png", image)


@contextlib.contextmanager
def page():
    screen = Screen()
    with PageServer("127.0.0.1", 0, "door", screen) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield screen, server.server_address[1]
        finally:
            screen.close()
            server.shutdown()
            thread.join()


def asked(port, path, **headers):
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    link.request("GET", path, headers=headers)
    return link, link.getresponse()


def test_the_page_shows_each_new_picture_to_who_looks():
    with page() as (screen, port):
        link, answer = asked(port, "/")
        assert b'<img src="stream"' in answer.read()
        link.close()
        assert not screen.wait_for_viewer(0.01)  # A page that nobody's eyes are on costs nothing.
        link, answer = asked(port, "/stream")
        assert screen.wait_for_viewer(5.0)
        assert answer.getheader("Cache-Control") == "no-store"
        for grey in (30, 200):
            screen.show(blank((64, 48), (grey, grey, grey)))
            assert answer.fp.readline().startswith(b"--shelfgate-frame")
            assert answer.fp.readline() == b"Content-Type: image/jpeg\r\n"
            length = int(answer.fp.readline().split()[1])
            answer.fp.readline()
            image = cv2.imdecode(np.frombuffer(answer.fp.read(length), np.uint8), 1)
            assert abs(int(image[20, 20, 0]) - grey) < 4
            answer.fp.readline()
        link.close()


def test_one_picture_is_a_new_one():
    with page() as (screen, port):
        screen.show(blank((64, 48), (0, 0, 0)))
        later = threading.Timer(
            0.0, lambda: screen.wait_for_viewer(5.0) and screen.show(blank((32, 16), (9, 9, 9)))
        )
        later.start()
        link, answer = asked(port, "/frame.jpg")
        image = cv2.imdecode(np.frombuffer(answer.read(), np.uint8), 1)
        later.join()
        link.close()
    assert image.shape == (16, 32, 3)


def test_viewers_are_bounded_and_other_sites_are_refused():
    with page() as (screen, port):
        links = [asked(port, "/stream") for _ in range(VIEWERS_MAX)]
        extra, answer = asked(port, "/stream")
        assert answer.status == 503
        extra.close()
        link, answer = asked(port, "/", Host="shop.example")
        assert answer.status == 403
        link.close()
        link, answer = asked(port, "/../etc/passwd")
        assert answer.status == 404
        link.close()
        for link, _ in links:
            link.close()
        screen.close()


def test_pictures_are_for_the_page_itself_and_take_no_place_otherwise():
    with page() as (screen, port):
        for site in ("cross-site", "same-site", "odd"):
            link, answer = asked(port, "/stream", **{"Sec-Fetch-Site": site})
            assert answer.status == 403
            assert b"Type its address" in answer.read()
            link.close()
        assert not screen.wait_for_viewer(0.0)
        for site in ("same-origin", "none"):
            link, answer = asked(port, "/", **{"Sec-Fetch-Site": site})
            assert answer.status == 200
            assert answer.getheader("Cross-Origin-Resource-Policy") == "same-origin"
            link.close()


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("[::1]", 200),
        ("[::1]:8088", 200),
        ("127.0.0.1", 200),
        ("127.0.0.1:8088", 200),
        ("localhost", 200),
        ("LOCALHOST:1", 200),
        ("", 403),
        ("[", 403),
        ("[::1", 403),
        ("shop.example:80", 403),
        ("localhost.shop.example", 403),
    ],
)
def test_who_asks_by_address_is_answered(host, status):
    with page() as (_, port):
        link, answer = asked(port, "/", Host=host)
        assert answer.status == status
        link.close()


def test_bytes_that_are_no_request_harm_nobody():
    with page() as (_, port):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as link:
            link.sendall(b"\x00\xff" * 50 + b"\r\n\r\n")
            link.recv(200)
        link, answer = asked(port, "/")
        assert answer.status == 200
        link.close()


def test_the_page_shows_what_crop_and_mask_leave_and_who_is_found_there():
    class Finder:
        def detect(self, frame):
            self.frame = frame
            found = Detections.empty()
            return dataclasses.replace(
                found,
                boxes_xyxy=np.array([[10.0, 20.0, 60.0, 90.0]]),
                scores=np.ones(1),
                head_px=np.full((1, 2), 30.0),
                head_scores=np.ones(1),
                feet_px=np.full((1, 2), 40.0),
                feet_scores=np.ones(1),
                wrists_px=np.full((1, 2, 2), np.nan),
                wrist_scores=np.zeros((1, 2)),
            )

    size, finder = (512, 384), Finder()
    camera = Camera.overhead((0.0, 0.0, 3200.0), 341.3, size)
    mask = ((200.0, 200.0), (250.0, 200.0), (250.0, 250.0), (200.0, 250.0))
    framing = Framing(size, None, (100, 100, 300, 200), (mask,))
    overlay = Overlay(camera, size, (), (0.0, 0.0, 0.0, 0.0))
    frame = np.full((384, 512, 3), 77, dtype=np.uint8)
    shown = annotated(framing, finder, Placer(camera, size), overlay, frame, rate=10.0)
    assert finder.frame.shape == (200, 300, 3)
    assert (frame == 77).all(), "the camera's own frame is not drawn on"
    assert (shown[350, 50:] == 0).all()
    assert (shown[225, 225] == 0).all()
    assert (shown[280, 390] == 77).all()
    assert (shown[150, 110] != 77).any(), "the box's left side, in the whole picture's pixels"
