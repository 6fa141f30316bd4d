# SPDX-License-Identifier: Apache-2.0
"""Blocks that come in bursts: what a shelf felt is dated rightly, or asked about."""

from contextlib import contextmanager

import msgspec
import pytest

from gateway.domain.people import PERSONS_MAX
from tests.gateway.domain.scene import JAM, TEA, Body

S = 1_000_000_000


@contextmanager
def held_back(scene, shelf):
    """Hold a shelf's blocks back, then let them all in at once."""
    held = []
    give = scene.give

    def hold(item):
        if getattr(item, "device", "") == f"shelf/{shelf}":
            held.append(item)
            return []
        return give(item)

    scene.give = hold
    yield
    scene.give = give
    for item in held:
        give(msgspec.structs.replace(item, at=scene.stamp()))


@pytest.mark.parametrize("seconds", [0.6, 1.0, 1.4, 1.8, 2.2])
@pytest.mark.parametrize("clock", [True, False])
def test_a_stall_long_ago_does_not_bill_another_shopper(shopping, seconds, clock):
    if not clock:
        block = shopping.block
        shopping.block = lambda shelf, **changed: block(shelf, **{"t_ms": None, **changed})
    with held_back(shopping, "g1.s1"):
        shopping.run(seconds)
    shopping.run(20.0)
    shelf = shopping.state.shelves["g1.s1"]
    assert abs(shopping.now_ns - shelf.end_ns) < 0.4 * S
    shopping.act("anna", {"g1.s1.p3": -390.0})
    shopping.leave()
    assert shopping.receipt(shopping.anna) == {TEA: 1, JAM: 1}


def test_no_block_lies_in_the_future(scene):
    item = scene.block("g1.s1", w=[[3_000.0] * 4] * 600, period_us=10_000_000, t_ms=None)
    scene.give(item)
    scene.run(1.0)
    assert scene.state.shelves["g1.s1"].end_ns <= scene.now_ns


def test_a_camera_that_sees_ever_new_people_is_bounded_and_told(scene):
    for number in range(30):
        scene.bodies = {f"{number}-{k}": Body((k * 9_000.0, number * 9_000.0)) for k in range(64)}
        scene.run(0.1)
    assert len(scene.state.people.persons) == PERSONS_MAX
    scene.bodies = {}
    scene.run(11.0)
    told = {one["reason"] for one in scene.named("inputs.dropped")}
    assert "too-many-people" in told
