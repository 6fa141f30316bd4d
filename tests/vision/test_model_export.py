# SPDX-License-Identifier: Apache-2.0
"""``shelfgate model export``: other forms of an ONNX file, and what is said where one cannot be."""

import importlib.util
import json
import re
import sys
import tomllib
from pathlib import Path

import cv2
import pytest

from gateway.cli import main
from vision.detectors import ModelError, RuntimeMissingError
from vision.detectors.convert import NEEDS, PICTURES_MIN, check_tool, convert
from vision.scenes import pictures

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "fixtures" / "model"
HANDS = MODELS / "hands.onnx"
needs_openvino = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="openvino is not installed"
)

NNCF = """
from pathlib import Path
class QuantizationPreset:
    MIXED = "mixed"
def Dataset(items):
    return items
def quantize(model, data, *, subset_size, preset):
    low, high = min(one.min() for one in data), max(one.max() for one in data)
    words = [preset, subset_size, len({one.tobytes() for one in data})]
    words += [*map(list, {one.shape for one in data}), low >= 0, high <= 1]
    Path(__file__).with_name("told").write_text(str([str(word) for word in words]))
    return model
"""
"""Stands in for NNCF: notes what it is given, and leaves the model as it is."""


def write_pictures(folder, count):
    folder.mkdir(exist_ok=True)
    for number, picture in enumerate(pictures(5, count)):
        cv2.imwrite(str(folder / f"{number}.jpg"), picture.image)
    return folder


def module(monkeypatch, folder, name, code):
    """Stand a module of this name in for the real one, until the test ends."""
    folder.mkdir()
    (folder / f"{name}.py").write_text(code)
    spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    monkeypatch.setitem(sys.modules, name, made)
    return folder


def export(*words):
    return main(["model", "export", *map(str, words)])


@needs_openvino
def test_an_onnx_file_becomes_what_openvino_reads(tmp_path, capsys):
    status = export("--model", HANDS, "--to", tmp_path, "--format", "openvino")
    assert status == 0
    made = tmp_path / "hands_openvino_model"
    assert sorted(path.name for path in made.iterdir()) == [
        "metadata.yaml",
        "model.bin",
        "model.xml",
    ]
    assert "AGPL" in (tmp_path / "hands_openvino_model.license").read_text()
    capsys.readouterr()
    assert main(["model", "check", str(made), "--json", "--runtimes", "openvino"]) == 0
    [told] = json.loads(capsys.readouterr().out)
    assert told["described"]["hands"]
    assert told["described"]["input_wh"] == [256, 192]


@needs_openvino
def test_int8_is_calibrated_on_pictures_as_the_model_takes_them(tmp_path, monkeypatch):
    nncf = module(monkeypatch, tmp_path / "lib", "nncf", NNCF)
    seen = write_pictures(tmp_path / "seen", PICTURES_MIN)
    made = convert(HANDS, "openvino-int8", tmp_path, seen)
    assert made.name == "hands_int8_openvino_model"
    told = (nncf / "told").read_text()
    distinct = str(PICTURES_MIN)
    assert told == str(["mixed", str(PICTURES_MIN), distinct, "[1, 3, 192, 256]", "True", "True"])


@needs_openvino
def test_too_few_pictures_and_what_is_none_are_refused(tmp_path, monkeypatch):
    module(monkeypatch, tmp_path / "lib", "nncf", NNCF)
    seen = write_pictures(tmp_path / "seen", 2)
    with pytest.raises(ModelError, match=r"holds 2 pictures; .* takes 20\. Give --pictures"):
        convert(HANDS, "openvino-int8", tmp_path, seen)
    assert not (tmp_path / "hands_int8_openvino_model").exists()
    for number in range(PICTURES_MIN):
        (seen / f"a{number}.png").write_text("no picture")
    with pytest.raises(ModelError, match=r"a0\.png: is no picture\. Remove it"):
        convert(HANDS, "openvino-int8", tmp_path, seen)


