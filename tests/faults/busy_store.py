# SPDX-License-Identifier: Apache-2.0
"""The devices of a busy store in real time: more shoppers at once than ``shelfgate simulate`` has,
and visitors who scan at a side door and are never seen, for a steady flow of events.

Example: python -m tests.faults.busy_store --store s.toml --broker-port 1883 --keys keys --seed 1
"""

import argparse
import asyncio
import signal
from pathlib import Path

import msgspec

from drivers.mqtt.config import MqttConfig
from gateway.config import load_store
from gateway.domain.store import Scanner
from gateway.simulator.devices import SimulateConfig, Simulation
from gateway.simulator.stores import nano_store
from gateway.simulator.world import Traffic

SIDE = "side"
"""Scanner and door of the visitors."""


def busy_store(plates, cameras):
    """Return a nano-store with a side door."""
    store = nano_store(plates, cameras)
    side = Scanner(name=SIDE, zone="in", door=SIDE)
    return msgspec.structs.replace(
        store, scanners=(*store.scanners, side), doors=(*store.doors, SIDE)
    )


async def play(config, every_s):
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    simulation = Simulation(config)
    async with asyncio.TaskGroup() as group:
        visitors = group.create_task(visit(simulation, every_s), name="visitors")
        await simulation.run(stop)
        visitors.cancel()


async def visit(simulation, every_s):
    count = 0
    while True:
        await asyncio.sleep(every_s)
        count += 1
        simulation._scanners[SIDE](simulation._tokens.token(f"visitor-{count}"))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--broker-port", type=int, required=True)
    parser.add_argument("--keys", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--shoppers", type=int, default=10, help="at once (%(default)s)")
    parser.add_argument("--visitor-every", type=float, default=1.0, metavar="S")
    options = parser.parse_args()
    config = SimulateConfig(
        store=load_store(options.store),
        store_path=options.store,
        broker=MqttConfig(
            host="127.0.0.1", port=options.broker_port, client_id="each has its own", protocol=4
        ),
        seed=options.seed,
        traffic=Traffic(
            shoppers=None,
            at_once=options.shoppers,
            first_s=2.0,
            spacing_s=(0.2, 0.6),
            picks=(6, 12),
            apart_mm=300.0,
            take_turns=False,
        ),
        keys=options.keys,
    )
    asyncio.run(play(config, options.visitor_every))


if __name__ == "__main__":
    main()
