# SPDX-License-Identifier: Apache-2.0
"""The command ``shelfgate simulate``: a store's devices against any broker."""

import argparse
import asyncio
import os
import signal
import sys
from pathlib import Path

from drivers.mqtt.config import MqttConfig, Tls
from gateway.config import ConfigError, load_store
from gateway.simulator.devices import SimulateConfig, Simulation
from gateway.simulator.world import Traffic


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``shelfgate simulate`` takes."""
    parser.add_argument("--store", type=Path, required=True, help="store file")
    parser.add_argument(
        "--broker", default="127.0.0.1:1883", help="host[:port] of the broker (%(default)s)"
    )
    parser.add_argument("--username", help="user name at the broker")
    parser.add_argument("--password-file", type=Path, help="file that holds the password alone")
    parser.add_argument("--ca", help="PEM file of the authorities to trust; turns TLS on")
    parser.add_argument("--seed", type=int, default=1, help="decides everything (%(default)s)")
    parser.add_argument(
        "--shoppers", type=int, default=5, help="how many come; 0: without end (%(default)s)"
    )
    parser.add_argument("--at-once", type=int, default=3, help="most at a time (%(default)s)")
    parser.add_argument(
        "--keys",
        type=Path,
        default=Path("simulated-keys"),
        help="directory of the entry tokens' key and its JWKS; made if absent (%(default)s)",
    )
    sight = parser.add_mutually_exclusive_group()
    sight.add_argument(
        "--people",
        action="store_true",
        help="publish people as a good tracker would see them (default)",
    )
    sight.add_argument(
        "--camera",
        metavar="NAME:PORT",
        help="render this camera as MJPEG on http://127.0.0.1:PORT/ instead",
    )
    parser.add_argument(
        "--lines",
        type=Path,
        metavar="DIR",
        help="put scanners and --bridge shelves on pseudo-terminals, linked in this directory",
    )
    parser.add_argument(
        "--bridge", action="append", default=[], metavar="SHELF", help="with --lines; may repeat"
    )
    parser.add_argument(
        "--open-doors", action="store_true", help="let shoppers in without the gateway's word"
    )
    parser.add_argument("--truth", type=Path, help="write what really happened to this JSON file")
    parser.add_argument(
        "--held",
        action="store_true",
        help="nobody comes before a line `go` on standard input, and its end ends the run",
    )


async def run_simulate(args: argparse.Namespace) -> int:
    """Run ``shelfgate simulate``; return its exit status."""
    try:
        config = _config(args)
        simulation = Simulation(config)
    except (ConfigError, OSError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if config.held:
        _listen(loop, simulation, stop)
    await simulation.run(stop)
    return 0


def _listen(loop: asyncio.AbstractEventLoop, simulation: Simulation, stop: asyncio.Event) -> None:
    """Let a line on standard input begin the run, and its end stop it."""
    descriptor = sys.stdin.fileno()

    def readable() -> None:
        if os.read(descriptor, 4_096):
            simulation.begin()
        else:
            loop.remove_reader(descriptor)
            stop.set()

    loop.add_reader(descriptor, readable)


def _config(args: argparse.Namespace) -> SimulateConfig:
    host, _, port = args.broker.rpartition(":") if ":" in args.broker else (args.broker, "", "")
    camera = None
    if args.camera is not None:
        name, _, number = args.camera.rpartition(":")
        if not name or not number.isdigit():
            raise ValueError(f"--camera {args.camera}: not NAME:PORT. Write for example top:8090")
        camera = (name, int(number))
    store = load_store(args.store)
    if camera is not None and all(one.name != camera[0] for one in store.cameras):
        raise ValueError(f"--camera {camera[0]}: not in the store file. Correct the name")
    if port and not port.isdigit():
        raise ValueError(f"--broker {args.broker}: {port} is no port. Write host:port")
    default_port = 8883 if args.ca else 1883
    return SimulateConfig(
        store=store,
        store_path=args.store,
        broker=MqttConfig(
            host=host,
            port=int(port) if port else default_port,
            client_id="set by each device",
            protocol=4,
            username=args.username,
            password=args.password_file.read_text().strip() if args.password_file else None,
            tls=Tls(ca=args.ca) if args.ca else None,
        ),
        seed=args.seed,
        traffic=Traffic(shoppers=args.shoppers or None, at_once=args.at_once),
        keys=args.keys,
        lines=args.lines,
        bridges=tuple(args.bridge),
        camera=camera,
        open_doors=args.open_doors,
        held=args.held,
        truth=args.truth,
    )


def main() -> int:
    """Run ``python -m gateway.simulator.simulate``; return its exit status."""
    parser = argparse.ArgumentParser(description="Simulate a store's devices.")
    add_arguments(parser)
    return asyncio.run(run_simulate(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
