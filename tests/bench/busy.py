# SPDX-License-Identifier: Apache-2.0
"""A store busier than any: ten shoppers, three acts a second, for as long as wanted.

python -m tests.bench.busy
"""

import argparse
import gc
import sys
import time

import numpy as np

from gateway.domain.gtin import check_digit
from gateway.domain.store import Facing, Plate, Product, Shelf
from tests.gateway.domain.scene import Scene, corner_store

SHOPPERS = 10
ACTS_PER_S = 3
SHELVES = 4
PLATES = 12
PLATE_MM = 150.0


def busy_store():
    """Return a store of four shelves that face a long aisle, a product on each plate."""
    shelves, products, facings = [], {}, []
    for number in range(SHELVES):
        x_mm, y_mm = PLATES * PLATE_MM * (number // 2), 1_000.0 if number % 2 == 0 else -1_000.0
        start, end = (x_mm, x_mm + PLATES * PLATE_MM)
        front = (start, y_mm, end, y_mm) if y_mm > 0 else (end, y_mm, start, y_mm)
        name = f"g{number + 1}.s1"
        names = [f"{name}.p{plate}" for plate in range(PLATES)]
        plates = tuple(
            Plate(name=plate, offset_mm=PLATE_MM * index, width_mm=PLATE_MM)
            for index, plate in enumerate(names)
        )
        shelves.append(
            Shelf(
                name=name,
                gondola=name[:2],
                front_mm=front,
                z_mm=800.0,
                depth_mm=400.0,
                plates=plates,
            )
        )
        for index, plate in enumerate(names):
            body = f"0952139{number * PLATES + index:06d}"
            gtin = body + check_digit(body)
            unit_g = 60.0 + 17.0 * ((number * PLATES + index) % 30)
            products[gtin] = Product(
                gtin=gtin, name=gtin[-4:], unit_g=unit_g, tolerance_g=0.03 * unit_g
            )
            facings.append(Facing(gtin=gtin, plates=(plate,)))
    return corner_store(products=products, shelves=tuple(shelves), facings=tuple(facings))


def costs(seconds, seed=1):
    """Return, sorted, what each step costs in ms of CPU, and how many acts were told."""
    rng = np.random.default_rng(seed)
    scene = Scene(store=busy_store(), seed=seed)
    scene.run(2.0)
    for number in range(SHOPPERS):
        scene.enter(f"s{number}")
    plates = list(scene.layout.plates)
    homes = {facing.plates[0]: facing.gtin for facing in scene.store.facings}
    held = {f"s{number}": [] for number in range(SHOPPERS)}
    spent_ms = []
    step = scene.engine.step

    def timed(number, item):
        began = time.process_time()
        stepped = step(number, item)
        spent_ms.append((time.process_time() - began) * 1e3)
        return stepped

    scene.engine.step = timed
    due = 0.0
    hands = []
    gc.disable()  # This scene keeps every input: to look through them all is not the engine's work.
    for tenth in range(round(seconds * 10)):
        for track, until in hands:
            if until <= tenth:
                scene.bodies[track].wrist_mm = None
        hands = [(track, until) for track, until in hands if until > tenth]
        while due <= tenth:
            due += 10.0 / ACTS_PER_S
            busy = {track for track, _ in hands}
            track = str(rng.choice([name for name in held if name not in busy]))
            if held[track] and rng.random() < 0.35:
                plate, sign = held[track].pop(), 1.0
            else:
                plate, sign = str(rng.choice(plates)), -1.0
                held[track].append(plate)
            scene.reach(track, plate)
            scene.weights_g[plate] += sign * scene.store.products[homes[plate]].unit_g
            hands.append((track, tenth + 5))
        scene.run(0.1)
    gc.enable()
    told = [one for one in scene.events if one.name in {"item.picked", "item.put-back"}]
    return sorted(spent_ms), len(told)


def main():
    """Print the distribution."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    spent_ms, told = costs(args.seconds, args.seed)
    count = len(spent_ms)
    about = f"{SHOPPERS} shoppers, {ACTS_PER_S} acts a second, {args.seconds:g} s"
    lines = [f"{about}: {told} changes told"]
    for share in (0.5, 0.99, 0.999, 1.0):
        value = spent_ms[min(int(share * count), count - 1)]
        lines.append(f"{share:7.1%} of {count} steps take at most {value:.2f} ms of CPU")
    sys.stdout.write("\n".join([*lines, ""]))


if __name__ == "__main__":
    main()
