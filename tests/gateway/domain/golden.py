# SPDX-License-Identifier: Apache-2.0
"""A story of one shopper at one shelf of the demo's store, told in few samples.

``python -m tests.gateway.domain.golden`` writes it as a journal under fixtures/journals/.
"""

import sys
from pathlib import Path

import msgspec

from gateway.domain.inputs import GatewayStopping, Tick
from gateway.journal import Header, encode_line
from tests.gateway.domain.runs import demo_store
from tests.gateway.domain.scene import AISLE_MM, EXIT_MM, STEP_NS, Body, Scene

JOURNALS = Path(__file__).parents[3] / "fixtures" / "journals"
JOURNAL = JOURNALS / "one-shelf.jsonl"
PERIOD_NS = 100_000_000


def one_shelf():
    """Return the demo's store with the first of its shelves only."""
    store = demo_store()
    shelf = store.shelves[0]
    plates = {plate.name for plate in shelf.plates}
    facings = tuple(facing for facing in store.facings if plates.issuperset(facing.plates))
    scanner = msgspec.structs.replace(store.scanners[0], name="gate")
    camera = msgspec.structs.replace(store.cameras[0], name="over")
    return msgspec.structs.replace(
        store, shelves=(shelf,), facings=facings, scanners=(scanner,), cameras=(camera,)
    )


class Story(Scene):
    """A scene with ten samples and five frames a second."""

    ticks = 0

    def block(self, shelf, **changed):
        trembles = (0.3, -0.2, -0.4, 0.1, 0.4, -0.1, 0.2, -0.3)
        w = []
        for sample in (2 * self.ticks, 2 * self.ticks + 1):
            plates = self.layout.shelves[shelf].plates
            noise = [trembles[(sample + place.index) % 8] for place in plates]
            still = [self.weights_g[place.name] for place in plates]
            w.append([round(a + b, 1) for a, b in zip(still, noise, strict=True)])
        return super().block(
            shelf,
            w=w,
            period_us=PERIOD_NS // 1_000,
            t_ms=(self.now_ns - 2 * PERIOD_NS) // 1_000_000 % 2**32,
            **changed,
        )

    def run(self, seconds):
        before = len(self.events)
        for _ in range(round(seconds * 5)):
            self.now_ns += 2 * STEP_NS
            self.ticks += 1
            self.give(Tick(at=self.stamp()))
            self.give(self.frame())
            for shelf in self.layout.shelves:
                self.give(self.block(shelf))
        return self.events[before:]


def tell():
    """Return the story: two oils taken, one back, a honey left among the soups, a bare touch."""
    scene = Story(store=one_shelf())
    scene.run(1.4)
    scene.enter("anna")
    scene.bodies["anna"].floor_mm = AISLE_MM
    scene.act("anna", {"g1.s1.p2": -1_800.0}, wait_s=1.4)
    scene.act("anna", {"g1.s1.p2": +900.0}, wait_s=1.4)
    scene.act("anna", {"g1.s1.p3": -620.0}, wait_s=1.4)
    scene.act("anna", {"g1.s1.p4": +620.0}, wait_s=1.4)
    scene.reach("anna", "g1.s1.p1")
    scene.weights_g["g1.s1.p1"] += 40.0
    scene.run(0.4)
    scene.weights_g["g1.s1.p1"] -= 40.0
    scene.bodies["anna"].wrist_mm = None
    scene.run(1.4)
    scene.bodies["staff"] = Body((-1_100.0, 0.0))
    scene.stand("anna", "g1.s1.p1")
    scene.run(0.6)
    scene.act("staff", {"g1.s1.p4": -410.0}, wait_s=1.4)
    scene.bodies["anna"].floor_mm = (EXIT_MM[0] - 1_000.0, 0.0)
    scene.run(0.6)
    del scene.bodies["anna"]
    scene.run(3.6)
    scene.give(GatewayStopping(at=scene.stamp(), reason="end"))
    return scene


def main():
    """Write the journal."""
    lines = [msgspec.json.encode(Header(number=1)) + b"\n"]
    lines += [encode_line(number, item) for number, item in tell().inputs]
    JOURNAL.write_bytes(b"".join(lines))
    sys.stderr.write(f"{JOURNAL}: {len(lines)} lines\n")


if __name__ == "__main__":
    main()
