# SPDX-License-Identifier: Apache-2.0
"""How a worker's devices publish, and what each says of itself."""

from typing import Any, Protocol

from vision.numbering import CONTRACT_VERSION, FIRMWARE

REASON_LETTERS_MAX = 200


class Publish(Protocol):
    """Sends one message; raises ``OSError`` while there is no connection."""

    async def __call__(
        self, topic: str, payload: bytes, qos: int = 0, *, retain: bool = False
    ) -> None:
        """Return once the message is on its way."""
        ...


def status(boot: str, state: str, reason: str | None) -> dict[str, Any]:
    """Return a status of the contract."""
    message: dict[str, Any] = {
        "v": CONTRACT_VERSION,
        "state": state,
        "fw": FIRMWARE,
        "boot": boot,
    }
    if reason is not None:
        told = "".join(letter if letter.isprintable() else "?" for letter in reason)
        message["reason"] = told[:REASON_LETTERS_MAX]
    return message
