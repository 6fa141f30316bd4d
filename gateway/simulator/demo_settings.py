# SPDX-License-Identifier: Apache-2.0
"""The settings file that the demo writes for its daemon and its vision worker."""

from collections.abc import Sequence
from pathlib import Path

from gateway.domain.store import Store
from gateway.simulator.keys import ISSUER, JWKS_NAME

ROOT = Path(__file__).parents[2]
GATEWAY = "gw-1"
UNSEEN_MAX_S = 20
"""Sooner than by default, so that a visit which nobody saw the end of ends within the demo."""


def settings_text(
    store: Store,
    files: Path,
    *,
    instore_port: int,
    upstream_port: int,
    camera: tuple[str, int] | None,
) -> str:
    """Return the settings of a daemon whose devices are simulated.

    Args:
        store: The store.
        files: Directory of everything that the demo writes.
        instore_port: Where the daemon starts its own broker.
        upstream_port: Where the upstream broker listens.
        camera: The rendered camera and the port of its pictures; None: no vision worker.
    """
    parts = [
        f"""gateway = "{GATEWAY}"
database = "{files / "gateway.db"}"

[broker]
embedded = true
port = {instore_port}

[uplink]
host = "127.0.0.1"
port = {upstream_port}
protocol = 4
acknowledge = "application"
retry_max_s = 3

[journal]
directory = "{files / "journal"}"

{entry_table(files / "keys")}
[engine]
unseen_max_s = {UNSEEN_MAX_S}
"""
    ]
    parts += device_tables(store, files / "lines", bridges(store))
    if camera is not None:
        parts.append(_vision(*camera))
    return "\n".join(parts)


def bridges(store: Store) -> list[str]:
    """Return the shelves that a bridge weighs: those with calibrations."""
    return [
        shelf.name
        for shelf in store.shelves
        if all(plate.calibration is not None for plate in shelf.plates)
    ]


def entry_table(keys: Path) -> str:
    """Return the table that lets a daemon believe the entry tokens of simulated shoppers."""
    return f"""[entry]
jwks = "{keys / JWKS_NAME}"
issuer = "{ISSUER}"
"""


def device_tables(store: Store, lines: Path, bridged: Sequence[str]) -> list[str]:
    """Return the tables of devices on pseudo-terminals, those of bridges first."""
    tables = [
        f"""[[device]]
driver = "bridge"
name = "{shelf.name}"
url = "{lines / f"bridge-{shelf.name}"}"
channels = {list(range(len(shelf.plates)))}
crc = "required"
"""
        for shelf in store.shelves
        if shelf.name in bridged
    ]
    return tables + [
        f"""[[device]]
driver = "scanner"
name = "{scanner.name}"
url = "{lines / f"scanner-{scanner.name}"}"
"""
        for scanner in store.scanners
    ]


def _vision(camera: str, port: int) -> str:
    model = ROOT / "fixtures" / "model"
    return f"""[[vision]]
camera = "{camera}"
url = "http://127.0.0.1:{port}/"
model = "{model / "people.onnx"}"
hands = "{model / "hands.onnx"}"
"""
