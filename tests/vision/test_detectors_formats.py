# SPDX-License-Identifier: Apache-2.0
"""Each output format: told by its shape and by what the file says, and read to the pixel."""

from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vision.detectors import ModelError
from vision.detectors.convert import _metadata
from vision.detectors.decoding import check_output, decode
from vision.detectors.formats import Format, cells, recognise
from vision.detectors.ncnn_file import check_param
from vision.detectors.onnx_file import read_onnx
from vision.detectors.told import Told, _entries, printable, told_beside, told_by

COCO_LIKE = Told(names=("cat", "person", "dog"), task="detect")


@pytest.mark.parametrize(
    ("shape", "told", "wanted"),
    [
        ((1, 56, 1344), Told(), ("yolo", 1, 0, (17, 3))),
        ((1, 84, 1344), Told(), ("yolo", 80, 0, (0, 3))),
        ((1, 5, 1344), Told(), ("yolo", 1, 0, (0, 3))),
        ((1, 11, 1280), Told(names=("person",), keypoints=(2, 3)), ("yolo", 1, 0, (2, 3))),
        (
            (1, 41, 1344),
            Told(names=("x", "Person", "y"), keypoints=(17, 2)),
            ("yolo", 3, 1, (17, 2)),
        ),
        ((1, 7, 1344), COCO_LIKE, ("yolo", 3, 1, (0, 3))),
        (
            (1, 300, 57),
            Told(task="pose", keypoints=(17, 3), end_to_end=True),
            ("e2e", 1, 0, (17, 3)),
        ),
        ((1, 300, 6), Told(), ("e2e", 1, 0, (0, 3))),
        ((1, 1344, 85), Told(), ("yolox", 80, 0, (0, 3))),
        ((1, 1344, 6), Told(), ("yolox", 1, 0, (0, 3))),
        ((1, 1, 200, 7), Told(model="person-detection-retail-0013"), ("ssd", 1, 0, (0, 3))),
        ((1, 5, 64, 64), Told(), ("hands", 1, 0, (0, 3))),
    ],
)
def test_a_format_is_told_by_shape_and_words(shape, told, wanted):
    form = recognise([shape], (256, 256), told)
    assert (form.name, form.classes, form.person, form.keypoints) == wanted
    assert form.bgr == (form.name in {"yolox", "ssd"})


@pytest.mark.parametrize(
    ("shapes", "told", "reason"),
    [
        ([(1, 116, 1344), (1, 32, 64, 64)], Told(), "2 outputs"),
        ([(1, 1000)], Told(), "no format known"),
        ([(1, 84, 1000)], Told(), "no format known"),
        ([(1, 6, 64, 64)], Told(), "no format known"),  # hands have five outputs, or seven
        ([(1, 4032, 85)], Told(), "no format known"),  # YOLOv5: three anchors a cell
        ([(2, 84, 1344)], Told(), "no format known"),
        ([(1, 62, 1344)], Told(), "does not say what they are"),
        ([(1, 62, 1344)], COCO_LIKE, "are not the 3 classes"),
        ([(1, 14, 1344)], Told(names=("person",), keypoints=(3, 3)), "3 keypoints"),
        ([(1, 6, 1344)], Told(names=("cat", "dog")), "none of its 2 classes is a person"),
        ([(1, 1344, 12)], Told(), "7 classes without names"),
        ([(1, 5, 1344)], Told(task="obb"), "made for obb"),
        ([(1, 1, 200, 7)], Told(model="face-detection-0200"), "more than persons"),
    ],
)
def test_another_models_outputs_are_refused_with_a_remedy(shapes, told, reason):
    with pytest.raises(ModelError, match=reason) as refused:
        recognise(shapes, (256, 256), told)
    assert refused.value.args[0].count(". ") == 1


@pytest.mark.parametrize("normalised", [False, True])
def test_a_pose_is_read_in_pixels_and_in_shares(normalised):
    output = np.zeros((1, 11, 4), dtype=np.float32)
    output[0, :, 2] = [100, 80, 40, 60, 0.9, 100, 60, 0.8, 100, 108, 0.7]
    output[0, :4, 3] = [200, 20, 10, 10]  # below the least score, but it says what the unit is
    if normalised:
        output[0, [0, 2, 5, 8]] /= 256
        output[0, [1, 3, 6, 9]] /= 192
    found = decode(output, Format("yolo", keypoints=(2, 3)), (256, 192), score_min=0.5)
    assert np.allclose(found.boxes_xyxy, [[80, 50, 120, 110]], atol=1e-3)
    assert np.allclose(found.head_px, [[100, 60]], atol=1e-3)
    assert np.allclose(found.feet_px, [[100, 108]], atol=1e-3)
    assert found.wrist_scores.max() == 0.0


