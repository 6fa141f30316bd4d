# SPDX-License-Identifier: Apache-2.0
"""The fixture's model in the forms that other runtimes read, and an untrained one of real size.

``python -m tests.models FOLDER`` writes them all; INT8 needs ``nncf``, which is no dependency.
"""

import argparse
import contextlib
import importlib
import subprocess
from pathlib import Path

import numpy as np

from vision.detectors.images import letterbox
from vision.detectors.network import forbid_telemetry
from vision.scenes import pictures

FIXTURE = Path(__file__).parents[1] / "fixtures" / "model"
FILES = ("people", "hands")
SIZE_WH = (256, 192)
TOLD = "task: pose\nnames:\n  0: person\nkpt_shape:\n- 2\n- 3\nimgsz:\n- 192\n- 256\n"
"""As ultralytics writes it beside its exports."""
CALIBRATION_SEED, CALIBRATION_PICTURES = 77, 60


def to_ncnn(name, folder):
    """Return a folder of ``.param`` and ``.bin`` by pnnx's program, laid as ultralytics does."""
    import pnnx

    work = folder / f"{name}_pnnx"
    target = folder / f"{name}_ncnn_model"
    for made in (work, target):
        made.mkdir(parents=True, exist_ok=True)
    (work / f"{name}.onnx").write_bytes((FIXTURE / f"{name}.onnx").read_bytes())
    shape = f"inputshape=[1,3,{SIZE_WH[1]},{SIZE_WH[0]}]"
    subprocess.run(
        [pnnx.EXEC_PATH, f"{name}.onnx", shape, "fp16=0"],
        cwd=work,
        check=True,
        capture_output=True,
    )
    for suffix in ("param", "bin"):
        (work / f"{name}.ncnn.{suffix}").rename(target / f"model.ncnn.{suffix}")
    (target / "metadata.yaml").write_text(TOLD)
    return target


def to_openvino(name, folder):
    """Return a folder with the model in OpenVINO's own form."""
    ov = _openvino()
    model = ov.Core().read_model(str(FIXTURE / f"{name}.onnx"))
    return _saved(model, folder / f"{name}_openvino_model")


def to_int8(name, folder):
    """Return a folder with the model quantised to INT8 by NNCF, on rendered pictures."""
    ov = _openvino()
    import nncf

    model = ov.Core().read_model(str(FIXTURE / f"{name}.onnx"))
    seen = [
        (letterbox(picture.image, SIZE_WH)[0][:, :, ::-1].astype(np.float32) / 255)
        for picture in pictures(CALIBRATION_SEED, CALIBRATION_PICTURES)
    ]
    data = nncf.Dataset([picture.transpose(2, 0, 1)[None] for picture in seen])
    quantised = nncf.quantize(
        model, data, subset_size=len(seen), preset=nncf.QuantizationPreset.MIXED
    )
    return _saved(quantised, folder / f"{name}_int8_openvino_model")


def to_untrained(name, folder):
    """Return a YOLO11n-pose that takes any size, with weights drawn by chance: to measure time."""
    from vision.yolo.runtime import prepare, yolo

    prepare(1)
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.chdir(folder):
        model = yolo(f"{name}.yaml")
        return Path(model.export(format="onnx", imgsz=640, dynamic=True, device="cpu")).resolve()


def _openvino():
    forbid_telemetry()
    return importlib.import_module("openvino")


def _saved(model, target):
    ov = _openvino()
    target.mkdir(parents=True, exist_ok=True)
    ov.save_model(model, str(target / "model.xml"))
    (target / "metadata.yaml").write_text(TOLD)
    return target


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.models", description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder.resolve()
    jobs = [(make, name) for make in (to_openvino, to_ncnn, to_int8) for name in FILES]
    for make, name in [*jobs, (to_untrained, "yolo11n-pose")]:
        try:
            print(make(name, folder))  # noqa: T201
        except ModuleNotFoundError as error:
            print(f"{make.__name__}: {error.name} is not installed")  # noqa: T201


if __name__ == "__main__":
    main()
