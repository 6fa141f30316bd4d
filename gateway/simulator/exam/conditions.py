# SPDX-License-Identifier: Apache-2.0
"""How badly scales, products, cameras and people behave: calm, typical and harsh.

None of these numbers is taken from the engine or meant for it to read. Where a range is given, a
case draws one value from it. The severities are set so that the published way of deciding
(:mod:`gateway.simulator.exam.baseline`) scores what it scored on an independent simulation.
"""

from dataclasses import dataclass
from typing import Final

Span = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scales:
    """Load cells, what they stand on, and the line to them.

    Attributes:
        noise_g: Median over the plates of the standard deviation of quiet noise; over 2 s it is a
            sixth less, for part of it is slow.
        noise_spread: Standard deviation of its logarithm; a quarter of real plates is above 1.25 g.
        noise_max_g: Its greatest value.
        drift_g_per_min: Standard deviation of a random walk after a minute.
        spike: Probability that a sample is wild.
        missing: Probability that a sample has no value.
        neighbour: Share of a plate's load that each neighbour feels.
        everywhere: Greatest share that every plate of the shelf feels.
        footstep_g: What somebody walking right beside a gondola shakes its plates by.
        shake_g: What a hand at work shakes all plates of its shelf by.
        brush_g: What an arm passing over them puts on the plates beside.
        lost: Probability that a block never arrives.
        repeated: Probability that it arrives twice.
        late: Probability that it is held up.
        late_s: Longest delay.
    """

    noise_g: float
    noise_spread: float
    noise_max_g: float
    drift_g_per_min: float
    spike: float
    missing: float
    neighbour: Span
    everywhere: float
    footstep_g: float
    shake_g: float
    brush_g: float
    lost: float
    repeated: float
    late: float
    late_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Goods:
    """What the catalogue gets wrong, and how tidy the shelves are.

    Attributes:
        catalogue: Standard deviation of a product's true mean weight around the catalogue's.
        catalogue_max: Its greatest value: common to all units of a product in the whole store.
        unit: Standard deviation from unit to unit.
        shift_mm: Standard deviation of where a facing stands beside its place.
    """

    catalogue: float
    catalogue_max: float
    unit: float
    shift_mm: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Eyes:
    """Cameras and trackers.

    Attributes:
        wrist_mm: Standard deviation of a wrist's place along each axis.
        wrist_sway: Share of that error's variance that changes slowly.
        missed: Share of frames without a given wrist, in the open: one value a body and camera.
        missed_inside: The same while the hand is in a shelf.
        missed_s: Mean length of a run of misses.
        floor_mm: Standard deviation of where a body stands.
        unseen: Share of frames in which a body is not found, in runs.
        breaks_per_min: Tracks that end and begin anew, for each body.
        swap: Probability that two tracks change bodies when these pass each other.
        pass_mm: Nearer than this, two bodies pass each other.
        mistaken: Share of frames in which a hand near another is taken for the other's.
        look_noise: Standard deviation of each number of the appearance.
        late_s: Least and greatest time from a frame to its message: one value a camera.
        jitter_s: On top of it, anew for each frame.
        clocked: Share of cases in which cameras tell the time of capture by the host's clock.
        stop: Probability that a camera stops once in a case.
        stop_s: How long.
    """

    wrist_mm: Span
    wrist_sway: float
    missed: Span
    missed_inside: Span
    missed_s: float
    floor_mm: float
    unseen: float
    breaks_per_min: float
    swap: float
    pass_mm: float
    mistaken: float
    look_noise: float
    late_s: Span
    jitter_s: float
    clocked: float
    stop: float
    stop_s: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """What people do beside their own business.

    Attributes:
        company: Probability that somebody stands beside who acts and reaches in near, for nothing.
        hidden: Probability that somebody walks behind a gondola between two acts.
        knock: Probability that a shelf is knocked while something else happens.
        lean: Probability that who acts leans on the shelf.
    """

    company: float
    hidden: float
    knock: float
    lean: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """All of it."""

    name: str
    scales: Scales
    goods: Goods
    eyes: Eyes
    crowd: Crowd


