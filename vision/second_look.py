# SPDX-License-Identifier: Apache-2.0
"""The answer to ``look``: whose hands were at a place a moment ago, closer and more often.

The model runs on squares about the place, cut from the kept frames: a hand that was ten pixels wide
in the whole picture is several times as wide there. A body found in a square is the track that
stood where it stands. The gateway waits for a second or so; whoever has not the time for all frames
looks at some, spread over the time that was asked for, and at its middle first.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
import numpy as np

from vision.capture import Frame
from vision.detectors import Detections, Detector
from vision.framing import uncropped
from vision.placing import Placer
from vision.recall import FRAMES_MAX, KEPT_S, Kept, Recall, around

MARGIN = 2.0
"""Half a square's side, in reaches: the shoulder belongs in it, too."""
SIDE_PX = 320
"""Squares are not cut smaller than this, where the picture has it: there is nothing to gain."""
TURNS = 2.0
"""Detections for one of a look: the newest frames are looked at meanwhile, turn by turn."""

Timed = Callable[..., Awaitable[tuple[Any, float]]]
"""Runs a call beside others; returns what it returned, and how many seconds it ran by itself."""
Mm = Annotated[float, msgspec.Meta(ge=-1e6, le=1e6)]
Ago = Annotated[int, msgspec.Meta(ge=0, le=round(KEPT_S * 1_000))]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class LookRequest(msgspec.Struct, frozen=True):
    """``camera/<camera>/look``, see the in-store contract."""

    v: Literal[1]
    look: Name
    place_mm: tuple[Mm, Mm, Mm]
    reach_mm: Annotated[float, msgspec.Meta(gt=0, le=5_000)]
    ago_ms: tuple[Ago, Ago]

    @property
    def in_order(self) -> bool:
        """Tell whether it asks for a time that is not turned round."""
        return self.ago_ms[0] >= self.ago_ms[1]


_REQUEST = msgspec.json.Decoder(LookRequest)


def read_request(payload: bytes) -> LookRequest:
    """Return a request.

    Raises:
        ValueError: It is none; says why.
    """
    if len(payload) > 1_024:
        raise ValueError(f"{len(payload)} bytes, at most 1024")
    request = _REQUEST.decode(payload)
    if not request.in_order:
        raise ValueError("ago_ms ends before it begins")
    return request


@dataclass(frozen=True, slots=True)
class SecondLook:
    """Looks again at what a camera showed.

    Attributes:
        recall: What that was.
        placer: Turns pixels into millimetres.
        detector: Finds persons.
    """

    recall: Recall
    placer: Placer
    detector: Detector

    def answer(self, request: LookRequest, now_ns: int) -> tuple[int, list[dict[str, Any]]]:
        """Return when the first frame was taken (ns), and the contract's ``frames``: all of them.

        Args:
            request: What is asked.
            now_ns: When the request came, CLOCK_BOOTTIME.
        """
        kept = self._kept(request, now_ns)
        return _told([(one, self._people(one, request)) for one in kept], now_ns)

    async def answer_within(
        self,
        request: LookRequest,
        now_ns: int,
        left_s: Callable[[], float],
        takes_s: float,
        timed: Timed,
    ) -> tuple[int, list[dict[str, Any]]]:
        """Return what there is time for; see :meth:`answer`. Without frames where there is none.

        Args:
            request: What is asked.
            now_ns: When the request came, CLOCK_BOOTTIME.
            left_s: Says how much time is left.
            takes_s: How long a detection takes; 0 where that is not known.
            timed: Runs the detections, one for each call.
        """
        kept = self._kept(request, now_ns)
        count = max(int(left_s() / (TURNS * takes_s)), 1) if takes_s else len(kept)
        seen: list[tuple[Kept, list[dict[str, Any]]]] = []
        for one in middle_first(kept, count):
            people, takes_s = await timed(self._people_if, one, request, left_s, takes_s)
            if people is None:
                break
            seen.append((one, people))
        return _told(seen, now_ns)

    def _kept(self, request: LookRequest, now_ns: int) -> list[Kept]:
        since_ns, until_ns = (now_ns - ago_ms * 1_000_000 for ago_ms in request.ago_ms)
        return self.recall.between(since_ns, until_ns)

    def _people_if(
        self, kept: Kept, request: LookRequest, left_s: Callable[[], float], takes_s: float
    ) -> list[dict[str, Any]] | None:
        """Return a frame's people; None where the time would not do, now that its turn has come."""
        return self._people(kept, request) if left_s() > takes_s else None

    def _people(self, kept: Kept, request: LookRequest) -> list[dict[str, Any]]:
        """Return the tracks about the place that show a wrist, with all of theirs."""
        found = self._found(kept.opened(), request)
        if found is None:
            return []
        places = self.placer.places(found)
        people: dict[str, dict[str, Any]] = {}
        for index in range(len(found)):
            wrists = self.placer.wrists(found, index)
            name = self.recall.name_at(kept.boottime_ns / 1e9, places.floor_mm[index])
            if name is not None and wrists and name not in people:
                people[name] = {"track": name, "wrists": wrists}
        return list(people.values())

    def _found(self, frame: Frame, request: LookRequest) -> Detections | None:
        """Return what the model finds about the place, in the calibration's pixels."""
        view, scale = self.placer.view, frame.size_wh[0] / self.placer.size_wh[0]
        [centre_px] = view.project(np.array([request.place_mm]))
        if not np.isfinite(centre_px).all():
            return None
        mm_per_px = view.mm_per_px(centre_px, request.place_mm[2])
        radius_px = max(MARGIN * request.reach_mm * scale / mm_per_px, SIDE_PX / 2)
        high, wide = frame.image.shape[:2]
        square = around(centre_px * scale - frame.origin_px, radius_px, (wide, high))
        if square is None:
            return None
        left, top, right, bottom = square
        part = np.ascontiguousarray(frame.image[top:bottom, left:right])
        origin_px = (frame.origin_px[0] + left, frame.origin_px[1] + top)
        found = uncropped(self.detector.detect(part), origin_px)
        return self.placer.scaled(found, frame.size_wh)


def middle_first(kept: Sequence[Kept], count: int) -> list[Kept]:
    """Return so many frames of a sequence, evenly spread, those nearest to its middle first."""
    count = min(count, len(kept), FRAMES_MAX)
    chosen = [int((place + 0.5) * len(kept) / count) for place in range(count)]
    return [
        kept[index] for index in sorted(chosen, key=lambda index: abs(2 * index + 1 - len(kept)))
    ]


def _told(
    seen: Sequence[tuple[Kept, list[dict[str, Any]]]], now_ns: int
) -> tuple[int, list[dict[str, Any]]]:
    """Return when the first of the frames was taken, and the contract's ``frames`` in order."""
    in_order = sorted(seen, key=lambda one: one[0].boottime_ns)
    first_ns = in_order[0][0].boottime_ns if in_order else now_ns
    frames: list[dict[str, Any]] = []
    for kept, people in in_order:
        after_ms = (kept.boottime_ns - first_ns) // 1_000_000
        if not frames or after_ms > frames[-1]["after_ms"]:
            frames.append({"after_ms": after_ms, "people": people})
    return first_ns, frames
