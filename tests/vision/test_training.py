# SPDX-License-Identifier: Apache-2.0
"""Training, export and torch's side of it, small enough for a test. Skipped without torch."""

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from vision.detectors import ModelError
from vision.rendering import Renderer
from vision.scenes import SIZE_WH, demo_camera, demo_scene, pictures
from vision.yolo import cli

torch = pytest.importorskip("torch", reason="torch is not installed (extra ultralytics)")
pytest.importorskip("ultralytics", reason="ultralytics is not installed")

PEOPLE = Path(__file__).parents[2] / "fixtures" / "model" / "people.onnx"
HANDS = PEOPLE.with_name("hands.onnx")


def test_labels_are_in_ultralytics_pose_format():
    from vision.yolo.dataset import pose_lines

    count = 0
    for picture in pictures(3, 10):
        lines = pose_lines(picture.labels)
        assert len(lines) == int(picture.labels.present.sum())
        for line in lines:
            values = [float(value) for value in line.split()]
            assert len(values) == 5 + 2 * 3
            assert all(0 <= value <= 1 for value in values[1:5])
            assert {values[7], values[10]} <= {0.0, 2.0}
            count += 1
    assert count > 0
    assert SIZE_WH == (512, 384)


def test_a_dataset_is_the_same_for_any_number_of_processes(tmp_path):
    from vision.yolo.dataset import load_split, make_dataset

    make_dataset(tmp_path / "one", seed=1, counts={"val": 12})
    make_dataset(tmp_path / "two", seed=1, counts={"val": 12}, processes=2)
    (images, hands), (images_two, hands_two) = (
        load_split(tmp_path / name, "val") for name in ("one", "two")
    )
    assert images.shape == (12, 192, 256, 3)
    assert (images == images_two).all()
    assert (hands == hands_two).all()
    assert (np.diff(hands[:, 0]) >= 0).all()


def test_hands_on_disk_are_the_labels_in_pixels_of_the_size_that_is_written(tmp_path):
    from vision.yolo.dataset import SPLITS, make_dataset, stored_hands

    shown = [picture.labels for picture in pictures(1_000_000 + SPLITS["val"], 6)]
    wanted = np.array(
        [
            (number, *labels.wrists_px[body, side], *labels.head_px[body], *labels.feet_px[body])
            for number, labels in enumerate(shown)
            for body, side in np.argwhere(labels.wrists_visible)
        ]
    )
    assert len(wanted) > 5
    for size_wh in ((128, 96), (384, 288)):
        make_dataset(tmp_path, seed=1, counts={"val": 6}, size_wh=size_wh)
        hands = stored_hands(tmp_path, "val")
        assert hands[:, 1:] == pytest.approx(wanted[:, 1:] * size_wh[0] / 512, abs=1e-3)


def test_hands_of_an_earlier_version_are_refused(tmp_path):
    from vision.yolo.dataset import load_split, make_dataset

    make_dataset(tmp_path, seed=1, counts={"val": 2})
    np.savez_compressed(tmp_path / "hands-val.npz", hands=np.zeros((3, 5), dtype=np.float32))
    with pytest.raises(ModelError, match="5 numbers a hand and not 7"):
        load_split(tmp_path, "val")


def test_the_target_peaks_where_the_hand_is_and_decodes_to_it():
    from vision.detectors.hands import decode_hands
    from vision.yolo.hands_net import make_targets

    hand = np.array([[101.3, 77.8, 140.0, 50.0, 120.0, 130.0]], dtype=np.float32)
    [target] = make_targets([hand], (256, 192))
    found = decode_hands(target[:7])
    assert np.allclose(found.centres_px, hand[:, :2], atol=1e-3)
    assert np.allclose(found.heads_px, hand[:, 2:4], atol=1e-3)
    assert np.allclose(found.feet_px, hand[:, 4:], atol=1e-3)
    target[0] *= 0.6
    assert len(decode_hands(target[:7]).scores) == 1
    target[0] *= 0.4 / 0.6
    assert not len(decode_hands(target[:7]).scores)


def test_a_head_that_no_camera_sees_is_nothing_to_learn_from():
    """Of who stands right below it: its place is none, and would make every weight none."""
    from vision.yolo.hands_net import HandsNet, _loss, make_targets

    hands = np.array(
        [[100, 60, np.nan, np.nan, 100, 60], [200, 90, 210, 60, 205, 120]], dtype=np.float32
    )
    targets = make_targets([hands], (256, 192))
    assert np.isfinite(targets).all()
    [target] = targets
    offsets, heads, feet = target[7:].sum(axis=(1, 2))
    assert offsets == feet > heads > 0.0
    out = HandsNet().train()(torch.zeros(1, 3, 192, 256)).detach()
    loss = _loss(out, torch.from_numpy(targets))
    assert torch.isfinite(loss)
    row, column = 60 // 4, 100 // 4
    for part, counts in ((slice(1, 3), True), (slice(3, 5), False), (slice(5, 7), True)):
        moved = out.clone()
        moved[0, part, row, column] += 9.0
        assert (_loss(moved, torch.from_numpy(targets)) > loss) == counts


