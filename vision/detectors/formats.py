# SPDX-License-Identifier: Apache-2.0
"""Which format a model's output has, told from its shape and from what the file says of itself.

With ``c`` classes, ``k`` keypoints of ``d`` numbers, and ``a`` places: the cells of grids of 8, 16
and 32 pixels (or more or fewer such grids) over the input.

========== ===================== ==============================================================
``yolo``   ``(1, 4+c+kd, a)``    YOLO v8 and 11: box centre and size, classes, keypoints
``e2e``    ``(1, n, 6+kd)``      YOLO26, or any exported with NMS: corners, score, class, keypoints
``yolox``  ``(1, a, 5+c)``       YOLOX: offsets in a cell, log sizes, objectness, classes; input BGR
``ssd``    ``(1, 1, n, 7)``      OpenVINO's SSD: picture, class, score, corners from 0 to 1; BGR
``hands``  ``(1, 7, h/4, w/4)``  the hands net (:mod:`vision.detectors.hands`), or 5
========== ===================== ==============================================================
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from vision.detectors import ModelError
from vision.detectors.hands import CHANNELS
from vision.detectors.told import NOTHING, Told

Name = Literal["yolo", "e2e", "yolox", "ssd", "hands"]
TITLES: dict[Name, str] = {
    "yolo": "YOLO v8 or 11",
    "e2e": "YOLO, end to end (YOLO26)",
    "yolox": "YOLOX",
    "ssd": "SSD of OpenVINO",
    "hands": "hands of shelfgate",
}
GRIDS = ((8, 16, 32), (8, 16), (16, 32), (4, 8, 16, 32), (8, 16, 32, 64))
YOLOX_GRIDS = ((8, 16, 32), (8, 16, 32, 64))
PERSON_NAMES = {"person", "persons", "people", "pedestrian", "human"}
COCO_CLASSES = 80
COCO_KEYPOINTS = 17
KNOWN_KEYPOINTS = (17, 2, 4)
"""COCO's; head and feet; these and two wrists."""
SSD_OTHERS = ("vehicle", "face", "bike", "plate")
"""In a name of OpenVINO's models: its boxes are no persons alone, and the output does not tell."""
TASKS = (None, "detect", "pose")


@dataclass(frozen=True, slots=True)
class Format:
    """How an output is to be read.

    Attributes:
        name: Which of the formats.
        classes: How many; 1 where the output names none.
        person: Index of the class that is a person.
        keypoints: How many each person has, and of how many numbers (2 or 3); ``(0, 3)`` for none.
        grids: Pixels of a cell in each grid, where places are cells.
    """

    name: Name
    classes: int = 1
    person: int = 0
    keypoints: tuple[int, int] = (0, 3)
    grids: tuple[int, ...] = ()

    @property
    def bgr(self) -> bool:
        """Whether it takes BGR from 0 to 255; else RGB from 0 to 1."""
        return self.name in ("yolox", "ssd")


