# SPDX-License-Identifier: Apache-2.0
"""Every runtime on real files: the fixture's model, and models of real people where they are."""

import importlib.util
import os
import re
import subprocess
import sys
import warnings
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests import models
from vision.detectors import SUFFIXES, Detector, ModelError, RuntimeMissingError, build, locate
from vision.detectors.network import cores, threads_used
from vision.scenes import pictures

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"
MODELS = DATA / "models"
POSE = MODELS / "yolo11n-pose-256-int.onnx"
YOLOX = MODELS / "yolox_nano.onnx"
RETAIL = MODELS / "person-detection-retail-0013"
VIDEO = DATA / "videos" / "one-by-one-person-detection.mp4"
FIXTURE = ROOT / "fixtures" / "model"
HERE = pytest.mark.skipif(not VIDEO.exists(), reason="the real models are not on this machine")
CAN_OPENVINO = importlib.util.find_spec("openvino") is not None
STEPS_PX = 15.0
"""The pose model's outputs are integers: one step of a keypoint is 13 px of the frame."""
FRAMES = (0, 40, 90, 100, 110, 120, 130)
"""Of the video: an empty hall twice, then somebody who crosses it."""


@pytest.fixture(scope="module")
def forms(tmp_path_factory):
    """Return each runtime's form of the fixture's model, made when asked for."""
    folder = tmp_path_factory.mktemp("forms")

    @cache
    def form(kind):
        if kind == "openvino IR":
            openvino()
            return tuple(models.to_form("openvino", name, folder) for name in ("people", "hands"))
        if kind == "ncnn":
            pytest.importorskip("ncnn", reason="ncnn is not installed")
            pytest.importorskip("pnnx", reason="pnnx is not installed (extra ultralytics)")
            return tuple(models.to_form("ncnn", name, folder) for name in ("people", "hands"))
        if kind == "openvino":
            openvino()
        return FIXTURE / "people.onnx", FIXTURE / "hands.onnx"

    return form


def openvino():
    """Skip where OpenVINO is not, and return it, imported as the product does."""
    if not CAN_OPENVINO:
        pytest.skip("openvino is not installed")
    return importlib.import_module("openvino")


@cache
def real_frames():
    """Return some frames of the real video."""
    video = cv2.VideoCapture(str(VIDEO))
    frames = [video.read()[1] for _ in range(max(FRAMES) + 1)]
    video.release()
    return [frames[number] for number in FRAMES]


def agree(first, second, within_px, within_score=0.03):
    """Hold two runtimes' detections of a frame against one another."""
    assert len(first) == len(second)
    assert np.allclose(first.boxes_xyxy, second.boxes_xyxy, atol=within_px)
    assert np.allclose(first.scores, second.scores, atol=within_score)
    assert np.allclose(first.feet_px, second.feet_px, atol=within_px)
    return len(first)


@pytest.mark.parametrize("kind", ["opencv", "openvino", "openvino IR", "ncnn"])
def test_every_runtime_sees_what_the_default_one_sees(kind, forms):
    people, hands = forms(kind)
    other = build(kind.split()[0], people, hands=hands)
    default = build("onnxruntime", FIXTURE / "people.onnx", hands=FIXTURE / "hands.onnx")
    persons = wrists = 0
    for picture in pictures(8, 5):
        one, two = default.detect(picture.image), other.detect(picture.image)
        persons += agree(one, two, 1.0)
        seen = one.wrist_scores > 0.35
        wrists += int(seen.sum())
        assert np.allclose(one.wrists_px[seen], two.wrists_px[seen], atol=1.0)
    assert persons >= 4
    assert wrists >= 4
    assert len(other.detect(np.full((90, 160, 3), 114, dtype=np.uint8))) == 0


@HERE
@pytest.mark.parametrize(
    ("model", "kinds", "within_px"),
    [
        (POSE, ("onnxruntime", "opencv"), STEPS_PX),
        (YOLOX, ("onnxruntime", "opencv", "openvino"), 1.0),
        (RETAIL, ("openvino",), 0.0),
    ],
    ids=lambda value: value.stem if isinstance(value, Path) else "",
)
def test_real_models_find_the_person_who_is_there(model, kinds, within_px):
    if "openvino" in kinds:
        openvino()
    found = {kind: [build(kind, model).detect(frame) for frame in real_frames()] for kind in kinds}
    for frames in found.values():
        assert [len(one) for one in frames] == [0, 0, 1, 1, 1, 1, 1]
        # Beside the person as a look at the frames tells it, within a tenth of its height.
        middles = [one.boxes_xyxy[0, [0, 2]].mean() for one in frames[2:]]
        assert all(380 < middle < 560 for middle in middles)
        for one in frames[2:]:
            left, top, right, bottom = one.boxes_xyxy[0]
            assert 250 < bottom - top < 432
            assert left < one.feet_px[0, 0] < right
            assert 0 <= left < right <= 768
            assert bool((one.wrist_scores > 0.5).any()) == (model == POSE)
    for kind in kinds[1:]:
        for one, two in zip(found[kinds[0]], found[kind], strict=True):
            agree(one, two, within_px)


