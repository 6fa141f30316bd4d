# SPDX-License-Identifier: Apache-2.0
"""A dataset of one's own: what is wrong with it is told before anything is trained."""

import logging
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from gateway.cli import main

pytest.importorskip("ultralytics", reason="ultralytics is not installed")

from vision.yolo import runtime, train
from vision.yolo.dataset import make_dataset
from vision.yolo.own_data import check_data

MODELS = Path(__file__).parents[2] / "fixtures" / "model"
GOOD = "train: images/train\nval: images/val\nkpt_shape: [4, 3]\nnames:\n  0: person\n"
PERSON = "0 .5 .5 .2 .6 .5 .2 2 .5 .8 2 .4 .5 1 0 0 0"


@pytest.fixture(autouse=True)
def untrained(monkeypatch):
    """Training begins by starting the process again, which would end these tests unheard."""

    def begin():
        raise AssertionError("training has begun")

    monkeypatch.setattr(runtime, "restart_with_malloc", begin)


def write_dataset(folder, text):
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True)
        cv2.imwrite(str(folder / "images" / split / "1.jpg"), np.zeros((48, 64, 3), np.uint8))
        (folder / "labels" / split / "1.txt").write_text(f"{PERSON}\n")
    (folder / "dataset.yaml").write_text(text)
    return folder / "dataset.yaml"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (GOOD.replace("[4, 3]", "[5, 3]"), "kpt_shape is [5, 3]. Give [count, 3]"),
        (GOOD.replace("kpt_shape", "points"), "kpt_shape is None. Give [count, 3]"),
        (GOOD.replace("person", "cat\n  1: dog"), "names have no person"),
        (GOOD.replace("images/val", "images/test"), "val: images/test: no folder of"),
        (GOOD.replace("val: images/val", ""), "val: is not given. Give the folder of its pictures"),
        (GOOD.replace("images/val", "[images/val, images/test]"), "val: images/test: no folder of"),
        (GOOD.replace("images/val", "[[images/val]]"), "val: is [['images/val']]. Give the folder"),
        (
            GOOD.replace("images/val", '"a\\0b"'),
            "val: 'a\\x00b': embedded null byte. Give the folder",
        ),
        (GOOD.replace("images/val", "a" * 5000), "val: cannot be read: File name too long. Give"),
        (GOOD.replace("[4, 3]", "[[4], 3]"), "kpt_shape is [[4], 3]. Give [count, 3]"),
        (GOOD + "path: 5", "path is 5. Give the folder that train and val lie in"),
        (GOOD + "path: nowhere", "nowhere. Give the folder of its pictures"),
        ("a: " + "[" * 500 + "]" * 500, "is nested too deeply. Write it like"),
        ("day: 2026-13-45", "is no YAML (month must be in 1..12). Write it like"),
        (GOOD + "flip_idx: [0, 1]", "flip_idx is [0, 1]. Give each keypoint's number"),
        (GOOD + "flip_idx: [0, 1, 2, 2]", "flip_idx is [0, 1, 2, 2]. Give each keypoint's number"),
        (GOOD + "flip_idx: [0, 1, 3, a]", "mirrored picture, 0 to 3 each once, or leave flip_idx"),
        (GOOD + "flip_idx:", "flip_idx is None. Give"),
        (GOOD.replace("0: person", "1: person"), "names are of [1]. Number them from 0"),
        ("- a\nb: [", "is no YAML"),
        ("", "kpt_shape is None"),
    ],
)
def test_a_dataset_that_cannot_be_trained_on_is_told_at_once(text, words, tmp_path, capsys):
    path = write_dataset(tmp_path, text)
    assert main(["model", "train", "--data", str(path)]) == 1
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("pictures", "labels", "told", "good"),
    [
        ("images", "labels", "images", True),
        ("images/cam1", "labels/cam1", "images", True),
        ("images/cam1", "labels/cam1", "[images/cam1]", True),
        ("images", "labels", "list.txt", True),
        ("images", "labels", "../images", True),  # as some tools write it
        ("shots", "shots", "shots", True),
        ("shots", "labels", "shots", False),
        ("my_images", "my_images", "my_images", True),
        ("my_images", "my_labels", "my_images", False),
        ("images", "images", "images", False),
    ],
)
def test_labels_are_looked_for_where_training_reads_them(pictures, labels, told, good, tmp_path):
    for folder in {pictures, labels}:
        (tmp_path / folder).mkdir(parents=True)
    cv2.imwrite(str(tmp_path / pictures / "1.jpg"), np.zeros((48, 64, 3), np.uint8))
    (tmp_path / labels / "1.txt").write_text(PERSON)
    (tmp_path / "list.txt").write_text(f"./{pictures}/1.jpg\n")
    text = GOOD.replace("images/train", told).replace("images/val", told)
    (tmp_path / "dataset.yaml").write_text(text)
    if good:
        check_data(tmp_path / "dataset.yaml")
    else:
        with pytest.raises(ValueError, match=r"holds 1 pictures, none of them with a label"):
            check_data(tmp_path / "dataset.yaml")


