# SPDX-License-Identifier: Apache-2.0
"""Samples of scales as the engine weighs them: what was taken is found, at every rhythm."""

from decimal import Decimal

import numpy as np
import pytest

from gateway.domain.weighing import new_shelf, weigh
from tests.drivers.scale.rig import with_rig

HAND_G = (420, 455, 371, 268, 255, 262)
"""A hand presses, takes 150 g off 412, and lets go."""


@pytest.mark.parametrize(
    ("protocol", "rate", "settings"),
    [
        ("cas", 5.0, {}),
        ("cas", 7.3, {}),
        ("cas", 20.0, {}),
        ("toledo", 17.0, {}),
        ("mt-sics", 10.0, {}),
        ("sma", 10.0, {}),
        ("sma", 10.0, {"poll_ms": 200}),
        ("nci", 10.0, {"poll_ms": 500}),
    ],
)
def test_what_is_taken_off_a_scale_is_one_change(protocol, rate, settings):
    async def scene(rig):
        await rig.goes_on(6)
        rig.player.plate.moves = True
        for grams in HAND_G:
            rig.player.put(Decimal(grams))
            await rig.goes_on(0.09)
        rig.player.plate.moves = False
        await rig.goes_on(10)
        return rig.blocks

    state, changes = new_shelf(1), []
    for block in with_rig(protocol, scene, rate=rate, **settings):
        rows = np.array([[np.nan if g is None else g for g in row] for row in block.w])
        start_ns = round(block.host_mono_ms * 1e6)
        changes += weigh(state, rows, start_ns, block.period_us * 1_000)
    [change] = changes
    [plate] = change.plates
    assert plate.delta_g == pytest.approx(-150.0, abs=0.5)
