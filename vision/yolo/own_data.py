# SPDX-License-Identifier: AGPL-3.0-or-later
"""A dataset of one's own, looked over before an hour of training: ultralytics' pose layout.

Every label is read; of pictures the head, as far as that tells.

Where a picture's label lies, and what a picture is, ultralytics is asked itself.
"""

import glob
import importlib
import os
import reprlib
from pathlib import Path
from typing import Any

from vision.yolo.runtime import prepare
from vision.yolo.samples import Layout, check_picture, count_persons

KEYPOINTS = {2: "head and feet", 4: "head, feet and two wrists", 17: "COCO's"}
NAMES = """train: images/train
val: images/val
kpt_shape: [4, 3]
names:
  0: person"""


def check_data(description: Path) -> None:
    """Look a dataset's description, its pictures and their labels over.

    Raises:
        ValueError: Something is missing or cannot be used; says what.
    """
    told = _read(description)
    layout = _layout(description, told)
    base = _base(description, told.get("path"))
    for split in ("train", "val"):
        try:
            _check_split(description, base, split, told.get(split), layout)
        except (OSError, RuntimeError) as error:  # a name too long, a link to itself
            why = getattr(error, "strerror", None) or str(error)
            raise ValueError(
                f"{description}: {split}: cannot be read: {why}. Give the folder of its pictures"
            ) from error


def _layout(description: Path, told: dict[str, Any]) -> Layout:
    """Return what a description says of its labels."""
    shape = told.get("kpt_shape")
    if (
        not isinstance(shape, list)
        or len(shape) != 2
        or not all(isinstance(number, int) for number in shape)
        or shape[0] not in KEYPOINTS
        or shape[1] not in (2, 3)
    ):
        known = ", ".join(f"{count} ({which})" for count, which in KEYPOINTS.items())
        raise ValueError(
            f"{description}: kpt_shape is {reprlib.repr(shape)}. "
            f"Give [count, 3] with a count of {known}"
        )
    flips = told.get("flip_idx", [])
    if flips != [] and not _counts(flips, shape[0]):
        raise ValueError(
            f"{description}: flip_idx is {reprlib.repr(flips)}. Give each keypoint's number in the "
            f"mirrored picture, 0 to {shape[0] - 1} each once, or leave flip_idx away"
        )
    return Layout(shape[0], shape[1], _classes(description, told.get("names")))


def _classes(description: Path, names: object) -> tuple[str, ...]:
    """Return the names of all classes in their order."""
    if isinstance(names, dict):
        if not _counts(list(names), len(names)):
            raise ValueError(
                f"{description}: names are of {reprlib.repr(list(names))}. "
                "Number them from 0, each number once"
            )
        names = [names[number] for number in range(len(names))]
    if not isinstance(names, list) or (len(names) != 1 and "person" not in names):
        raise ValueError(f"{description}: names have no person. Give names with 0: person")
    return tuple(map(str, names))


def _counts(numbers: object, count: int) -> bool:
    """Tell whether this is a list of 0 and the numbers after it, each once, in any order."""
    return (
        isinstance(numbers, list)
        and all(isinstance(number, int) for number in numbers)
        and sorted(numbers) == list(range(count))
    )


def _read(description: Path) -> dict[str, Any]:
    yaml = importlib.import_module("yaml")  # Ultralytics brings it.
    if description.suffix.lower() not in {".yaml", ".yml"}:
        raise ValueError(f"{description}: is not called .yaml. Give the dataset's description")
    try:
        told = yaml.safe_load(description.read_text("utf-8"))
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ValueError(f"{description}: cannot be read: {reason}. Check the path") from error
    except RecursionError as error:
        raise ValueError(f"{description}: is nested too deeply. Write it like\n{NAMES}") from error
    # Beside its own errors PyYAML lets those through of what makes its dates and numbers.
    except (yaml.YAMLError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"{description}: is no YAML ({first}). Write it like\n{NAMES}") from error
    return told if isinstance(told, dict) else {}


def _base(description: Path, told: object) -> Path:
    """Return the folder that pictures are told from, as ultralytics resolves it."""
    if not told:
        return description.parent
    if not isinstance(told, str):
        raise ValueError(  # noqa: TRY004 - one kind of error for all that is wrong
            f"{description}: path is {reprlib.repr(told)}. "
            "Give the folder that train and val lie in, or leave path away"
        )
    base = Path(told)
    if base.is_absolute() or os.path.lexists(base):
        return base
    prepare()
    shared: Path = importlib.import_module("ultralytics.utils").DATASETS_DIR
    return shared / base


def _check_split(description: Path, base: Path, split: str, told: object, layout: Layout) -> None:
    """Hold a split to pictures that can be read, good labels, and a person at least."""
    if isinstance(told, str) and told.startswith("../") and not (base / told).exists():
        told = told[3:]  # some tools count from a folder that is not there
    given: list[object] = told if isinstance(told, list) else [told]
    places = [place for place in given if isinstance(place, str) and place]
    if not places or len(places) < len(given):
        told = "is not given" if not told else f"is {reprlib.repr(told)}"
        raise ValueError(
            f"{description}: {split}: {told}. "
            f"Give the folder of its pictures, such as images/{split}, or a list of folders"
        )
    prepare()
    data = importlib.import_module("ultralytics.data.utils")
    pictures = []
    for place in places:
        pictures += [
            path
            for path in _files(description, base, split, place)
            if path.rpartition(".")[-1].lower() in data.IMG_FORMATS
        ]
    where = f"{base / places[0]}" + (f" and {len(places) - 1} more" if len(places) > 1 else "")
    if not pictures:
        known = ", ".join(sorted(data.IMG_FORMATS))
        raise ValueError(f"{where}: holds no pictures. Put them there ({known})")
    labels = data.img2label_paths(pictures)
    if not any(Path(label).exists() for label in labels):
        raise ValueError(
            f"{where}: holds {len(pictures)} pictures, none of them with a label. "
            f"Label them: of {pictures[0]} the label is read from {labels[0]}"
        )
    persons = sum(count_persons(Path(label), layout) for label in labels)
    for picture in pictures:
        check_picture(picture)
    if not persons:
        raise ValueError(
            f"{where}: holds {len(pictures)} pictures, nobody in their labels. "
            f"Give {split} pictures with persons too, and a line for each in the label"
        )


def _files(description: Path, base: Path, split: str, place: str) -> list[str]:
    """Return what is in a folder and in those below it, or in a list of pictures."""
    try:
        # A link is followed first: where it leads decides where labels are.
        path = Path(os.path.realpath(base / place))
    except ValueError as error:
        raise ValueError(
            f"{description}: {split}: {place!r}: {error}. Give the folder of its pictures"
        ) from error
    if path.is_dir():
        inside = f"{glob.escape(str(path))}/**/*.*"
        return sorted(glob.iglob(inside, recursive=True))  # noqa: PTH207 - pathlib follows no links
    if not path.is_file():
        raise ValueError(
            f"{description}: {split}: {place}: no folder of {base}. "
            f"Give the folder of its pictures, such as images/{split}"
        )
    try:
        lines = path.read_text("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: is neither a folder nor a list of pictures. Give a folder"
        ) from error
    return [str(path.parent / line[2:]) if line.startswith("./") else line for line in lines]
