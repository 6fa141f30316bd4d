# SPDX-License-Identifier: Apache-2.0
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.state import _decode_array, _encode_array
from gateway.domain.weighing import (
    GROUP_WAIT_NS,
    HISTORY_SAMPLES_MAX,
    LEAVE_G,
    ShelfState,
    look_away,
    net,
    new_shelf,
    weigh,
)

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


@pytest.mark.parametrize("off_ns", [1_000, 50_000, 300_000])
def test_a_device_that_tells_the_period_it_measured_is_weighed_all_the_same(off_ns):
    scale, found = Scale(2), []
    for number in range(400):
        scale.period_ns = PERIOD_NS + (-off_ns, 0, off_ns)[number % 3]
        true_g = (500.0 if number < 200 else 260.0, 500.0)
        found += scale.rest(true_g, BLOCK * scale.period_ns / S)
    [change] = found
    assert [one.plate for one in change.plates] == [0]
    assert change.plates[0].delta_g == pytest.approx(-240.0, abs=2.0)


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
    assert len(scale.state.window) <= HISTORY_SAMPLES_MAX


def test_memory_of_a_movement_without_end_has_a_limit():
    scale = Scale(3)
    scale.rest([900.0] * 3, 3.0)
    restless = scale.samples([700.0, 900.0, 900.0], 60.0)
    restless[:, 0] += 150.0 * np.sin(np.arange(len(restless)) / 9.0)
    scale.weigh(restless)
    assert len(scale.state.window) <= HISTORY_SAMPLES_MAX
    assert not scale.state.moving[1:].any()


def seconds(samples):
    return np.arange(len(samples)) * PERIOD_NS / S


def lift(samples, at_s, delta_g, for_s=0.3):
    """Let weight come or go smoothly on all plates at once."""
    u = np.clip((seconds(samples) - at_s) / for_s, 0.0, 1.0)
    samples += np.asarray(delta_g) * (u * u * (3.0 - 2.0 * u))[:, None]


def press(samples, at_s, for_s, force_g, sway=0.0):
    """Let a hand press on the plates, swaying by a part of its force."""
    t = seconds(samples) - at_s
    shape = np.clip(np.minimum(t, for_s - t) / 0.25, 0.0, 1.0)
    shape *= 1.0 + sway * sum(np.sin(2 * np.pi * f * t + f) for f in (0.35, 0.9, 2.1))
    samples += np.asarray(force_g) * shape[:, None]


def ring(samples, at_s, size_g, fade_s, seed=3):
    t = seconds(samples) - at_s
    fading = np.where(t > 0.0, size_g * np.exp(-np.maximum(t, 0.0) / fade_s), 0.0)
    samples += fading[:, None] * np.random.default_rng(seed).normal(0.0, 1.0, samples.shape)


def net_g(changes):
    """Return ``{plate: grams}`` of all changes together."""
    total_g = {}
    for change in changes:
        for one in net(change):
            total_g[one.plate] = total_g.get(one.plate, 0.0) + one.delta_g
    return total_g


@pytest.mark.parametrize("seed", range(5))
def test_two_who_take_from_one_plate_half_a_second_apart_are_two_steps(seed):
    scale = Scale(3, seed=seed)
    scale.rest([900.0] * 3, 3.0)
    samples = scale.samples([900.0] * 3, 3.0)
    lift(samples, 0.5, [0.0, -200.0, 0.0], 0.2)
    lift(samples, 1.05, [0.0, -310.0, 0.0], 0.2)
    (change,) = scale.weigh(samples)
    assert [one.plate for one in change.plates] == [1, 1]
    assert [one.delta_g for one in change.plates] == pytest.approx([-200.0, -310.0], abs=4.0)
    first, second = change.plates
    assert first.since_ns < first.half_ns < first.stable_ns <= second.since_ns < second.half_ns
    (whole,) = net(change)
    assert whole.delta_g == pytest.approx(-510.0, abs=4.0)
    assert (whole.since_ns, whole.stable_ns) == (first.since_ns, second.stable_ns)
    assert whole.half_ns == second.half_ns
    assert whole.after_g == second.after_g


