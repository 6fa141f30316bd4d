# SPDX-License-Identifier: Apache-2.0
"""Tracks over whole sequences: rendered ones with their truth, and a real clip."""

import numpy as np
import pytest

from tests.vision_bench import clip
from vision.appearance import TorsoColours
from vision.sequences import HIDER, hidden_spans, sequence
from vision.tracking import Tracker


def tracks():
    pytest.importorskip("trackeval", reason="the dev extra is not installed")
    from tests.vision_bench import tracks

    return tracks


def test_a_sequence_is_its_seeds_and_keeps_people_apart_and_out_of_the_gondola():
    one, same, other = (sequence(seed, people=4, seconds=6) for seed in (1, 1, 2))
    assert one.steps == same.steps
    assert one.steps != other.steps
    places = np.array([[body.floor_mm for body in step.bodies] for step in one.steps])
    gaps = [
        np.hypot(*(places[:, mine] - places[:, theirs]).T).min()
        for mine in range(4)
        for theirs in range(mine)
    ]
    assert min(gaps) > 400
    x0, y0, x1, y1 = HIDER.box_mm
    inside = (places > (x0, y0)).all(axis=2) & (places < (x1, y1)).all(axis=2)
    assert not inside.any()


def test_people_behind_the_gondola_are_hidden_for_about_a_second_or_two():
    made = sequence(1, people=3).every(3)
    share = np.array([labels.share for labels in made.labels()])
    spans = [(end - first) / 10 for body in range(3) for first, end in hidden_spans(share[:, body])]
    assert any(1.0 <= seconds <= 2.2 for seconds in spans)


def test_hidden_spans_are_between_sightings_alone():
    share = np.array([0.0, 0.0, 1.0, 0.1, 0.2, 0.9, 0.9, 0.0, 0.0])
    assert hidden_spans(share) == [(3, 5)]
    assert hidden_spans(np.zeros(3)) == []


@pytest.mark.parametrize("every", [6, 3])
def test_four_people_keep_their_names_through_crossings_and_occlusions(every):
    """The short form of ``python -m tests.vision_bench.tracking``."""
    bench = tracks()
    sums = []
    for seed in (201, 202):
        shots = bench.by_truth(seed, 4, every=every)
        sums.append(bench.score(shots, bench.named(Tracker(TorsoColours().scatter()), shots)))
    figures = bench.figures(sums)
    assert figures["idf1"] >= 0.95
    assert figures["hidden"] >= 4
    assert figures["kept"] == figures["hidden"]


def test_the_models_detections_are_followed_through_an_occlusion():
    bench = tracks()
    shots = bench.by_model(203, 3, seconds=12, every=6)
    figures = bench.figures(
        [bench.score(shots, bench.named(Tracker(TorsoColours().scatter()), shots))]
    )
    assert figures["idf1"] >= 0.93
    assert figures["switches"] == 0


def test_the_measure_tells_a_good_tracker_from_a_bad_one():
    bench = tracks()
    shots = bench.by_truth(204, 3, seconds=10, every=6)
    good = bench.true_names(shots)
    half = len(good) // 2
    bad = good[:half] + [[name and name + "'" for name in names] for names in good[half:]]
    none = [[None] * len(names) for names in good]
    best, broken, nobody = (bench.figures([bench.score(shots, one)]) for one in (good, bad, none))
    assert best["idf1"] > 0.93
    assert best["switches"] == 0
    assert broken["idf1"] < 0.75
    assert broken["switches"] >= 2
    assert nobody["idf1"] == nobody["mota"] == 0


@pytest.mark.skipif(bool(clip.missing()), reason=f"the real clip: {clip.missing()}")
def test_each_of_six_who_cross_a_hall_is_one_track():
    """At two frames a second of the clip's ten; `tests.vision_bench.clip` does all."""
    counts = clip.counts(every=5)
    assert len(counts) == 6
    assert list(counts.values()) == pytest.approx([count / 5 for count in clip.PRESENCES], abs=4)
