# SPDX-License-Identifier: Apache-2.0
"""Where commands from upstream come in and their answers go out: bounded, each id once."""

import logging
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final, Literal

import msgspec

from drivers.mqtt.client import Message
from gateway.domain.effects import BackfillAnswer, Reply
from gateway.history import OPEN_MAX
from gateway.upstream_inputs import parse_command

log = logging.getLogger(__name__)

COMMANDS_REMEMBERED: Final = 1_000
REPLIES_MAX: Final = 1_000
REPLIES_IN_FLIGHT: Final = 16
BUSY: Final = "The gateway is busy. Send it again"


class ReplyMessage(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a command, on ``…/replies/<id>``."""

    id: str
    status: Literal["ok", "error"]
    message: str
    backfill: BackfillAnswer | msgspec.UnsetType = msgspec.UNSET
    """Only of a backfill that was understood."""


class DeskCounters(msgspec.Struct):
    """What was counted since the start of the daemon."""

    malformed_commands: int = 0
    retained_commands: int = 0
    commands_without_room: int = 0
    repeated_commands: int = 0
    replies_dropped: int = 0


class Desk:
    """Keeps what was commanded and answered, as far as it has room."""

    def __init__(self, on_command: Callable[[str, str, bytes], bool]) -> None:
        """Begin without any command.

        Args:
            on_command: Called with id, name and payload of each command that is new; False says
                that there is no room.
        """
        self.counters = DeskCounters()
        self._on_command = on_command
        self._commands: OrderedDict[str, Reply | None] = OrderedDict()
        self._replies: deque[Reply] = deque()
        self._replying: dict[int, Reply] = {}

    def take(self, name: str, message: Message) -> None:
        """Take a command; what can be answered at once is."""
        if message.retain:
            self.counters.retained_commands += 1
            return
        command, problem, data = parse_command(message.payload)
        if problem is not None:
            self.counters.malformed_commands += 1
            count = self.counters.malformed_commands
            if count & (count - 1) == 0:  # The first, and ever fewer of many.
                log.warning("Refused a command %r (%d by now): %s", name[:64], count, problem)
            if command is not None:
                self.answer(Reply(command, "error", problem))
            return
        assert command is not None, "a command without problem has an id"
        if command in self._commands:
            self.counters.repeated_commands += 1
            known = self._commands[command]
            if known is not None:
                self.answer(known)
            return
        self._commands[command] = None
        if len(self._commands) > COMMANDS_REMEMBERED:
            self._commands.popitem(last=False)
        if not self._on_command(command, name, data):
            self.refuse_as_busy(command)

    def answer(self, reply: Reply) -> None:
        """Answer a command, now or after the reconnect; the oldest of too many are dropped."""
        if len(self._replies) + len(self._replying) >= REPLIES_MAX:
            if self._replies:
                self._replies.popleft()
            self.counters.replies_dropped += 1
        self._replies.append(reply)
        if reply.command in self._commands:
            self._commands[reply.command] = reply

    def refuse(self, command: str, why: str) -> None:
        """Answer that there is no room now, and forget the id: it may come again."""
        self._commands.pop(command, None)
        self.answer(Reply(command, "error", why))

    def refuse_as_busy(self, command: str) -> None:
        """Refuse a command for which the gateway has no room now."""
        self.counters.commands_without_room += 1
        self.refuse(command, BUSY)

    def waiting(self) -> Reply | None:
        """Return the oldest answer that may go out now."""
        if not self._replies or len(self._replying) >= REPLIES_IN_FLIGHT:
            return None
        return self._replies[0]

    def published(self, mid: int | None) -> None:
        """Note that the answer ``waiting`` went out under a packet id; None: it never will."""
        reply = self._replies.popleft()
        if mid is None:
            self.counters.replies_dropped += 1
        else:
            self._replying[mid] = reply

    def puback(self, mid: int) -> None:
        """Note that the broker answered a publish, this desk's or another's."""
        self._replying.pop(mid, None)

    def disconnected(self) -> None:
        """Keep what has no PUBACK for the next connection."""
        self._replies.extendleft(reversed(self._replying.values()))
        self._replying.clear()


def message_of(reply: Reply) -> bytes:
    """Return an answer as it is published."""
    return msgspec.json.encode(
        ReplyMessage(
            id=reply.command,
            status=reply.status,
            message=reply.message,
            backfill=msgspec.UNSET if reply.backfill is None else reply.backfill,
        )
    )


def short_message_of(reply: Reply) -> bytes:
    """Return what is published instead of an answer that is larger than the broker takes."""
    message = "The answer is larger than the broker takes"
    return msgspec.json.encode(ReplyMessage(id=reply.command, status=reply.status, message=message))


def backfill_reply(command: str, answer: BackfillAnswer) -> Reply:
    """Put a backfill's answer into words."""
    match answer.state:
        case "sending":
            message = f"{answer.count} events are sent again"
        case "done":
            message = f"{answer.count} events were sent again"
        case "busy":
            message = f"{OPEN_MAX} backfills are open. Send it again when one is done"
        case "refused":
            message = f"nothing to send: {_refused(answer)}"
    if answer.missing and answer.count:
        message += ", and some of the range are no longer in the history"
    good = answer.state in {"sending", "done"}
    return Reply(command, "ok" if good else "error", message, answer)


def _refused(answer: BackfillAnswer) -> str:
    if answer.last is None:
        return "the epoch is unknown here"
    if int(answer.last) < int(answer.first):
        return f"the epoch has only up to {int(answer.last)}"
    return "nothing of the range is in the history any more"
