# SPDX-License-Identifier: Apache-2.0
import json
from typing import NamedTuple

import msgspec
import pytest

from gateway.cli import main
from gateway.journal import Header, encode_line
from tests.gateway.domain.scene import JAM, TEA, UNIT_G, Scene

TEA_PLATE, JAM_PLATE, OIL_PLATE = "g1.s1.p2", "g1.s1.p3", "g2.s1.p0"


def write_segment(path, inputs, number=1, snapshot=None):
    """Write inputs as a segment of a journal."""
    lines = [encode_line(number, item) for number, item in inputs]
    header = msgspec.json.encode(Header(number=number, snapshot=snapshot))
    path.write_bytes(header + b"\n" + b"".join(lines))
    return path


def together(scene, plate, delta_g, tracks=("anna", "bert")):
    """Let the hands of several go to a plate at once, where one of them moves something."""
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


class Day(NamedTuple):
    scene: Scene
    anna: str
    bert: str

    def event(self, name, which=0):
        """Return an event of a name."""
        return [made for made in self.scene.events if made.name == name][which]


@pytest.fixture(scope="session")
def day():
    """Return a day: a doubtful pick whose put-back tells whose it was, a review, a theft."""
    scene = Scene()
    scene.run(2.0)
    anna, bert = scene.enter("anna"), scene.enter("bert")
    together(scene, TEA_PLATE, -UNIT_G[TEA])
    scene.stand("anna", "g1.s1.p0")
    scene.run(1.0)
    scene.act("bert", {TEA_PLATE: UNIT_G[TEA]})
    together(scene, JAM_PLATE, -UNIT_G[JAM])
    scene.run(12.0)
    [review] = scene.named("review.requested")
    act = {
        "session": bert,
        "gtin": JAM,
        "quantity": 1,
        "direction": "pick",
        "plate": JAM_PLATE,
        "probability": 1.0,
        "misplaced": False,
    }
    scene.command("review", {"review": review["review"], "acts": [act], "by": "carla"})
    scene.leave("anna")
    scene.leave("bert")
    scene.run(5.0)
    scene.weights_g[OIL_PLATE] -= 900.0
    scene.run(4.0)
    scene.status("shelf/g2.s1", "offline", reason="unplugged")
    return Day(scene, anna, bert)


@pytest.fixture(scope="session")
def journal(day, tmp_path_factory):
    """Return the journal of that day."""
    path = tmp_path_factory.mktemp("journal") / "0000000000.jsonl.gz"
    return write_segment(path, day.scene.inputs)


@pytest.fixture
def why(capfd):
    """Return what runs the command: exit status, standard output, standard error."""

    def run(*arguments):
        capfd.readouterr()
        status = main(["why", *map(str, arguments)])
        out, err = capfd.readouterr()
        return status, out, err

    return run


@pytest.fixture
def story(why, journal):
    """Return what tells an event from the journal as JSON."""

    def tell(event, *arguments):
        status, out, err = why(event, "--journal", journal, "--json", *arguments)
        assert status == 0, err
        return json.loads(out)

    return tell
