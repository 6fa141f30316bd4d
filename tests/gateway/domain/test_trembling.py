# SPDX-License-Identifier: Apache-2.0
"""How much plates tremble: what is usual is kept over restarts, and what lasts is told."""

from gateway.domain.inputs import Tick
from tests.gateway.domain.scene import Scene

PLATE = "g1.s1.p2"


class Quiet(Scene):
    """A store that nobody visits; what each plate's noise has become is set, not weighed for."""

    def minutes(self, count, *, heard=True, **noise_g):
        for _ in range(count):
            self.now_ns += 60_000_000_000
            shelf = self.state.shelves["g1.s1"]
            if heard:
                self.give(self.block("g1.s1"))
            for place in self.layout.shelves["g1.s1"].plates:
                shelf.sigma_g[place.index] = noise_g.get(place.name.replace(".", "_"), 0.6)
            self.give(Tick(at=self.stamp()))

    def told(self):
        return [(one["plate"], one["restless"]) for one in self.named("plate.noise-changed")]


def quiet():
    scene = Quiet()
    scene.run(2.0)
    scene.minutes(3)
    return scene


def test_a_plate_that_trembles_for_minutes_is_told_once_and_its_calm_too():
    scene = quiet()
    scene.minutes(4, g1_s1_p2=4.0)
    assert scene.told() == []
    scene.minutes(6, g1_s1_p2=4.0)
    assert scene.told() == [(PLATE, True)]
    scene.minutes(10)
    assert scene.told() == [(PLATE, True), (PLATE, False)]
    first = scene.named("plate.noise-changed")[0]
    assert first["noise_g"] == 4.0
    assert 0.5 < first["usual_g"] < 0.8


def test_what_passes_is_not_told():
    scene = quiet()
    for _ in range(5):
        scene.minutes(4, g1_s1_p2=4.0)
        scene.minutes(1)
    assert scene.told() == []


def test_a_restless_plate_is_told_once_over_a_restart():
    scene = quiet()
    scene.minutes(10, g1_s1_p2=4.0)
    usual_g = scene.state.holdings[PLATE].usual_g
    scene.restart()
    scene.run(2.0)
    scene.minutes(10, g1_s1_p2=4.0)
    assert scene.told() == [(PLATE, True)]
    assert abs(scene.state.holdings[PLATE].usual_g - usual_g) < 0.1


def test_a_start_expects_the_noise_that_was_usual():
    scene = quiet()
    scene.restart()
    scene.give(scene.block("g1.s1"))
    shelf = scene.state.shelves["g1.s1"]
    usual_g = [scene.state.holdings[f"g1.s1.p{n}"].usual_g for n in range(4)]
    assert shelf.sigma_g.tolist() == usual_g


def test_a_shelf_that_is_away_says_nothing():
    scene = quiet()
    scene.minutes(10, heard=False, g1_s1_p2=4.0)
    assert scene.told() == []
