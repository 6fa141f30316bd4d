# SPDX-License-Identifier: Apache-2.0
"""A film of a case, so that a person can see what the sensors saw, beside what really happened.

Above, the store; beside it, the acts while they happen, and a legend; below, what plates read.
Whoever wants a film imports this module, which needs OpenCV, as do ``overhead`` and ``strips``.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from gateway.simulator.exam import look
from gateway.simulator.exam.cases import Case
from gateway.simulator.exam.overhead import Overhead
from gateway.simulator.exam.stage import seconds
from gateway.simulator.exam.strips import Strips
from vision.film import Film, bar, blank, cross, dot, polyline, ring, text, text_width_px
from vision.rendering import Image

SIZE_WH: Final = (1280, 960)
STORE_WH: Final = (940, 528)
STRIPS_WH: Final = (1280, 396)
FOOT_PX: Final = 36
ACT_TOLD_S: Final = 4.0
"""How long an act is told after its end."""
TOLD_MAX: Final = 5
"""Acts told at a time: the latest."""
MARGIN_PX: Final = 14


def film(
    case: Case,
    path: Path,
    *,
    fps: int = 10,
    progress: Callable[[float], None] | None = None,
) -> None:
    """Write a film of a case, picture by picture.

    Args:
        case: What to show.
        path: An ``.mp4`` file; it is written over.
        fps: Pictures a second; cameras speak 10 times a second.
        progress: Called after each picture with the share that is done, 0 to 1.

    Raises:
        FilmError: The file cannot be written.
    """
    picture = Picture(case, fps)
    with Film(path, SIZE_WH, fps) as out:
        for number in range(picture.count):
            out.write(picture.draw(number))
            if progress is not None:
                progress((number + 1) / picture.count)


class Picture:
    """Draws a case at any instant.

    Args:
        case: What to show.
        fps: Instants a second.
    """

    def __init__(self, case: Case, fps: int) -> None:
        self.count = int(case.length_s * fps)
        self._case = case
        self._times_s = np.arange(self.count) / fps
        self.overhead = Overhead(case, self._times_s, STORE_WH)
        self.strips = Strips(case, STRIPS_WH)
        self._empty = _frame(case)

    def draw(self, number: int) -> Image:
        """Return the ``(960, 1280, 3)`` BGR picture of an instant, by its number."""
        now_s = float(self._times_s[number])
        image = self._empty.copy()
        image[: STORE_WH[1], : STORE_WH[0]] = self.overhead.draw(number)
        image[STORE_WH[1] : STORE_WH[1] + STRIPS_WH[1]] = self.strips.draw(now_s)
        left = STORE_WH[0] + MARGIN_PX
        text(image, (left, 66), f"{now_s:.1f} s", look.WORDS, size_px=26, bold=True)
        self._tell(image, now_s)
        self._play(image, now_s)
        return image

    def _tell(self, image: Image, now_s: float) -> None:
        """Write what really happens, the latest last."""
        left, y = STORE_WH[0] + MARGIN_PX, 118
        for start_s, end_s, what, where in self._happening(now_s)[-TOLD_MAX:]:
            colour = look.TRUTH if start_s <= now_s <= end_s + 0.5 else look.PAST
            for words, bold in ((what, True), (where, False)):
                for line in _wrapped(words, SIZE_WH[0] - left - MARGIN_PX):
                    text(image, (left, y), line, colour, size_px=15, bold=bold)
                    y += 18
            y += 5

    def _happening(self, now_s: float) -> list[tuple[float, float, str, str]]:
        """Return acts and scans of now: start, end, and two texts, in order."""
        found = [
            (seconds(act.start_ns), seconds(act.end_ns), *look.told(act, self._case))
            for act in self._case.truth.acts
        ]
        found += [
            (at_s, at_s + 1.0, f"{name} scans a token", "at the entry")
            for at_s, name in self._case.stage.scans
        ]
        return sorted(one for one in found if one[0] <= now_s <= one[1] + ACT_TOLD_S)

    def _play(self, image: Image, now_s: float) -> None:
        """Move the mark along the foot."""
        x = _foot_x(now_s, self._case.length_s)
        bar(image, (x - 1, SIZE_WH[1] - FOOT_PX + 4, x + 2, SIZE_WH[1] - 14), look.WORDS)


def _frame(case: Case) -> Image:
    """Return the picture without what changes."""
    assert STORE_WH[1] + STRIPS_WH[1] + FOOT_PX == SIZE_WH[1], "nothing overlaps"
    image = blank(SIZE_WH, look.GROUND)
    left = STORE_WH[0] + MARGIN_PX
    title = f"{case.kind}, {case.condition.name}, seed {case.seed}"
    text(image, (left, 30), title, look.WORDS, size_px=20, bold=True)
    right = SIZE_WH[0] - MARGIN_PX
    text(image, (right, 66), f"of {case.length_s:.0f} s", look.QUIET, size_px=16, anchor="right")
    text(image, (left, 96), "WHAT REALLY HAPPENS", look.TRUTH, bold=True)
    bar(image, (left, 80, right, 81), look.RULE)
    _legend(image, left)
    bar(image, (0, STORE_WH[1] - 1, SIZE_WH[0], STORE_WH[1]), look.RULE)
    _foot(image, case)
    return image


def _legend(image: Image, left: int) -> None:
    top = STORE_WH[1] - 142
    bar(image, (left, top - 20, SIZE_WH[0] - MARGIN_PX, top - 19), look.RULE)
    text(image, (left, top), "TRUTH: painted, or in gold", look.TRUTH, bold=True)
    words = left + 34
    ring(image, (left + 12, top + 17), 8, look.TRUTH)
    text(image, (words, top + 22), "a hand in a shelf;  outlined: plates of an act", look.WORDS)
    text(image, (left, top + 48), "SENSORS: other bright colours", look.TRACKS[0], bold=True)
    ring(image, (left + 12, top + 65), 9, look.TRACKS[0])
    dot(image, (left + 12, top + 65), 3, look.TRACKS[0])
    text(image, (words, top + 70), "a body stands here, #: its track", look.WORDS)
    cross(image, (left + 8, top + 88), 8, look.TRACKS[1])
    cross(image, (left + 24, top + 88), 8, look.TRACKS[1], slanted=True)
    text(image, (words + 6, top + 93), "a wrist;  slanted: by cam2", look.WORDS)
    polyline(
        image,
        [(left, top + 106), (left + 12, top + 106), (left + 14, top + 116), (left + 28, top + 116)],
        look.READING,
    )
    text(image, (words, top + 116), "a plate's reading, last 8 s; gold: an act", look.WORDS)


def _foot(image: Image, case: Case) -> None:
    """Draw the whole case as a line, with its acts."""
    y = SIZE_WH[1] - FOOT_PX + 12
    left, right = _foot_x(0.0, case.length_s), _foot_x(case.length_s, case.length_s)
    bar(image, (0, SIZE_WH[1] - FOOT_PX, SIZE_WH[0], SIZE_WH[1] - FOOT_PX + 1), look.RULE)
    bar(image, (left, y, right, y + 2), look.RULE)
    text(image, (left - 12, y + 5), "acts", look.TRUTH, anchor="right", bold=True)
    for second in range(0, int(case.length_s) + 1, 5):
        x = _foot_x(second, case.length_s)
        bar(image, (x, y, x + 1, y + 6), look.QUIET)
        text(image, (x, SIZE_WH[1] - 3), f"{second} s", look.QUIET, size_px=11, anchor="middle")
    for act in case.truth.acts:
        low = _foot_x(seconds(act.start_ns), case.length_s)
        high = _foot_x(seconds(act.end_ns), case.length_s)
        bar(image, (low, y - 6, max(high, low + 3), y + 3), look.TRUTH)


def _foot_x(at_s: float, length_s: float) -> float:
    return 64.0 + (SIZE_WH[0] - 64.0 - 24.0) * at_s / length_s


def _wrapped(words: str, width_px: int) -> list[str]:
    """Return lines no wider than so many pixels."""
    lines: list[str] = []
    for word in words.split(" "):
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width_px(longer, 15, bold=True) <= width_px:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