def test_the_hands_net_learns_and_exports(tmp_path):
    from vision.detectors.onnx import OnnxNetwork
    from vision.yolo.dataset import make_dataset
    from vision.yolo.export import export_hands
    from vision.yolo.hands_net import HandsTraining, load_hands, train_hands

    make_dataset(tmp_path, seed=1, counts={"train": 24})
    weights = tmp_path / "hands.pt"
    train_hands(tmp_path, weights, seed=1, training=HandsTraining(epochs=1, batch=8))
    export_hands(weights, tmp_path / "hands.onnx")
    pixels = np.random.default_rng(0).random((192, 256, 3), dtype=np.float32)
    turned = np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])
    [[given]] = OnnxNetwork(tmp_path / "hands.onnx", 1).run(turned)
    with torch.no_grad():
        wanted = load_hands(weights)(torch.from_numpy(pixels).permute(2, 0, 1)[None])[0].numpy()
    assert given.shape == (7, 48, 64)
    assert np.allclose(given, wanted, atol=0.02)  # weights are stored in 16 bits


def test_weights_of_another_version_are_refused_and_nothing_is_exported(tmp_path, capsys):
    from vision.yolo.hands_net import HandsNet

    runs = tmp_path / "runs"
    people = runs / "people" / "weights" / "last.pt"
    people.parent.mkdir(parents=True)
    people.write_bytes(b"")
    stored = HandsNet().state_dict()
    del stored["size_wh"]
    torch.save(stored, runs / "hands.pt")
    assert cli.main(["export", "--folder", str(tmp_path), "--to", str(tmp_path / "to")]) == 1
    assert "hands.pt: are of another version's network" in capsys.readouterr().err
    assert not (tmp_path / "to").exists()


def test_a_net_whose_last_layer_takes_something_else_is_not_widened():
    from vision.yolo.hands_net import HandsNet
    from vision.yolo.resume import _widened

    own = HandsNet().state_dict()["head.weight"]
    for stored in (own[:4], own[:5, :16]):
        assert _widened(stored, own).shape != own.shape
    assert _widened(own[:5], own).shape == own.shape


def test_an_export_becomes_weights_to_train_on_that_do_the_same(tmp_path):
    from vision.detectors.onnx import OnnxNetwork
    from vision.yolo.dataset import small_picture
    from vision.yolo.resume import restore
    from vision.yolo.runtime import prepare, yolo
    from vision.yolo.train import ARCHITECTURE

    prepare(1)
    (tmp_path / "yolo11n-pose.yaml").write_bytes(ARCHITECTURE.read_bytes())
    model = yolo(tmp_path / "yolo11n-pose.yaml").model
    restore(model, PEOPLE)
    picture = small_picture(next(iter(pictures(77, 1))).image)
    pixels = (picture[..., ::-1].transpose(2, 0, 1)[None] / 255).astype(np.float32)
    [wanted] = OnnxNetwork(PEOPLE, 1).run(pixels)
    with torch.no_grad():
        given = model(torch.from_numpy(pixels))[0].numpy()
    assert np.allclose(given, wanted, atol=1e-2)
    with pytest.raises(ModelError, match=r"hands.onnx: its weights are of another network. Give"):
        restore(model, HANDS)


def test_an_export_that_says_nothing_of_feet_is_gone_on_from():
    """Of its five outputs all are kept; what is new begins with nothing."""
    from vision.detectors.onnx import OnnxNetwork
    from vision.yolo.hands_net import begin

    picture = next(iter(pictures(78, 1))).image[::2, ::2]
    pixels = np.ascontiguousarray(picture[..., ::-1].transpose(2, 0, 1)[None] / np.float32(255))
    [wanted] = OnnxNetwork(HANDS, 1).run(pixels)
    with torch.no_grad():
        given = begin(HANDS).eval()(torch.from_numpy(pixels)).numpy()
    assert given[:, :5] == pytest.approx(wanted, abs=1e-2)
    assert (given[:, 5:] == 0.0).all()


def test_hands_go_on_from_an_export(tmp_path, monkeypatch):
    """Training begins with what the file does: one step later it still finds the same hands."""
    from vision.detectors.onnx import OnnxNetwork
    from vision.yolo.dataset import load_split, make_dataset
    from vision.yolo.hands_net import HandsTraining, load_hands, train_hands

    make_dataset(tmp_path, seed=3, counts={"train": 24})
    training = HandsTraining(epochs=1, start=HANDS)
    rates, optimizer = [], torch.optim.AdamW

    def adam(weights, *, lr, **options):
        rates.append(lr)
        return optimizer(weights, lr=lr, **options)

    monkeypatch.setattr(torch.optim, "AdamW", adam)
    train_hands(tmp_path, tmp_path / "hands.pt", seed=3, training=training)
    images, _ = load_split(tmp_path, "train")
    pixels = (images[:1, ..., ::-1].transpose(0, 3, 1, 2) / 255).astype(np.float32)
    [wanted] = OnnxNetwork(HANDS, 1).run(pixels)
    with torch.no_grad():
        given = load_hands(tmp_path / "hands.pt")(torch.from_numpy(pixels)).numpy()
    assert rates == [training.rate / 2]
    sure = wanted[0, 0] > 0.5
    assert sure.any()
    assert (given[0, 0][sure] > 0.3).all()
    assert given[0, 3:5, sure] == pytest.approx(wanted[0, 3:5, sure], abs=0.2)
    training = HandsTraining(epochs=1, start=PEOPLE)
    with pytest.raises(ModelError, match=r"people.onnx: its weights are of another network. Give"):
        train_hands(tmp_path, tmp_path / "hands.pt", seed=3, training=training)


