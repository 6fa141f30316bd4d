# SPDX-License-Identifier: AGPL-3.0-or-later
"""One picture and its label, held to what ultralytics trains on: it leaves out what it cannot read.

Ultralytics would say so in a warning among others, and train on the rest.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import IO

from PIL import Image

SIDE_MIN_PX = 10
ROUNDING = 1e-6
"""Programs that write labels round; a share this far outside is at the picture's edge."""
JPEG_END = b"\xff\xd9"
VISIBLE = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Layout:
    """What a line of a label holds.

    Attributes:
        points: Keypoints of each person.
        values: Numbers of each keypoint: 3, or 2 without ``v``.
        names: Of the classes.
    """

    points: int
    values: int
    names: tuple[str, ...]

    @property
    def columns(self) -> int:
        """How many numbers a line has."""
        return 5 + self.points * self.values

    def is_person(self, number: int) -> bool:
        """Tell whether a class is that of persons: by its name, or because there is one."""
        return len(self.names) == 1 or self.names[number] == "person"


def count_persons(label: Path, layout: Layout) -> int:
    """Return how many persons a label has; none where there is no such file.

    Raises:
        ValueError: A line of it is wrong; names it and says what is.
    """
    if not label.is_file():
        return 0
    try:
        lines = label.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no UTF-8"
        raise ValueError(f"{label}: cannot be read: {why}. Write it again") from error
    persons = 0
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words:
            continue
        try:
            persons += layout.is_person(_class_of(words, layout))
        except ValueError as error:
            raise ValueError(f"{label}: line {number}: {error}") from error
    return persons


def _class_of(words: list[str], layout: Layout) -> int:
    """Return the class that a line gives.

    Raises:
        ValueError: The line is wrong.
    """
    if len(words) != layout.columns:
        raise ValueError(
            f"{len(words)} numbers. Give {layout.columns}: the class, x y w h of the box, and "
            f"{'x y v' if layout.values == 3 else 'x y'} of {layout.points} keypoints, "
            "as kpt_shape says"
        )
    numbers = [_number(word) for word in words]
    known = len(layout.names)
    if numbers[0] not in range(known):
        raise ValueError(f"class {words[0]}: not in names. Give one from 0 to {known - 1}")
    for place, (word, value) in enumerate(zip(words[1:], numbers[1:], strict=True)):
        point, part = divmod(place - 4, layout.values)
        if point < 0:
            what = f"{'xywh'[place]} of the box"
        else:
            what = f"{'xyv'[part]} of keypoint {point + 1}"
        if point >= 0 and part == 2:
            if value not in VISIBLE:
                raise ValueError(f"{what} is {word}. Give 2 (seen), 1 (covered) or 0 (no label)")
        elif not -ROUNDING <= value <= 1 + ROUNDING:
            absent = ", or 0 0 0 where it is not in view" if point >= 0 < layout.values - 2 else ""
            raise ValueError(
                f"{what} is {word}, no share of the picture. Divide pixels by its width (x, w) "
                f"or height (y, h), which gives 0 to 1{absent}"
            )
        elif place in (2, 3) and value <= 0:
            raise ValueError(f"{what} is {word}. Give a box that has a size, or remove the line")
    return int(numbers[0])


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError as error:
        raise ValueError(f"{word!r}: no number. Give numbers with spaces between") from error


def check_picture(path: str) -> None:
    """Look whether a picture can be read, mostly by its head: all of it is decoded in training.

    Raises:
        ValueError: It cannot.
    """
    try:
        with Path(path).open("rb") as file:
            why = _problem(file)
    except OSError as error:
        why = error.strerror or type(error).__name__
    if why is not None:
        raise ValueError(f"{path}: {why}. Replace this picture, or remove it and its label")


def _problem(file: IO[bytes]) -> str | None:
    """Return what is wrong with a picture, as ultralytics judges; None where all is well."""
    try:
        with Image.open(file) as picture:
            sides, kind = picture.size, picture.format
            picture.verify()
        file.seek(-len(JPEG_END), 2)
        if kind == "JPEG" and file.read() != JPEG_END:  # Cut off? Few are, and decoding tells.
            file.seek(0)
            with Image.open(file) as picture:
                picture.load()
    except Exception:  # noqa: BLE001 - each format's decoder has errors of its own
        return "is no picture that can be read"
    if min(sides) < SIDE_MIN_PX:
        return f"is narrower or lower than {SIDE_MIN_PX} pixels"
    return None
