# SPDX-License-Identifier: Apache-2.0
import itertools

import numpy as np
import pytest

from gateway.domain.identity import Scatter, assign, usable


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (2, 3), (3, 3), (4, 6)])
def test_the_best_assignment_is_found(rows, columns):
    rng = np.random.default_rng(rows * 10 + columns)
    for _ in range(30):
        gains = rng.normal(0.0, 5.0, (rows, columns))
        chosen = assign(gains.tolist())
        assert len(set(chosen)) == rows
        best = max(
            sum(gains[row, column] for row, column in enumerate(some))
            for some in itertools.permutations(range(columns), rows)
        )
        assert sum(gains[row, column] for row, column in enumerate(chosen)) == pytest.approx(best)


def test_nobody_to_assign():
    assert assign([]) == []


def learn(rng, body, scatter, looks, count=100):
    for _ in range(count):
        seen = body + rng.normal(0.0, 0.1, len(body))
        scatter.learn(looks, "c1", seen.tolist(), 0.5)


def test_looks_scatter_by_what_was_seen():
    rng = np.random.default_rng(1)
    scatter, looks = Scatter(), {}
    learn(rng, np.full(12, 0.1), scatter, looks, 600)
    assert scatter.noise2 == pytest.approx(12 * 0.1**2, rel=0.1)


def test_another_cameras_light_is_allowed_for():
    rng = np.random.default_rng(2)
    one, other = np.full(12, 0.1), np.full(12, 0.1)
    other[:2] = 0.4
    scatter, mine, theirs = Scatter(), {}, {}
    learn(rng, one, scatter, mine)
    learn(rng, other, scatter, theirs)
    seen = (one + rng.normal(0.0, 0.05, 12)).tolist()
    assert scatter.fit(mine, "c2", seen) > max(scatter.fit(theirs, "c2", seen), 0.0) + 1.0
    assert scatter.fit(mine, "c1", seen) > scatter.fit(mine, "c2", seen)


def test_nothing_is_said_of_what_was_not_seen():
    scatter = Scatter(noise_looks=50.0)
    assert scatter.fit({}, "c1", [0.1, 0.2]) is None
    assert scatter.fit({}, "c1", None) is None
    assert scatter.match({}, {}, "c1") is None
    looks = {}
    scatter.learn(looks, "c1", [0.1, 0.2], 1.0)
    assert scatter.fit(looks, "c1", [0.1, 0.2, 0.3]) is None
    scatter.learn(looks, "c1", [0.1, 0.2, 0.3], 1.0)
    assert looks["c1"].mean == [0.1, 0.2, 0.3]
    assert usable(None)
    assert not usable([1e9])