@pytest.mark.parametrize("rendered", [True, False])
def test_pictures_of_a_camera_are_varied_and_rendered_ones_are_not(rendered, tmp_path, monkeypatch):
    from vision.yolo import train

    given = {}

    class Model:
        def train(self, **settings):
            given.update(settings)
            weights = Path(settings["project"]) / settings["name"] / "weights"
            weights.mkdir(parents=True)
            (weights / "last.pt").write_bytes(b"")

    monkeypatch.setattr(train, "yolo", lambda _weights: Model())
    data = tmp_path / "dataset.yaml"
    made = train.train_people(
        data, tmp_path, seed=5, epochs=2, threads=1, size_px=64, rendered=rendered
    )
    assert made == tmp_path / "people" / "weights" / "last.pt"
    assert made.exists()
    assert given.items() >= (train.SCHEDULE if rendered else train.SCHEDULE | train.OWN).items()
    told = {name: given[name] for name in ("data", "seed", "epochs", "imgsz", "device")}
    assert told == {"data": str(data), "seed": 5, "epochs": 2, "imgsz": 64, "device": "cpu"}
    varied = {name: given[name] for name in ("degrees", "translate", "scale", "hsv_v")}
    assert set(map(bool, varied.values())) == {not rendered}
    assert (given["flipud"], given["val"]) == ((0.5, False) if rendered else (0.0, True))


def test_torchvision_gets_an_nms_where_its_own_does_not_load():
    # In a process of its own: it registers operators, which last.
    program = (
        "from vision.yolo.runtime import prepare; prepare(1)\n"
        "import torch, torchvision\n"
        "boxes = torch.tensor([[0, 0, 10, 10], [1, 1, 10, 10], [20, 20, 30, 30.0]])\n"
        "kept = torchvision.ops.nms(boxes, torch.tensor([0.5, 0.9, 0.3]), 0.5)\n"
        "print(sorted(kept.tolist()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[1, 2]"


@pytest.mark.filterwarnings("ignore")  # of torch's older exporter
def test_an_export_leaves_what_lies_beside_the_weights(tmp_path, monkeypatch):
    from vision.yolo import export
    from vision.yolo.runtime import prepare, yolo
    from vision.yolo.train import ARCHITECTURE

    prepare()
    (tmp_path / "yolo11n-pose.yaml").write_bytes(ARCHITECTURE.read_bytes())
    (tmp_path / "keep").mkdir()
    yolo(tmp_path / "yolo11n-pose.yaml").save(tmp_path / "keep" / "store.pt")
    (tmp_path / "keep" / "store.onnx").write_text("mine")
    monkeypatch.setattr(export, "_size_hw", lambda _: (32, 32))  # in less time
    export.export_people(tmp_path / "keep" / "store.pt", tmp_path / "to" / "store.onnx")
    assert sorted(path.name for path in (tmp_path / "keep").iterdir()) == ["store.onnx", "store.pt"]
    assert (tmp_path / "keep" / "store.onnx").read_text() == "mine"
    assert sorted(path.name for path in (tmp_path / "to").iterdir()) == [
        "store.onnx",
        "store.onnx.license",
    ]


def test_what_are_no_weights_is_told(tmp_path, capsys):
    (tmp_path / "noise.pt").write_bytes(b"noise")
    assert cli.main(["export", "--model", str(tmp_path / "noise.pt"), "--to", str(tmp_path)]) == 1
    assert "noise.pt: no weights of ultralytics" in capsys.readouterr().err


def test_export_without_training_says_what_to_do(tmp_path, capsys):
    parser = argparse.ArgumentParser()
    cli.add_parsers(parser.add_subparsers(required=True))
    options = parser.parse_args(["export", "--folder", str(tmp_path)])
    assert options.run(options) == 1
    assert "Run shelfgate model train first" in capsys.readouterr().err


def test_the_ultralytics_detector_sees_what_the_onnx_one_sees():
    from vision.detectors import build

    theirs, ours = build("ultralytics", PEOPLE), build("onnxruntime", PEOPLE)
    empty = Renderer(demo_camera(), demo_scene()).render([])
    count = 0
    for picture in pictures(8, 4):
        one, two = theirs.detect(picture.image), ours.detect(picture.image)
        assert len(one) == len(two)
        assert np.allclose(one.boxes_xyxy, two.boxes_xyxy, atol=3)
        assert np.allclose(one.feet_px, two.feet_px, atol=3)
        count += len(one)
    assert count > 0
    assert len(theirs.detect(empty)) == 0