def test_of_several_classes_only_persons_are_read():
    output = np.zeros((1, 7, 3), dtype=np.float32)
    output[0, :, 0] = [50, 50, 20, 40, 0.9, 0.1, 0.0]
    output[0, :, 1] = [150, 60, 20, 40, 0.0, 0.8, 0.0]
    found = decode(output, Format("yolo", 3, 1), (256, 192), score_min=0.5)
    assert np.allclose(found.boxes_xyxy, [[140, 40, 160, 80]])
    # Feet and head are a guess, and say so; wrists there are none.
    assert np.allclose(found.feet_px, [[150, 80]])
    assert np.allclose(found.head_px, [[150, 40]])
    assert 0.3 <= found.head_scores[0] <= found.feet_scores[0] <= 0.5
    assert np.isnan(found.wrists_px).all()


def test_end_to_end_rows_are_persons_as_they_stand():
    output = np.zeros((1, 4, 12), dtype=np.float32)
    output[0, 0] = [10, 20, 30, 80, 0.9, 0, 20, 25, 0.9, 20, 78, 0.6]
    output[0, 1] = [12, 20, 31, 80, 0.8, 0, 21, 25, 0.9, 21, 78, 0.6]  # overlaps, and stays
    output[0, 2] = [10, 20, 30, 80, 0.9, 1, 0, 0, 0, 0, 0, 0]  # another class
    found = decode(output, Format("e2e", keypoints=(2, 3)), (256, 192), score_min=0.5)
    assert np.allclose(found.boxes_xyxy, output[0, :2, :4])
    assert np.allclose(found.feet_px, [[20, 78], [21, 78]])


