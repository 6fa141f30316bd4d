# SPDX-License-Identifier: Apache-2.0
"""What the demo ends with: the event most worth asking about, and the command that asks."""

import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from gateway.domain.event_types import name_of

KINDS: Final = {
    "attribution.revised": 0,
    "review.requested": 1,
    "item.picked": 2,
    "item.put-back": 2,
}
"""What can be asked about, the most telling first."""


def worth_asking(payloads: Iterable[bytes]) -> tuple[str, str] | None:
    """Return name and id of the event most worth asking about; None: nothing was told of a change.

    What was revised comes before what a person is asked about, that before takes and put-backs;
    of equals the least certain comes first.

    Args:
        payloads: CloudEvents as an integrator stored them.
    """
    found: list[tuple[int, float, str, str]] = []
    for payload in payloads:
        event = msgspec.json.decode(payload)
        name = name_of(event["type"])
        if name in KINDS and event["data"].get("change"):
            sure = min((act["probability"] for act in event["data"].get("acts", ())), default=0.0)
            found.append((KINDS[name], sure, name, event["id"]))
    return min(found)[2:] if found else None


def pointer(payloads: Iterable[bytes], settings: Path, store: Path, *, kept: bool) -> list[str]:
    """Return the demo's last lines: how to ask why one of its events says what it says.

    Args:
        payloads: CloudEvents as the integrator stored them.
        settings: The daemon's, which name its database and its journal.
        store: The store file, for names of products.
        kept: Whether the files stay; without them there is nothing to ask.
    """
    if not kept:
        return ["its files go now; to ask why of an event, leave them: --keep-files DIR"]
    asked = worth_asking(payloads)
    if asked is None:
        return []
    name, event = asked
    words = [*_program(), "why", event, "--settings", str(settings), "--store", str(store)]
    return [f"why does {name} say what it says? For its story:", f"  {shlex.join(words)}"]


def _program() -> list[str]:
    """Return how this program was called, so that it can be called again from the same place."""
    called = Path(sys.argv[0])
    return [sys.argv[0]] if called.name == "shelfgate" else [sys.executable, "-m", "gateway.cli"]
