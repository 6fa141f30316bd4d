# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.weighing import GROUP_WAIT_NS, LEAVE_G, look_away, new_shelf, weigh

PERIOD_NS = 16_667_000
S = 1_000_000_000
BLOCK = 12


class Scale:
    """A shelf whose true weight is told second by second; noise of a fixed seed."""

    def __init__(self, plates=1, *, noise_g=0.8, seed=1, block=BLOCK, period_ns=PERIOD_NS):
        self.state = new_shelf(plates)
        self.plates = plates
        self.noise_g = noise_g
        self.rng = np.random.default_rng(seed)
        self.block = block
        self.period_ns = period_ns
        self.now_ns = S
        self.changes = []

    def weigh(self, samples):
        """Weigh ``(n, p)`` samples as they are, in blocks."""
        before = len(self.changes)
        for first in range(0, len(samples), self.block):
            block = samples[first : first + self.block]
            self.changes += weigh(self.state, block, self.now_ns, self.period_ns)
            self.now_ns += len(block) * self.period_ns
        return self.changes[before:]

    def samples(self, true_g, seconds):
        count = round(seconds * S / self.period_ns)
        still = np.broadcast_to(np.asarray(true_g, dtype=float), (count, self.plates))
        return still + self.rng.normal(0.0, self.noise_g, still.shape)

    def rest(self, true_g, seconds=1.0):
        """Let the plates weigh something; return the changes that become known."""
        return self.weigh(self.samples(true_g, seconds))


def deltas(changes):
    """Return ``{plate: delta_g}`` of each change."""
    return [{one.plate: one.delta_g for one in change.plates} for change in changes]


def test_the_first_weight_is_no_change():
    scale = Scale(2)
    assert scale.rest([5_000.0, -300.0], 3.0) == []
    assert scale.state.reference_g == pytest.approx([5_000.0, -300.0], abs=1.0)
    assert not scale.state.moving.any()


@pytest.mark.parametrize("drift_g_per_s", [-0.4, -0.05, 0.05, 0.4])
def test_drift_is_silent(drift_g_per_s):
    scale = Scale()
    scale.rest(1_000.0)
    seconds = 60.0
    samples = scale.samples(1_000.0, seconds)
    samples += drift_g_per_s * np.arange(len(samples))[:, None] * PERIOD_NS / S
    assert scale.weigh(samples) == []
    assert scale.state.reference_g[0] == pytest.approx(1_000.0 + drift_g_per_s * seconds, abs=3.0)


@settings(max_examples=25)
@given(
    st.integers(0, 200),
    st.floats(-30_000.0, 30_000.0),
    st.sampled_from([0.3, 0.84, 1.25, 4.0]),
)
def test_a_spike_is_silent(at, height_g, noise_g):
    scale = Scale(noise_g=noise_g)
    scale.rest(1_000.0, 2.0)
    samples = scale.samples(1_000.0, 4.0)
    samples[at] += height_g
    assert scale.weigh(samples) == []


@pytest.mark.parametrize("at", range(100, 112))
def test_a_single_odd_sample_does_not_even_begin_a_change(at):
    scale = Scale(noise_g=0.5)
    scale.rest(1_000.0, 2.0)
    samples = scale.samples(1_000.0, 4.0)
    samples[at] += 500.0
    for first in range(0, len(samples), scale.block):
        scale.weigh(samples[first : first + scale.block])
        assert not scale.state.moving.any()


