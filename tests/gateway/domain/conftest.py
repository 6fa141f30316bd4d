# SPDX-License-Identifier: Apache-2.0
import pytest

from tests.gateway.domain.scene import Scene


@pytest.fixture
def scene():
    """Return the corner store, quiet and weighed."""
    scene = Scene()
    scene.run(2.0)
    return scene


@pytest.fixture
def shopping(scene):
    """Return the corner store with Anna in it, who holds a tea."""
    scene.anna = scene.enter("anna")
    scene.act("anna", {"g1.s1.p2": -240.0})
    return scene
