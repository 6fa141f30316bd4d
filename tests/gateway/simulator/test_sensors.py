# SPDX-License-Identifier: Apache-2.0
"""Load cells and trackers that do not exist have the flaws of those that do."""

import numpy as np
import pytest

from gateway.domain.store import Calibration, Plate, Shelf
from gateway.simulator.sensors import Cells, Flaws, rounded
from gateway.simulator.shoppers import Pose
from gateway.simulator.stores import nano_store
from gateway.simulator.watching import Sight, Watcher

PLATES = 200


def shelf(count=PLATES, calibration=None):
    return Shelf(
        name="s",
        gondola="g",
        front_mm=(0, 0, 1_000, 0),
        z_mm=800,
        depth_mm=400,
        plates=tuple(
            Plate(name=f"p{n}", offset_mm=n, width_mm=1, calibration=calibration)
            for n in range(count)
        ),
    )


def test_quiet_noise_has_the_spread_that_real_stores_show():
    cells = Cells(shelf(), 1, Flaws(spike=0, missing=0))
    read = cells.read_g(np.full((120, PLATES), 5_000.0))
    deviation = read.std(axis=0)
    assert 0.6 < np.median(deviation) < 1.1
    assert np.quantile(deviation, 0.75) < 1.7
    assert deviation.max() > 2.0


def test_offsets_are_arbitrary_and_differences_are_true():
    cells = Cells(shelf(), 2, Flaws(spike=0, missing=0, crosstalk=0))
    before = cells.read_g(np.zeros((60, PLATES))).mean(axis=0)
    after = cells.read_g(np.full((60, PLATES), 250.0)).mean(axis=0)
    assert np.ptp(before) > 5_000
    assert np.abs(after - before - 250.0).max() < 6.0


def test_neighbours_feel_a_little_of_a_load():
    cells = Cells(shelf(3), 3, Flaws(noise_g=0, spike=0, missing=0, drift_g_per_min=0))
    rest = cells.read_g(np.zeros((12, 3))).mean(axis=0)
    loaded = cells.read_g(np.tile([0.0, 1_000.0, 0.0], (12, 1))).mean(axis=0)
    assert loaded - rest == pytest.approx([2.0, 1_000.0, 2.0], abs=0.3)


def test_spikes_and_gaps_come_at_the_rate_asked_for():
    cells = Cells(shelf(), 4, Flaws(spike=0.01, missing=0.02))
    read = cells.read_g(np.zeros((200, PLATES)))
    assert np.isnan(read).mean() == pytest.approx(0.02, rel=0.2)
    wild = np.abs(read - np.nanmedian(read, axis=0)) > 30
    assert 0.004 < wild.mean() < 0.012
    assert None in {value for row in rounded(read) for value in row}


def test_counts_carry_the_calibration_and_saturate_to_nothing():
    calibration = Calibration(id="c", zero_raw=-50_000.0, counts_per_g=200.0)
    cells = Cells(shelf(2, calibration), 5, Flaws(noise_g=0, missing=0, spike=0))
    [row] = cells.read_counts(np.array([[0.0, 60_000.0]]))
    assert abs(row[0] + 50_000) < 200 * 200
    assert row[1] is None
    with pytest.raises(ValueError, match="no calibration"):
        Cells(shelf(2), 5, Flaws()).read_counts(np.zeros((1, 2)))


def pose(x=0.0, y=0.0):
    return Pose(
        "a", (x, y), 0.0, 1_700.0, ((x, y + 290, 830), (x, y - 290, 830)), 7, (None, None), 0
    )


def test_a_watcher_sees_who_is_in_view_with_honest_noise():
    [camera] = nano_store(plates=24, cameras=1).cameras
    watcher = Watcher(camera, 1, Sight(missed_person=0, missed_wrist=0.05))
    seen = [watcher.see([pose(0, 0)]) for _ in range(400)]
    assert {len(people) for people in seen} == {1}
    assert len({person.track for [person] in seen}) == 1
    floor = np.array([person.floor_mm for [person] in seen])
    assert floor.std(axis=0) == pytest.approx([40, 40], rel=0.2)
    wrists = [len(person.wrists) for [person] in seen]
    assert min(wrists) < 2 == max(wrists)
    far = pose(camera.floor_points[1].mm[0] + 3_000, 0)
    assert watcher.see([far]) == []


def test_who_comes_back_into_view_is_a_new_track():
    [camera] = nano_store(plates=24, cameras=1).cameras
    watcher = Watcher(camera, 1, Sight(missed_person=0))
    far = pose(camera.floor_points[1].mm[0] + 3_000, 0)
    tracks = [
        person.track for bodies in ([pose()], [far], [pose()]) for person in watcher.see(bodies)
    ]
    assert len(set(tracks)) == 2