@settings(max_examples=40)
@given(
    delta_g=st.one_of(st.floats(-2_000.0, -60.0), st.floats(60.0, 2_000.0)),
    noise_g=st.sampled_from([0.3, 0.84, 1.25, 3.0]),
    before=st.integers(90, 140),
    block=st.sampled_from([1, 5, 12, 30]),
    seed=st.integers(0, 99),
)
def test_a_step_is_told_once_whatever_the_blocks(delta_g, noise_g, before, block, seed):
    scale = Scale(noise_g=noise_g, seed=seed, block=block)
    still, after = scale.samples(1_000.0, 3.0)[:before], scale.samples(1_000.0 + delta_g, 3.0)
    step_ns = scale.now_ns + before * PERIOD_NS
    assert scale.weigh(still) == []
    (change,) = scale.weigh(after)
    (plate,) = change.plates
    assert plate.delta_g == pytest.approx(delta_g, abs=1.0 + 4.0 * plate.sigma_g)
    assert plate.after_g == pytest.approx(1_000.0 + delta_g, abs=1.0 + noise_g)
    assert abs(plate.since_ns - step_ns) <= (block + 30) * PERIOD_NS
    assert plate.since_ns <= plate.stable_ns <= scale.now_ns
    assert not change.unwatched


@pytest.mark.parametrize("block", [1, 3, 6, 24])
def test_the_same_samples_in_other_blocks_tell_the_same_changes(block):
    scale = Scale(3, seed=5)
    parts = [
        scale.samples(true_g, 2.0)
        for true_g in ([900, 500, 700], [750, 500, 700], [750, 500, 100], [900, 500, 100])
    ]
    samples = np.concatenate(parts)
    expected = deltas(Scale(3).weigh(samples))
    assert [list(one) for one in expected] == [[0], [2], [0]]
    for mine, other in zip(deltas(Scale(3, block=block).weigh(samples)), expected, strict=True):
        assert mine == pytest.approx(other, abs=2.0)


def test_a_step_below_what_leaves_the_reference_is_silent():
    scale = Scale(noise_g=0.3)
    scale.rest(1_000.0, 2.0)
    assert scale.rest(1_000.0 + LEAVE_G / 2, 3.0) == []


def test_a_lean_that_goes_away_is_silent():
    scale = Scale()
    scale.rest(1_000.0, 2.0)
    scale.rest(1_080.0, 0.3)
    assert scale.rest(1_000.0, 3.0) == []


def test_two_steps_are_two_changes():
    scale = Scale()
    scale.rest(1_000.0, 2.0)
    told = [scale.rest(850.0, 2.0), scale.rest(1_000.0, 2.0)]
    assert [one.plates[0].delta_g for (one,) in told] == pytest.approx([-150.0, 150.0], abs=2.5)


def test_missing_values_delay_and_lose_nothing():
    scale = Scale(2)
    scale.rest([1_000.0, 500.0], 2.0)
    missing = scale.samples([1_000.0, 350.0], 1.0)
    missing[:, 1] = np.nan
    assert scale.weigh(missing) == []
    (change,) = scale.rest([1_000.0, 350.0], 2.0)
    assert deltas([change])[0] == pytest.approx({1: -150.0}, abs=2.5)


def test_a_value_missing_now_and_then_keeps_the_neighbour_weighing():
    scale = Scale(2)
    scale.rest([1_000.0, 500.0], 2.0)
    samples = scale.samples([700.0, 500.0], 3.0)
    samples[::5, 1] = np.nan
    (change,) = scale.weigh(samples)
    assert list(deltas([change])[0]) == [0]


def test_a_plate_that_never_answers_tells_nothing():
    scale = Scale(2)
    samples = scale.samples([1_000.0, 0.0], 5.0)
    samples[:, 1] = np.nan
    assert scale.weigh(samples) == []
    assert np.isnan(scale.state.reference_g[1])


@pytest.mark.parametrize("seed", range(5))
def test_a_noisy_plate_settles_and_tells_a_step(seed):
    scale = Scale(noise_g=10.0, seed=seed)
    assert scale.rest(1_000.0, 20.0) == []
    changes = scale.rest(700.0, 10.0)
    assert changes
    total_g = sum(one.plates[0].delta_g for one in changes)
    assert total_g == pytest.approx(-300.0, abs=25.0)
    assert not scale.state.moving[0]


