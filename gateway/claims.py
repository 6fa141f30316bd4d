# SPDX-License-Identifier: Apache-2.0
"""What an integrator claims to have stored, as it comes over the link."""

from collections.abc import Mapping
from typing import Final

import msgspec

BYTES_MAX: Final = 65_536
EPOCHS_MAX: Final = 1_000
SEQUENCE_MAX: Final = 2**63 - 1


class _Ack(msgspec.Struct, frozen=True):
    acknowledged: dict[str, str]


def read_claims(payload: bytes) -> dict[str, int]:
    """Return the last sequence claimed of each epoch.

    Raises:
        ValueError: It is no acknowledgement.
        RecursionError: Nor was it meant as one.
    """
    if len(payload) > BYTES_MAX:
        raise ValueError("too long")
    claims = msgspec.json.decode(payload, type=_Ack).acknowledged
    if len(claims) > EPOCHS_MAX:
        raise ValueError("too many epochs")
    return {epoch: _sequence(text) for epoch, text in claims.items()}


def beyond(claims: Mapping[str, int], ends: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """Return claim and end of each epoch of which more is claimed than there was."""
    return {
        epoch: (claim, ends[epoch])
        for epoch, claim in claims.items()
        if epoch in ends and claim > ends[epoch]
    }


def _sequence(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 20):
        raise ValueError("a sequence is up to 20 digits")
    value = int(text)
    if value > SEQUENCE_MAX:
        raise ValueError("no sequence is this large")
    return value
