# SPDX-License-Identifier: Apache-2.0
"""A nano-store's stretch of time: its store file, its messages, and its journal."""

import json
from pathlib import Path

import msgspec

from gateway.domain.inputs import (
    DeviceStatus,
    DoorState,
    EngineSettings,
    EntryScanned,
    GatewayStarted,
    People,
    Samples,
    Stamp,
)
from gateway.journal import Header, encode_line
from gateway.simulator.stores import nano_store
from gateway.simulator.virtual import START_MONO_NS, START_UTC_NS, virtual_inputs
from gateway.simulator.world import Traffic

NUMBERED = ("boot", "seq", "t_ms")


def recorded(duration_s, *, seed=1, shoppers=10, plates=306, cameras=3):
    """Return a nano-store and its inputs: ``shoppers`` at once for ``duration_s`` seconds."""
    store = nano_store(plates, cameras)
    traffic = Traffic(
        shoppers=None,
        at_once=shoppers,
        first_s=2.0,
        spacing_s=(0.2, 0.6),
        picks=(6, 12),
        apart_mm=300.0,
        take_turns=False,
    )
    run = virtual_inputs(store, seed, traffic=traffic, duration_s=duration_s, open_doors=True)
    return store, list(run)


def started(store):
    """Return the input that begins an epoch."""
    return GatewayStarted(
        at=Stamp(START_MONO_NS, START_UTC_NS, True, 5, "sim"),
        gateway="bench",
        version="0",
        epoch="b" * 32,
        previous_epoch=None,
        previous_sequence=None,
        settings=EngineSettings(),
        store=store,
        state=[],
    )


def write_journal(path, store, inputs):
    """Write inputs as one segment of a journal, uncompressed as anyone may write it."""
    with path.open("wb") as file:
        file.write(msgspec.json.encode(Header(number=1, snapshot=None)) + b"\n")
        for number, item in enumerate([started(store), *inputs], start=1):
            file.write(encode_line(number, item))


def write_messages(path, store, inputs):
    """Write what the devices send, one line each: when in ns, topic, QoS, retained, payload.

    Entry tokens are signed when they are sent, so a scan's line holds the shopper instead.
    """
    count = 0
    with path.open("w") as file:
        for item in inputs:
            message = _message(item)
            if message is None:
                continue
            leaf, qos, payload = message
            topic = f"shelfgate/v1/{store.name}/{leaf}"
            line = [item.at.mono_ns - START_MONO_NS, topic, qos, leaf.endswith("status"), payload]
            file.write(json.dumps(line, separators=(",", ":")) + "\n")
            count += 1
    return count


def _message(item):
    match item:
        case Samples():
            more = {"period_us": item.period_us, "unit": item.unit, "w": item.w}
            return f"{item.device}/samples", 0, {"v": 1, **_numbered(item), **more}
        case People():
            more = {"people": msgspec.to_builtins(item.people)}
            return f"{item.device}/people", 0, {"v": 1, **_numbered(item), **more}
        case DoorState():
            return f"{item.device}/state", 1, {"v": 1, **_numbered(item), "open": item.open}
        case EntryScanned():
            return f"{item.device}/scan", 1, {"v": 1, **_numbered(item), "shopper": item.shopper}
        case DeviceStatus():
            payload = {"v": 1, "state": item.state, "fw": item.fw, "boot": item.boot}
            return f"{item.device}/status", 1, payload
    return None


def _numbered(item):
    return {name: getattr(item, name) for name in NUMBERED if getattr(item, name) is not None}


def store_toml(store):
    """Return a store as its file says it."""
    parts = [f"version = 1\n[store]\nname = {_toml(store.name)}\n"]
    keys = ("gtin", "name", "unit_g", "tolerance_g")
    parts += [_table("[[product]]", product, keys) for product in store.products.values()]
    for gondola in dict.fromkeys(shelf.gondola for shelf in store.shelves):
        parts.append(f"[[gondola]]\nname = {_toml(gondola)}\n")
        for shelf in store.shelves:
            if shelf.gondola != gondola:
                continue
            keys = ("name", "front_mm", "z_mm", "depth_mm")
            parts.append(_table("[[gondola.shelf]]", shelf, keys))
            parts += [
                _table("[[gondola.shelf.plate]]", plate, ("name", "offset_mm", "width_mm"))
                for plate in shelf.plates
            ]
    parts += [_table("[[facing]]", facing, ("gtin", "plates")) for facing in store.facings]
    parts += [_table("[[zone]]", zone, ("name", "kind", "x_mm", "y_mm")) for zone in store.zones]
    parts += [f"[[door]]\nname = {_toml(door)}\n" for door in store.doors]
    parts += [_table("[[scanner]]", one, ("name", "zone", "door")) for one in store.scanners]
    for camera in store.cameras:
        points = [[*point.px, *point.mm] for point in camera.floor_points]
        size = [int(side) for side in camera.size_px]
        parts.append(
            f"[[camera]]\nname = {_toml(camera.name)}\nsize_px = {_toml(size)}\n"
            f"floor_points = {_toml(points)}\n"
        )
    return "\n".join(parts)


def _table(head, thing, keys):
    lines = [f"{key} = {_toml(getattr(thing, key))}" for key in keys]
    return "\n".join([head, *lines, ""])


def _toml(value):
    """Return a value as TOML: of what stores hold, JSON is TOML too."""
    return json.dumps(list(value) if isinstance(value, tuple) else value)


def write_store(path: Path, store):
    """Write a store file."""
    path.write_text(store_toml(store))
