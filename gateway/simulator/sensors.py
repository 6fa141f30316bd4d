# SPDX-License-Identifier: Apache-2.0
"""Load cells and their electronics: from true grams to what a shelf sends.

Quiet noise has a standard deviation of 0.8 g in the middle of the plates and a tail, part of it
slow; offsets are arbitrary; spikes and missing samples are rare. Nothing here is shared with the
engine, which must find its own way.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gateway.domain.store import Shelf

FloatArray = npt.NDArray[np.float64]

SAMPLES_PER_BLOCK = 12
PERIOD_US = 16_667
"""60 Hz."""
SATURATED = (0x7FFFFF, -0x800000)


@dataclass(frozen=True, slots=True)
class Flaws:
    """What is wrong with ordinary load cells.

    Attributes:
        noise_g: Median over the plates of the standard deviation of quiet noise.
        noise_spread: Standard deviation of its logarithm over the plates.
        noise_max_g: Its greatest value.
        drift_g_per_min: Random walk.
        creep_g_per_h: Slow swing with the room's temperature.
        crosstalk: Share of a plate's load that each neighbour feels.
        spike: Probability of a wild sample.
        missing: Probability of a sample without value.
    """

    noise_g: float = 0.8
    noise_spread: float = 0.55
    noise_max_g: float = 4.0
    drift_g_per_min: float = 0.4
    creep_g_per_h: float = 8.0
    crosstalk: float = 0.002
    spike: float = 4e-6
    missing: float = 2e-5


class Cells:
    """The load cells of one shelf."""

    def __init__(self, shelf: Shelf, seed: int, flaws: Flaws, period_us: int = PERIOD_US) -> None:
        self.shelf = shelf
        self.period_us = period_us
        self._flaws = flaws
        self._rng = np.random.default_rng([seed, *shelf.name.encode()])
        count = len(shelf.plates)
        spread = np.exp(self._rng.normal(0.0, flaws.noise_spread, count))
        noise_g = np.minimum(flaws.noise_g * spread, flaws.noise_max_g)
        self._fast_g = 0.85 * noise_g
        self._slow_g = 0.5 * noise_g
        # A first-order process with a time constant of 0.3 s.
        self._keep = float(np.exp(-period_us / 300_000.0))
        self._slow = self._rng.normal(0.0, self._slow_g)
        self._drift = np.zeros(count)
        self._phase = self._rng.uniform(0.0, 2 * np.pi, count)
        self._time_s = 0.0
        calibrated = [plate.calibration is not None for plate in shelf.plates]
        wide, narrow = self._rng.uniform(-4_000, 9_000, count), self._rng.normal(0, 40, count)
        self._offset_g = np.where(calibrated, narrow, wide)

    def read_g(self, load_g: FloatArray) -> FloatArray:
        """Return ``(samples, plates)`` readings, NaN where there is none.

        Args:
            load_g: ``(samples, plates)`` true loads, one period apart.
        """
        samples, plates = load_g.shape
        rng, flaws = self._rng, self._flaws
        shared = np.zeros_like(load_g)
        shared[:, 1:] += load_g[:, :-1]
        shared[:, :-1] += load_g[:, 1:]
        read = load_g + flaws.crosstalk * shared
        read += rng.normal(0.0, 1.0, (samples, plates)) * self._fast_g
        pushes = rng.normal(0.0, 1.0, (samples, plates)) * self._slow_g
        share = float(np.sqrt(1.0 - self._keep**2))
        for row in range(samples):
            self._slow = self._keep * self._slow + share * pushes[row]
            read[row] += self._slow
        block_s = samples * self.period_us / 1e6
        self._time_s += block_s
        self._drift += rng.normal(0.0, flaws.drift_g_per_min * np.sqrt(block_s / 60.0), plates)
        swing = np.sin(2 * np.pi * self._time_s / 7_200.0 + self._phase)
        read += self._offset_g + self._drift + flaws.creep_g_per_h * swing
        chance = rng.random((samples, plates))
        read = np.where(chance < flaws.spike, read + rng.normal(0.0, 300.0, read.shape), read)
        return np.where(chance > 1.0 - flaws.missing, np.nan, read)

    def read_counts(self, load_g: FloatArray) -> list[list[int | None]]:
        """Return ``samples x plates`` raw counts of 24-bit converters; None: not ready, saturated.

        Raises:
            ValueError: A plate has no calibration.
        """
        rows: list[list[int | None]] = []
        scales = []
        for plate in self.shelf.plates:
            if plate.calibration is None:
                raise ValueError(f"{plate.name}: no calibration. Give the plate one")
            scales.append((plate.calibration.zero_raw, plate.calibration.counts_per_g))
        zero, gain = np.array(scales).T
        for row in self.read_g(load_g) * gain + zero:
            whole = [None if np.isnan(value) else round(float(value)) for value in row]
            rows.append([_unless_saturated(value) for value in whole])
        return rows


def rounded(read_g: FloatArray) -> list[list[float | None]]:
    """Return readings as a shelf sends them: tenths of grams, None for NaN."""
    rows = np.round(read_g, 1)
    if np.isnan(rows).any():
        return [[None if value != value else value for value in row] for row in rows.tolist()]  # noqa: PLR0124  # only NaN differs from itself
    return [list(row) for row in rows.tolist()]


def _unless_saturated(value: int | None) -> int | None:
    if value is None or not SATURATED[1] < value < SATURATED[0]:
        return None
    return value
