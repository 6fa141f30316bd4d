# SPDX-License-Identifier: Apache-2.0
"""The worker beside the plain way, in short: both run, are counted and are scored. What they take
is for ``make bench``: a test does not depend on the machine's speed."""

import json
import time
from pathlib import Path

import numpy as np
import pytest

from tests.vision_bench import beside, films, workers
from vision.placing import Placer

FIXTURE = Path(__file__).parents[2] / "fixtures" / "model" / "people.onnx"


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Return a second without anybody and a second with two people."""
    return films.make_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", [(0, 0.8), (2, 1.2)])


def test_the_workers_process_watches_a_clip_and_is_counted_and_scored(clip, tmp_path, monkeypatch):
    plain = {"cpu_percent": 50.0, "memory_mb": 400.0, "told": []}
    monkeypatch.setattr(workers, "plain", lambda *_: plain)
    mixed = beside._mixed(tmp_path / "mixed", clip, FIXTURE.with_suffix(""), input_px=None)
    json.dumps(mixed)
    own = mixed["own"]
    assert own["cpu_percent"] > 0
    assert own["memory_mb"] > 50
    assert own["people_messages"] >= own["told_count"] > 0
    assert own["looked"] > 0
    assert 0 <= own["idf1"] <= 1
    assert mixed["plain"]["idf1"] == 0
    assert mixed["idf1_ahead"] == round(own["idf1"], 3)
    assert mixed["times_better"] == round(50.0 / own["cpu_percent"], 2)
    assert workers.decode(str(clip.path), 5) > 0


def test_the_plain_way_watches_the_same_clip(clip, monkeypatch):
    if beside.missing():
        pytest.skip(beside.missing())
    from tests.vision.yolo.plain import watch

    waited_s = []
    monkeypatch.setattr(time, "sleep", waited_s.append)
    answer = watch(str(clip.path), FIXTURE, (192, 256), clip.rate)
    # A camera gives no picture before its time: without waiting, the loop is ever further ahead.
    assert len(waited_s) == len(clip.people)
    assert sum(waited_s) > 0
    assert len(answer["found"]) == len(answer["cpu_s"]) == len(clip.people)
    assert answer["cpu_s"] == sorted(answer["cpu_s"])
    last = answer["found"][-1]
    assert last is not None
    assert len(last["names"]) == len(last["boxes"]) == len(last["keypoints"])
    placer = Placer(clip.camera.view(), clip.camera.size_wh)
    places = workers._places(placer, last)
    away = min(np.hypot(*(clip.true_mm[-1] - place).T).min() for place in places.values())
    assert away < 500
    assert workers._places(placer, None) == {}


def test_what_is_told_counts_for_every_picture_until_it_is_old(clip):
    assert clip.seconds == 2.0
    assert clip.people.tolist() == [False] * 12 + [True] * 18
    assert (clip.share[:12] == 0).all()
    told = [
        (n / clip.rate, {str(who): clip.true_mm[n, who] for who in range(2)}) for n in range(12, 30)
    ]
    whole = films.figures(clip, told)
    assert whole["idf1"] == 1.0
    rarely = films.figures(clip, told[:: round(films.HELD_S * clip.rate) - 1])
    assert rarely["idf1"] > 0.9  # Held until the next...
    assert films.figures(clip, told[:1])["idf1"] < 0.7  # ... but not for ever.
    ghosts = [(n / clip.rate, {"g": np.array([0.0, 0.0])}) for n in range(12)]
    assert films.figures(clip, ghosts + told)["idf1"] < 1.0


def test_the_middle_of_several_runs_counts():
    runs = [[("a", value, "x", ">=", 2)] for value in (1.0, 3.0, 2.5)]
    assert beside.middle(runs) == [("a", 2.5, "x", ">=", 2)]
    assert beside.rows({"skipped": "not installed"}) == []


def test_the_empty_aisle_is_measured_three_times_and_judged_by_the_median(tmp_path, monkeypatch):
    shares = iter([1.5, 9.0, 2.5])
    monkeypatch.setattr(beside, "missing", lambda: "")
    monkeypatch.setattr(films, "make_clip", lambda *_: None)
    monkeypatch.setattr(workers, "decoding", lambda *_: 1.0)
    monkeypatch.setattr(workers, "own", lambda *_, **__: {"cpu_percent": next(shares)})
    results = beside.measure(tmp_path, tmp_path, ("empty",))
    assert len(results["empty"]) == 3
    assert [row[1] for row in beside.rows(results)] == [1.0, 1.5]
