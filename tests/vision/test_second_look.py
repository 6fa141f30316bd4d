# SPDX-License-Identifier: Apache-2.0
"""A second look: from the gateway's request to hands near the place, frame by frame."""

import asyncio
import json

import numpy as np
import pytest

from tests.vision.test_vision_worker import CAMERA, Broker, Frames, config, feed, running
from vision.detectors import Detections
from vision.gate import MotionGate
from vision.second_look import read_request
from vision.worker import Worker

FEET_MM, HAND_MM = (300.0, 600.0, 0.0), (200.0, 960.0, 1_000.0)
RED, GREEN = (0, 0, 255), (0, 255, 0)
REQUEST = {
    "v": 1,
    "look": "l1",
    "place_mm": [200.0, 900.0, 1_000.0],
    "reach_mm": 450.0,
    "ago_ms": [9_000, 0],
    "reply": "shelfgate/v1/demo/camera/cam1/looked",
}


@pytest.fixture(autouse=True)
def _time_enough(monkeypatch):
    """Let no answer depend on the machine's speed."""
    monkeypatch.setattr("vision.worker.LOOK_S", 300.0)


class Colours:
    """A detector that takes what is red for feet and what is green for a wrist."""

    def __init__(self):
        self.sizes = []

    def detect(self, frame):
        self.sizes.append(frame.shape[:2])
        feet, wrist = (_middle(frame, colour) for colour in (RED, GREEN))
        if not np.isfinite(feet).all():
            return Detections.empty()
        none = np.full((1, 2), np.nan)
        return Detections(
            boxes_xyxy=np.array([[*feet, *feet]]),
            scores=np.array([0.9]),
            head_px=none,
            head_scores=np.zeros(1),
            feet_px=feet[None],
            feet_scores=np.ones(1),
            wrists_px=np.stack([wrist[None], none], axis=1),
            wrist_scores=np.array([[0.9 if np.isfinite(wrist).all() else 0.0, 0.0]]),
        )


def _middle(frame, colour):
    rows, columns = np.nonzero(np.abs(frame.astype(int) - colour).max(axis=2) < 100)
    return np.array([columns.mean(), rows.mean()]) if len(rows) else np.full(2, np.nan)


def picture(size_wh=(512, 384)):
    """Return a picture with a body's feet and its hand in a shelf."""
    image = np.zeros((size_wh[1], size_wh[0], 3), dtype=np.uint8)
    scale = size_wh[0] / 512
    for place_mm, colour in ((FEET_MM, RED), (HAND_MM, GREEN)):
        x, y = (CAMERA.view().project(place_mm)[0] * scale).round().astype(int)
        image[y - 4 : y + 5, x - 4 : x + 5] = colour
    return image


def asked(*requests, size_wh=(1_024, 768), show=None, **changes):
    """Let a worker see some frames and ask it to look again; return its answers and detector."""

    async def main():
        broker, frames, detector = Broker(), Frames(size_wh), Colours()
        frames.blank = picture(size_wh) if show is None else show
        worker = Worker(
            config(**changes), broker.publish, detector=detector, open_source=lambda _url: frames
        )
        async with running(worker):
            await feed(broker, frames, 6)
            for request in requests:
                worker.look(request if isinstance(request, bytes) else json.dumps(request).encode())
            worker.look(json.dumps(REQUEST | {"look": "last"}).encode())
            answers = 1 + sum(isinstance(request, dict) for request in requests)
            await broker.until(lambda: len(broker.of("looked")) == answers)
            frames.left.put(None)
        return worker, broker, detector

    return asyncio.run(main())


def test_the_answer_tells_whose_hand_was_there_frame_by_frame():
    worker, broker, detector = asked(REQUEST)
    first, last = broker.of("looked")
    assert (first["look"], first["v"], first["boot"]) == ("l1", 1, worker.boot)
    assert [last["seq"] - first["seq"], first["host_mono_ms"] > 0] == [1, True]
    after_ms = [frame["after_ms"] for frame in first["frames"]]
    assert after_ms[0] == 0
    assert after_ms == sorted(set(after_ms))
    assert len(after_ms) >= 3
    tracks = {person["track"] for frame in first["frames"] for person in frame["people"]}
    assert len(tracks) == 1
    assert tracks <= {person["track"] for one in broker.of("people") for person in one["people"]}
    for frame in first["frames"]:
        for person in frame["people"]:
            [wrist] = person["wrists"]
            assert np.allclose(wrist["mm"][:2], HAND_MM[:2], atol=60)
            assert abs(wrist["mm"][2] - HAND_MM[2]) < 120
    whole = (768, 1_024)
    assert whole in detector.sizes
    assert min(detector.sizes) < whole, "the place is looked at closer"
    assert {qos for topic, _, qos, _ in broker.messages if topic.endswith("looked")} == {1}