def test_pictures_without_labels_and_weights_that_are_absent_are_told(tmp_path, capsys):
    tmp_path = tmp_path / "images"  # The last one of a path counts.
    path = write_dataset(tmp_path, GOOD)
    check_data(path)
    assert main(["model", "train", "--data", str(path), "--only", "hands"]) == 1
    assert "--data trains persons alone" in capsys.readouterr().err
    assert main(["model", "train", "--data", str(path), "--people-from", "none.pt"]) == 1
    assert "none.pt: no such file" in capsys.readouterr().err
    hands, people = (str(MODELS / f"{name}.onnx") for name in ("hands", "people"))
    for words, problem in (
        (["--hands-from", "none.onnx"], "none.onnx: no such file"),
        (["--hands-from", people], "people.onnx: its weights are of another network. Give"),
        (["--hands-from", hands, "--only", "people"], "hands are not trained. Leave it out"),
        (["--hands-from", hands, "--data", str(path)], "hands are not trained. Leave it out"),
        (["--people-from", people, "--only", "hands"], "people are not trained. Leave it out"),
    ):
        assert main(["model", "train", "--folder", str(tmp_path / "not"), *words]) == 1
        assert problem in capsys.readouterr().err
    assert not (tmp_path / "not").exists()
    (tmp_path / "labels" / "val" / "1.txt").unlink()
    with pytest.raises(ValueError, match=r"images/val: holds 1 pictures, none .* a label\. Label"):
        check_data(path)
    with pytest.raises(ValueError, match=r"absent\.yaml: cannot be read"):
        check_data(tmp_path / "absent.yaml")


BOX = " ".join(PERSON.split()[:5])


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("0 320 240 64 96" + " 0 0 0" * 4, "x of the box is 320, no share of the picture. Divide"),
        (PERSON.replace(".6", "1.2"), "h of the box is 1.2, no share of the picture"),
        (PERSON.replace(".6", "-.6"), "h of the box is -.6, no share of the picture"),
        (PERSON.replace(".6", "nan"), "h of the box is nan, no share of the picture"),
        (PERSON.replace(".6", "0"), "h of the box is 0. Give a box that has a size, or remove"),
        (PERSON.replace(".8 2", "1.4 2"), "y of keypoint 2 is 1.4, no share of the picture. Div"),
        (f"{PERSON[:-5]}0 -1 0", "y of keypoint 4 is -1, no share of the picture. Divide pixels"),
        (f"{PERSON[:-5]}0 -1 0", "gives 0 to 1, or 0 0 0 where it is not in view"),
        (PERSON.replace(".8 2", ".8 3"), "v of keypoint 2 is 3. Give 2 (seen), 1 (covered) or 0"),
        (BOX, "5 numbers. Give 17: the class, x y w h of the box, and x y v of 4 keypoints"),
        (f"{PERSON} 1", "18 numbers. Give 17: the class"),
        (f"1{PERSON[1:]}", "class 1: not in names. Give one from 0 to 0"),
        (f"0.5{PERSON[1:]}", "class 0.5: not in names"),
        (PERSON.replace(" .2 ", " ,2 "), "',2': no number. Give numbers with spaces between"),
    ],
)
def test_a_wrong_line_of_a_label_is_named_and_nothing_is_trained(line, words, tmp_path, capsys):
    path = write_dataset(tmp_path, GOOD)
    label = tmp_path / "labels" / "val" / "1.txt"
    label.write_text(f"{PERSON}\n\n{line}\n")
    assert main(["model", "train", "--data", str(path), "--folder", str(tmp_path / "to")]) == 1
    told = capsys.readouterr().err
    assert told.startswith(f"{label}: line 3: ")
    assert words in told
    assert not (tmp_path / "to").exists()


