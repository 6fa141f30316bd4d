# SPDX-License-Identifier: Apache-2.0
"""``shelfgate model check`` and ``bench``: real files, each runtime in a process of its own."""

import json
import sys
from pathlib import Path

import pytest

from gateway.cli import main
from vision.detectors import bench, check, measure
from vision.detectors.bench import Row, recommend
from vision.detectors.measure import Job, Measured
from vision.model_cli import import_needed

ROOT = Path(__file__).parents[2]
PEOPLE = ROOT / "fixtures" / "model" / "people.onnx"
HANDS = ROOT / "fixtures" / "model" / "hands.onnx"
QUICK = ["--runtimes", "onnxruntime", "opencv"]


def answer(capsys, *arguments):
    """Return the exit status, standard output and standard error of a command."""
    status = main([str(word) for word in arguments])
    return status, *capsys.readouterr()


def test_check_says_what_a_model_is_and_what_runs_it(capsys):
    status, out, _ = answer(capsys, "model", "check", PEOPLE, HANDS, "--json", *QUICK)
    people, hands = json.loads(out)
    assert status == 0
    assert people["file"] == "ONNX"
    assert people["described"] == {
        "format": "YOLO v8 or 11",
        "input_wh": [256, 192],
        "channels": "RGB from 0 to 1",
        "classes": 1,
        "person": "person",
        "keypoints": 2,
        "hands": False,
    }
    assert people["runtimes"] == {"onnxruntime": "runs", "opencv": "runs"}
    assert hands["described"]["hands"]
    text = check.text_of(check.check(PEOPLE, ["opencv"]))
    assert "256 x 192 px" in text
    assert "opencv       runs" in text


def test_check_says_why_a_file_cannot_be_used(capsys, tmp_path):
    noise, short = tmp_path / "noise.onnx", tmp_path / "short.onnx"
    empty = tmp_path / "empty"
    empty.mkdir()
    noise.write_bytes(b"noise")
    short.write_bytes(PEOPLE.read_bytes()[:-1000])
    for name, content in (("lone.xml", "<net/>"), ("page.xml", "<html>"), ("weights.pt", "x")):
        (tmp_path / name).write_text(content)
    for path, reason in (
        (noise, "noise.onnx: no ONNX model"),
        (short, "short.onnx: no ONNX model"),
        (tmp_path / "lone.xml", "lone.bin: no such file. Keep it beside"),
        (tmp_path / "page.xml", "no OpenVINO model"),
        (tmp_path / "weights.pt", "no PyTorch weights"),
        (tmp_path / "none.onnx", "no such file"),
        (tmp_path, "holds 5 models. Name the file"),
        (
            empty,
            "empty: holds no file of .onnx, .xml, .param, .pt. Name a model's file, or the folder",
        ),
        (ROOT / "README.md", "no model by its name"),
    ):
        status, out, _ = answer(capsys, "model", "check", path, *QUICK)
        assert status == 1, path
        assert reason in out


def test_a_model_with_other_outputs_is_told_by_each_runtime(capsys, tmp_path):
    onnx = pytest.importorskip("onnx", reason="onnx is not installed (extra ultralytics)")
    kind, helper = onnx.TensorProto.FLOAT, onnx.helper
    graph = helper.make_graph(
        [helper.make_node("GlobalAveragePool", ["images"], ["out"])],
        "classifier",
        [helper.make_tensor_value_info("images", kind, [1, 3, 64, 64])],
        [helper.make_tensor_value_info("out", kind, [1, 3, 1, 1])],
    )
    path = tmp_path / "other.onnx"
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), str(path))
    status, out, _ = answer(capsys, "model", "check", path, *QUICK)
    assert status == 1
    assert out.count("its output of shape (1, 3, 1, 1)") == 3  # two runtimes, and the verdict
    assert "Use YOLO v8, 11 or 26" in out


@pytest.mark.parametrize(
    ("node", "problem"),
    [
        (("Blub", ["images"]), "no ONNX model ("),
        (("Add", ["images", "nowhere"]), "no ONNX model (Node input 'nowhere' is not a graph"),
        (("Reshape", ["images", "shape"]), "cannot be run (The input tensor cannot be reshaped"),
    ],
)
def test_what_a_runtime_says_is_told_without_its_codes(node, problem, capsys, tmp_path):
    onnx = pytest.importorskip("onnx", reason="onnx is not installed (extra ultralytics)")
    helper, types = onnx.helper, onnx.TensorProto
    graph = helper.make_graph(
        [helper.make_node(*node, ["out"])],
        "broken",
        [helper.make_tensor_value_info("images", types.FLOAT, [1, 3, 64, 64])],
        [helper.make_tensor_value_info("out", types.FLOAT, None)],
        [helper.make_tensor("shape", types.INT64, [2], [7, 11])],
    )
    path = tmp_path / "broken.onnx"
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), str(path))
    status, out, _ = answer(capsys, "model", "check", path, "--runtimes", "onnxruntime")
    assert status == 1
    told = out.splitlines()[-1].removeprefix(f"cannot be used: {path}: ")
    assert told.startswith(problem)
    assert told.endswith("). Export it again")
    for own in ("[ONNXRuntimeError]", "failed:", ".h:", ".)"):
        assert own not in told


