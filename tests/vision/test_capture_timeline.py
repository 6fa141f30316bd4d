# SPDX-License-Identifier: Apache-2.0
"""When frames were taken, and which of them were waiting when a stream was opened."""

import random

import pytest

from vision.timeline import Backlog, Stamp, Timeline

MS = 1_000_000
PERIOD_NS = 50 * MS


def burst(count, *, positions=True):
    """Return frames that come at once, as after an opening."""
    start_ns = 100 * PERIOD_NS
    return [
        Stamp(start_ns + number * MS, number * PERIOD_NS if positions else None)
        for number in range(count)
    ]


def paced(first, count, *, positions=True):
    """Return frames that come as they are taken, the first right after a burst of as many."""
    start_ns = 100 * PERIOD_NS
    return [
        Stamp(
            start_ns + (number + 2) * PERIOD_NS, (first + number) * PERIOD_NS if positions else None
        )
        for number in range(count)
    ]


@pytest.mark.parametrize("positions", [True, False])
def test_the_backlog_ends_with_frames_that_had_to_be_waited_for(positions):
    backlog = Backlog(PERIOD_NS)
    stamps = burst(27, positions=positions) + paced(27, 10, positions=positions)
    held = [backlog.holds(stamp) for stamp in stamps]
    assert held == [True] * 29 + [False] * 8
    assert backlog.decode_ns == MS


def test_a_pause_in_the_burst_does_not_end_the_backlog():
    backlog = Backlog(PERIOD_NS)
    stamps = burst(10)
    late = [Stamp(stamp.arrived_ns + 60 * MS, stamp.position_ns + 500 * MS) for stamp in stamps]
    assert {backlog.holds(stamp) for stamp in stamps + late} == {True}


def test_a_stream_that_is_always_late_is_taken_in_the_end():
    backlog = Backlog(PERIOD_NS)
    stamps = [Stamp(number * 10 * MS, number * PERIOD_NS) for number in range(1_100)]
    assert [backlog.holds(stamp) for stamp in stamps].index(False) == 999


def test_jitter_of_the_arrival_goes_and_the_delay_counts():
    chance = random.Random(3)
    timeline = Timeline(delay_ns=120 * MS)
    errors = []
    for number in range(600):
        taken_ns = 10**12 + number * PERIOD_NS
        arrived_ns = taken_ns + 120 * MS + round(chance.expovariate(1 / 30) * MS)
        stamp = Stamp(arrived_ns, 7_000 * MS + number * PERIOD_NS)
        errors.append((timeline.captured_ns(stamp) - taken_ns) / MS)
    assert max(abs(error) for error in errors[100:]) < 5
    assert timeline.trusted


def test_without_positions_arrival_less_the_delay_counts():
    assert Timeline(delay_ns=40 * MS).captured_ns(Stamp(100 * MS)) == 60 * MS
    assert Timeline().captured_ns(Stamp(100 * MS)) == 100 * MS


def test_the_time_of_a_driver_counts_unless_a_delay_is_given():
    stamp = Stamp(100 * MS, captured_ns=70 * MS)
    assert Timeline().captured_ns(stamp) == 70 * MS
    assert Timeline(delay_ns=10 * MS).captured_ns(stamp) == 90 * MS


def test_a_position_that_jumps_begins_anew_and_time_never_goes_back():
    timeline = Timeline()
    positions = [*range(0, 1_000, 50), *range(0, 1_000, 50), *range(90_000, 91_000, 50)]
    times = [
        timeline.captured_ns(Stamp(10**12 + number * PERIOD_NS, position * MS))
        for number, position in enumerate(positions)
    ]
    assert times == sorted(times)
    assert times[-1] == 10**12 + 59 * PERIOD_NS


@pytest.mark.parametrize(
    "rate", [-1.0, 0.0, 0.3, 0.5, 0.59, 0.6, 0.7, 0.8, 0.94, 1.06, 1.25, 2.0, 60.0]
)
def test_positions_that_do_not_run_like_time_are_trusted_no_more(rate):
    timeline = Timeline()
    for number in range(500):
        stamp = Stamp(10**12 + number * PERIOD_NS, round(number * PERIOD_NS * rate))
        taken_ns = timeline.captured_ns(stamp)
    assert not timeline.trusted
    assert taken_ns == stamp.arrived_ns


@pytest.mark.parametrize("rate", [0.96, 1.0, 1.04])
def test_positions_that_run_like_time_are_trusted(rate):
    timeline = Timeline()
    for number in range(2_400):
        timeline.captured_ns(Stamp(10**12 + number * PERIOD_NS, round(number * PERIOD_NS * rate)))
    assert timeline.trusted


def test_jumps_now_and_then_do_not_cost_the_trust():
    timeline = Timeline()
    for number in range(2_400):
        position_ns = (number % 240) * PERIOD_NS  # Anew every 12 s.
        timeline.captured_ns(Stamp(10**12 + number * PERIOD_NS, position_ns))
    assert timeline.trusted


def test_one_stall_does_not_cost_the_trust():
    timeline = Timeline()
    for number in range(1_000):
        stalled_ns = 900 * MS if 200 <= number < 320 else 0
        taken_ns = 10**12 + number * PERIOD_NS
        timeline.captured_ns(Stamp(taken_ns + stalled_ns, number * PERIOD_NS))
    assert timeline.trusted