def recognise(
    shapes: Sequence[tuple[int, ...]], size_wh: tuple[int, int], told: Told = NOTHING
) -> Format:
    """Return the format of a model.

    Args:
        shapes: Of its outputs for one picture.
        size_wh: Width and height of that picture.
        told: What the file says.

    Raises:
        ModelError: It is none of these formats, or finds no persons.
    """
    if len(shapes) != 1:
        raise ModelError(
            f"it has {len(shapes)} outputs, of shapes {list(shapes)}. "
            "Use a model of boxes or poses, of YOLO v8, 11, 26, YOLOX or OpenVINO's SSD"
        )
    if told.task not in TASKS:
        raise ModelError(f"it was made for {told.task}. Use a model made for detect or pose")
    [shape] = shapes
    found = None
    if len(shape) == 4 and shape[:2] == (1, 1) and shape[3] == 7:
        found = _ssd(told)
    elif shape in [(1, count, size_wh[1] // 4, size_wh[0] // 4) for count in CHANNELS]:
        found = Format("hands")
    elif len(shape) == 3 and shape[0] == 1:
        found = _yolo(shape, size_wh, told)
    if found is None:
        raise ModelError(
            f"its output of shape {shape} for a picture of {size_wh[0]} x {size_wh[1]} is of no "
            "format known. Use YOLO v8, 11 or 26 (detect or pose), YOLOX, or OpenVINO's SSD"
        )
    return found


def cells(size_wh: tuple[int, int], grids: Sequence[int]) -> int:
    """Return how many cells these grids have together."""
    return sum((size_wh[0] // side) * (size_wh[1] // side) for side in grids)


def _yolo(shape: tuple[int, ...], size_wh: tuple[int, int], told: Told) -> Format | None:
    _, second, third = shape
    for grids in GRIDS:
        if third == cells(size_wh, grids) and second > 4 and not told.end_to_end:
            classes, keypoints = _split(second - 4, told)
            return Format("yolo", classes, person_class(classes, told), keypoints, grids)
    for grids in YOLOX_GRIDS:
        if second == cells(size_wh, grids) and third > 5 and told.task is None:
            return Format("yolox", third - 5, person_class(third - 5, told), grids=grids)
    return _end_to_end(third - 6, told)


def _end_to_end(fields: int, told: Told) -> Format | None:
    """Return the format of rows with so many numbers after their box, score and class."""
    if fields == 0 and (told.task in (None, "detect")):
        keypoints = (0, 3)
    elif told.keypoints is not None and fields == told.keypoints[0] * told.keypoints[1]:
        keypoints = told.keypoints
    elif told.task is None and fields == COCO_KEYPOINTS * 3:
        keypoints = (COCO_KEYPOINTS, 3)
    else:
        return None
    names = told.names or ("person",)
    # Without names, class 0: of COCO's and of one class it is the person.
    return Format("e2e", len(names), person_class(len(names), told), _usable(keypoints))


def _split(fields: int, told: Told) -> tuple[int, tuple[int, int]]:
    """Return how many of a place's numbers after the box are classes, and which keypoints follow.

    Raises:
        ModelError: What the file says does not fit, or it says nothing and several things may be.
    """
    if told.names is not None or told.keypoints is not None:
        count, numbers = told.keypoints or (0, 3)
        classes = fields - count * numbers
        if classes < 1 or len(told.names or ("person",)) != classes:
            raise ModelError(
                f"it gives {4 + fields} numbers for each place, which are not the "
                f"{len(told.names or '1')} classes and {count} keypoints that it says. "
                "Export it again"
            )
        return classes, _usable((count, numbers))
    if fields in (1, COCO_CLASSES):
        return fields, (0, 3)
    for count in KNOWN_KEYPOINTS:
        if fields == 1 + 3 * count:
            return 1, (count, 3)
    raise ModelError(
        f"it gives {4 + fields} numbers for each place, and does not say what they are. "
        "Export it with ultralytics, which writes the names of classes and keypoints into the file"
    )


def _usable(keypoints: tuple[int, int]) -> tuple[int, int]:
    if keypoints[0] not in (0, *KNOWN_KEYPOINTS):
        raise ModelError(
            f"it has {keypoints[0]} keypoints. Use a model of COCO's 17, of head and feet (2), or "
            "of head, feet and wrists (4)"
        )
    return keypoints


def person_class(classes: int, told: Told) -> int:
    """Return which class is a person.

    Raises:
        ModelError: None is, or it cannot be told.
    """
    if classes == 1:
        return 0
    numbered = told.names is not None and all(name.isdecimal() for name in told.names)
    if told.names is not None and len(told.names) == classes and not numbered:
        for index, name in enumerate(told.names):
            if name.strip().lower() in PERSON_NAMES:
                return index
        few = ", ".join(told.names[:5])
        raise ModelError(f"none of its {classes} classes is a person ({few}). Use one that is")
    if classes == COCO_CLASSES:
        return 0
    raise ModelError(
        f"it has {classes} classes without names, so that the person's cannot be told. "
        "Use a model of COCO's 80 classes or of one, or one that has its names in the file"
    )


def _ssd(told: Told) -> Format:
    name = (told.model or "").lower()
    for other in SSD_OTHERS:
        if other in name:
            raise ModelError(f"{told.model}: finds more than persons. Use a person detector")
    return Format("ssd")
