# SPDX-License-Identifier: Apache-2.0
"""A store file and a settings file that are right, and what is wrong with changed ones."""

from pathlib import Path

import pytest

from gateway.config import ConfigError, load_settings, load_store

ROOT = Path(__file__).parents[3]

DEMO = ROOT / "fixtures" / "stores" / "demo.toml"

STORE = """\
version = 1

[store]
name = "corner"

[[product]]
gtin = "4006381333931"
name = "Pen"
unit_g = 8
tolerance_g = 0.4

[[product]]
gtin = "96385074"
name = "Gum"
unit_g = 15.5

[[gondola]]
name = "g1"

[[gondola.shelf]]
name = "g1.s1"
front_mm = [0, 0, 1000, 0]
z_mm = 800
depth_mm = 350
plates = 4

[[gondola.shelf]]
name = "g1.s2"
front_mm = [0, 0, 1000, 0]
z_mm = 1200
depth_mm = 350

[[gondola.shelf.plate]]
name = "left"
offset_mm = 0
width_mm = 500
calibration = { id = "2026-11", zero_raw = 84213, counts_per_g = 410.5 }

[[gondola.shelf.plate]]
name = "right"
offset_mm = 500
width_mm = 500

[[facing]]
gtin = "4006381333931"
plates = ["g1.s1.p1", "g1.s1.p2"]

[[zone]]
name = "in"
kind = "entry"
x_mm = [-1000, 0]
y_mm = [-1000, 0]

[[zone]]
name = "out"
kind = "exit"
x_mm = [1000, 2000]
y_mm = [-1000, 0]

[[door]]
name = "gate"

[[scanner]]
name = "entry"
zone = "in"
door = "gate"

[[camera]]
name = "c1"
size_px = [640, 480]
floor_points = [[10, 10, 0, 0], [600, 10, 2000, 0], [600, 400, 2000, -1500], [10, 400, 0, -1500]]
"""

SETTINGS = """\
gateway = "gw-1"
database = "gateway.db"

[uplink]
host = "localhost"

[[device]]
driver = "bridge"
name = "g1.s2"
url = "/dev/ttyUSB0"
channels = [0, 1]
"""


def problems_of(folder, text, name="store.toml"):
    path = folder / name
    if isinstance(text, bytes):
        path.write_bytes(text)
    else:
        path.write_text(text)
    load = load_store if name == "store.toml" else load_settings
    with pytest.raises(ConfigError) as caught:
        load(path)
    return [str(problem).removeprefix(f"{folder}/") for problem in caught.value.problems]


def line_of(text, part, nth=1):
    """Return the line of a part's nth appearance."""
    lines = [number for number, line in enumerate(text.splitlines(), 1) if part in line]
    return lines[nth - 1]
