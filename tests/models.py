# SPDX-License-Identifier: Apache-2.0
"""The fixture's model in the forms that other runtimes read, and an untrained one of real size.

``python -m tests.models FOLDER`` writes them all; INT8 needs ``nncf``, which is no dependency.
"""

import argparse
import contextlib
from pathlib import Path

import cv2

from vision.detectors import ModelError
from vision.detectors.convert import convert
from vision.scenes import pictures

FIXTURE = Path(__file__).parents[1] / "fixtures" / "model"
FILES = ("people", "hands")
CALIBRATION_SEED, CALIBRATION_PICTURES = 77, 60


def to_form(form, name, folder):
    """Return a folder of the fixture's model in another form; INT8 is of rendered pictures."""
    seen = folder / "calibration"
    if form == "openvino-int8" and not seen.exists():
        seen.mkdir(parents=True)
        for number, picture in enumerate(pictures(CALIBRATION_SEED, CALIBRATION_PICTURES)):
            cv2.imwrite(str(seen / f"{number:03d}.png"), picture.image)
    return convert(FIXTURE / f"{name}.onnx", form, folder, seen)


def to_untrained(name, folder):
    """Return a YOLO11n-pose that takes any size, with weights drawn by chance: to measure time."""
    from vision.yolo.runtime import prepare, yolo

    prepare(1)
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.chdir(folder):
        model = yolo(f"{name}.yaml")
        return Path(model.export(format="onnx", imgsz=640, dynamic=True, device="cpu")).resolve()


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.models", description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder.resolve()
    for form in ("openvino", "ncnn", "openvino-int8"):
        for name in FILES:
            try:
                print(to_form(form, name, folder))  # noqa: T201
            except ModelError as error:
                print(error)  # noqa: T201
    print(to_untrained("yolo11n-pose", folder))  # noqa: T201


if __name__ == "__main__":
    main()