def test_bench_measures_runtimes_and_recommends_one(capsys):
    few = ["--frames", "12", "--seconds", "2"]
    status, out, _ = answer(capsys, "model", "bench", PEOPLE, "--json", *few, *QUICK)
    report = json.loads(out)
    assert status == 0
    assert [row["runtime"] for row in report["rows"]] == ["onnxruntime", "opencv"]
    for row in report["rows"]:
        result = row["result"]
        assert row["size_px"] == 256
        assert result["input_wh"] == [256, 192]
        assert 10 <= result["frames"] <= 12
        assert 0 < result["p50_ms"] <= result["p95_ms"]
        assert result["cpu_ms"] > 0
        assert 1 < result["model_mb"] < result["memory_mb"] < 2000
    assert {tuple(one["sizes_px"]) for one in report["skipped"]} == {(320, 416, 640)}
    assert {one["reason"] for one in report["skipped"]} == {"takes 256 x 192 alone"}
    assert report["recommended"] in {"onnxruntime", "opencv"}


def test_a_missing_runtime_is_named_with_what_installs_it(capsys, tmp_path, monkeypatch):
    broken = tmp_path / "openvino.py"
    broken.write_text("raise ModuleNotFoundError(\"No module named 'openvino'\", name='openvino')")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    status, out, _ = answer(capsys, "model", "bench", PEOPLE, "--runtimes", "openvino")
    assert status == 1
    assert "not at 320, 416, 640: people.onnx: not installed: pip install 'shelfgate[openv" in out
    assert "no recommendation: nothing could be measured" in out
    verdict = check.check(PEOPLE, ["openvino"])
    assert not verdict.good
    assert verdict.runtimes["openvino"].startswith("not installed")


def test_a_library_that_is_missing_or_does_not_load_is_told(monkeypatch, tmp_path):
    (tmp_path / "half.py").write_text("raise ImportError('libGL.so.1: cannot open shared object')")
    (tmp_path / "none.py").write_text("import torch_of_another_name")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(
        SystemExit, match=r"^torch_of_another_name: not installed\. Run pip install"
    ):
        import_needed("none", "vision,ultralytics")
    with pytest.raises(SystemExit, match=r"^half: cannot be loaded: libGL.*\. Install libgl1 "):
        import_needed("half")


def test_a_runtime_that_crashes_takes_nothing_with_it(monkeypatch, tmp_path):
    crash = tmp_path / "python"
    crash.write_text("#!/bin/sh\necho no memory >&2\nkill -SEGV $$\n")
    crash.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(crash))
    outcome = measure.run(Job(kind="opencv", model=str(PEOPLE)))
    assert outcome.error == (
        f"{PEOPLE}: opencv ended with status -11 (no memory). "
        "Use another detector, or export it again"
    )


def row(runtime, size_px, cpu_ms, memory_mb=100.0):
    result = Measured(
        input_wh=None,
        frames=10,
        p50_ms=1.0,
        p95_ms=1.0,
        frames_a_second=1.0,
        cpu_ms=cpu_ms,
        memory_mb=memory_mb,
        model_mb=1.0,
    )
    return Row(runtime=runtime, model="m.onnx", size_px=size_px, result=result)


def test_the_least_cpu_is_recommended_at_sizes_that_all_did():
    rows = [row("onnxruntime", 320, 10.0), row("opencv", 320, 9.0), row("opencv", 640, 90.0)]
    best, why = recommend(rows)
    assert best.runtime == "opencv"
    assert why == "9.0 ms of CPU a frame at 320 with m.onnx; onnxruntime 10.0 with m.onnx"
    alike = [row("openvino", 320, 9.0, 300.0), row("onnxruntime", 320, 9.2, 100.0)]
    assert recommend(alike)[0].runtime == "onnxruntime"
    apart = [row("openvino", 320, 9.0), row("ncnn", 416, 9.0)]
    assert recommend(apart)[0] is None
    assert "no size in common" in recommend(apart)[1]
    assert recommend([])[0] is None
    report = bench.Report(
        cores=2,
        threads=1,
        rows=rows,
        skipped=[],
        recommended="opencv",
        recommended_model="m",
        why=why,
    )
    assert 'recommended: detector = "opencv": 9.0 ms' in bench.text_of(report)


@pytest.mark.parametrize("command", ["bench", "check"])
def test_help_has_an_example(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["model", command, "--help"])
    assert ended.value.code == 0
    assert f"example: shelfgate model {command} yolo11n-pose.onnx" in capsys.readouterr().out


def test_senseless_numbers_are_refused(capsys):
    with pytest.raises(SystemExit):
        main(["model", "bench", str(PEOPLE), "--sizes", "3"])
    assert "not from 32 to 4096" in capsys.readouterr().err