def test_openvino_runs_8_bit_layers_in_8_bits(tmp_path):
    ov = openvino()
    ops = importlib.import_module("openvino.opset13")
    model = ov.Core().read_model(str(FIXTURE / "people.onnx"))
    first = next(node for node in model.get_ordered_ops() if node.get_type_name() == "Convolution")
    weights = first.input_value(1).get_node().input_value(0).get_node().data
    bound = float(np.abs(weights).max())
    for port, low, high, levels in ((0, 0.0, 1.0, 256), (1, -bound, bound, 255)):
        ends = [np.float32(end) for end in (low, high, low, high)]
        rounded = ops.fake_quantize(first.input_value(port), *ends, levels)
        first.input(port).replace_source_output(rounded.output(0))
    ov.save_model(model, str(tmp_path / "people.xml"))
    (tmp_path / "metadata.yaml").write_text("task: pose\nnames:\n  0: person\nkpt_shape: [2, 3]\n")
    detector = build("openvino", tmp_path / "people.xml")
    run_in = [
        layer.get_rt_info()["runtimePrecision"].astype(str)
        for layer in detector.people._network._compiled.get_runtime_model().get_ops()
        if layer.get_rt_info()["layerType"].astype(str) == "Convolution"
    ]
    assert {"i8", "u8"} & set(run_in)
    default = build("onnxruntime", FIXTURE / "people.onnx")
    for picture in pictures(8, 3):
        agree(default.detect(picture.image), detector.detect(picture.image), 3.0, 0.1)


def test_ultralytics_yolo26_is_read_end_to_end_and_at_any_size(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch", reason="torch is not installed (extra ultralytics)")
    pytest.importorskip("ultralytics", reason="ultralytics is not installed")
    from vision.yolo.runtime import prepare, yolo

    prepare(1)
    torch.manual_seed(0)
    monkeypatch.chdir(tmp_path)
    untrained = yolo("yolo26n-pose.yaml", task="pose")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporter gives a dozen
        made = untrained.export(
            format="onnx", imgsz=192, simplify=False, dynamic=True, nms=False, device="cpu"
        )
    exported = Path(made).resolve()
    frame = next(iter(pictures(8, 1))).image
    detector = build("onnxruntime", exported, score_min=1e-6)
    assert detector.people.format.name == "e2e"
    assert detector.people.size_for(frame) == (192, 160)
    found = detector.detect(frame)
    assert len(found) > 0
    # Weights drawn by chance see persons everywhere; ultralytics sees the best one there too.
    theirs = build("ultralytics", exported, score_min=1e-6, input_px=192).detect(frame)
    apart = np.abs(found.boxes_xyxy[:, None] - theirs.boxes_xyxy[None]).max(axis=2)
    assert apart.min(axis=0).max() < 2.0


def test_a_fixed_model_refuses_another_size_and_a_hands_model_is_no_model():
    with pytest.raises(ModelError, match=r"256 x 192 pixels alone, not 320\. Export it"):
        build("onnxruntime", FIXTURE / "people.onnx", input_px=320)
    build("onnxruntime", FIXTURE / "people.onnx", input_px=256)
    with pytest.raises(ModelError, match="finds hands, not persons"):
        build("onnxruntime", FIXTURE / "hands.onnx")
    with pytest.raises(ModelError, match="finds no hands"):
        build("onnxruntime", FIXTURE / "people.onnx", hands=FIXTURE / "people.onnx")


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("onnxruntime", "noise.onnx"),
        ("opencv", "noise.onnx"),
        ("openvino", "noise.onnx"),
        ("openvino", "noise.xml"),
        ("ncnn", "noise.param"),
        ("ultralytics", "noise.pt"),
    ],
)
def test_what_is_no_model_is_refused_with_a_remedy(kind, name, tmp_path):
    if kind != "opencv" and importlib.util.find_spec(kind) is None:
        pytest.skip(f"{kind} is not installed")
    noise = tmp_path / name
    noise.write_bytes(b"noise" * 100)
    noise.with_suffix(".bin").write_bytes(b"")
    with pytest.raises(ModelError, match=r"noise.*\. [A-Z]") as refused:
        build(kind, noise)
    assert not isinstance(refused.value, RuntimeMissingError)