CALM: Final = Condition(
    name="calm",
    scales=Scales(
        noise_g=0.94,
        noise_spread=0.35,
        noise_max_g=3.0,
        drift_g_per_min=0.4,
        spike=2e-6,
        missing=1e-5,
        neighbour=(0.0, 0.01),
        everywhere=0.002,
        footstep_g=0.6,
        shake_g=1.5,
        brush_g=2.0,
        lost=0.0005,
        repeated=0.001,
        late=0.004,
        late_s=0.2,
    ),
    goods=Goods(catalogue=0.012, catalogue_max=0.03, unit=0.005, shift_mm=10.0),
    eyes=Eyes(
        wrist_mm=(32.0, 48.0),
        wrist_sway=0.4,
        missed=(0.0, 0.1),
        missed_inside=(0.02, 0.14),
        missed_s=0.2,
        floor_mm=50.0,
        unseen=0.005,
        breaks_per_min=0.1,
        swap=0.01,
        pass_mm=450.0,
        mistaken=0.02,
        look_noise=0.06,
        late_s=(0.1, 0.15),
        jitter_s=0.01,
        clocked=0.8,
        stop=0.0,
        stop_s=(1.0, 1.0),
    ),
    crowd=Crowd(company=0.3, hidden=0.1, knock=0.02, lean=0.03),
)

TYPICAL: Final = Condition(
    name="typical",
    scales=Scales(
        noise_g=0.95,
        noise_spread=0.59,
        noise_max_g=8.0,
        drift_g_per_min=1.5,
        spike=8e-6,
        missing=3e-5,
        neighbour=(0.01, 0.03),
        everywhere=0.005,
        footstep_g=2.0,
        shake_g=4.0,
        brush_g=5.0,
        lost=0.002,
        repeated=0.004,
        late=0.015,
        late_s=0.35,
    ),
    goods=Goods(catalogue=0.022, catalogue_max=0.08, unit=0.01, shift_mm=22.0),
    eyes=Eyes(
        wrist_mm=(40.0, 60.0),
        wrist_sway=0.5,
        missed=(0.02, 0.14),
        missed_inside=(0.05, 0.35),
        missed_s=0.3,
        floor_mm=80.0,
        unseen=0.015,
        breaks_per_min=0.4,
        swap=0.016,
        pass_mm=450.0,
        mistaken=0.03,
        look_noise=0.09,
        late_s=(0.1, 0.2),
        jitter_s=0.03,
        clocked=0.5,
        stop=0.05,
        stop_s=(1.0, 2.0),
    ),
    crowd=Crowd(company=0.32, hidden=0.2, knock=0.08, lean=0.1),
)

HARSH: Final = Condition(
    name="harsh",
    scales=Scales(
        noise_g=1.2,
        noise_spread=0.75,
        noise_max_g=10.0,
        drift_g_per_min=4.0,
        spike=3e-5,
        missing=1e-4,
        neighbour=(0.01, 0.05),
        everywhere=0.01,
        footstep_g=2.5,
        shake_g=5.0,
        brush_g=6.0,
        lost=0.006,
        repeated=0.01,
        late=0.03,
        late_s=0.5,
    ),
    goods=Goods(catalogue=0.025, catalogue_max=0.08, unit=0.015, shift_mm=24.0),
    eyes=Eyes(
        wrist_mm=(40.0, 74.0),
        wrist_sway=0.5,
        missed=(0.05, 0.25),
        missed_inside=(0.1, 0.5),
        missed_s=0.4,
        floor_mm=100.0,
        unseen=0.03,
        breaks_per_min=0.5,
        swap=0.02,
        pass_mm=500.0,
        mistaken=0.05,
        look_noise=0.12,
        late_s=(0.1, 0.3),
        jitter_s=0.06,
        clocked=0.3,
        stop=0.12,
        stop_s=(1.5, 4.0),
    ),
    crowd=Crowd(company=0.33, hidden=0.3, knock=0.1, lean=0.12),
)

CONDITIONS: Final = {condition.name: condition for condition in (CALM, TYPICAL, HARSH)}
