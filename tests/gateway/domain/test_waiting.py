# SPDX-License-Identifier: Apache-2.0
"""What a settled change waits for: a neighbour on which a unit leans a little, but not for ever."""

import numpy as np
import pytest

from gateway.domain.weighing import new_shelf, weigh

PERIOD_NS = 16_667_000
BLOCK = 12
BLOCK_S = BLOCK * PERIOD_NS / 1e9


def told(restless_s, light_g=-20.0, heavy_g=-45.0):
    """Take a unit off two plates, the second of which a hand keeps moving; return changes, ends.

    Returns:
        Each change with how long after the first plate had settled it was complete, s.
    """
    rng = np.random.default_rng(5)
    shelf = new_shelf(4)
    still = np.full(4, 2_000.0)
    found, at_ns, taken_s = [], 1_000_000_000, 10.0
    for number in range(round((taken_s + restless_s + 9.0) / BLOCK_S)):
        block_s = number * BLOCK_S + np.arange(BLOCK) * PERIOD_NS / 1e9 - taken_s
        block_g = still + rng.normal(0.0, 0.5, (BLOCK, 4))
        block_g[:, 1] += np.where(block_s >= 0.0, heavy_g, 0.0)
        block_g[:, 2] += np.where(block_s >= 0.0, light_g, 0.0)
        swaying = (block_s >= -1.6) & (block_s < restless_s)
        block_g[:, 2] += np.where(swaying, 7.0 * np.sin(2 * np.pi * 1.1 * block_s), 0.0)
        complete = weigh(shelf, block_g, at_ns, PERIOD_NS)
        found += [(change, float(block_s[-1])) for change in complete]
        at_ns += BLOCK * PERIOD_NS
    return found


@pytest.mark.parametrize("restless_s", [0.0, 0.2, 0.3, 0.4])
def test_a_plate_that_felt_little_and_settles_soon_belongs_to_the_change(restless_s):
    [(change, _)] = told(restless_s)
    net_g = {1: 0.0, 2: 0.0}
    for one in change.plates:
        net_g[one.plate] += one.delta_g
    assert net_g == pytest.approx({1: -45.0, 2: -20.0}, abs=3.0)


def test_a_plate_that_felt_little_and_does_not_rest_keeps_nobody_waiting():
    change, after_s = told(8.0)[0]
    assert {one.plate for one in change.plates} >= {1}
    assert after_s < 4.0
