# SPDX-License-Identifier: Apache-2.0
"""A gondola trembles as a whole: its small shelves tell that by each other."""

import numpy as np
import pytest

from gateway.domain.layout import Layout
from gateway.domain.shaking import shake_now_g2, shaken_g2
from gateway.domain.weighing import new_shelf, weigh
from tests.gateway.domain.scene import corner_store

PERIOD_NS = 16_667_000
BLOCK = 12
CALM_G, SHAKEN_G = 0.6, 6.0


class Gondola:
    """Shelves that are fed in turn, as they would send."""

    def __init__(self, plates, seed=3):
        self.rng = np.random.default_rng(seed)
        self.shelves = [new_shelf(count) for count in plates]
        self.at_ns = 1_000_000_000
        self.weight_g = [np.full(count, 2_000.0) for count in plates]
        self.changes = [[] for _ in plates]

    def run(self, blocks, *, noise_g=CALM_G, deaf=(), together=True):
        for _ in range(blocks):
            for number, shelf in enumerate(self.shelves):
                if number in deaf:
                    continue
                still = self.weight_g[number]
                own_g = noise_g[number] if isinstance(noise_g, tuple) else noise_g
                block_g = still + self.rng.normal(0.0, own_g, (BLOCK, len(still)))
                beside = [one for one in self.shelves if one is not shelf] if together else []
                self.changes[number] += weigh(shelf, block_g, self.at_ns, PERIOD_NS, beside)
            self.at_ns += BLOCK * PERIOD_NS

    def shaken(self, number, bins=10, rows=3):
        shelf = self.shelves[number]
        beside = [one for one in self.shelves if one is not shelf]
        first = len(shelf.window) - bins * rows
        return shaken_g2(shelf, beside, first, rows, bins)


@pytest.fixture
def small():
    """Three shelves of two plates: none of them can tell by itself."""
    gondola = Gondola((2, 2, 2))
    gondola.run(40)
    return gondola


def test_small_shelves_tell_a_tremble_together(small):
    small.run(3, noise_g=SHAKEN_G)
    one, *beside = small.shelves
    assert shake_now_g2(one, []) == 0.0
    assert shake_now_g2(one, beside) > 0.3 * SHAKEN_G**2
    assert small.shaken(0).mean() > 0.2 * SHAKEN_G**2


def test_a_calm_gondola_trembles_by_nothing(small):
    one, *beside = small.shelves
    assert shake_now_g2(one, beside) < CALM_G**2
    assert small.shaken(0).max() < CALM_G**2


def test_a_hand_on_one_small_shelf_is_no_tremble(small):
    small.run(1)
    small.shelves[0].window[-30:] += small.rng.normal(0.0, 20.0, (30, 2))
    assert small.shaken(0).max() < 1.0


@pytest.mark.parametrize("sway_g", [30.0, 200.0])
def test_hands_on_most_plates_of_another_shelf_hide_no_pick(sway_g):
    gondola = Gondola((2, 3))
    gondola.run(40)
    gondola.run(12, noise_g=(CALM_G, sway_g))
    gondola.weight_g[0][0] -= 20.0
    gondola.run(18, noise_g=(CALM_G, sway_g))
    gondola.run(60)
    [change] = gondola.changes[0]
    [felt] = change.plates
    assert felt.delta_g == pytest.approx(-20.0, abs=3.0)


def test_a_shelf_that_trembles_alone_counts_by_itself():
    gondola = Gondola((4, 6))
    gondola.run(40)
    gondola.run(3, noise_g=(SHAKEN_G, CALM_G))
    assert gondola.shaken(0).mean() > 0.2 * SHAKEN_G**2
    assert gondola.shaken(1).max() < CALM_G**2


def test_a_shelf_that_has_said_nothing_yet_changes_nothing(small):
    small.run(3, noise_g=SHAKEN_G, deaf=(1, 2))
    late = small.shaken(0)
    assert late.shape == (10,)
    assert np.isfinite(late).all()
    assert (late >= 0.0).all()
    one, *beside = small.shelves
    for other in beside:  # What they said before is too long ago.
        other.window, other.at_ns = other.window[:0], other.at_ns[:0]
    first = len(one.window) - 30
    alone, together = (shaken_g2(one, some, first, 3, 10) for some in ([], beside))
    assert together.tolist() == alone.tolist()


def test_what_was_long_ago_is_no_tremble_of_now(small):
    small.run(3, noise_g=SHAKEN_G, deaf=(0,))
    small.run(5, deaf=(1, 2))
    one, *beside = small.shelves
    assert shake_now_g2(one, beside) == 0.0


def test_a_shelf_of_many_plates_trembles_at_least_as_its_own_plates_do():
    gondola = Gondola((6, 12))
    gondola.run(40)
    gondola.run(3, noise_g=SHAKEN_G, deaf=(1,))
    gondola.at_ns -= 3 * BLOCK * PERIOD_NS
    gondola.run(3, deaf=(0,))
    own, calm = gondola.shelves
    assert shake_now_g2(own, [calm]) == shake_now_g2(own, []) > 0.2 * SHAKEN_G**2


def test_history_is_kept_while_any_shelf_of_the_gondola_moves(small):
    calm_rows = len(small.shelves[2].window)
    small.weight_g[0][0] -= 300.0
    for _ in range(8):
        small.weight_g[0] += small.rng.normal(0.0, 15.0, 2)  # A hand that does not rest.
        small.run(1)
    assert len(small.shelves[2].window) > calm_rows
    small.run(30)
    assert len(small.shelves[2].window) == calm_rows


@pytest.mark.parametrize("together", [True, False])
def test_footsteps_beside_small_shelves_make_no_change_and_a_pick_does(together):
    gondola = Gondola((1, 2, 2))
    gondola.run(40, together=together)
    gondola.run(6, noise_g=3.0, together=together)
    gondola.weight_g[0][0] -= 300.0
    gondola.run(4, noise_g=3.0, together=together)
    gondola.run(60, together=together)
    [change], *others = gondola.changes
    assert others == [[], []]
    assert sum(one.delta_g for one in change.plates) == pytest.approx(-300.0, abs=4.0)


def test_the_store_says_which_shelves_share_a_gondola():
    beside = Layout(corner_store()).beside
    assert beside == {"g1.s1": [], "g2.s1": []}


def test_a_shelf_that_comes_back_tells_no_tremble_of_before_it_went():
    gondola = Gondola((2, 4))
    gondola.run(40)
    gondola.run(3, noise_g=SHAKEN_G)
    gondola.run(20, deaf=(1,))
    gondola.run(1)
    one, beside = gondola.shelves
    assert shake_now_g2(one, [beside]) < 1.0
