# SPDX-License-Identifier: Apache-2.0
"""What the link upstream tells the engine: its own state, and commands."""

import msgspec

from drivers.ports import Clock
from gateway.domain.inputs import Command, LinkState
from gateway.intake import Intake


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