@pytest.mark.parametrize("force_g", [-60.0, 60.0, 150.0, 400.0])
@pytest.mark.parametrize("for_s", [0.4, 1.0, 2.0])
def test_a_pressing_hand_changes_nothing(force_g, for_s):
    scale = Scale(4)
    scale.rest([900.0] * 4, 3.0)
    samples = scale.samples([900.0] * 4, 10.0)
    press(samples, 0.5, for_s, [0.0, force_g, 0.0, 0.0], sway=0.08)
    told = scale.weigh(samples)
    assert all(abs(one.delta_g) < 5.0 for change in told for one in net(change))
    assert scale.state.reference_g == pytest.approx([900.0] * 4, abs=2.5)


def test_what_leans_lightly_and_leaves_is_not_told():
    scale = Scale(4)
    scale.rest([900.0] * 4, 3.0)
    samples = scale.samples([900.0] * 4, 12.0)
    press(samples, 0.5, 3.0, [0.0, 15.0, -9.0, 0.0])
    assert scale.weigh(samples) == []


def test_what_leans_lightly_before_an_act_is_told_with_it():
    scale = Scale(4)
    scale.rest([900.0] * 4, 3.0)
    samples = scale.samples([900.0] * 4, 6.0)
    press(samples, 0.5, 2.6, [0.0, 15.0, 0.0, 0.0])
    lift(samples, 2.9, [0.0, -200.0, 0.0, 0.0], 0.4)
    (change,) = scale.weigh(samples)
    assert net_g([change]) == pytest.approx({1: -200.0}, abs=4.0)
    assert change.since_ns > S * 3 + 2 * S


@pytest.mark.parametrize("seed", range(4))
def test_a_slow_act_in_fits_is_a_few_steps_that_add_up(seed):
    scale = Scale(4, seed=seed)
    scale.rest([900.0] * 4, 3.0)
    samples = scale.samples([900.0] * 4, 7.0)
    rng = np.random.default_rng(seed)
    pushes = np.repeat(rng.gamma(0.7, 1.0, 24), 8)
    profile = np.concatenate((np.cumsum(pushes) / pushes.sum(), np.ones(len(samples) - 60 - 192)))
    samples[60:] += np.array([0.0, -220.0, -80.0, 0.0]) * profile[:, None]
    told = scale.weigh(samples)
    assert net_g(told) == pytest.approx({1: -220.0, 2: -80.0}, abs=5.0)
    assert max(sum(one.plate == 1 for one in change.plates) for change in told) <= 6


@pytest.mark.parametrize("seed", range(6))
def test_plates_under_one_unit_have_crossed_half_at_one_instant(seed):
    scale = Scale(5, seed=seed)
    scale.rest([900.0] * 5, 3.0)
    samples = scale.samples([900.0] * 5, 3.0)
    begun_ns = scale.now_ns
    press(samples, 0.3, 0.4, [0.0, 30.0, 60.0, 10.0, 0.0])
    lift(samples, 0.9, [0.0, -60.0, -120.0, -20.0, 0.0], 0.6)
    (change,) = scale.weigh(samples)
    halves_ns = [one.half_ns for one in net(change)]
    assert len(halves_ns) == 3
    assert max(halves_ns) - min(halves_ns) <= 50_000_000
    assert halves_ns[1] == pytest.approx(begun_ns + 1.2 * S, abs=25_000_000)


@pytest.mark.parametrize("at", range(0, 40, 3))
def test_a_lost_block_is_bridged(at):
    scale = Scale(4)
    scale.rest([900.0] * 4, 3.0)
    samples = scale.samples([900.0] * 4, 4.0)
    lift(samples, 0.3, [0.0, -150.0, 0.0, 0.0], 0.3)
    told = scale.weigh(samples[:at])
    scale.now_ns += BLOCK * PERIOD_NS
    told += scale.weigh(samples[at + BLOCK :])
    (change,) = told
    (one,) = change.plates
    assert (one.plate, one.unwatched) == (1, False)
    assert one.delta_g == pytest.approx(-150.0, abs=3.0)


