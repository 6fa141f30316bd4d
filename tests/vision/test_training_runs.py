# SPDX-License-Identifier: Apache-2.0
"""``shelfgate model train`` and ``export`` as a shop runs them: processes, offline, in a bare home.

Small enough for a test, and real to the end: what is exported is loaded and looks at a picture.
Skipped without torch.
"""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from vision.detectors import build
from vision.detectors.onnx_file import read_onnx
from vision.scenes import pictures

pytest.importorskip("torch", reason="torch is not installed (extra ultralytics)")
pytest.importorskip("ultralytics", reason="ultralytics is not installed")

ROOT = Path(__file__).parents[2]
PEOPLE = ROOT / "fixtures" / "model" / "people.onnx"
HANDS = PEOPLE.with_name("hands.onnx")
PICTURES = tuple(pictures(8, 4))
FROM_PEOPLE = ("--people-from", PEOPLE, "--people-epochs", 1)

NO_NETWORK = """
import os, sys
def heard(event, told):
    named = event in ("socket.getaddrinfo", "socket.gethostbyname")
    if named or (event == "socket.connect" and isinstance(told[1], tuple)):
        with open(os.environ["REACHED_OUT"], "a") as file:
            file.write(f"{event} {told}\\n")
        raise OSError("there is no network")
sys.addaudithook(heard)
"""
"""Is imported at each Python's start: notes whoever reaches for the network, and lets nobody."""


class Shop:
    """A folder with an empty home, in which ``shelfgate model`` runs without a network."""

    def __init__(self, folder):
        self.reached = folder / "reached"
        for name in ("home", "tmp", "lib"):
            (folder / name).mkdir()
        (folder / "lib" / "sitecustomize.py").write_text(NO_NETWORK)
        self.environment = {
            "HOME": str(folder / "home"),
            "TMPDIR": str(folder / "tmp"),
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{folder / 'lib'}{os.pathsep}{ROOT}",
            "REACHED_OUT": str(self.reached),
        }
        self.folder = folder

    def model(self, *words):
        """Run a command of ``shelfgate model`` to its end, which is to be a good one."""
        done = subprocess.run(
            [sys.executable, "-m", "gateway.cli", "model", *map(str, words)],
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
            env=self.environment,
            timeout=200,
        )
        assert done.returncode == 0, (done.stdout + done.stderr)[-4_000:]
        assert not self.reached.exists(), self.reached.read_text()


def write_own(folder, *, train, val):
    """Write a dataset as somebody who labelled a camera's pictures would; return its path."""
    from vision.yolo.dataset import pose_lines

    for split, seed, count in (("train", 11, train), ("val", 12, val)):
        images, labels = folder / "images" / split, folder / "labels" / split
        images.mkdir(parents=True)
        labels.mkdir(parents=True)
        for number, picture in enumerate(pictures(seed, count)):
            cv2.imwrite(str(images / f"{number}.jpg"), picture.image)
            (labels / f"{number}.txt").write_text("\n".join(pose_lines(picture.labels)))
    description = folder / "dataset.yaml"
    description.write_text(
        "train: images/train\nval: images/val\nkpt_shape: [2, 3]\nflip_idx: [0, 1]\n"
        "names:\n  0: person\n"
    )
    return description


def found_in(model, hands):
    """Return how many persons the worker's detector finds in each of a few pictures."""
    detector = build("onnxruntime", model, hands=hands)
    return [len(detector.detect(one.image)) for one in PICTURES]


@pytest.mark.slow
def test_pictures_of_ones_own_become_a_model_that_the_worker_loads(tmp_path):
    """It goes on from the small model, and finds as many persons after a step as there are."""
    shop, folder = Shop(tmp_path), tmp_path / "build"
    data = write_own(tmp_path / "own", train=6, val=2)
    shop.model("train", "--data", data, *FROM_PEOPLE, "--folder", folder)
    assert not (folder / "runs" / "hands.pt").exists()
    shop.model("export", "--folder", folder)
    made = folder / "exported" / "people.onnx"
    assert set(made.parent.iterdir()) == {made, made.with_name("people.onnx.license")}
    assert made.read_bytes() != PEOPLE.read_bytes()
    there = [int(one.labels.present.sum()) for one in PICTURES]
    assert sum(found_in(made, HANDS)) == pytest.approx(sum(there), abs=1)
    assert sum(there) > 2
    assert list((tmp_path / "home").iterdir()) == []


@pytest.mark.slow
def test_rendered_pictures_become_the_small_models_two_networks(tmp_path):
    """A step from nothing teaches them nothing; but all that is written can be read and run."""
    shop, folder = Shop(tmp_path), tmp_path / "build"
    words = ["--pictures", 8, "--people-epochs", 1, "--hands-epochs", 1, "--size", 128]
    shop.model("train", *words, "--folder", folder)
    shop.model("export", "--folder", folder)
    made = folder / "exported"
    assert len(found_in(made / "people.onnx", made / "hands.onnx")) == len(PICTURES)
    for network in ("people", "hands"):
        assert read_onnx(made / f"{network}.onnx").inputs == ((1, 3, 96, 128),)
    assert list((tmp_path / "home").iterdir()) == []
