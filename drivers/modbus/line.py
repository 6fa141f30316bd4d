# SPDX-License-Identifier: Apache-2.0
"""Lines that transmitters share: each is opened once, and one question is on it at a time."""

import asyncio
import errno
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import TYPE_CHECKING, Final, Literal

from drivers.modbus.config import ModbusConfig
from drivers.ports import ByteStream
from drivers.serial_port import Bits
from drivers.shared import Shared

if TYPE_CHECKING:  # Stores without Modbus spare pymodbus's memory.
    from drivers.modbus.codec import Question, Refused, Registers
    from drivers.modbus.maps import Read

OpenLine = Callable[[str, int, Bits], AbstractAsyncContextManager[ByteStream]]
"""Open a port by address, baud rate and bits of a character."""
PAUSE_CHARACTERS: Final = 3.5
"""Silence between frames on a serial line."""
PAUSE_S_MIN: Final = 0.001_75
CHARACTER_BITS: Final = 11
LATE_S_MIN: Final = 2.0
"""How long an answer may be under way at least, through gateways that keep a queue."""
DISCARDED_MAX: Final = 64
"""Pieces of noise that are thrown away before a question; no line is waited for that has more."""


class Lines:
    """All lines of a store; several shelves may hang on one."""

    def __init__(self, open_line: OpenLine) -> None:
        """Begin without one.

        Args:
            open_line: Opens a line, for example ``drivers.network_port.open_port``.
        """
        self._open = open_line
        self._shared = Shared[Line]()

    def opener(self, config: ModbusConfig) -> "OpenShared":
        """Return what opens the line of a shelf, or shares it; the last one closes it."""

        def opened(url: str, _baud: int) -> AbstractAsyncContextManager[Line]:
            return self._shared.use(url, lambda: Line(self._open, config))

        return opened


class Line:
    """One line, from its opening to its end."""

    def __init__(self, open_line: OpenLine, config: ModbusConfig) -> None:
        self._open = open_line
        self._config = config
        pause_s = PAUSE_CHARACTERS * CHARACTER_BITS / config.baud
        self._pause_s = max(pause_s, PAUSE_S_MIN) if config.framing == "rtu" else 0.0
        self._stack = AsyncExitStack()
        self._stream: ByteStream | None = None
        self._turn = asyncio.Lock()
        self._late_until_s: dict[int, float] = {}
        """Until when each unit may still answer a question that was given up."""
        self._asked: dict[int, set[tuple[int, Read]]] = {}
        """What each unit has been asked, all of it in its shelves' plans."""
        self._transaction = 0
        self.lost = False
        """Whether it failed; whoever still has it is told at the next question."""

    async def open(self) -> None:
        """Open it unless it is.

        Raises:
            OSError: It cannot be opened.
        """
        async with self._turn:
            if self._stream is None and not self.lost:
                opening = self._open(self._config.url, self._config.baud, self._config.line)
                self._stream = await self._stack.enter_async_context(opening)

    async def close(self) -> None:
        """Close it; whoever opens it next finds the port free."""
        self.lost = True
        self._stream = None
        await self._stack.aclose()

    def next_transaction(self) -> int:
        """Return the number of the next question, for TCP."""
        self._transaction = self._transaction % 0xFFFF + 1
        return self._transaction

    async def ask(self, question: "Question") -> "Registers | Refused | Literal['late'] | None":
        """Ask and wait for the answer; None: there was none in time.

        ``late``: it was not asked, because an answer of this unit may still come that no question
        waits for. RTU answers do not say what they answer: this one would take it for its own,
        and one plate's weight for another's. Where a unit is asked but one thing there is only its
        age to mind.

        Raises:
            OSError: The line was lost.
        """
        async with self._turn:
            if self._stream is None:
                raise OSError(errno.EIO, "the line was lost")
            answer_s = self._config.answer_ms / 1_000
            loop = asyncio.get_running_loop()
            # Another shelf may have asked this unit just before, and given up.
            if loop.time() < self._late_until_s.get(question.unit_id, 0.0):
                return "late"
            try:
                await asyncio.sleep(self._pause_s)
                await self._discard(self._stream)
                asked = self._asked.setdefault(question.unit_id, set())
                asked.add(question.asks)
                late_s = 2 * answer_s if len(asked) == 1 else max(2 * answer_s, LATE_S_MIN)
                self._late_until_s[question.unit_id] = loop.time() + late_s
                answer = await self._answer(self._stream, question, answer_s)
            except OSError:
                await self.close()
                raise
            if answer is not None:
                del self._late_until_s[question.unit_id]
            return answer

    async def _discard(self, stream: ByteStream) -> None:
        """Throw away what came while nobody had asked."""
        for _ in range(DISCARDED_MAX):
            try:
                async with asyncio.timeout(0):
                    await stream.receive()
            except TimeoutError:
                return

    async def _answer(
        self, stream: ByteStream, question: "Question", answer_s: float
    ) -> "Registers | Refused | None":
        try:
            async with asyncio.timeout(answer_s):
                await stream.send(question.request)
                while True:
                    answer = question.feed(await stream.receive())
                    if answer is not None:
                        return answer
                    # A line that is never empty leaves room for others all the same.
                    await asyncio.sleep(0)
        except TimeoutError:
            return None


OpenShared = Callable[[str, int], AbstractAsyncContextManager[Line]]
"""Open a line by address and baud rate. Raises ``OSError`` where it cannot be opened."""