def test_labels_that_training_takes_are_good(tmp_path):
    path = write_dataset(tmp_path, GOOD + "flip_idx: [0, 1, 3, 2]\n")
    beyond = PERSON.replace(".6", "1.0000001")  # as programs round
    (tmp_path / "labels" / "val" / "1.txt").write_text(f"\ufeff{beyond}\r\n", "utf-8")
    cv2.imwrite(str(tmp_path / "images" / "val" / "empty.png"), np.zeros((48, 64, 3), np.uint8))
    check_data(path)
    two = GOOD.replace("[4, 3]", "[2, 2]").replace("person", "cart\n  1: person")
    path.write_text(two)
    for split in ("train", "val"):
        (tmp_path / "labels" / split / "1.txt").write_text("1 .5 .5 .2 .6 .5 .2 .5 .8")
    check_data(path)
    (tmp_path / "labels" / "val" / "1.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"1\.txt: cannot be read: it is no UTF-8\. Write it"):
        check_data(path)


def test_a_split_without_anybody_is_refused(tmp_path):
    path = write_dataset(tmp_path, GOOD.replace("person", "person\n  1: cart"))
    (tmp_path / "labels" / "val" / "1.txt").write_text(f"1{PERSON[1:]}")
    told = r"images/val: holds 1 pictures, nobody in their labels\. Give val pictures with persons"
    with pytest.raises(ValueError, match=told):
        check_data(path)
    (tmp_path / "labels" / "train" / "1.txt").write_text("")
    with pytest.raises(ValueError, match=r"images/train: holds 1 pictures, nobody in"):
        check_data(path)


@pytest.mark.parametrize("name", ["1.jpg", "2.png"])
@pytest.mark.parametrize("left", [0, 20, -200])
def test_a_picture_that_cannot_be_read_is_named(name, left, tmp_path):
    path = write_dataset(tmp_path, GOOD)
    picture = tmp_path / "images" / "train" / name
    shown = np.random.default_rng(1).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    cv2.imwrite(str(picture), shown)
    check_data(path)
    whole = picture.read_bytes()
    picture.write_bytes(whole[:left])
    told = re.escape(f"{picture}: is no picture that can be read. Replace this picture, or remove")
    with pytest.raises(ValueError, match=told):
        check_data(path)
    assert picture.read_bytes() == whole[:left]


def test_pictures_too_small_and_those_of_a_list_that_are_absent_are_named(tmp_path):
    path = write_dataset(tmp_path, GOOD)
    cv2.imwrite(str(tmp_path / "images" / "val" / "1.jpg"), np.zeros((48, 9, 3), np.uint8))
    with pytest.raises(ValueError, match=r"1\.jpg: is narrower or lower than 10 pixels\. Replace"):
        check_data(path)
    (tmp_path / "list.txt").write_text("./images/train/1.jpg\n./images/train/7.jpg\n")
    path.write_text(GOOD.replace("images/train", "list.txt"))
    with pytest.raises(ValueError, match=r"7\.jpg: No such file or directory\. Replace"):
        check_data(path)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--people-epochs", "0"),
        ("--people-epochs", "-3"),
        ("--hands-epochs", "0"),
        ("--pictures", "0"),
        ("--seed", "-1"),
        ("--size", "8"),
        ("--threads", "0"),
    ],
)
def test_numbers_that_cannot_be_trained_with_are_refused(option, value, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["model", "train", "--folder", str(tmp_path / "to"), option, value])
    assert ended.value.code == 2
    assert f"argument {option}: {value}: not from" in capsys.readouterr().err
    assert not (tmp_path / "to").exists()


def test_pictures_that_cannot_be_rendered_for_a_size_are_refused(tmp_path, capsys):
    words = ["model", "train", "--folder", str(tmp_path)]
    for size in ("320", "640"):
        assert main([*words, "--size", size]) == 1
        assert f"--size {size}: rendered pictures are one of 128, 256," in capsys.readouterr().err
    make_dataset(tmp_path, seed=1, counts={"train": 1}, size_wh=(128, 96))
    assert main([*words, "--size", "256"]) == 1
    told = f"{tmp_path}: its pictures are of 128 pixels, not 256. Give another --folder, or --size "
    assert told + "128" in capsys.readouterr().err


def test_pictures_that_are_not_whole_are_refused_before_anything_is_trained(tmp_path, capsys):
    made, words = tmp_path / "made", ["--size", "128"]

    def refused(*more):
        assert main(["model", "train", "--folder", str(made), *words, *more]) == 1
        return capsys.readouterr().err

    make_dataset(made, seed=1, counts={"train": 2}, size_wh=(128, 96))
    hands = made / "hands-train.npz"
    np.savez_compressed(hands, hands=np.zeros((3, 5), dtype=np.float32))
    assert f"{hands}: is of an earlier version, 5 numbers a hand and not 7" in refused()
    hands.unlink()
    assert f"{hands}: no such file. Render the pictures anew" in refused("--only", "hands")
    first = made / "images" / "train" / "000000.jpg"
    first.write_bytes(b"")
    assert f"{first}: is no picture" in refused("--only", "people")
    for picture in first.parent.iterdir():
        picture.unlink()
    assert f"{made}: has no train pictures" in refused()
    (made / "dataset.yaml").unlink()
    assert f"{made}: has pictures, but no dataset.yaml" in refused()


def test_training_ends_with_the_next_command(tmp_path, monkeypatch, caplog):
    path = write_dataset(tmp_path, GOOD)
    monkeypatch.setattr(runtime, "restart_with_malloc", lambda: None)
    monkeypatch.setattr(train, "train_people", lambda *_, **__: tmp_path / "last.pt")
    folder = tmp_path / "my store"
    with caplog.at_level(logging.INFO):
        assert main(["model", "train", "--data", str(path), "--folder", str(folder)]) == 0
    assert caplog.messages[-1] == f"next: shelfgate model export --folder '{folder}'"
