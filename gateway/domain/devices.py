# SPDX-License-Identifier: Apache-2.0
"""What is known of each device: repeats and gaps in its messages, its clock, its presence."""

from enum import Enum
from typing import Final

import msgspec

from gateway.domain.inputs import DeviceInput

SEEN_WINDOW: Final = 64
"""How far back, in messages, a reordered message can be told from a repeat."""
OLD_BOOTS: Final = 4
"""Boots remembered, so that a late message of an earlier one does not look like a restart."""
CLOCK_SPAN_NS: Final = 5_000_000_000
"""The least delay is taken over one to two of these, so that a drifting crystal is followed."""
T_MS_WRAP: Final = 1 << 32
FORWARD_MS_MAX: Final = 3_600_000
"""A device clock that jumps by more than this is a new clock, not a wrap."""
BEHIND_MS_MAX: Final = 15_000
"""So is one that goes back by more than the messages that may be overtaken."""
BACK_MS_MAX: Final = 250
"""So is one that goes back by more than this in a message that nothing has overtaken."""
PACE: Final = 0.75
"""A clock that runs slower than this, by the samples that come with it, does not measure time."""
SLOW_MS_MAX: Final = 250.0
"""How far samples may get ahead of that."""
STILL_MS: Final = 10.0
"""What two messages of one instant count for at least."""
LAG_NS: Final = 120_000_000
LAGS_MAX: Final = 4
"""Nor does one that falls behind the gateway's by so much, in so many spans in a row: delays do not
grow for so long."""
ANEW: Final = 50
ANEW_MAX: Final = 100
"""Nor one that begins anew more than twice in so many messages."""
AHEAD_MAX: Final = 1 << 16
"""A number further ahead is damaged, unless the next message goes on from it."""
FIRST_MAX: Final = 1 << 32
"""So is the first of a boot beyond this."""


class Verdict(Enum):
    """What became of a numbered message."""

    NEW = "new"
    RESTARTED = "restarted"
    """New, and the first of another boot."""
    LATE = "late"
    """Not seen before, but overtaken by a later one."""
    REPEAT = "repeat"
    STALE = "stale"
    """Of a boot that has ended."""
    STRAY = "stray"
    """Numbered so far ahead that it is damaged, if the next one does not go on from it."""


class Marks(msgspec.Struct):
    """Deduplication marks of one device."""

    boot: str = ""
    highest: int = -1
    seen: int = 0
    """Bit k: message ``highest - k`` was seen."""
    old_boots: list[str] = []
    astray: int = -1
    """The latest number that was taken for damaged."""

    def judge(self, boot: str, seq: int) -> tuple[Verdict, int]:
        """Mark a message as seen.

        Returns:
            The verdict, and how many messages are missing just before this one (a late one fills
            its place: -1).
        """
        if boot != self.boot:
            ended = boot in self.old_boots
            if ended or seq > FIRST_MAX:
                return (Verdict.STALE if ended else Verdict.STRAY), 0
            first = not self.boot
            if not first:
                self.old_boots = [*self.old_boots[1 - OLD_BOOTS :], self.boot]
            self.boot, self.highest, self.seen = boot, seq, 1
            return (Verdict.NEW if first else Verdict.RESTARTED), 0
        ahead = seq - self.highest
        if ahead > AHEAD_MAX and not 0 < seq - self.astray <= SEEN_WINDOW:
            self.astray = seq
            return Verdict.STRAY, 0
        if ahead > 0:
            shifted = self.seen << ahead if ahead < SEEN_WINDOW else 0
            self.seen = (shifted | 1) & ((1 << SEEN_WINDOW) - 1)
            self.highest = seq
            return Verdict.NEW, ahead - 1
        if -ahead >= SEEN_WINDOW or self.seen >> -ahead & 1:
            return Verdict.REPEAT, 0
        self.seen |= 1 << -ahead
        return Verdict.LATE, -1


