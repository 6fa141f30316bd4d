# SPDX-License-Identifier: Apache-2.0
"""Simulated days with random faults keep every promise; broken products do not."""

import itertools
import time

import pytest

from tests.faults import mutations
from tests.faults.simulation import Day, simulate
from tests.soak import attempt, examine

SECONDS = 60.0
"""How long days are simulated in the suite; ``make soak`` goes on for as long as asked."""
LEAST = 100
FIRST = 1
MUTANT_SEEDS = 300


@pytest.mark.timeout(300)
@pytest.mark.slow
def test_days_full_of_mishaps_keep_every_promise():
    broken = []
    end_s = time.monotonic() + SECONDS
    for seed in itertools.count(FIRST):
        if seed >= FIRST + LEAST and time.monotonic() > end_s:
            break
        outcome = attempt(seed)
        if outcome.broken:
            broken.append(examine(outcome))
    assert not broken, "\n".join(broken)


def test_a_seed_decides_everything():
    one, other = simulate(7), simulate(7)
    assert one == other
    assert simulate(8).digest != one.digest


def test_a_day_is_what_it_says():
    outcome = simulate(12)
    assert outcome.inputs > 300
    assert outcome.events > 5


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", mutations.ALL)
def test_a_broken_product_is_found(name):
    days: list[Day] = []
    with mutations.ALL[name](days):
        for seed in range(1, MUTANT_SEEDS + 1):
            if attempt(seed, days.append).broken:
                return
    pytest.fail(f"{name}: {MUTANT_SEEDS} days, and nothing seen")
