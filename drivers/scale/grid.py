# SPDX-License-Identifier: Apache-2.0
"""Readings at irregular times become rows at equal distances. No I/O and no clock.

Time is cut into slots of one period. A slot holds the last reading that came in it, and None where
none came or the scale showed no value: nothing is invented. The first reading lies in the middle of
its slot, so that a scale with a steady rhythm stays clear of the edges.

Where no period is given, it is that of the scale: shorter ones leave holes, longer ones lose
readings. It is found from the first readings, and no row is made before.
"""

from dataclasses import dataclass, field
from typing import Final, Literal

from drivers.scale.reading import Reading
from gateway.domain.inputs import Samples, Stamp

ROWS_MAX: Final = 600
"""Behind by more slots than this, the machine slept: slots begin anew."""
STEP_NS: Final = 50_000_000
"""Periods that are found are multiples of this."""
STEPS_MAX: Final = 20
LATE: Final = 1.05
"""A scale that is later than a period by this factor leaves one hole in twenty rows."""
ARRIVALS: Final = 10
"""So many tell the period."""
TOGETHER_NS: Final = 10_000_000
"""What comes within this of the one before waited somewhere, and tells nothing."""


@dataclass(slots=True)
class Block:
    """Rows at equal distances."""

    at_ns: int
    """The middle of the first row's slot."""
    period_ns: int
    rows: list[list[float | None]] = field(default_factory=list)

    def samples(
        self,
        at: Stamp,
        *,
        device: str,
        boot: str,
        seq: int,
        unit: Literal["g", "raw"] = "g",
    ) -> Samples:
        """Return the input, which is complete now.

        Args:
            at: Now.
            device: The shelf's device.
            boot: Names the connection.
            seq: The block's number in it.
            unit: Of its rows.
        """
        return Samples(
            at=at,
            device=device,
            boot=boot,
            seq=seq,
            host_boot=at.boot,
            host_mono_ms=self.at_ns / 1e6,
            period_us=self.period_ns // 1_000,
            unit=unit,
            w=self.rows,
        )


class Rhythm:
    """Finds how often a scale gives a reading."""

    def __init__(self) -> None:
        self._first_ns = 0
        self._last_ns = 0
        self._arrivals = 0

    def heard(self, now_ns: int) -> int | None:
        """Take a reading's time; return the period once it is known."""
        if self._arrivals and now_ns - self._last_ns < TOGETHER_NS:
            return None
        if not self._arrivals:
            self._first_ns = now_ns
        self._last_ns = now_ns
        self._arrivals += 1
        if self._arrivals < ARRIVALS:
            return None
        mean_ns = (now_ns - self._first_ns) / (ARRIVALS - 1)
        steps = -(-mean_ns // (STEP_NS * LATE))
        return min(max(int(steps), 1), STEPS_MAX) * STEP_NS


class Grid:
    """Slots of one shelf."""

    def __init__(self, channels: tuple[int, ...], *, period_ns: int | None, block_ns: int) -> None:
        """Begin without a slot.

        Args:
            channels: Of each plate.
            period_ns: Length of a slot; None: as the scale's rhythm is.
            block_ns: About how long a block is.
        """
        self._plates = {channel: plate for plate, channel in enumerate(channels)}
        self._period_ns = period_ns
        self._block_ns = block_ns
        self._rhythm = Rhythm()
        self._slot_ns = 0
        """When the present slot began."""
        self._row: list[float | None] | None = None
        """What came in it so far; None before the first slot."""
        self._block: Block | None = None

    @property
    def due_ns(self) -> int | None:
        """Return when the present slot ends; None before the first one."""
        if self._row is None or self._period_ns is None:
            return None
        return self._slot_ns + self._period_ns

    def add(self, reading: Reading, now_ns: int) -> None:
        """Take a reading; ``advance`` to the same time comes first."""
        if self._period_ns is None:
            self._period_ns = self._rhythm.heard(now_ns)
            if self._period_ns is None:
                return
        if self._row is None:
            self._row = self._begun(now_ns, self._period_ns)
        plate, grams = self._plates.get(reading.channel), reading.gross_g
        # A line that tells the tare alone says nothing of what lies on the plate.
        if plate is not None and (grams is not None or reading.tare_g is None):
            self._row[plate] = None if grams is None else float(grams)

    def advance(self, now_ns: int) -> list[Block]:
        """Go on to a time; return the blocks that are complete by then."""
        done: list[Block] = []
        period_ns = self._period_ns
        if self._row is None or period_ns is None:
            return done
        if now_ns - self._slot_ns > ROWS_MAX * period_ns:
            done += self._ended()
            self._row = self._begun(now_ns, period_ns)
        while now_ns >= self._slot_ns + period_ns:
            if self._block is None:
                self._block = Block(self._slot_ns + period_ns // 2, period_ns)
            self._block.rows.append(self._row)
            self._slot_ns += period_ns
            self._row = self._empty()
            if len(self._block.rows) >= min(max(1, round(self._block_ns / period_ns)), ROWS_MAX):
                done += self._ended()
        return done

    def pause(self) -> list[Block]:
        """End the block; slots begin anew with the next reading, of the same period."""
        self._row = None
        return self._ended()

    def _begun(self, now_ns: int, period_ns: int) -> list[float | None]:
        """Begin a slot that has now in its middle; return its row."""
        self._slot_ns = now_ns - period_ns // 2
        return self._empty()

    def _empty(self) -> list[float | None]:
        return [None] * len(self._plates)

    def _ended(self) -> list[Block]:
        block, self._block = self._block, None
        return [] if block is None else [block]
