# SPDX-License-Identifier: Apache-2.0
"""Devices go, come back and restart."""

import pytest

from gateway.domain.presence import FLAP_NS, SILENT_NS_MAX
from tests.gateway.domain.scene import (
    JAM,
    TEA,
    Scene,
    dropped,
    names,
)

S = 1_000_000_000


def test_a_silent_shelf_is_lost_once_and_recovered_once(shopping):
    shopping.silent = {"shelf/g1.s1"}
    shopping.run(SILENT_NS_MAX / S + 5.0)
    (lost,) = shopping.named("device.lost")
    assert (lost["device"], lost["reason"]) == ("shelf/g1.s1", "silent")
    shopping.silent = set()
    shopping.run(2.0)
    (recovered,) = shopping.named("device.recovered")
    assert recovered["device"] == "shelf/g1.s1"
    assert recovered["lost_ms"] == pytest.approx(5_000, abs=300)
    assert shopping.named("shelf.changed-unattended") == []


def test_a_silent_camera_is_lost(scene):
    scene.silent = {"camera/over"}
    scene.run(SILENT_NS_MAX / S + 0.5)
    assert [lost["device"] for lost in scene.named("device.lost")] == ["camera/over"]


def test_a_device_that_never_spoke_is_lost():
    scene = Scene()
    scene.silent = {"shelf/g2.s1"}
    scene.run(SILENT_NS_MAX / S + 0.5)
    assert [lost["device"] for lost in scene.named("device.lost")] == ["shelf/g2.s1"]


def test_a_scanner_may_be_silent(scene):
    scene.run(SILENT_NS_MAX / S + 5.0)
    assert scene.named("device.lost") == []


def test_a_will_loses_a_device_and_a_birth_brings_it_back(scene):
    assert names(scene.status("shelf/g1.s1", "offline", reason="unplugged")) == ["device.lost"]
    assert scene.named("device.lost")[0]["reason"] == "unplugged"
    assert scene.status("shelf/g1.s1", "offline") == []
    scene.silent = {"shelf/g1.s1"}
    scene.run(FLAP_NS / 1e9)
    assert names(scene.status("shelf/g1.s1", "online")) == ["device.recovered"]
    assert scene.status("shelf/g1.s1", "online") == []


def test_a_will_of_another_boot_is_ignored(scene):
    assert scene.status("shelf/g1.s1", "offline", boot="the one before") == []


def test_a_will_that_comes_after_the_birth_of_the_next_boot_is_ignored(scene):
    scene.status("scanner/gate", "online", boot="old")
    scene.status("scanner/gate", "online", boot="new")
    assert scene.status("scanner/gate", "offline", boot="old") == []
    assert names(scene.status("scanner/gate", "offline", boot="new")) == ["device.lost"]
    scene.status("shelf/g1.s1", "online", boot="new")  # Its samples are still to come.
    assert scene.status("shelf/g1.s1", "offline") == []


def test_the_status_of_an_unknown_device_is_counted(scene):
    assert scene.status("shelf/g9.s9", "offline", boot="b") == []
    assert dropped(scene) == {"shelf/g9.s9 unknown-device": 1}


def test_a_device_that_restarts_goes_on_under_its_new_boot(shopping):
    shopping.silent = {"shelf/g1.s1"}
    shopping.run(1.0)
    shopping.silent = set()
    shopping.boots["shelf/g1.s1"] = "boot-2"
    shopping.seqs["shelf/g1.s1"] = 0
    shopping.run(2.0)
    assert dropped(shopping) == {}
    shopping.act("anna", {"g1.s1.p3": -390.0})
    # A message of the boot that ended comes out of some queue.
    shopping.give(shopping.block("g1.s1", boot="boot-shelf/g1.s1", seq=9_999))
    assert dropped(shopping) == {"shelf/g1.s1 stale": 1}
    shopping.leave()
    assert shopping.receipt(shopping.anna) == {TEA: 1, JAM: 1}


def test_a_device_lost_before_a_restart_is_told_as_recovered_after_it(scene):
    scene.silent = {"shelf/g2.s1"}
    scene.run(6.0)
    assert [one["device"] for one in scene.named("device.lost")] == ["shelf/g2.s1"]
    scene.restart()
    scene.run(1.0)
    scene.silent = set()
    scene.run(1.0)
    (recovered,) = scene.named("device.recovered")
    assert (recovered["device"], recovered["lost_ms"]) == ("shelf/g2.s1", None)
    assert not [one for one in scene.named("inputs.dropped") if one["reason"] == "missing"]


def test_a_device_that_flaps_is_told_seldom(scene):
    for number in range(100):
        scene.status("door/front", ("offline", "online")[number % 2])
        scene.run(0.1)
    told = [*scene.named("device.lost"), *scene.named("device.recovered")]
    assert 4 <= len(told) <= 8
    scene.status("door/front", "online")
    scene.run(5.0)
    assert scene.state.devices["door/front"].lost_ns is None
