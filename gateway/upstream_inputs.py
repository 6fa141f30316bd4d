# SPDX-License-Identifier: Apache-2.0
"""What the link upstream tells the engine: its own state, and commands."""

import re
from typing import Final

import msgspec

from drivers.ports import Clock
from gateway.domain.inputs import Command, LinkState
from gateway.intake import Intake

COMMAND_BYTES_MAX: Final = 65_536
COMMAND_ID: Final = "[A-Za-z0-9._-]{1,128}"
"""Regular expression that a command's id fits as a whole."""


class UpstreamInputs:
    """Offers the link's state and commands to the intake; no word of the state is lost."""

    def __init__(self, intake: Intake, clock: Clock) -> None:
        """Begin with a link that is down, as the engine does."""
        self._intake = intake
        self._clock = clock
        self._online = False
        self._told = False

    def link(self, online: bool) -> None:
        """Tell a change of the link; without room for it, ``retry`` tells what holds then."""
        self._online = online
        self.retry()

    def retry(self) -> None:
        """Tell the link's state if the engine does not know it. To be called now and then."""
        if self._told == self._online:
            return
        if self._intake.offer(LinkState(at=self._clock.stamp(), online=self._online)):
            self._told = self._online

    def command(self, command: str, name: str, data: bytes) -> bool:
        """Hand on a command.

        Args:
            command: Its id.
            name: What is to be done.
            data: The whole payload, a JSON object.

        Returns:
            False when there is no room for it.
        """
        return self._intake.offer(
            Command(at=self._clock.stamp(), id=command, name=name, data=msgspec.Raw(data))
        )


class _CommandHead(msgspec.Struct, frozen=True):
    id: str


def parse_command(payload: bytes) -> tuple[str | None, str | None, bytes]:
    """Return a command's id, what is wrong with it, and its payload as one compact line."""
    if len(payload) > COMMAND_BYTES_MAX:
        return None, f"longer than {COMMAND_BYTES_MAX} bytes", b""
    try:
        command = msgspec.json.decode(payload, type=_CommandHead).id
    except (ValueError, RecursionError):
        return None, "no JSON object with a text `id`", b""
    if re.fullmatch(COMMAND_ID, command) is None:
        return None, "its `id` is not 1 to 128 of A-Z a-z 0-9 . _ -", b""
    try:
        data = msgspec.json.encode(msgspec.json.decode(payload))
    except (ValueError, RecursionError) as error:
        return command, f"malformed JSON: {error}", b""
    return command, None, data
