# SPDX-License-Identifier: Apache-2.0
"""What figures of rendered shops are made of: differences, causes, labels, and what is kept."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from gateway.domain.inputs import PersonSeen, Wrist
from gateway.simulator.camera import body_of
from gateway.simulator.exam.answers import Answer, Claim, Decision
from gateway.simulator.exam.cases import make_case
from gateway.simulator.exam.conditions import CALM
from gateway.simulator.exam.score import Acts, Pair, Result
from gateway.simulator.exam.stage import START_NS
from gateway.simulator.exam.trackers import Frame
from gateway.simulator.stock import TrueAct, Truth
from tests.vision_bench import shop
from tests.vision_bench.keypoints import FEET_PX, HEAD_PX, WRIST_PX, Keypoints
from tests.vision_bench.rendered import Eye, why_wrong, with_lenses

KEPT = shop.Recipe(sources="", aside=True, seen_mm=1_200.0, score_min=0.35, models="")


def result(*pairs, seed=1, kind="one"):
    """Return a judged case of pairs: units taken, billed, and whether nobody could tell."""
    counts = [Pair(*pair, *[False] * (3 - len(pair))) for pair in pairs]
    return Result(kind, "typical", seed, counts, [], Acts(1, 1, 1, 1), [])


def test_two_ways_part_by_their_f1_and_by_how_much_cases_differ_in_it():
    lost = {"a": result((2, 2)), "b": result((2, 0))}
    same = {"a": result((1, 1), (3, 0, True)), "b": result((1, 1), (3, 3, True))}
    cases = [shop.Case(results, {}, 0, KEPT) for results in (lost, same)]
    # a: 2 x 3 of 6 units. b: 2 x 1 of 4; 2 x 0 - 0.5 x 2 and 2 x 1 - 0.5 x 2, each of 4, are over.
    assert shop.parted(cases, "a", "b") == pytest.approx((0.5, np.hypot(0.25, 0.25)))
    assert shop.parted(cases, "b", "a") == pytest.approx((-0.5, np.hypot(0.25, 0.25)))
    assert shop.parted([cases[1]], "a", "b") == (0.0, 0.0)
    # Where both lose the same of each case, cases that differ say nothing of one against the other.
    alike = [shop.Case({"a": one["b"], "b": one["b"]}, {}, 0, KEPT) for one in (lost, same)]
    assert shop.parted(alike, "a", "b") == (0.0, 0.0)


PLACE, HAND = (0.0, 0.0), (100.0, 300.0, 900.0)
ACT = TrueAct("me", "1", 1, "pick", ("p",), START_NS, START_NS + 10**9, lift_ns=START_NS + 10**9)
TAKEN = Answer(
    decisions=[Decision(frozenset("p"), ACT.start_ns, ACT.end_ns, 0, [Claim("me", "1", 1, "pick")])]
)


def cause(told, before=TAKEN, after=None):
    """Return why an act is wrong whose two seconds of frames a camera told of as ``told`` says."""
    poses = [
        SimpleNamespace(shopper="me", floor_mm=PLACE, wrists_mm=[HAND]),
        SimpleNamespace(shopper="other", floor_mm=(2_000.0, 0.0), wrists_mm=[]),
    ]
    eye = SimpleNamespace(
        camera=SimpleNamespace(name="over"),
        times_s=np.arange(0.0, 2.0, 0.1),
        poses=SimpleNamespace(at=lambda _number: poses),
        told=[Frame(number / 10, tuple(told(number))) for number in range(20)],
    )
    case = SimpleNamespace(truth=Truth(acts=[ACT], baskets={"me": {"1": 1}}))
    return why_wrong(case, {"over": eye}, before, after or Answer())


def seen(place_mm=PLACE, *, wrist_mm=(150.0, 300.0, 500.0)):
    wrists = [] if wrist_mm is None else [Wrist(wrist_mm)]
    return PersonSeen(track="t", floor_mm=place_mm, wrists=wrists)


def test_why_an_act_is_wrong_is_told_by_what_cameras_saw_of_it():
    assert cause(lambda _: [seen()]) == {"else": 1}
    assert cause(lambda _: [seen(wrist_mm=None)]) == {"no wrist": 1}
    assert cause(lambda _: [seen(wrist_mm=(100.0, 600.0, 900.0))]) == {"no wrist": 1}
    assert cause(lambda _: []) == {"unseen": 1}
    assert cause(lambda _: [seen((400.0, 0.0))]) == {"unseen": 1}
    assert cause(lambda number: [seen()] if number % 4 == 0 else []) == {"unseen": 1}
    near = range(6, 14)
    stolen = cause(lambda number: [seen(PLACE if number in near else (2_000.0, 0.0))])
    assert stolen == {"another's track": 1}
    assert cause(lambda _: [], after=TAKEN) == {}
    assert cause(lambda _: [], before=Answer()) == {}


def test_keypoints_are_the_truth_with_the_small_models_errors():
    """In pixels as it says, and within some centimetres on the floor."""
    case = make_case("one", CALM, 6)
    store = with_lenses(case.store, case.stage.room.layout)
    eye = Eye(case, store, store.cameras[0], None)
    keypoints, placer = Keypoints(eye, 1), eye.seeing.placer
    away = {"head": [], "feet": [], "wrists": []}
    away_mm = []
    for number in range(0, len(eye.times_s), 2):
        poses = list(eye.poses.at(number))
        keypoints.at(number)
        found = keypoints.detect(None)
        if len(poses) != 1 or not len(found):
            continue
        labels = eye.renderer.labels([body_of(pose) for pose in poses])
        shown = found.wrist_scores > 0
        assert (labels.wrists_visible[shown] > 0).all()
        away["head"].append(found.head_px - labels.head_px)
        away["feet"].append(found.feet_px - labels.feet_px)
        away["wrists"].append((found.wrists_px - labels.wrists_px)[shown])
        floor = placer.places(found).floor_mm[0]
        away_mm.append(np.hypot(*(floor - poses[0].floor_mm)))
    assert len(away_mm) > 30
    rms = {name: np.sqrt((np.concatenate(px) ** 2).sum(axis=1).mean()) for name, px in away.items()}
    assert rms == pytest.approx({"head": HEAD_PX, "feet": FEET_PX, "wrists": WRIST_PX}, rel=0.2)
    assert np.median(away_mm) < 80


def test_results_of_other_options_or_sources_are_played_again(tmp_path, monkeypatch, capsys):
    asked = []

    def play(kind, seed, _detector, recipe):
        asked.append((kind, seed))
        told = {way: result((1, 1), seed=seed, kind=kind) for way in shop.WAYS}
        return shop.Case(told, {}, 0, recipe)

    (tmp_path / "gateway").mkdir()
    code = tmp_path / "gateway" / "code.py"
    code.write_text("one = 1")
    monkeypatch.setattr(shop, "play", play)
    monkeypatch.setattr(shop, "shop_detector", lambda _score_min, _models: None)
    monkeypatch.setattr(shop, "ROOT", tmp_path)

    def run(*words):
        """Return how many cases were played, and what was said of earlier results."""
        asked.clear()
        words = ("shop", "--cases", "3", "--results", str(tmp_path / "shop.jsonl"), *words)
        monkeypatch.setattr(sys, "argv", list(words))
        assert shop.main() == 0
        said = capsys.readouterr().err.splitlines()
        return len(asked), [line.partition(": ")[2] for line in said if "do not count" in line]

    others = "{} results of other options or sources do not count"
    assert run() == (3, [])
    assert run() == (0, [])
    assert run("--cases", "5") == (2, [])
    assert run("--through") == (3, [others.format(5)])
    assert run("--through") == (0, [others.format(5)])
    assert run("--score-min", "0.25") == (3, [others.format(8)])
    assert run("--models", str(tmp_path)) == (3, [others.format(11)])
    code.write_text("one = 2")
    assert run() == (3, [others.format(14)])
    assert run("--first", "20002") == (3, [others.format(14)])  # Other scripts for two seeds.
    with pytest.raises(SystemExit, match="no case was played"):
        run("--first", "300", "--seconds", "0")
