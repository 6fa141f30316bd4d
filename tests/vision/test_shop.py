# SPDX-License-Identifier: Apache-2.0
"""Rendered cameras in place of the exam's: a whole visit, and where bodies are in the pictures."""

import numpy as np
import pytest

from gateway.config import load_store
from gateway.simulator.exam.actors import Bodies
from gateway.simulator.exam.cases import make_case
from gateway.simulator.exam.conditions import CALM, TYPICAL
from gateway.simulator.store_files import write_store
from tests.vision_bench.apart import APART_MM, apart
from tests.vision_bench.rendered import CHEST_MM, rendered, with_lenses
from tests.vision_bench.shop import Sitting, shop_detector
from vision.calibration_pose import view_of


def test_a_calm_visit_seen_by_a_rendered_camera_fills_the_right_cart():
    case = make_case("one", CALM, 6)
    seen, eyes = rendered(case, shop_detector())
    [eye] = eyes.values()
    away = [
        np.hypot(*np.subtract(person.floor_mm, pose.floor_mm))
        for number, told in enumerate(eye.told)
        for person in told.people
        for pose in eye.poses.at(number)
    ]
    assert len(away) > 80
    assert np.median(away) < 120
    answer = Sitting(seen, eyes, looks=True).run()
    carts = {
        name: {gtin: line.quantity for gtin, line in lines.items()}
        for name, lines in answer.receipts.items()
    }
    assert carts == case.truth.baskets


def test_a_store_file_keeps_the_lens_of_a_camera(tmp_path):
    case = make_case("mixed", TYPICAL, 305)
    store = with_lenses(case.store, case.stage.room.layout)
    write_store(tmp_path / "store.toml", store)
    assert load_store(tmp_path / "store.toml").cameras == store.cameras


@pytest.mark.parametrize("seed", [304, 305, 309])
def test_cameras_hang_where_the_case_says_and_see_who_scans(seed):
    case = make_case("mixed", TYPICAL, seed)
    store = with_lenses(case.store, case.stage.room.layout)
    views = [view_of(camera) for camera in store.cameras]
    for camera, view in zip(case.store.cameras, views, strict=True):
        assert np.linalg.norm(view.position_mm - camera.position_mm) < 10
    zone = store.zones[0]
    scan = (sum(zone.x_mm) / 2, sum(zone.y_mm) / 2, CHEST_MM)
    [pixel] = views[0].project([scan])
    assert (pixel >= 0).all()
    assert (pixel <= store.cameras[0].size_px).all()


def passing(offset_mm, *, works=False):
    """Return two who walk towards each other, so far beside one another."""
    times = np.arange(0.0, 4.0, 0.1)
    found = []
    for sign, aside in ((1.0, 0.0), (-1.0, offset_mm)):
        floor = np.column_stack([sign * 1_000.0 * (times - 2.0), np.full(len(times), aside)])
        found.append(
            Bodies(
                present=np.ones(len(times), dtype=bool),
                floor_mm=floor,
                heading_rad=np.zeros(len(times)),
                wrists_mm=np.zeros((len(times), 2, 3)),
                inside=np.full((len(times), 2), works and sign > 0),
                speed_mm_s=np.full(len(times), 1_000.0),
            )
        )
    return found


@pytest.mark.parametrize("offset_mm", [0.0, 100.0, -300.0])
def test_who_would_walk_through_another_steps_aside_without_a_leap(offset_mm):
    bodies = passing(offset_mm)
    moved = apart(bodies)
    places = np.array([one.floor_mm for one in bodies]) + moved
    assert np.hypot(*(places[1] - places[0]).T).min() > APART_MM - 1
    assert np.hypot(*np.diff(moved, axis=1).reshape(-1, 2).T).max() < 150
    assert np.allclose(moved[:, 0], 0.0)


def test_who_works_in_a_shelf_stays_and_the_other_goes_round():
    moved = apart(passing(50.0, works=True))
    assert not moved[0].any()
    assert np.abs(moved[1]).max() == pytest.approx(APART_MM - 50.0, abs=1)
