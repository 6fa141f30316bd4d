# SPDX-License-Identifier: Apache-2.0
"""The models of the repository hold their bar on pictures they were not trained on."""

from pathlib import Path

import pytest

from vision.detectors import build
from vision.evaluation import constant_offsets, evaluate
from vision.scenes import pictures
from vision.yolo.cli import OFFSET_PICTURES, OFFSET_SEED, TEST_PICTURES, TEST_SEED

FOLDER = Path(__file__).parents[2] / "fixtures" / "model"
BYTES_MAX = 3_000_000


@pytest.fixture(scope="module")
def detector():
    return build("onnxruntime", FOLDER / "people.onnx", hands=FOLDER / "hands.onnx")


@pytest.fixture(scope="module")
def offsets():
    return constant_offsets(pictures(OFFSET_SEED, OFFSET_PICTURES))


@pytest.fixture(scope="module")
def quality(detector, offsets):
    return evaluate(detector, pictures(TEST_SEED, TEST_PICTURES), offsets)


def test_persons_are_found_and_nothing_else_is(quality):
    assert quality.pictures == 200
    assert quality.persons > 300
    assert quality.precision >= 0.95
    assert quality.recall >= 0.95


def test_people_close_together_and_at_the_edge_of_a_wide_lens_are_found(detector, offsets):
    busy = evaluate(detector, pictures(TEST_SEED, TEST_PICTURES // 2, busy=True), offsets)
    assert busy.persons > 150
    assert busy.precision >= 0.93
    assert busy.recall >= 0.80


def test_the_larger_input_finds_more_of_those_who_are_close_together(offsets):
    larger = FOLDER / "384"
    detector = build("onnxruntime", larger / "people.onnx", hands=larger / "hands.onnx")
    assert detector.people.fixed_wh == (384, 288)
    busy = evaluate(detector, pictures(TEST_SEED, TEST_PICTURES // 2, busy=True), offsets)
    assert busy.precision >= 0.93
    assert busy.recall >= 0.90
    assert busy.wrists_within >= 0.80
    assert busy.wrist_precision >= 0.83


def test_wrists_are_within_six_pixels_where_a_constant_guess_is_not(quality):
    assert quality.wrists > 400
    assert quality.wrists_within >= 0.80
    assert quality.wrist_precision >= 0.80
    assert quality.wrists_by_offset < 0.10


def test_feet_are_near_enough_to_tell_places(quality):
    assert quality.feet_px <= 6.0


def test_it_is_small_and_its_licence_is_beside_it():
    models = sorted(FOLDER.rglob("*.onnx"))
    names = [str(path.relative_to(FOLDER)) for path in models]
    assert names == ["384/hands.onnx", "384/people.onnx", "hands.onnx", "people.onnx"]
    for folder in (FOLDER, FOLDER / "384"):
        assert sum(path.stat().st_size for path in folder.glob("*.onnx")) <= BYTES_MAX
    for path in models:
        assert "AGPL-3.0-or-later" in path.with_name(path.name + ".license").read_text()