@pytest.mark.parametrize(
    ("form", "tool"),
    [
        ("openvino", ("openvino", "'shelfgate[openvino]'")),
        ("openvino-int8", ("nncf", "nncf==3.4.0")),
        ("ncnn", ("pnnx", "pnnx==20260526")),
    ],
)
def test_what_a_form_needs_is_named_before_anything_is_written(
    form, tool, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: object() if form == "openvino-int8" and name == "openvino" else None,
    )
    status = export("--model", HANDS, "--to", tmp_path / "to", "--format", form)
    assert status == 1
    assert capsys.readouterr().err == (
        f"--format {form}: {tool[0]} is not installed, so nothing was written. "
        f"Run pip install {tool[1]}, or leave {form} out\n"
    )
    assert not (tmp_path / "to").exists()
    with pytest.raises(RuntimeMissingError):
        check_tool(form)


def test_the_page_exports_what_the_environment_it_sets_up_can_make():
    page = (ROOT / "docs" / "vision.md").read_text("utf-8")
    [forms] = re.findall(r"^3\. .*model export [^`]*--format ([^`]*)`", page, re.MULTILINE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = {name for extra in project["optional-dependencies"].values() for name in extra}
    assert "onnx" in forms.split()
    for form in forms.split()[1:]:
        assert set(NEEDS[form]) <= extras, form


def test_what_pnnx_cannot_do_is_told_with_its_last_word(tmp_path, monkeypatch):
    program = tmp_path / "pnnx"
    program.write_text("#!/bin/sh\necho one\necho no such operator >&2\nexit 3\n")
    program.chmod(0o755)
    module(monkeypatch, tmp_path / "lib", "pnnx", f"EXEC_PATH = {str(program)!r}\n")
    with pytest.raises(ModelError, match=r"pnnx cannot convert it \(no such operator\)"):
        convert(HANDS, "ncnn", tmp_path)


def test_an_onnx_file_is_written_in_any_case(tmp_path):
    source = tmp_path / "own" / "hands.ONNX"
    source.parent.mkdir()
    source.write_bytes(HANDS.read_bytes())
    source.with_name("hands.ONNX.license").write_text("own")
    assert export("--model", source, "--to", tmp_path / "to") == 0
    made = tmp_path / "to" / "hands.onnx"
    assert made.read_bytes() == HANDS.read_bytes()
    assert made.with_name("hands.onnx.license").read_text() == "own"
    assert export("--model", made, "--to", made.parent) == 0  # onto itself
    assert made.read_bytes() == HANDS.read_bytes()


def test_a_place_that_takes_no_files_is_told_before_anything_is_made(tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        assert export("--model", HANDS, "--to", place) == 1
        told = capsys.readouterr().err
        assert told == f"{place}: {tmp_path / 'file'} is no folder. Give --to another folder\n"
    (tmp_path / "to" / "hands.onnx").mkdir(parents=True)
    assert export("--model", HANDS, "--to", tmp_path / "to") == 1
    assert "hands.onnx: Is a directory. Look at the disk" in capsys.readouterr().err


def test_what_pnnx_wrote_and_ncnn_cannot_load_is_told_and_not_left_behind(tmp_path, monkeypatch):
    pytest.importorskip("ncnn", reason="ncnn is not installed")
    program = tmp_path / "pnnx"
    program.write_text("#!/bin/sh\necho broken > model.ncnn.param\n: > model.ncnn.bin\n")
    program.chmod(0o755)
    module(monkeypatch, tmp_path / "lib", "pnnx", f"EXEC_PATH = {str(program)!r}\n")
    to = tmp_path / "to"
    with pytest.raises(ModelError, match=r"model\.ncnn\.param: no ncnn model"):
        convert(HANDS, "ncnn", to)
    assert list(to.iterdir()) == []


def test_a_model_that_is_not_there_is_told(tmp_path, capsys):
    assert export("--model", tmp_path / "none.pt", "--to", tmp_path) == 1
    assert "none.pt: no such file" in capsys.readouterr().err
