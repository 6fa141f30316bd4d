# SPDX-License-Identifier: Apache-2.0
"""An ONNX file in the forms that other runtimes read: OpenVINO, in floats or in INT8, and ncnn.

Nothing is fetched: what a form needs is on the machine, or it is said what to install. What was
made is loaded once by its runtime, where that is installed, so that a conversion gone wrong is told
here and not in the store.
"""

import importlib.util
import json
import logging
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from vision.detectors import Kind, ModelError, RuntimeMissingError, load_network, locate
from vision.detectors.images import letterbox
from vision.detectors.network import FloatImage
from vision.detectors.onnx_file import read_onnx
from vision.detectors.persons import ModelInput
from vision.detectors.told import METADATA_FILE, Told, printable

log = logging.getLogger(__name__)

Form = Literal["openvino", "openvino-int8", "ncnn"]
FOLDERS: dict[Form, str] = {
    "openvino": "{}_openvino_model",
    "openvino-int8": "{}_int8_openvino_model",
    "ncnn": "{}_ncnn_model",
}
"""How the folder of each form is called; ultralytics tells them by these names, too."""
KINDS: dict[str, Kind] = {
    "onnx": "onnxruntime",
    "openvino": "openvino",
    "openvino-int8": "openvino",
    "ncnn": "ncnn",
}
"""Which detector runs each."""
NEEDS: dict[Form, dict[str, str]] = {
    "openvino": {"openvino": "pip install 'shelfgate[openvino]'"},
    "openvino-int8": {
        "openvino": "pip install 'shelfgate[openvino]'",
        "nncf": "pip install nncf==3.4.0",
    },
    "ncnn": {"pnnx": "pip install pnnx==20260526"},
}
"""What makes each form, and what brings that."""
PICTURES_MIN, PICTURES_MAX = 20, 300
"""To calibrate INT8 on. More than this changes little and takes long."""
PICTURE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp"}


def check_tool(form: Form) -> None:
    """Look whether a form can be made here.

    Raises:
        RuntimeMissingError: What makes it is not installed.
    """
    for name, remedy in NEEDS[form].items():
        if importlib.util.find_spec(name) is None:
            raise RuntimeMissingError(
                f"--format {form}: {name} is not installed, so nothing was written. "
                f"Run {remedy}, or leave {form} out"
            )


def place(folder: Path, name: str, form: Form | Literal["onnx"]) -> Path:
    """Return where a model of this name lies in a form: an ONNX file, or a folder."""
    return folder / (f"{name}.onnx" if form == "onnx" else FOLDERS[form].format(name))


def convert(source: Path, form: Form, target: Path, pictures: Path | None = None) -> Path:
    """Write a model in another form and return the folder that holds it.

    Args:
        source: An ONNX file of persons or hands.
        form: What to make of it.
        target: Where the folder of the new form goes.
        pictures: Folder of pictures such as the camera's; INT8 alone needs it.

    Raises:
        RuntimeMissingError: What makes the form is not installed.
        ModelError: The model or the pictures cannot be used, or what came out does not work; then
            it is removed.
    """
    check_tool(form)
    folder = place(target, source.stem, form)
    told = read_onnx(source).told
    if form == "ncnn":
        _to_ncnn(source, folder)
    elif form == "openvino":
        _to_openvino(source, folder, None)
    else:
        assert pictures is not None, "INT8 is calibrated on pictures"
        _to_openvino(source, folder, pictures)
    (folder / METADATA_FILE).write_text(_metadata(told, _size_wh(source)), "utf-8")
    licence = source.with_name(source.name + ".license")
    beside = folder.with_name(folder.name + ".license")
    if licence.exists():
        beside.write_bytes(licence.read_bytes())
    try:
        _try(KINDS[form], folder)
    except ModelError:
        shutil.rmtree(folder)
        beside.unlink(missing_ok=True)
        raise
    return folder


