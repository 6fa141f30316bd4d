# SPDX-License-Identifier: Apache-2.0
"""Simulated days with random faults keep every promise; broken products do not."""

import itertools
import re
import sqlite3
import time
from contextlib import nullcontext
from unittest.mock import patch

import pytest

from gateway import salvage
from gateway.database_errors import DatabaseError, damaged
from tests.faults import mishaps, mutations
from tests.faults.simulation import Day, simulate
from tests.soak import attempt, examine, soak

SECONDS = 20.0
"""How long days are simulated in the suite; ``make soak`` goes on for as long as asked."""
LEAST = 60
FIRST = 1
MUTANT_SEEDS = 300
EARLIEST = {"acknowledge at the broker": 60, "two transactions": 20}
"""Seed to begin with where the days before it are known to show nothing, for the time they take."""


def often(name):
    """Let a mishap be as frequent as all others together."""
    if name is None:
        return nullcontext()
    return patch.dict(mishaps.ALL, {name: (30.0, mishaps.ALL[name][1])})


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
    assert 500 < outcome.inputs < 2_500
    assert outcome.events > outcome.counts["acts"] > 0


@pytest.mark.parametrize("name", mutations.ALL)
def test_a_broken_product_is_found(name):
    mutant = mutations.ALL[name]
    days: list[Day] = []
    with mutant.mutation(days), often(mutant.often):
        for seed in range(EARLIEST.get(name, 1), MUTANT_SEEDS + 1):
            broken = attempt(seed, days.append).broken
            if any(re.search(mutant.says, what) for what in broken):
                return
    pytest.fail(f"{name}: {MUTANT_SEEDS} days, and nothing seen")


def test_damage_is_met_and_mended():
    """That a sector rots must matter in some days, or these days would show nothing."""
    mended = 0
    # Half of the time went into looking for rows beyond all that such a day makes.
    few = patch.object(salvage, "REFUSED_MAX", 2_000)
    with few, often("database damaged"):
        for seed in range(1, 11):
            outcome = attempt(seed)
            assert not outcome.broken, examine(outcome)
            mended += outcome.counts["mended"]
    assert mended > 3


def test_no_end_is_excused_but_by_the_disks_own_trouble():
    def error(cause):
        one = DatabaseError("it ended")
        one.__cause__ = cause
        return one

    days: list[Day] = []
    simulate(7, change=days.append)
    [day] = days
    refused, other = error(sqlite3.OperationalError(mishaps.DISK_REFUSALS[0])), error(None)
    assert not day._is_trouble(refused)
    day.disk.was_full = True
    assert day._is_trouble(refused)
    assert not any(day._is_trouble(one) for one in (other, ValueError(), error(damaged("bad"))))
    day.disk.was_full, day.promises.hurt, day.rotten = False, True, True
    assert not day._is_trouble(other)
    assert not day._is_trouble(error(sqlite3.OperationalError("no such table: events")))
    assert day._is_trouble(error(damaged("bad")))
    assert not day._is_trouble(error(damaged("bad"))), "the start after that mends"


def test_every_seed_is_run():
    assert soak(iter(range(1, 23)), seconds=None, jobs=1).days == 22