def test_a_camera_that_is_cropped_finds_the_same_hand():
    _, broker, detector = asked(REQUEST, crop=(120, 30, 360, 330))
    [frame, *_] = broker.of("looked")[0]["frames"]
    [person] = frame["people"]
    assert np.allclose(person["wrists"][0]["mm"][:2], HAND_MM[:2], atol=60)
    assert max(detector.sizes) == (660, 720)


def test_an_answer_that_is_too_long_is_thinned(monkeypatch):
    _, broker, _ = asked(REQUEST)
    whole = broker.of("looked")[0]["frames"]
    monkeypatch.setattr("vision.worker.LOOKED_BYTES_MAX", len(json.dumps(whole)) // 2)
    _, broker, _ = asked(REQUEST)
    assert 1 <= len(broker.of("looked")[0]["frames"]) < len(whole)


def test_looks_that_wait_share_the_time_and_too_many_are_answered_without_frames(monkeypatch):
    shared = []

    def left(_asked_ns, *, shared_by):
        shared.append(shared_by)
        return lambda: 300.0

    monkeypatch.setattr("vision.worker._left", left)
    names = ["a", "b", "c", "d", "e"]
    _, broker, _ = asked(*({**REQUEST, "look": name} for name in names))
    told = {one["look"]: len(one["frames"]) for one in broker.of("looked")}
    assert sorted(told) == sorted([*names, "last"])
    assert [name for name, count in told.items() if not count] == ["e", "last"]
    assert shared == [4, 3, 2, 1]


def test_the_birth_says_that_the_camera_looks():
    _, broker, _ = asked(REQUEST)
    assert broker.of("status")[0]["looks"] is True


def test_a_place_out_of_the_picture_gives_frames_without_people():
    _, broker, _ = asked(REQUEST | {"place_mm": [90_000.0, 0.0, 1_000.0]})
    assert all(frame["people"] == [] for frame in broker.of("looked")[0]["frames"])


def test_a_time_of_which_nothing_is_kept_gives_no_frames():
    _, broker, _ = asked(REQUEST | {"ago_ms": [10_000, 9_900]})
    assert broker.of("looked")[0]["frames"] == []


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff\xfe",
        b"[" * 5_000,
        json.dumps(REQUEST | {"ago_ms": [10, 20]}).encode(),
        json.dumps(REQUEST | {"ago_ms": [60_000, 0]}).encode(),
        json.dumps(REQUEST | {"reach_mm": 0}).encode(),
        json.dumps(REQUEST | {"place_mm": [1e9, 0, 0]}).encode(),
        json.dumps(REQUEST | {"place_mm": [0, 0]}).encode(),
        json.dumps(REQUEST | {"look": "x" * 65}).encode(),
        json.dumps(REQUEST | {"v": 2}).encode(),
    ],
)
def test_what_is_no_request_is_refused_and_the_worker_goes_on(payload):
    with pytest.raises((ValueError, RecursionError)) as refused:
        read_request(payload)
    assert str(refused.value)


def test_after_a_request_that_is_none_the_next_is_answered():
    _, broker, _ = asked(b"rubbish")
    assert [one["look"] for one in broker.of("looked")] == ["last"]


def test_requests_that_are_none_are_counted_and_seldom_logged(caplog):
    worker, _, _ = asked(*[b"rubbish"] * 1_000)
    told = [line for line in caplog.messages if "refused a look" in line]
    assert worker.looks_refused == 1_000
    assert len(told) == 10
    assert told[0].startswith("camera cam1: refused a look (1 by now): ")
    assert "(512 by now)" in told[-1]


@pytest.mark.parametrize("awake", [False, True])
def test_frames_are_kept_only_while_somebody_may_be_there(monkeypatch, awake):
    monkeypatch.setattr(MotionGate, "awake", lambda _gate, _at_s: awake)
    worker, broker, _ = asked(REQUEST)
    assert bool(worker._recall.size_bytes) is awake
    assert bool(broker.of("looked")[0]["frames"]) is awake
