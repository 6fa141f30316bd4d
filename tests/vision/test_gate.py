# SPDX-License-Identifier: Apache-2.0
"""When the model is run: where something moves or somebody is, and never faster than it can."""

import logging

import numpy as np
import pytest

from vision.gate import ASLEEP_MAX_S, AWAKE_S, SLOW_AFTER, MotionGate, Pace

PERIOD_S = 0.1


def aisle(rng, *, light=0.0, body_at=None):
    """Return a noisy picture of an empty aisle, or with a body in it."""
    image = np.full((192, 256, 3), 90.0)
    image[:, 125:130] = 160.0
    if body_at is not None:
        x, y = body_at
        image[y : y + 20, x : x + 15] = (40.0, 60.0, 170.0)
    noisy = image + light + rng.normal(0.0, 4.0, image.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


class Watch:
    """A gate that is shown frames, ten a second; the model finds whoever is there."""

    def __init__(self):
        self.gate, self.rng, self.now_s = MotionGate(), np.random.default_rng(1), 100.0

    def show(self, seconds, **picture):
        """Return at how many frames the model was run."""
        runs = 0
        for number in range(round(seconds / PERIOD_S)):
            self.now_s += PERIOD_S
            shown = {name: one(number) if callable(one) else one for name, one in picture.items()}
            image = aisle(self.rng, **shown)
            if self.gate.worth(image, self.now_s):
                runs += 1
                self.gate.looked(int(shown.get("body_at") is not None), self.now_s)
        return runs


def test_an_empty_aisle_is_looked_at_now_and_then():
    """After a second, then more and more rarely; and anew after anybody moved."""
    watch = Watch()
    watch.show(AWAKE_S + 0.9)
    assert [watch.show(1.0) for _ in range(8)] == [1, 0, 1, 0, 0, 0, 1, 0]
    watch.show(10.0)
    assert watch.show(20.0) == pytest.approx(20.0 / ASLEEP_MAX_S, abs=1)
    watch.show(1.0, body_at=lambda number: (50 + 3 * number, 75))
    watch.show(AWAKE_S + 0.5)
    assert watch.show(3.0) == 2


def test_an_aisle_that_was_left_is_looked_at_less_and_whoever_comes_back_at_once():
    watch = Watch()
    watch.show(3.0, body_at=lambda number: (50 + 3 * number, 75))
    # For some seconds the place where he was differs from what is usual.
    looks = [watch.show(0.5) for _ in range(24)]
    left = next(number for number, some in enumerate(looks) if some < 5)
    assert looks[0] == 5
    assert sum(looks[left : left + 4]) <= 8
    assert sum(looks[left : left + 4]) > sum(looks[left + 4 : left + 8])
    assert watch.show(0.5, body_at=lambda number: (100 + 3 * number, 75)) == 5


def test_whoever_walks_in_is_seen_at_once_and_all_the_time():
    watch = Watch()
    watch.show(AWAKE_S + 1.0)
    assert watch.show(3.0, body_at=lambda number: (50 + 3 * number, 75)) == 30


def test_whoever_stands_still_is_looked_at_all_the_time():
    watch = Watch()
    watch.show(AWAKE_S + 1.0)
    watch.show(2.0, body_at=(100, 75))
    assert watch.show(15.0, body_at=(100, 75)) == 150


def test_light_that_changes_everywhere_moves_nobody():
    watch = Watch()
    watch.show(AWAKE_S + 1.0)
    assert watch.show(10.0, light=lambda number: 0.4 * number) < 20


def test_another_resolution_is_looked_at():
    gate = MotionGate()
    rng = np.random.default_rng(2)
    for number in range(60):
        gate.worth(aisle(rng), number * PERIOD_S)
    gate.looked(0, 6.0)
    assert not gate.worth(aisle(rng), 6.1)
    assert gate.worth(aisle(rng)[:150], 6.2)


@pytest.mark.parametrize("size_wh", [(1, 4_000), (16, 8_192), (8_192, 16), (480, 640), (640, 480)])
def test_whatever_a_pictures_shape_little_of_it_is_compared(size_wh):
    gate, image = MotionGate(), np.zeros((size_wh[1], size_wh[0], 3), np.uint8)
    assert gate.worth(image, 0.0)
    assert gate._usual.size <= 3 * 96 * 192
    if size_wh == (480, 640):
        assert gate._usual.shape == (128, 96, 3), "an upright picture keeps its shape"


def test_a_machine_that_is_fast_enough_looks_as_often_as_wanted():
    pace = Pace("over", 10.0)
    for number in range(50):
        now_s = number * 0.1
        assert pace.wait_s(now_s) == pytest.approx(0.0, abs=1e-9)
        pace.begin(now_s)
        pace.done(0.02)
    assert not pace.slow


def test_a_machine_that_is_too_slow_looks_more_rarely_and_says_so_once(caplog):
    caplog.set_level(logging.INFO)
    pace, now_s, begun = Pace("over", 10.0), 0.0, []
    for _ in range(3 * SLOW_AFTER):
        now_s += pace.wait_s(now_s)
        pace.begin(now_s)
        begun.append(now_s)
        pace.done(0.2)
        now_s += 0.2
    assert pace.slow
    assert np.diff(begun[5:]).min() > 0.2
    assert [one.levelname for one in caplog.records] == ["WARNING"]
    assert "camera over" in caplog.text
    for _ in range(10 * SLOW_AFTER):
        pace.done(0.01)
    assert not pace.slow
    assert [one.levelname for one in caplog.records] == ["WARNING", "INFO"]


@pytest.mark.parametrize(
    ("more", "remedy"),
    [(True, "Use a smaller model or more threads, or"), (False, "Use a smaller model, or lower")],
)
def test_more_threads_are_advised_only_where_there_are_more(more, remedy, caplog):
    pace = Pace("over", 10.0, more)
    for _ in range(3 * SLOW_AFTER):
        pace.done(0.2)
    assert remedy in caplog.text


@pytest.mark.parametrize("slow", [{0: 3.0}, {50: 2.0}, {50: 10.0}, {50: 2.0, 51: 2.0}])
def test_a_slow_detection_makes_the_next_ones_no_rarer(slow, caplog):
    pace, now_s, waited_s = Pace("over", 10.0), 0.0, []
    for number in range(100):
        waited_s.append(pace.wait_s(now_s))
        now_s += waited_s[-1]
        pace.begin(now_s)
        took_s = slow.get(number, 0.05)
        now_s += took_s
        pace.done(took_s)
    assert max(waited_s) <= 0.1
    assert not caplog.records
    assert pace.takes_s == 0.05