def test_a_plate_that_becomes_noisy_settles_again():
    scale = Scale(noise_g=0.5)
    scale.rest(1_000.0, 3.0)
    scale.noise_g = 6.0
    told = scale.rest(1_000.0, 60.0)
    assert sum(one.plates[0].delta_g for one in told) == pytest.approx(0.0, abs=15.0)
    scale.rest(1_000.0, 5.0)
    assert not scale.state.moving[0]


def test_a_change_over_neighbours_is_one():
    scale = Scale(4)
    scale.rest([900.0] * 4, 2.0)
    (change,) = scale.rest([900.0, 810.0, 840.0, 900.0], 2.0)
    assert deltas([change])[0] == pytest.approx({1: -90.0, 2: -60.0}, abs=2.5)


def test_changes_apart_are_two():
    scale = Scale(4)
    scale.rest([900.0] * 4, 2.0)
    told = deltas(scale.rest([750.0, 900.0, 900.0, 600.0], 2.0))
    assert [list(one) for one in told] == [[0], [3]]


def test_a_change_waits_for_a_neighbour_that_still_moves_but_not_for_ever():
    scale = Scale(2)
    scale.rest([900.0, 900.0], 2.0)
    restless = scale.samples([810.0, 900.0], 0.9 + GROUP_WAIT_NS / S)
    restless[:, 1] += 200.0 * np.sin(np.arange(len(restless)) / 3.0)
    waiting = restless[: round(1.2 * S / PERIOD_NS)]
    assert scale.weigh(waiting) == []
    told = scale.weigh(restless[len(waiting) :])
    assert deltas(told)[0] == pytest.approx({0: -90.0}, abs=2.5)


def test_what_changed_while_nobody_looked_is_said_to_be_unwatched():
    scale = Scale(2)
    scale.rest([900.0, 500.0], 2.0)
    left_ns = scale.now_ns
    look_away(scale.state, left_ns)
    scale.now_ns += 600 * S
    (change,) = scale.rest([750.0, 500.0], 2.0)
    assert change.unwatched
    assert change.since_ns == left_ns
    assert deltas([change])[0] == pytest.approx({0: -150.0}, abs=2.5)
    (watched,) = scale.rest([900.0, 500.0], 2.0)
    assert not watched.unwatched


def test_drift_while_nobody_looked_is_silent():
    scale = Scale(2)
    scale.rest([900.0, 500.0], 2.0)
    look_away(scale.state, scale.now_ns)
    scale.now_ns += 60 * S
    assert scale.rest([901.0, 499.0], 3.0) == []


def test_a_hole_in_the_samples_is_never_averaged_over():
    scale = Scale()
    scale.rest(1_000.0, 2.0)
    scale.now_ns += 2 * S
    (change,) = scale.rest(850.0, 2.0)
    assert change.plates[0].delta_g == pytest.approx(-150.0, abs=2.5)


def test_another_period_begins_a_window_of_its_own():
    scale = Scale()
    scale.rest(1_000.0, 2.0)
    scale.period_ns, scale.block = 100_000_000, 2
    (change,) = scale.rest(850.0, 3.0)
    assert change.plates[0].delta_g == pytest.approx(-150.0, abs=3.0)


def test_many_plates_at_once():
    plates = 306
    scale = Scale(plates, noise_g=1.0)
    before = np.linspace(-20_000.0, 20_000.0, plates)
    assert scale.rest(before, 3.0) == []
    after = before.copy()
    after[::7] -= 120.0
    told = deltas(scale.rest(after, 3.0))
    assert [list(one) for one in told] == [[plate] for plate in range(0, plates, 7)]
    assert [one[next(iter(one))] for one in told] == pytest.approx([-120.0] * len(told), abs=4.0)


def test_memory_of_samples_has_a_limit():
    scale = Scale(12, period_ns=1_000)
    scale.weigh(np.full((5_000, 12), 100.0))
    assert len(scale.state.window) <= 120
