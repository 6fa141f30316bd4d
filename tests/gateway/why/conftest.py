# SPDX-License-Identifier: Apache-2.0
import msgspec
import pytest

from gateway.journal import Header, encode_line
from tests.gateway.domain.scene import Scene

TEA_PLATE = "g1.s1.p2"
TEA_G = 240.0


def write_journal(path, scene, *, until=None):
    """Write what a scene gave its engine as a segment."""
    lines = [encode_line(number, item) for number, item in scene.inputs[:until]]
    path.write_bytes(msgspec.json.encode(Header(number=1)) + b"\n" + b"".join(lines))
    return path


def together(scene, plate, delta_g, tracks=("anna", "bert")):
    """Hands of several go to a plate at once; one of them changes what it weighs."""
    before = len(scene.events)
    for track in tracks:
        scene.stand(track, plate)
    scene.run(0.4)
    for track in tracks:
        scene.reach(track, plate)
    scene.run(0.4)
    scene.weights_g[plate] += delta_g
    scene.run(0.4)
    for track in tracks:
        scene.bodies[track].wrist_mm = None
    scene.run(2.0)
    return scene.events[before:]


@pytest.fixture(scope="session")
def doubtful():
    """Return a scene: a doubtful pick, a put-back that tells whose it was, and more."""
    scene = Scene()
    scene.run(2.0)
    scene.anna = scene.enter("anna")
    scene.bert = scene.enter("bert")
    scene.doubt = together(scene, TEA_PLATE, -TEA_G)
    scene.bodies["anna"].floor_mm = (2_000.0, -400.0)
    scene.run(2.0)
    scene.back = scene.act("bert", {TEA_PLATE: TEA_G})
    return scene


@pytest.fixture
def journal(tmp_path):
    """Return what writes a scene's journal."""

    def write(scene, **options):
        return write_journal(tmp_path / "0000000000.jsonl.gz", scene, **options)

    return write
