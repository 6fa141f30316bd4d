# SPDX-License-Identifier: Apache-2.0
"""A hand that two cameras see is where their lines of sight cross."""

from math import dist, hypot

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.inputs import PersonSeen, Wrist
from gateway.domain.persons import Person
from gateway.domain.rays import (
    KEPT_NS,
    RAYS_MAX,
    TOGETHER_NS,
    crossed,
    kept,
    nearest,
    rays_of,
    together,
)
from tests.gateway.domain.scene import ENTRY_MM, Body, Scene

LEFT_MM, RIGHT_MM = (-1_000.0, -600.0, 2_800.0), (1_500.0, -600.0, 2_800.0)
HAND_MM = (375.0, 1_060.0, 900.0)


def seen_from(eye_mm, hand_mm=HAND_MM, *, wrong_mm=0.0, sigma_mm=120.0):
    """Return a wrist on the right line of sight, so much too far along it."""
    far_mm = dist(eye_mm, hand_mm)
    at_mm = tuple(
        a + (b - a) * (1.0 + wrong_mm / far_mm) for a, b in zip(eye_mm, hand_mm, strict=True)
    )
    return Wrist(mm=at_mm, sigma_mm=sigma_mm, ray_mm=(eye_mm, at_mm))


def test_two_lines_of_sight_mend_what_each_gets_wrong_along_it():
    one, other = seen_from(LEFT_MM, wrong_mm=150.0), seen_from(RIGHT_MM, wrong_mm=-120.0)
    found = crossed(one, rays_of([other], "right", 0))
    assert dist(found.mm, HAND_MM) < 1.0
    assert found.sigma_mm < one.sigma_mm


def test_one_camera_alone_is_believed_as_it_is():
    one = seen_from(LEFT_MM, wrong_mm=150.0)
    own = rays_of([seen_from(LEFT_MM)], "left", 0)
    assert crossed(one, together(own, "left", 0)) == one
    assert crossed(one, []) == one


def test_the_other_hand_is_not_taken_for_this_one():
    one = seen_from(LEFT_MM, wrong_mm=50.0)
    far = seen_from(RIGHT_MM, (HAND_MM[0] - 500.0, HAND_MM[1], HAND_MM[2] + 300.0))
    assert crossed(one, rays_of([far], "right", 0)) == one
    near = seen_from(RIGHT_MM, wrong_mm=-40.0)
    found = crossed(one, rays_of([far, near], "right", 0))
    assert dist(found.mm, HAND_MM) < 1.0


def test_lines_that_run_side_by_side_say_nothing():
    beside_mm = (LEFT_MM[0] + 150.0, LEFT_MM[1], LEFT_MM[2])
    assert nearest(LEFT_MM, HAND_MM, beside_mm, HAND_MM) is None


@given(
    st.tuples(st.floats(-500, 500), st.floats(600, 1_200), st.floats(300, 1_800)),
    st.integers(0, 2**32 - 1),
)
def test_the_deviation_is_what_it_says(hand_mm, seed):
    """Of many noisy pairs of lines the errors are as large as told, on average of the axes."""
    rng = np.random.default_rng(seed)
    errors, told = [], []
    for _ in range(60):
        ends = [np.array(hand_mm) + rng.normal(0.0, 40.0, 3) for _ in range(2)]
        met = nearest(LEFT_MM, tuple(ends[0]), RIGHT_MM, tuple(ends[1]))
        if met is not None:
            errors.append(np.square(np.array(met[0]) - hand_mm).mean() ** 0.5)
            told.append(met[2])
    assert len(errors) > 30
    assert 0.5 < np.sqrt(np.square(errors).mean()) / np.mean(told) < 1.6


def test_a_camera_that_is_late_meets_the_lines_of_its_own_moment():
    """A hand moves on at 2 m/s meanwhile; both cameras look at ten frames a second."""
    person = Person(id="p-1", floor_mm=(0.0, 0.0), seen_ns=0)
    late = 4
    shown = []
    for tenth in range(20):
        for camera, eye_mm, number in (("left", LEFT_MM, tenth), ("right", RIGHT_MM, tenth - late)):
            if number < 0:
                continue
            hand_mm = (HAND_MM[0] + 200.0 * number, *HAND_MM[1:])
            wrist = seen_from(eye_mm, wrong_mm=150.0, hand_mm=hand_mm)
            seen = PersonSeen(track="1", floor_mm=(0.0, 0.0), wrists=[wrist])
            at_ns = number * 100_000_000
            crossed_mm = person.crossed(camera, seen, at_ns).wrists[0].mm
            person.see(f"{camera}/b/1", seen, at_ns)
            if camera == "right":
                shown.append(max(abs(a - b) for a, b in zip(crossed_mm, hand_mm, strict=True)))
    assert len(shown) == 20 - late
    assert max(shown) < 1.0


def test_lines_of_sight_are_kept_for_a_second_and_are_not_many():
    rays = [ray for n in range(2 * RAYS_MAX) for ray in rays_of([seen_from(LEFT_MM)], "left", n)]
    assert len(kept(rays, 0)) == RAYS_MAX
    assert kept(rays[:2], KEPT_NS + 1) == rays[1:2]


@pytest.mark.parametrize(("late_ns", "mended"), [(50_000_000, True), (2 * TOGETHER_NS, False)])
def test_the_engine_joins_what_its_cameras_see_at_one_moment(late_ns, mended):
    scene = Scene()
    scene.bodies["1"] = Body(ENTRY_MM)
    scene.run(0.4)
    people = scene.state.people
    (person,) = people.persons.values()
    for camera, eye_mm, wrong_mm, after_ns in (
        ("left", LEFT_MM, 150.0, 0),
        ("right", RIGHT_MM, -120.0, late_ns),
    ):
        wrist = seen_from(eye_mm, wrong_mm=wrong_mm)
        frame = scene.frame().people[0]
        seen = type(frame)(track="1", floor_mm=ENTRY_MM, wrists=[wrist])
        at_ns = scene.now_ns + after_ns
        people.see(camera, "b", [seen], at_ns, prefix="p-", doors=[])
    assert len(people.persons) == 1
    *_, last = person.wrists
    error_mm = hypot(*(a - b for a, b in zip(last[1:4], HAND_MM, strict=True)))
    assert (error_mm < 1.0) is mended
