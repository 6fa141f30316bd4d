# SPDX-License-Identifier: Apache-2.0
"""Looks: alike for one body, apart for two, none where nothing can be said, and bounded."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.instore.codec import APPEARANCE_MAX
from vision.appearance import LOOK, TorsoColours, build_appearance, look_payload, signs
from vision.detectors import Detections, ModelError


def people(*boxes):
    """Return persons whose heads and feet are at the upper and lower end of their boxes."""
    array = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    middle = (array[:, 0] + array[:, 2]) / 2
    count = len(array)
    return Detections(
        boxes_xyxy=array,
        scores=np.full(count, 0.9),
        head_px=np.column_stack([middle, array[:, 1]]),
        head_scores=np.ones(count),
        feet_px=np.column_stack([middle, array[:, 3]]),
        feet_scores=np.ones(count),
        wrists_px=np.full((count, 2, 2), np.nan),
        wrist_scores=np.zeros((count, 2)),
    )


def dressed(*colours):
    """Return a frame with a person's width of each colour, noisy as a camera is."""
    rng = np.random.default_rng(1)
    frame = np.repeat(np.array(colours, dtype=np.float64), 60, axis=0)[None].repeat(120, axis=0)
    return np.clip(frame + rng.normal(0, 6, frame.shape), 0, 255).astype(np.uint8)


BOXES = [(0, 0, 60, 120), (60, 0, 120, 120), (120, 0, 180, 120)]


def test_one_shirt_is_nearer_to_itself_than_to_another_in_other_light():
    frame = dressed((40, 40, 120), (48, 48, 132), (120, 60, 30))
    one, brighter, other = TorsoColours().describe(frame, people(*BOXES))
    near, far = ((one - brighter) ** 2).sum(), ((one - other) ** 2).sum()
    assert far > 0.5
    assert near < far / 3


def test_no_persons_no_looks():
    assert TorsoColours().describe(dressed((9, 9, 9)), people()).shape == (0, LOOK)


def test_of_a_torso_out_of_view_covered_or_tiny_nothing_is_said():
    frame = dressed((40, 40, 120), (120, 60, 30))
    found = people((500, 0, 560, 120), (0, 0, 4, 8), (60, 0, 120, 120), (64, 2, 124, 122))
    looks = TorsoColours().describe(frame, found)
    assert np.isnan(looks).all()
    assert look_payload(looks[0]) is None


def test_a_person_without_keypoints_is_looked_at_by_its_box():
    frame = dressed((40, 40, 120))
    found = people(BOXES[0])
    found.head_scores[:] = found.feet_scores[:] = 0.0
    found.head_px[:] = found.feet_px[:] = np.nan
    assert np.isfinite(TorsoColours().describe(frame, found)).all()


@given(
    st.lists(st.tuples(*[st.floats(-1e5, 1e5) | st.just(float("nan"))] * 4), min_size=1, max_size=4)
)
def test_any_boxes_give_looks_of_bounded_numbers(boxes):
    looks = TorsoColours().describe(dressed((40, 40, 120), (9, 200, 9)), people(*boxes))
    assert looks.shape == (len(boxes), LOOK)
    told = looks[np.isfinite(looks).all(axis=1)]
    assert (np.abs(told) <= 4.0).all()
    assert all(len(look_payload(look)) == LOOK <= APPEARANCE_MAX for look in told)


@pytest.mark.parametrize("size", [2, 256, 512, 700])
def test_the_projection_keeps_distances(size):
    rng = np.random.default_rng(3)
    pairs = rng.normal(size=(200, size))
    pairs /= np.linalg.norm(pairs, axis=1, keepdims=True)
    kept = ((pairs @ signs(LOOK, size).T) ** 2).sum(axis=1)
    assert kept.mean() == pytest.approx(1.0, abs=0.12)


def reidentification_model(path, features, *, channels=3):
    """Write a model that gives the mean colour, repeated, of a picture of 64 by 32 pixels."""
    onnx = pytest.importorskip("onnx", reason="the extra ultralytics, with onnx, is not installed")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [
        helper.make_node("GlobalAveragePool", ["in"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weight"], ["out"]),
    ]
    weight = np.tile(np.eye(channels, dtype=np.float32), (1, -(-features // channels)))
    graph = helper.make_graph(
        nodes,
        "reid",
        [helper.make_tensor_value_info("in", kind, [1, channels, 64, 32])],
        [helper.make_tensor_value_info("out", kind, [1, features])],
        [onnx.numpy_helper.from_array(weight[:, :features].copy(), "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(path))
    return path


def test_a_reidentification_model_describes_people(tmp_path):
    model = build_appearance(reidentification_model(tmp_path / "reid.onnx", 96))
    frame = dressed((40, 40, 220), (40, 40, 220), (220, 60, 30))
    one, same, other = model.describe(frame, people(*BOXES))
    assert one.shape == (LOOK,)
    assert ((one - same) ** 2).sum() < 0.01 < ((one - other) ** 2).sum()
    assert np.isnan(model.describe(frame, people((900, 0, 960, 99)))).all()
    assert not model.scatter().known  # its scale is its own, and is learned


def test_a_model_that_is_none_is_refused(tmp_path):
    rubbish = tmp_path / "rubbish.onnx"
    rubbish.write_bytes(b"no model")
    for path, problem in ((tmp_path / "none.onnx", "no such file"), (rubbish, "no ONNX model")):
        with pytest.raises(ModelError, match=problem):
            build_appearance(path)
    with pytest.raises(ModelError, match="not one picture of 3 channels"):
        build_appearance(reidentification_model(tmp_path / "grey.onnx", 8, channels=1))
    with pytest.raises(ModelError, match="gives 1 numbers"):
        build_appearance(reidentification_model(tmp_path / "one.onnx", 1))
