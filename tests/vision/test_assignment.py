# SPDX-License-Identifier: Apache-2.0
"""The cheapest assignment: against all there are, and against another implementation."""

from itertools import permutations

import numpy as np
import pytest

from vision.assignment import cheapest_pairs


def total(costs, pairs):
    return sum(costs[row][column] for row, column in pairs)


def least(costs):
    """Return the least total of all assignments there are."""
    costs = np.asarray(costs)
    if costs.shape[0] > costs.shape[1]:
        costs = costs.T
    rows = range(costs.shape[0])
    return min(
        sum(costs[row, column] for row, column in zip(rows, chosen, strict=True))
        for chosen in permutations(range(costs.shape[1]), costs.shape[0])
    )


def test_nothing_is_assigned_to_nothing():
    assert cheapest_pairs([]) == []
    assert cheapest_pairs([[], []]) == []


def test_a_greedy_choice_is_not_taken_where_it_is_dear():
    assert cheapest_pairs([[1.0, 2.0], [1.5, 90.0]]) == [(0, 1), (1, 0)]


@pytest.mark.parametrize(("rows", "columns"), [(1, 4), (3, 3), (4, 2), (3, 5), (5, 5)])
def test_none_of_all_assignments_is_cheaper(rows, columns):
    rng = np.random.default_rng(rows * 10 + columns)
    for _ in range(60):
        costs = rng.normal(0.0, 20.0, (rows, columns))
        costs[rng.random(costs.shape) < 0.3] = 1e9  # Pairs that may not be.
        pairs = cheapest_pairs(costs.tolist())
        assert len(pairs) == min(rows, columns)
        assert len({row for row, _ in pairs}) == len({column for _, column in pairs}) == len(pairs)
        assert pairs == sorted(pairs)
        assert total(costs, pairs) == pytest.approx(least(costs), rel=1e-9, abs=1e-5)


def test_of_a_crowd_it_finds_what_another_implementation_finds():
    optimize = pytest.importorskip("scipy.optimize", reason="scipy is not installed")
    rng = np.random.default_rng(7)
    for rows, columns in [(20, 30), (50, 64), (64, 40)]:
        costs = rng.normal(0.0, 20.0, (rows, columns)).round(3)
        theirs = float(costs[optimize.linear_sum_assignment(costs)].sum())
        assert total(costs, cheapest_pairs(costs.tolist())) == pytest.approx(theirs)