@given(
    st.sampled_from((8, 16, 32)),
    st.tuples(st.integers(0, 1), st.integers(0, 2)),
    st.tuples(st.floats(0.0, 1.0), st.floats(0.0, 1.0)),
    st.booleans(),
)
def test_yolox_boxes_are_offsets_in_their_cell(side, cell, offset, decoded):
    size_wh, sides = (96, 64), (8, 16, 32)
    output = np.zeros((1, cells(size_wh, sides), 6), dtype=np.float32)
    if decoded:
        output[0, -1, :2] = 90, 60  # elsewhere places are in pixels too
    row, column = cell
    before = sum(cells(size_wh, (other,)) for other in sides if other < side)
    centre = ((column + offset[0]) * side, (row + offset[1]) * side)
    at = before + row * (size_wh[0] // side) + column
    raw = [*offset, np.log(40 / side), np.log(20 / side)]
    output[0, at] = [*(raw if not decoded else (*centre, 40, 20)), 0.9, 0.8]
    form = recognise([output.shape], size_wh)
    found = decode(output, form, size_wh, score_min=0.5)
    [[left, top, right, bottom]] = found.boxes_xyxy
    assert np.allclose([right - left, bottom - top], [40, 20], atol=1e-3)
    assert np.allclose([(left + right) / 2, (top + bottom) / 2], centre, atol=1e-3)
    assert np.allclose(found.scores, 0.72)


def test_ssd_rows_end_where_the_picture_does():
    output = np.zeros((1, 1, 4, 7), dtype=np.float32)
    output[0, 0, 0] = [0, 1, 0.9, 0.25, 0.5, 0.5, 1.0]
    output[0, 0, 1] = [-1, 0, 0, 0, 0, 0, 0]
    output[0, 0, 2] = [0, 1, 0.9, 0.0, 0.0, 0.1, 0.1]  # left over from another picture
    found = decode(output, Format("ssd"), (544, 320), score_min=0.5)
    assert np.allclose(found.boxes_xyxy, [[136, 160, 272, 320]])
    output[0, 0, 2:] = np.nan
    check_output(output, Format("ssd"))


@pytest.mark.parametrize(
    ("form", "shape"),
    [
        (Format("yolo", keypoints=(17, 3)), (1, 56, 126)),
        (Format("e2e", keypoints=(17, 3)), (1, 300, 57)),
        (Format("yolox", 80, grids=(8, 16, 32)), (1, 126, 85)),
        (Format("ssd"), (1, 1, 200, 7)),
    ],
)
def test_empty_and_broken_outputs_are_nobody(form, shape):
    nothing = np.zeros(shape, dtype=np.float32)
    assert len(decode(nothing, form, (96, 64), score_min=0.3)) == 0
    check_output(nothing, form)
    for value in (np.nan, np.inf, -np.inf):
        broken = np.full(shape, value, dtype=np.float32)
        with np.errstate(all="ignore"):
            assert len(decode(broken, form, (96, 64), score_min=0.3)) == 0
        with pytest.raises(ModelError, match="has numbers that are not finite"):
            check_output(broken, form)


def test_ultralytics_table_is_read_from_texts_and_from_yaml(tmp_path):
    wanted = Told("pose", ("person",), (2, 3), end_to_end=True, size_wh=(256, 192), model="m")
    table = {
        "task": "pose",
        "names": "{0: 'person'}",
        "kpt_shape": "[2, 3]",
        "imgsz": "[192, 256]",
        "end2end": "True",
    }
    assert told_by(table, "m") == wanted
    (tmp_path / "metadata.yaml").write_text(
        "description: Ultralytics model trained on x.yaml: y\ntask: pose\nimgsz:\n- 192\n- 256\n"
        "names:\n  0: person\nargs:\n  batch: 1\n  nested:\n    deep: 1\nkpt_shape:\n- 2\n- 3\n"
        "end2end: true\n"
    )
    assert told_beside(tmp_path / "m.param", "m") == wanted
    assert told_beside(tmp_path / "elsewhere" / "m.param") == Told()


@given(st.lists(st.text(max_size=12), min_size=1, max_size=3))
@example(
    ["person: adult", "'person'", '"a"', "it's", "yes", "7", "", "a # b", "\\", "- x", "\U0001f9cd"]
)
@example(
    ["pe\nkpt_shape:\n- 7\n- 3", "a\u2028task: detect", "\ud800", "a\x85b", "\x1b[2J", "\ufffe"]
)
def test_any_names_are_written_so_that_every_reader_reads_them(names):
    told = Told("pose", tuple(map(printable, names)), (4, 3), size_wh=(256, 192))
    text = _metadata(replace(told, names=tuple(names)), None)
    assert told_by(_entries(text)) == told
    yaml = pytest.importorskip("yaml", reason="it comes with ultralytics")
    table = yaml.safe_load(text.encode())
    assert table == {
        "task": "pose",
        "names": dict(enumerate(told.names)),
        "kpt_shape": [4, 3],
        "imgsz": [192, 256],
    }


@pytest.mark.parametrize(
    "name", ["person", "it's", '0"', "a: b", "yes", "7", " a", "", "\ufeff\\n"]
)
def test_names_are_read_as_ultralytics_writes_them(name):
    yaml = pytest.importorskip("yaml", reason="it comes with ultralytics")
    text = yaml.dump({"names": {0: name, 1: "x"}}, sort_keys=False, allow_unicode=True)
    assert told_by(_entries(text)).names == (name, "x")


def test_what_a_model_calls_its_classes_moves_no_terminal_and_no_line():
    table = {"task": "po\nse", "names": "{0: 'a\\x1b[2J\\u2028b', 1: '\\ud800'}"}
    assert told_by(table) == Told("pose", ("a[2Jb", ""))


@given(
    st.dictionaries(
        st.sampled_from(["task", "names", "kpt_shape", "imgsz", "end2end"]),
        st.text(max_size=30)
        | st.sampled_from(["[1e999, 2]", "[[], {}]", "{}", "[" * 500, "[0, 0]"]),
    )
)
def test_any_table_tells_something_or_nothing(table):
    told = told_by(table)
    assert told.size_wh is None or min(told.size_wh) >= 1
    assert told.keypoints is None or told.keypoints[1] in (2, 3)


@given(st.binary(max_size=200))
def test_any_bytes_are_an_onnx_file_or_refused(tmp_path_factory, noise):
    path = tmp_path_factory.mktemp("onnx") / "noise.onnx"
    path.write_bytes(noise)
    with suppress(ModelError):  # and nothing else
        assert read_onnx(path).inputs is not None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "noise",
        "7767517\n1 1\n",
        "7767517\n2 1\nInput a 0 1 a\n",
        "7767517\n1 1\nInput a 0 9 a\n",
    ],
)
def test_what_is_no_ncnn_file_never_gets_to_ncnn(tmp_path, text):
    path = tmp_path / "m.param"
    path.write_text(text)
    with pytest.raises(ModelError, match=r"m\.bin: no such file"):
        check_param(path)
    path.with_suffix(".bin").write_bytes(b"")
    with pytest.raises(ModelError, match="no ncnn model"):
        check_param(path)
