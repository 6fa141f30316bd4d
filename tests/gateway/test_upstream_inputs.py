# SPDX-License-Identifier: Apache-2.0
"""Commands and the link's state on their way to an engine that has much to do."""

from gateway.domain.inputs import Command, LinkState, Stamp
from gateway.intake import Intake
from gateway.upstream_inputs import UpstreamInputs


class StoodClock:
    """A clock that does not go."""

    def stamp(self):
        return Stamp(1, 1, True, 1, "boot")


def links(intake):
    return [item.online for item in intake.take(99) if isinstance(item, LinkState)]


def test_a_change_of_the_link_that_finds_no_room_is_told_later():
    intake = Intake(StoodClock(), others_max=1)
    inputs = UpstreamInputs(intake, StoodClock())
    inputs.link(True)
    inputs.link(False)
    inputs.retry()
    assert links(intake) == [True]
    inputs.retry()
    inputs.retry()
    assert links(intake) == [False]
    inputs.retry()
    assert links(intake) == []


def test_only_what_holds_is_told_later():
    intake = Intake(StoodClock(), others_max=1)
    inputs = UpstreamInputs(intake, StoodClock())
    assert inputs.command("c-1", "prices", b"{}")
    inputs.link(True)
    inputs.link(False)
    [command] = intake.take(99)
    assert isinstance(command, Command)
    inputs.retry()
    assert links(intake) == []


def test_a_command_without_room_is_refused():
    intake = Intake(StoodClock(), others_max=1)
    inputs = UpstreamInputs(intake, StoodClock())
    assert inputs.command("c-1", "prices", b'{"id":"c-1"}')
    assert not inputs.command("c-2", "prices", b'{"id":"c-2"}')
    [command] = intake.take(99)
    assert (command.id, command.name, bytes(command.data)) == ("c-1", "prices", b'{"id":"c-1"}')
    assert inputs.command("c-2", "prices", b'{"id":"c-2"}')
