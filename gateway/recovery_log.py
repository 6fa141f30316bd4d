# SPDX-License-Identifier: Apache-2.0
"""Tells the operator, in the log, what a database is that the daemon did not leave behind."""

import logging
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import Final

import msgspec

from gateway.domain.inputs import Recovery
from gateway.losses import LOST, Lost
from gateway.outbox import Program, Statement

log = logging.getLogger(__name__)

RANGES_SHOWN: Final = 5
EPOCHS_SHOWN: Final = 5
_AGAIN: Final = "Send planogram, prices and erasures of shoppers again"


def tell(path: Path, found: Recovery) -> Program[None]:
    """Log what was found, what follows and what to do; at each start until it is told upstream.

    Args:
        path: Of the database.
        found: With a reason other than None; kept in the database.
    """
    newest = yield Statement(
        "SELECT epoch, (SELECT max(sequence) FROM events WHERE events.epoch = epochs.epoch)"
        " FROM epochs ORDER BY ordinal DESC LIMIT 1"
    )
    [(visits,)] = yield Statement("SELECT count(*) FROM state WHERE kind = 'session'")
    if found.reason == "corrupt":
        kept = yield Statement("SELECT value FROM meta WHERE key = ?", (LOST,))
        lost = [one for (value,) in kept for one in msgspec.json.decode(value, type=list[Lost])]
        _tell_lost(path, found, lost)
        return
    if not newest:
        log.error(
            "%s: was not there, and a new one is begun. Events that had not been sent, open visits"
            " and reviews, planogram and prices are gone. Stop the daemon and restore a backup if"
            " there is one; if not: %s",
            path,
            _AGAIN.lower(),
        )
        return
    epoch, sequence = newest[0]
    what = "is an older copy" if found.reason == "restored" else "comes from another machine"
    also = "" if found.reason == "restored" else "; see that the other machine does not run"
    log.warning(
        "%s: %s: its last event is %s of epoch %s; visits that end without a receipt: %d; what came"
        " after that event is not known here. %s%s",
        path,
        what,
        "none" if sequence is None else sequence,
        epoch,
        visits,
        _AGAIN,
        also,
    )


def _tell_lost(path: Path, found: Recovery, lost: Iterable[Lost]) -> None:
    epochs = []
    count = 0
    for epoch, group in groupby(lost, key=lambda one: one.epoch):
        ranges = list(group)
        number = sum(one.last - one.first + 1 for one in ranges)
        count += number
        epochs.append(f"{number} of epoch {epoch} ({_shown(ranges)})")
    if not epochs:
        return
    more = "" if len(epochs) <= EPOCHS_SHOWN else f" and of {len(epochs) - EPOCHS_SHOWN} others"
    log.error(
        "%s: %d events are lost with the damage: %s%s. Look for events.dropped upstream, which"
        " names each; what of them was not sent before is in %s alone, if anywhere",
        path,
        count,
        ", ".join(epochs[:EPOCHS_SHOWN]),
        more,
        found.set_aside,
    )


def _shown(ranges: list[Lost]) -> str:
    words = [
        str(one.first) if one.first == one.last else f"{one.first} to {one.last}"
        for one in ranges[:RANGES_SHOWN]
    ]
    return ", ".join(words) + (", …" if len(ranges) > RANGES_SHOWN else "")
