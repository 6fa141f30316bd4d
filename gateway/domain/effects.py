# SPDX-License-Identifier: Apache-2.0
"""What the engine asks the world to do. Carried out at most once, after the commit."""

from typing import Literal

import msgspec


class OpenDoor(msgspec.Struct, frozen=True, tag="open-door", tag_field="effect"):
    """Let a shopper in."""

    id: str
    door: str
    session: str


class Backfill(msgspec.Struct, frozen=True, tag="backfill", tag_field="effect"):
    """Send events of an epoch again, from a sequence on, as far as the history reaches."""

    command: str
    epoch: str
    sequence: int


class EraseShopper(msgspec.Struct, frozen=True, tag="erase-shopper", tag_field="effect"):
    """Forget a shopper's pseudonym in every event kept; the adapter answers the command."""

    command: str
    shopper: str


class Reply(msgspec.Struct, frozen=True, tag="reply", tag_field="effect"):
    """Answer a command on ``…/replies/<command>``."""

    command: str
    status: Literal["ok", "error"]
    message: str


AnyEffect = OpenDoor | Backfill | EraseShopper | Reply
