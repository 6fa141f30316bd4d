# SPDX-License-Identifier: Apache-2.0
"""Store files of stores that were made up: written so that a daemon can read them."""

import json
from collections.abc import Iterable
from pathlib import Path

from gateway.domain.store import Lens, Store


def write_store(path: Path, store: Store) -> None:
    """Write a store file."""
    path.write_text(store_toml(store))


def store_toml(store: Store) -> str:
    """Return a store as its file says it; of plates with calibrations, prices and SKUs nothing."""
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
        text = _table("[[camera]]", camera, ("name", "size_px"))
        text += f"floor_points = {_toml(points)}\n"
        if camera.position_mm is not None:
            text += f"position_mm = {_toml(camera.position_mm)}\n"
        if isinstance(camera.lens, Lens):
            keys = ("size_px", "focal_px", "centre_px", "distortion")
            text += _table("[camera.lens]", camera.lens, keys)
        parts.append(text)
    return "\n".join(parts)


def _table(head: str, thing: object, keys: Iterable[str]) -> str:
    return "".join([f"{head}\n", *(f"{key} = {_toml(getattr(thing, key))}\n" for key in keys)])


def _toml(value: object) -> str:
    """Return a value as TOML: of what stores hold, JSON is TOML too."""
    return json.dumps(list(value) if isinstance(value, tuple) else value)