def test_a_truncated_model_is_refused(tmp_path):
    whole = (FIXTURE / "people.onnx").read_bytes()
    for share in (0.3, 0.999):
        short = tmp_path / "short.onnx"
        short.write_bytes(whole[: int(len(whole) * share)])
        for kind in ("onnxruntime", "opencv"):
            with pytest.raises(ModelError, match="short"):
                build(kind, short)


def test_files_are_found_in_export_folders_and_named_for_their_runtime(tmp_path):
    with pytest.raises(ModelError, match=r"no such file\. Give the path"):
        locate("onnxruntime", tmp_path / "none.onnx")
    (tmp_path / "model.ncnn.param").write_text("")
    assert locate("ncnn", tmp_path) == tmp_path / "model.ncnn.param"
    (tmp_path / "other.param").write_text("")
    with pytest.raises(ModelError, match=r"holds 2 files of \.param\. Name the file"):
        locate("ncnn", tmp_path)
    with pytest.raises(ModelError, match=r"Use the detector ncnn"):
        locate("openvino", tmp_path / "model.ncnn.param")


@pytest.mark.parametrize(
    ("kind", "files", "remedy"),
    [
        ("onnxruntime", ["m.ncnn.param", "m.ncnn.bin"], 'Set detector = "ncnn", which reads what'),
        ("onnxruntime", ["m.xml", "m.bin", "metadata.yaml"], 'Set detector = "openvino", which'),
        ("ncnn", ["m.onnx"], 'Set detector = "onnxruntime" or "openvino" or "opencv", which'),
        ("onnxruntime", [], "Name a model's file, or the folder that an export wrote"),
        ("onnxruntime", ["m.pt"], "Name a model's file, or the folder that an export wrote"),
    ],
)
def test_a_folder_for_another_runtime_names_the_detector_that_reads_it(
    kind, files, remedy, tmp_path
):
    for name in files:
        (tmp_path / name).write_text("")
    read = " or ".join(SUFFIXES[kind])
    told = re.escape(f"{tmp_path}: holds no file of {read}, which {kind} reads. {remedy}")
    with pytest.raises(ModelError, match=f"^{told}"):
        locate(kind, tmp_path)


@pytest.mark.parametrize(
    ("kind", "package", "extra"),
    [
        ("openvino", "openvino", "openvino"),
        ("ncnn", "ncnn", "ncnn"),
        ("onnxruntime", "onnxruntime", "vision"),
    ],
)
def test_a_runtime_that_is_missing_says_what_to_install(
    kind, package, extra, monkeypatch, tmp_path
):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"vision.detectors.{package}", raising=False)
    monkeypatch.delitem(sys.modules, "vision.detectors.onnx", raising=False)
    model = tmp_path / {"ncnn": "m.param"}.get(kind, "m.onnx")
    model.write_bytes((FIXTURE / "people.onnx").read_bytes())
    with pytest.raises(RuntimeMissingError, match=rf"pip install 'shelfgate\[{extra}\]'"):
        build(kind, model)


def test_threads_stay_below_the_cores():
    assert threads_used(1) == 1
    assert threads_used(64) == max(1, cores() - 1)
    # A process that may use one core only gets one thread.
    program = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from vision.detectors.network import threads_used; print(threads_used(8))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "1\n"


def test_no_runtime_opens_a_connection(forms, tmp_path):
    """Some of these packages bring telemetry and downloads along.

    What a library does by itself Python's audit hooks do not see; but what is to be sent is kept in
    the home directory first.
    """
    detectors = [("onnxruntime", FIXTURE / "people.onnx"), ("opencv", FIXTURE / "people.onnx")]
    detectors += [(kind, forms(kind)[0]) for kind in ("openvino", "ncnn")]
    program = (
        "import sys, numpy as np\n"
        "from pathlib import Path\n"
        "def watch(event, values):\n"
        "    if event in ('socket.connect', 'socket.getaddrinfo', 'socket.sendto',\n"
        "                 'subprocess.Popen', 'os.fork', 'os.posix_spawn'):\n"
        "        print(event, values)\n"
        "sys.addaudithook(watch)\n"
        "from vision.detectors import build\n"
        "for kind, path in zip(sys.argv[1::2], sys.argv[2::2]):\n"
        "    build(kind, Path(path)).detect(np.zeros((48, 64, 3), dtype=np.uint8))\n"
    )
    arguments = [str(word) for pair in detectors for word in pair]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        check=True,
        env={"HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_a_detector_is_what_the_worker_takes():
    detector: Detector = build("opencv", FIXTURE / "people.onnx", threads=64)
    assert len(detector.detect(np.zeros((10, 3000, 3), dtype=np.uint8))) == 0
