# SPDX-License-Identifier: Apache-2.0
"""A scene in which much happens at once."""

from gateway.domain.inputs import Dropped
from tests.gateway.domain.scene import Scene


def eventful():
    """Return a scene with everything open that a snapshot has to keep."""
    scene = Scene()
    scene.run(2.0)
    scene.enter("anna")
    scene.enter("bert")
    scene.reach("anna", "g1.s1.p2")
    scene.run(0.6)
    scene.silent = {"camera/over"}  # Its frames are late: the change waits for them.
    scene.weights_g["g1.s1.p2"] -= 240.0
    scene.run(1.2)
    scene.silent = set()
    scene.reach("bert", "g1.s1.p3")
    scene.act("anna", {"g1.s1.p3": -390.0})  # Whose is it?
    scene.bodies["bert"].wrist_mm = None
    for n in range(6):  # A neighbour that goes on moving.
        scene.weights_g["g1.s1.p0"] += 90.0 if n % 2 else -90.0
        scene.weights_g["g1.s1.p1"] -= 150.0 if n == 0 else 0.0
        scene.run(0.2)
    scene.give(Dropped(at=scene.stamp(), device="shelf/g1.s1", reason="malformed", count=3))
    scene.status("scanner/gate", "offline")
    scene.run(1.0)
    scene.leave("anna")
    scene.command("nothing", {})
    scene.utc_shift_ns = 9_000_000_000
    scene.run(0.5)
    scene.status("scanner/gate", "online")
    scene.leave("bert")
    return scene