class DeviceClock(msgspec.Struct):
    """Maps a device's milliseconds to the gateway's clock through its least-delayed messages."""

    last_t_ms: int | None = None
    turns: int = 0
    least_ns: int | None = None
    least_before_ns: int | None = None
    span_began_ns: int = 0
    lasts_ms: float = 0.0
    """From the last message to the next, at least."""
    heard_ns: int = 0
    """When the last message arrived."""
    ahead_ms: float = 0.0
    """How far samples have got ahead of the clock, were it as slow as it may be."""
    lags: int = 0
    """In how many spans in a row it fell behind the gateway's."""
    anew: int = 0
    """How often it has begun anew lately, in ``ANEW`` each; forgotten message by message."""

    @property
    def odd(self) -> bool:
        """Tell whether it does not measure time.

        It stands still, goes slower than samples or messages come, in long steps, or in circles.
        """
        return self.ahead_ms > SLOW_MS_MAX or self.lags >= LAGS_MAX or self.anew > ANEW_MAX

    def read(
        self,
        t_ms: int,
        length_ns: int,
        arrived_ns: int,
        *,
        lasts_ms: float = 0.0,
        earlier: bool = False,
    ) -> int | None:
        """Return the gateway's time of the first sample of a message; None if it is ``odd``.

        Args:
            t_ms: The device's clock at the first sample.
            length_ns: From the first sample until the message was complete.
            arrived_ns: CLOCK_BOOTTIME of the arrival.
            lasts_ms: How much time its samples cover, or until another frame can come.
            earlier: It is of a time before the device's latest message.
        """
        t_ms %= T_MS_WRAP
        if not earlier and not self.odd:
            self.pace(t_ms, lasts_ms, arrived_ns)
        if self.odd:
            return None
        return self.map(t_ms, length_ns, arrived_ns, BEHIND_MS_MAX if earlier else BACK_MS_MAX)

    def pace(self, t_ms: int, lasts_ms: float, arrived_ns: int) -> None:
        """Compare the clock with what comes with it, and how far apart that arrives.

        A device that was held up and sends what it missed all at once has a good clock.

        Args:
            t_ms: Of the first sample of a message that nothing has overtaken.
            lasts_ms: How much time its samples cover, or until another frame can come.
            arrived_ns: CLOCK_BOOTTIME of the arrival.
        """
        if self.last_t_ms is not None:
            forward_ms = (t_ms - self.last_t_ms) % T_MS_WRAP
            if forward_ms > T_MS_WRAP // 2:  # It went back.
                forward_ms = 0
            least_ms = PACE * self.lasts_ms if forward_ms else max(PACE * self.lasts_ms, STILL_MS)
            least_ms = min(least_ms, (arrived_ns - self.heard_ns) / 1_000_000)
            self.ahead_ms = max(self.ahead_ms + least_ms - forward_ms, 0.0)
        self.lasts_ms, self.heard_ns = lasts_ms, arrived_ns
        self.anew = max(self.anew - 1, 0)

    def map(self, t_ms: int, length_ns: int, arrived_ns: int, behind_ms_max: int) -> int:
        """Return the gateway's time of the first sample of a message.

        Args:
            t_ms: The device's clock at the first sample; may wrap at 2^32.
            length_ns: From the first sample until the message was complete.
            arrived_ns: CLOCK_BOOTTIME of the arrival.
            behind_ms_max: How far the same clock may lie behind the latest message.
        """
        turns = self.turns
        last = t_ms if self.last_t_ms is None else self.last_t_ms
        forward = (t_ms - last) % T_MS_WRAP
        if forward <= FORWARD_MS_MAX:
            self.turns = turns = turns + (t_ms < last)
            self.last_t_ms = t_ms
        elif T_MS_WRAP - forward <= behind_ms_max:
            turns -= t_ms > last  # Overtaken by a message from behind the wrap.
        else:
            self.turns, self.least_ns, self.least_before_ns, self.lags = 0, None, None, 0
            turns, self.last_t_ms = 0, t_ms
            self.anew += ANEW
        device_ns = (turns * T_MS_WRAP + t_ms) * 1_000_000
        delay_ns = arrived_ns - length_ns - device_ns
        if self.least_ns is None or arrived_ns - self.span_began_ns > CLOCK_SPAN_NS:
            if self.least_ns is not None and self.least_before_ns is not None:
                lags = self.least_ns - self.least_before_ns > LAG_NS
                self.lags = self.lags + 1 if lags else 0
            self.least_before_ns, self.least_ns = self.least_ns, delay_ns
            self.span_began_ns = arrived_ns
        self.least_ns = min(self.least_ns, delay_ns)
        before_ns = self.least_before_ns
        least_ns = self.least_ns if before_ns is None else min(self.least_ns, before_ns)
        return device_ns + least_ns


class Device(msgspec.Struct):
    """Everything remembered of one device between inputs."""

    marks: Marks = msgspec.field(default_factory=Marks)
    clock: DeviceClock = msgspec.field(default_factory=DeviceClock)
    boot: str = ""
    """Heard last, in a message or a birth: only its own will counts."""
    heard: bool = False
    """Whether it said anything since the gateway started."""
    looks: bool = False
    """A camera that answers ``look``, by its birth."""
    heard_ns: int = 0
    lost_ns: int | None = None
    """When it was reported lost; None while it is there."""
    told_ns: int | None = None
    """When it was last told to be lost or recovered."""

    def time_of(
        self, item: DeviceInput, length_ns: int, *, lasts_ns: int = 0, earlier: bool = False
    ) -> int:
        """Return the gateway's time, in ns, of the first sample or frame of a message.

        Args:
            item: The message.
            length_ns: From its first sample until it was complete.
            lasts_ns: How much time its samples cover, or until another frame can come.
            earlier: It is of a time before the device's latest message.
        """
        arrived_ns = item.at.mono_ns
        latest_ns = arrived_ns - length_ns
        if item.host_mono_ms is not None and item.host_boot == item.at.boot:
            latest_ms = latest_ns / 1_000_000
            return int(max(min(item.host_mono_ms, latest_ms), 0.0) * 1_000_000)
        if item.t_ms is None:
            return latest_ns
        at_ns = self.clock.read(
            item.t_ms,
            length_ns,
            arrived_ns,
            lasts_ms=lasts_ns / 1_000_000,
            earlier=earlier or item.seq < self.marks.highest,
        )
        return latest_ns if at_ns is None else min(at_ns, latest_ns)

    def restarted(self) -> None:
        """Forget the clock of the boot that ended."""
        self.clock = DeviceClock()
