# SPDX-License-Identifier: Apache-2.0
"""The truth file: what really happened in a store, as an honest witness wrote it down.

The simulator writes one; whoever records a real store by hand writes the same (docs/accuracy.md).
"""

from pathlib import Path
from typing import Annotated

import msgspec

from gateway.simulator.stock import TRUE_UNITS_MAX, TrueAct, Truth


class Witness(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the truth file holds. Times: CLOCK_BOOTTIME, nanoseconds."""

    over: bool = True
    """Everybody who was to come has left; until then the file grows."""
    acts: list[TrueAct] = []
    baskets: dict[str, dict[str, Annotated[int, msgspec.Meta(ge=1, le=TRUE_UNITS_MAX)]]]
    """By shopper: units by GTIN when the shopper left."""
    scans: dict[str, int] = {}
    entered_ns: dict[str, int] = {}
    left_ns: dict[str, int] = {}


def witness_of(truth: Truth, *, over: bool) -> Witness:
    """Return a truth as its file holds it."""
    return Witness(
        over=over,
        acts=truth.acts,
        baskets=truth.baskets,
        scans=truth.scans,
        entered_ns=truth.entered_ns,
        left_ns=truth.left_ns,
    )


def write_witness(path: Path, witness: Witness) -> None:
    """Write a truth file; whoever reads it meanwhile sees the one before or this one."""
    fresh = path.with_suffix(".new")
    fresh.write_bytes(msgspec.json.encode(witness))
    fresh.replace(path)


def read_witness(path: Path) -> Witness | None:
    """Read a truth file; None before there is one.

    Raises:
        msgspec.DecodeError: It is no truth file.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Witness)
    except FileNotFoundError:
        return None
