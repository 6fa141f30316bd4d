# SPDX-License-Identifier: Apache-2.0
"""``shelfgate devices watch``: live values, rates, noise, gaps and errors of each device.

A running daemon has the ports, so it is asked. Without one the ports are opened here, by the same
drivers, and belong to this command until it ends.
"""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import aclosing
from functools import partial
from random import SystemRandom
from typing import Any, NoReturn

import msgspec

from drivers.entry.tokens import Verified
from drivers.errors import DeviceGoneError
from drivers.instore.driver import InstoreDriver
from drivers.labels.judging import Judge
from drivers.modbus.line import Lines
from drivers.mqtt.config import MqttConfig
from drivers.mqtt.topics import Instore
from drivers.network_port import open_port
from drivers.registry import build, topics
from gateway.clock import OsClock
from gateway.config import Settings, load
from gateway.device_meter import Meter, Row, State
from gateway.device_server import EVERY_S, looks, socket_of
from gateway.domain.store import Store
from gateway.supervise import status_reporter, supervise

CLEAR = "\x1b[H\x1b[2J"
HEADS = ("device", "state", "samples/s", "value", "noise", "holes", "gaps", "errors")
LEFT = frozenset({"device", "state", "value", "errors"})
PLATES_MAX = 6
"""More values than these do not fit a line."""


class Screen:
    """Where looks are shown."""

    def __init__(self, *, as_json: bool, count: int | None) -> None:
        """Prepare.

        Args:
            as_json: Print each look as a line of JSON.
            count: How many are wanted; None: as many as come.
        """
        self._as_json = as_json
        self._left = count

    def show(self, rows: list[Row], whose: str) -> bool:
        """Show a look; tell whether more are wanted."""
        if self._as_json:
            text = json.dumps(msgspec.to_builtins(rows), ensure_ascii=False)
        else:
            text = "\n".join([f"devices {whose}", *_lines(rows), ""])
            if sys.stdout.isatty():
                text = CLEAR + text
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
        if self._left is not None:
            self._left -= 1
        return self._left != 0


async def watch(args: argparse.Namespace, make_config: Callable[..., MqttConfig]) -> int:
    """Show devices until stopped; return the exit status.

    Raises:
        ConfigError: Settings or store file are wrong.
        DriverError: The running daemon may not be asked.
    """
    settings, store, _ = load(args.settings, args.store)
    screen = Screen(as_json=args.json, count=args.count)
    path = socket_of(settings.database)
    try:
        async with aclosing(looks(path)) as found:
            async for rows in found:
                if not screen.show(rows, "of the running daemon"):
                    return 0
        sys.stderr.write("The daemon has ended\n")
    except (FileNotFoundError, ConnectionRefusedError):
        await _watch_alone(settings, store, screen, make_config)
    except PermissionError as error:
        problem = f"the daemon may not be asked: {error.strerror}"
        raise DeviceGoneError(str(path), problem, "Run this as root or as its user") from error
    return 0


async def _watch_alone(
    settings: Settings, store: Store, screen: Screen, make_config: Callable[..., MqttConfig]
) -> None:
    """Run the drivers without a daemon, and show them."""
    clock = OsClock()
    meter = Meter(clock)
    unread = _unread(settings)
    for device, why in unread.items():
        sys.stderr.write(f"{device}: {why}\n")
    devices = [config.device for config in settings.device if config.device not in unread]
    known: dict[str, State] = dict.fromkeys(devices, "silent")
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(work, name=name)
            for name, work in _drivers(settings, store, meter, clock, make_config)
        ]
        while True:
            await asyncio.sleep(EVERY_S)
            if not screen.show(meter.rows(known), "read by this command"):
                break
        for task in tasks:
            task.cancel()


def _unread(settings: Settings) -> dict[str, str]:
    """Return the devices that this command leaves alone, and why."""
    unread = {}
    for config in settings.device:
        if config.device.startswith("door/"):
            unread[config.device] = "not looked at, it would lock and open. Start the daemon"
        elif topics(config) and settings.broker.starts_own:
            unread[config.device] = "its broker is the daemon's own. Start the daemon"
    return unread


def _drivers(
    settings: Settings,
    store: Store,
    meter: Meter,
    clock: OsClock,
    make_config: Callable[..., MqttConfig],
) -> Iterator[tuple[str, Coroutine[Any, Any, NoReturn]]]:
    """Yield what reads each device of the settings, and those on a broker that is there."""
    unread = _unread(settings)
    judge = Judge(store, lambda _text, _stamp: Verified(verdict="bad-signature"))
    random, lines = SystemRandom(), Lines(open_port)
    instore = None
    if not settings.broker.starts_own:
        name = f"shelfgate-devices-{os.getpid()}"
        instore = Instore(make_config(settings.broker, name, clean=True))
        link = InstoreDriver(instore.config, store, clock=clock, judge=judge, topics=instore.topics)
        yield "instore", supervise("In-store link", partial(link.run, meter), random=random)
    for config in settings.device:
        if config.device in unread:
            continue
        driver = build(
            config,
            clock=clock,
            open_stream=open_port,
            judge=judge,
            lines=lines,
            instore=instore,
        )
        report = status_reporter(config.device, meter, clock)
        work = supervise(config.device, partial(driver.run, meter), random=random, on_change=report)
        yield config.device, work


def _lines(rows: list[Row]) -> list[str]:
    table = [HEADS, *(_cells(row) for row in rows)]
    widths = [max(len(cells[column]) for cells in table) for column in range(len(HEADS))]
    return [
        "  ".join(
            cell.ljust(width) if head in LEFT else cell.rjust(width)
            for cell, width, head in zip(cells, widths, HEADS, strict=True)
        ).rstrip()
        for cells in table
    ]


def _cells(row: Row) -> tuple[str, ...]:
    unit = "" if row.unit is None else f" {row.unit}"
    places = 0 if row.unit == "raw" else 1
    errors = [f"{reason} {count}" for reason, count in sorted(row.drops.items())]
    return (
        row.device,
        row.state,
        f"{row.rate_hz:.1f}",
        _some(row.values, places) + unit,
        _some(row.noise, places + 1),
        str(row.holes),
        str(row.gaps),
        ", ".join(filter(None, (row.reason, *errors))),
    )


def _some(values: list[float | None], places: int) -> str:
    words = ["-" if value is None else f"{value:.{places}f}" for value in values[:PLATES_MAX]]
    return " ".join([*words, "…"] if len(values) > PLATES_MAX else words)
