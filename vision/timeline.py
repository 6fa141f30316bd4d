# SPDX-License-Identifier: Apache-2.0
"""When a frame was taken, and which frames are old ones that were waiting at the opening. Pure.

Arrival jitters with network and decoder; a stream's own positions do not, but start anywhere. The
frame that was least delayed ties the two together.
"""

import statistics
from dataclasses import dataclass

WINDOW_NS = 5_000_000_000
"""The least delay of this long counts: clocks of cameras drift."""
RATE_ERROR_MAX = 0.05
"""A stream whose positions run by more than this faster or slower than time..."""
DRIFTING_WINDOWS = 3
"""... for so many windows has none that mean anything."""
LATE_NS_MAX = 2_000_000_000
"""A position this far from what was expected has jumped."""
PACED_FRAMES = 3
"""So many frames in a row that had to be waited for end the backlog."""
BACKLOG_NS_MAX = 10_000_000_000
BACKLOG_FRAMES_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Stamp:
    """What is known of a frame's time.

    Attributes:
        arrived_ns: CLOCK_BOOTTIME when it was read.
        position_ns: Its place in the stream, by the camera's clock; None where there is none.
        captured_ns: CLOCK_BOOTTIME when it was taken, where the driver knows that.
    """

    arrived_ns: int
    position_ns: int | None = None
    captured_ns: int | None = None


class Backlog:
    """Tells the frames that were waiting when a stream was opened from those that are new.

    FFmpeg reads a stream for a second or two to learn its format, and gives all of it at once
    afterwards; some cameras send what they had before. Such frames come faster than they were
    taken; the first ones that have to be waited for end it.
    """

    def __init__(self, period_ns: int) -> None:
        """``period_ns``: time between two frames, where positions do not tell."""
        self.decode_ns = 0
        """How long a frame takes that is there already: decoding alone, the median."""
        self._period_ns = period_ns
        self._first_ns: int | None = None
        self._last: Stamp | None = None
        self._steps_ns: list[int] = []
        self._paced = self._frames = 0
        self._over = False

    def holds(self, stamp: Stamp) -> bool:
        """Tell whether a frame is an old one that was waiting."""
        if self._over:
            return False
        last, self._last = self._last, stamp
        self._frames += 1
        if last is None or self._first_ns is None:
            self._first_ns = stamp.arrived_ns
            return True
        taken_ns = self._period_ns
        if stamp.position_ns is not None and last.position_ns is not None:
            moved_ns = stamp.position_ns - last.position_ns
            taken_ns = moved_ns if moved_ns > 0 else taken_ns
        waited_ns = stamp.arrived_ns - last.arrived_ns
        if 2 * waited_ns >= taken_ns:
            self._paced += 1
        else:
            self._paced = 0
            self._steps_ns.append(waited_ns)
        self._over = (
            self._paced >= PACED_FRAMES
            or self._frames >= BACKLOG_FRAMES_MAX
            or stamp.arrived_ns - self._first_ns >= BACKLOG_NS_MAX
        )
        if self._over and self._steps_ns:
            self.decode_ns = round(statistics.median(self._steps_ns))
        return not self._over


class Timeline:
    """Gives each frame of one connection the time when it was taken."""

    def __init__(self, delay_ns: int | None = None) -> None:
        """``delay_ns``: from the picture to its arrival, as measured; None where nobody did."""
        self.delay_ns = delay_ns or 0
        self.trusted = True
        """Whether the stream's positions run like time does."""
        self._given = delay_ns is not None
        self._least_ns: int | None = None
        self._before_ns: int | None = None
        self._judged_ns: int | None = None
        """The least lag of the window before, also where positions have jumped since."""
        self._drifting = 0
        """For how many windows positions have run too slow, or, below 0, too fast."""
        self._opened: Stamp | None = None
        self._last_ns = 0

    def captured_ns(self, stamp: Stamp) -> int:
        """Return CLOCK_BOOTTIME when a frame was taken; never before the one before it."""
        if stamp.captured_ns is not None and not self._given:
            taken_ns = min(stamp.captured_ns, stamp.arrived_ns)
        elif stamp.position_ns is None or not self.trusted:
            taken_ns = stamp.arrived_ns - self.delay_ns
        else:
            least_ns = self._least(stamp, stamp.arrived_ns - stamp.position_ns)
            taken_ns = stamp.position_ns + least_ns - self.delay_ns
        self._last_ns = max(taken_ns, self._last_ns)
        return self._last_ns

    def _least(self, stamp: Stamp, lag_ns: int) -> int:
        """Return the least lag of arrivals behind positions, of this window and the one before."""
        assert stamp.position_ns is not None
        if self._opened is None or self._least_ns is None:
            self._opened, self._least_ns = stamp, lag_ns
        elif stamp.arrived_ns - self._opened.arrived_ns >= WINDOW_NS:
            self._judge()
            self._opened, self._before_ns, self._least_ns = stamp, self._least_ns, lag_ns
        if abs(lag_ns - self._least_ns) > LATE_NS_MAX:
            # The window goes on: what jumps again and again drifts too, and is to be judged.
            self._before_ns, self._least_ns = None, lag_ns
        self._least_ns = min(self._least_ns, lag_ns)
        before_ns = self._least_ns if self._before_ns is None else self._before_ns
        return min(self._least_ns, before_ns)

    def _judge(self) -> None:
        """Trust positions no more once they have drifted one way for long."""
        judged_ns, self._judged_ns = self._judged_ns, self._least_ns
        if judged_ns is None or self._least_ns is None:
            return
        drift = (self._least_ns - judged_ns) / WINDOW_NS
        if abs(drift) <= RATE_ERROR_MAX:
            self._drifting = 0
        elif drift > 0:
            self._drifting = max(self._drifting, 0) + 1
        else:
            self._drifting = min(self._drifting, 0) - 1
        self.trusted = abs(self._drifting) < DRIFTING_WINDOWS
