# SPDX-License-Identifier: AGPL-3.0-or-later
"""A dataset of one's own, looked over before an hour of training: ultralytics' pose layout."""

import importlib
from pathlib import Path
from typing import Any

KEYPOINTS = {2: "head and feet", 4: "head, feet and two wrists", 17: "COCO's"}
SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp"}
NAMES = """train: images/train
val: images/val
kpt_shape: [4, 3]
names:
  0: person"""


def check_data(description: Path) -> None:
    """Look a dataset's description over, and whether its pictures have labels.

    Raises:
        ValueError: Something is missing or cannot be used; says what.
    """
    told = _read(description)
    shape = told.get("kpt_shape")
    if (
        not isinstance(shape, list)
        or len(shape) != 2
        or shape[0] not in KEYPOINTS
        or shape[1] not in (2, 3)
    ):
        known = ", ".join(f"{count} ({which})" for count, which in KEYPOINTS.items())
        raise ValueError(
            f"{description}: kpt_shape is {shape}. Give [count, 3] with a count of {known}"
        )
    names = told.get("names")
    classes = list(names.values()) if isinstance(names, dict) else names
    if not isinstance(classes, list) or (len(classes) != 1 and "person" not in classes):
        raise ValueError(f"{description}: names have no person. Give names with 0: person")
    base = Path(told.get("path") or description.parent)
    for split in ("train", "val"):
        _check_split(description, base, split, told.get(split))


def _read(description: Path) -> dict[str, Any]:
    yaml = importlib.import_module("yaml")  # Ultralytics brings it.
    try:
        told = yaml.safe_load(description.read_text("utf-8"))
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ValueError(f"{description}: cannot be read: {reason}. Check the path") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        first = str(error).splitlines()[0]
        raise ValueError(f"{description}: is no YAML ({first}). Write it like\n{NAMES}") from error
    return told if isinstance(told, dict) else {}


def _check_split(description: Path, base: Path, split: str, told: object) -> None:
    """Hold a split to pictures in a folder, and to labels beside them."""
    folder = base / str(told)
    if told is None or not folder.is_dir():
        raise ValueError(
            f"{description}: {split}: {told or 'is not given'}: no folder of {base}. "
            f"Give the folder of its pictures, such as images/{split}"
        )
    pictures = [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES]
    # Ultralytics looks where the last "images" of the path is "labels".
    before, images, after = str(folder).rpartition("images")
    labels = Path(before + "labels" + after) if images else folder
    labelled = sum((labels / f"{path.stem}.txt").exists() for path in pictures)
    if not labelled:
        raise ValueError(
            f"{folder}: holds {len(pictures)} pictures, none of them with a file in {labels}. "
            "Label them: a .txt for each, of the same name"
        )
