# SPDX-License-Identifier: Apache-2.0
"""What is said to a scale, and when. No I/O and no clock: it is told the time.

A scale that sends by itself is told nothing. A scale that is asked has one request in flight, and
1 s to answer. One that repeats on request is greeted first, which tells who it is, and greeted
again when it falls silent: it may have been switched off.
"""

from typing import Final

from drivers.scale.config import ScaleConfig
from drivers.scale.keys import Outcome
from drivers.scale.protocols import PROTOCOLS, poll_of
from drivers.scale.reading import Answer, Noise, Reading, Result

ANSWER_S: Final = 1.0
GREETING_S: Final = 2.0
"""A scale that is reset may need longer; asked again too soon it would never come to itself."""


class Talk:
    """One connection's conversation. Times are seconds of any clock that only goes forward."""

    def __init__(self, config: ScaleConfig, now_s: float) -> None:
        """Begin, with the first word due at once.

        Args:
            config: Which protocol, and how often to ask.
            now_s: The time.
        """
        facts = PROTOCOLS[config.protocol]
        self._poll = poll_of(config)
        self._poll_s = config.poll_ms / 1_000
        self._greeting = facts.greeting if not self._poll else ()
        self._start = facts.start if not self._poll else b""
        self._serial_from = facts.serial_from
        self._stage = 0 if self._greeting else None
        """Which part of the greeting is under way; None: it is over, or there is none."""
        self._sent_s: float | None = None
        """When the request in flight was sent; None: none is."""
        self._due_s: float | None = now_s if self._poll or self._greeting else None
        """When there is something to say or to give up; None: never."""
        self.who: dict[str, str] = {}
        """What the scale said of itself, by command."""
        self.missed = 0
        """Requests without an answer in time."""
        self._pressed: str | None = None
        """The command that the answer to a key has to name; None: none was pressed."""
        self._outcome: Outcome | None = None

    @property
    def due_s(self) -> float | None:
        """Return when ``due`` has to be called next; None: never."""
        return self._due_s

    @property
    def serial(self) -> str | None:
        """Return the scale's serial number; None while it has not said it, or has none."""
        return self.who.get(self._serial_from) or None

    @property
    def greeted(self) -> bool:
        """Whether it is known who speaks: before, readings are what another scale may have left."""
        return self._stage is None

    @property
    def pressing(self) -> bool:
        """Whether a key was pressed and the scale has not said what became of it."""
        return self._pressed is not None

    def press(self, key: bytes, command: str, now_s: float) -> bytes:
        """Return what presses a key; ``take_outcome`` then says what became of it.

        Args:
            key: As the protocol has it.
            command: What its answer names.
            now_s: The time.
        """
        self._pressed, self._due_s = command, now_s + GREETING_S
        return key

    def take_outcome(self) -> Outcome | None:
        """Return and forget what became of a key; None: nothing yet."""
        outcome, self._outcome = self._outcome, None
        return outcome

    def due(self, now_s: float) -> bytes:
        """Return what to send now; empty: nothing."""
        if self._due_s is None or now_s < self._due_s:
            return b""
        if self._pressed is not None:
            self._pressed, self._outcome = None, "unknown"
        if self._sent_s is not None:
            self.missed += 1
            if self._greeting:
                self._stage = 0
                self.who.clear()
        self._sent_s = now_s
        if self._stage is not None:
            self._due_s = now_s + GREETING_S
            return self._greeting[self._stage][0]
        self._due_s = now_s + ANSWER_S
        return self._poll

    def heard(self, result: Result, now_s: float) -> bytes:
        """Take what a scale said; return what to send at once; empty: nothing."""
        if self._due_s is None:
            return b""
        if self._stage is not None:
            return self._answered(self._stage, result, now_s)
        if self._pressed is not None:
            return self._key_answered(self._pressed, result, now_s)
        if not self._poll:
            if isinstance(result, Reading):
                self._due_s = now_s + ANSWER_S
            return b""
        # A damaged answer is one too: asking again is quicker than waiting for nothing.
        if self._sent_s is not None and not (
            isinstance(result, Noise) and result.reason in {"garbage", "too-long"}
        ):
            self._due_s = max(now_s, self._sent_s + self._poll_s)
            self._sent_s = None
        return b""

    def _answered(self, stage: int, result: Result, now_s: float) -> bytes:
        """Go on with the greeting where a result answers its part under way."""
        command = self._greeting[stage][1]
        refused = isinstance(result, Noise) and result.reason == "refused"
        if isinstance(result, Answer) and result.command == command:
            self.who[command] = result.text if result.done else ""
        elif refused:
            self.who[command] = ""
        else:
            return b""
        self._sent_s, self._due_s = now_s, now_s + GREETING_S
        if stage + 1 < len(self._greeting):
            self._stage = stage + 1
            return self._greeting[self._stage][0]
        self._stage = None
        return self._start

    def _key_answered(self, command: str, result: Result, now_s: float) -> bytes:
        """Take what may be the answer to a key, which has ended what repeats."""
        if isinstance(result, Answer) and result.command == command:
            self._outcome = "done" if result.done else "refused"
        elif isinstance(result, Noise) and result.reason == "refused":
            self._outcome = "refused"
        else:
            return b""
        self._pressed, self._due_s = None, now_s + ANSWER_S
        return self._start

    def take_missed(self) -> int:
        """Return and forget the number of requests without an answer."""
        missed, self.missed = self.missed, 0
        return missed