@pytest.mark.parametrize("size_g", [40.0, 120.0, 250.0])
@pytest.mark.parametrize("fade_s", [0.3, 0.9])
def test_a_knock_changes_nothing(size_g, fade_s):
    scale = Scale(9)
    scale.rest([900.0] * 9, 3.0)
    samples = scale.samples([900.0] * 9, 12.0)
    ring(samples, 0.5, size_g, fade_s)
    assert net_g(scale.weigh(samples)) == {}
    assert scale.state.reference_g == pytest.approx([900.0] * 9, abs=2.5)


def test_something_taken_during_a_knock_is_told():
    scale = Scale(9)
    scale.rest([900.0] * 9, 3.0)
    samples = scale.samples([900.0] * 9, 8.0)
    ring(samples, 0.5, 100.0, 0.5)
    lift(samples, 0.8, [0.0] * 4 + [-180.0] + [0.0] * 4, 0.3)
    assert net_g(scale.weigh(samples)) == pytest.approx({4: -180.0}, abs=6.0)


def test_a_resting_hand_does_not_hold_back_a_neighbour_for_ever():
    scale = Scale(4)
    scale.rest([900.0] * 4, 3.0)
    samples = scale.samples([900.0] * 4, 12.0)
    press(samples, 0.5, 9.0, [0.0, 700.0, 0.0, 0.0], sway=0.08)
    lift(samples, 2.5, [0.0, 0.0, -240.0, 0.0])
    cut = round((3.0 + 0.5 + GROUP_WAIT_NS / S) * S / PERIOD_NS)
    (change,) = scale.weigh(samples[:cut])
    assert net_g([change]) == pytest.approx({2: -240.0}, abs=4.0)
    assert all(abs(g) < 5.0 for g in net_g(scale.weigh(samples[cut:])).values())
    assert not scale.state.moving.any()


def test_what_was_taken_under_a_resting_hand_is_told_right_after_it():
    scale = Scale(4)
    scale.rest([900.0] * 4, 3.0)
    samples = scale.samples([900.0] * 4, 9.0)
    press(samples, 0.5, 6.0, [0.0, 700.0, 0.0, 0.0], sway=0.08)
    lift(samples, 2.5, [0.0, -90.0, 0.0, 0.0])
    cut = round((0.5 + 6.0 + 1.5) * S / PERIOD_NS)
    assert net_g(scale.weigh(samples[:cut])) == pytest.approx({1: -90.0}, abs=4.0)


def test_a_state_goes_on_from_a_copy_of_its_arrays():
    scale, other = Scale(3), Scale(3)
    scale.rest([900.0] * 3, 3.0)
    samples = scale.samples([900.0] * 3, 3.0)
    lift(samples, 0.5, [0.0, -200.0, 0.0])
    whole = Scale(3)
    whole.rest([900.0] * 3, 3.0)
    expected = whole.weigh(samples)
    told = scale.weigh(samples[:48])
    other.state = msgspec.json.decode(
        msgspec.json.encode(scale.state, enc_hook=_encode_array),
        type=ShelfState,
        dec_hook=_decode_array,
    )
    other.now_ns = scale.now_ns
    assert told + other.weigh(samples[48:]) == expected


@pytest.mark.parametrize("before", range(20, 25))
def test_ten_samples_a_second_are_enough(before):
    scale = Scale(3, noise_g=0.3, period_ns=100_000_000, block=2)
    samples = scale.samples([900.0] * 3, 6.0)
    samples[before:, 1] -= 200.0
    (change,) = scale.weigh(samples)
    assert [one.plate for one in change.plates] == [1]
    assert change.plates[0].delta_g == pytest.approx(-200.0, abs=1.5)