def calibration(pictures: Path, model: ModelInput) -> list[FloatImage]:
    """Return pictures of a folder, evenly chosen, as the model takes them.

    Raises:
        ModelError: There are too few of them.
    """
    found = sorted(path for path in pictures.rglob("*") if path.suffix.lower() in PICTURE_SUFFIXES)
    if len(found) < PICTURES_MIN:
        raise ModelError(
            f"{pictures}: holds {len(found)} pictures; to calibrate INT8 it takes {PICTURES_MIN}. "
            "Give --pictures a folder of what the camera sees, with and without people"
        )
    chosen = np.linspace(0, len(found) - 1, min(len(found), PICTURES_MAX)).round().astype(int)
    taken = []
    for index in chosen:
        image = cv2.imread(str(found[index]))
        if image is None:
            raise ModelError(f"{found[index]}: is no picture. Remove it")
        picture = np.asarray(image, dtype=np.uint8)
        taken.append(model.pixels(letterbox(picture, model.size_for(picture))[0]))
    return taken


def _to_openvino(source: Path, folder: Path, pictures: Path | None) -> None:
    from vision.detectors import openvino  # noqa: PLC0415 - where it is installed

    seen = None
    if pictures is not None:
        seen = calibration(pictures, ModelInput(source, load_network("openvino", source, 1), None))
        log.info("quantising %s on %d pictures; it takes a minute or two", source, len(seen))
    folder.mkdir(parents=True, exist_ok=True)
    openvino.save(source, folder / "model.xml", seen)


def _to_ncnn(source: Path, folder: Path) -> None:
    """Let pnnx's program work in a folder of its own: it leaves eight files beside its input."""
    shape = read_onnx(source).inputs[0]
    if len(shape) != 4 or None in shape:
        raise ModelError(f"{source}: takes any size, and ncnn wants one. Export it for one size")
    program = importlib.import_module("pnnx").EXEC_PATH
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        (work / "model.onnx").write_bytes(source.read_bytes())
        size = f"inputshape=[{','.join(map(str, shape))}]"
        done = subprocess.run(  # noqa: S603 - the package's own program
            [program, "model.onnx", size, "fp16=0"],
            cwd=work,
            check=False,
            capture_output=True,
            text=True,
            errors="replace",
        )
        made = [work / f"model.ncnn.{suffix}" for suffix in ("param", "bin")]
        if done.returncode or not all(path.exists() for path in made):
            last = (done.stderr.strip() or done.stdout.strip() or "no word").splitlines()[-1]
            raise ModelError(f"{source}: pnnx cannot convert it ({last[:200]}). Use another form")
        folder.mkdir(parents=True, exist_ok=True)
        for path in made:
            (folder / path.name).write_bytes(path.read_bytes())


def _size_wh(source: Path) -> tuple[int, int] | None:
    """Return the input's width and height where the file allows no other."""
    shape = read_onnx(source).inputs[0]
    if len(shape) != 4:
        return None
    high, wide = shape[2:] if shape[1] == 3 else shape[1:3]
    return None if high is None or wide is None else (wide, high)


def _metadata(told: Told, size_wh: tuple[int, int] | None) -> str:
    """Return what a model says of itself as ultralytics writes it beside its exports.

    Texts are quoted, for in them anything may stand: a colon, or what YAML takes for a number.
    """
    lines = [] if told.task is None else [f"task: {_quoted(told.task)}"]
    if told.names is not None:
        names = map(_quoted, told.names)
        lines += ["names:", *(f"  {index}: {name}" for index, name in enumerate(names))]
    if told.keypoints is not None:
        lines += ["kpt_shape:", *(f"- {count}" for count in told.keypoints)]
    size_wh = size_wh or told.size_wh
    if size_wh is not None:
        lines += ["imgsz:", f"- {size_wh[1]}", f"- {size_wh[0]}"]
    if told.end_to_end:
        lines.append("end2end: true")
    return "\n".join([*lines, ""])


def _quoted(text: str) -> str:
    """Return a JSON string, which is YAML too once the escapes that differ are left out."""
    return json.dumps(printable(text), ensure_ascii=False)


def _try(kind: Kind, folder: Path) -> None:
    """Load what was made and run it once, where its runtime is here."""
    try:
        ModelInput(folder, load_network(kind, locate(kind, folder), 1), None)
    except ModuleNotFoundError as error:
        log.warning("%s: was not tried, for %s is not installed", folder, error.name)
