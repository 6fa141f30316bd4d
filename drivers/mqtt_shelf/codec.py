# SPDX-License-Identifier: Apache-2.0
"""What a shelf of another firmware says on MQTT, without I/O: a message in, readings out.

Total: whatever bytes arrive, the answer is readings, a word about the device's presence, or why the
message does not count. What a firmware cannot say is not made up: without a number of its own a
message that was lost is not missed, and without a time one that is late is not told from others.
"""

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final, NamedTuple

import msgspec

from drivers.mqtt.config import Message
from drivers.mqtt_shelf.config import (
    JsonConfig,
    MqttShelfConfig,
    NumberConfig,
    TasmotaConfig,
)
from drivers.scale.reading import GRAMS, GRAMS_MAX, Reading, unit_of
from gateway.domain.devices import DeviceClock, Marks, Verdict

TEXT_BYTES_MAX: Final = 4_096
JSON_BYTES_MAX: Final = 64 * 1024
NUMBER_CHARS_MAX: Final = 40
RAW_MAX: Final = Decimal(2**31)
LATE_NS: Final = 2_000_000_000
"""What is older than this waited somewhere, and would be taken for what lies there now."""
COUNT_MAX: Final = 2**53

_NUMBER: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_NOTHING: Final = frozenset({"nan", "null", "none", "unknown", "unavailable", ""})
"""What firmware writes where there is no value."""


class Presence(NamedTuple):
    """The device, or the broker for it, says whether it is there."""

    online: bool


class Refused(NamedTuple):
    """A message, or a number of messages, that does not count."""

    reason: str
    """``retained``, ``malformed``, ``too-long``, ``no-value``, ``unit``, ``late``, ``repeat`` or
    ``missing``."""
    times: int = 1


Result = Reading | Presence | Refused


class _BadError(Exception):
    """Leaves the reading of one message; never leaves this module."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Decoder:
    """Reads the messages of one shelf."""

    def __init__(self, config: MqttShelfConfig) -> None:
        self._config = config
        self._presence = config.presence
        topics = config.value_topics
        self._places = {topic: place for place, topic in enumerate(topics)}
        read: Callable[[bytes, int, int], list[Result]] = self._text
        if isinstance(config, TasmotaConfig):
            config = JsonConfig(
                name=config.name,
                topic=topics[0],
                values_at=("/HX711/Weight",),
                unit=config.unit,
            )
        self._restarted: Callable[[], None] = lambda: None
        if isinstance(config, JsonConfig):
            document = _Json(config)
            read, self._restarted = document.read, document.restarted
        self._read = read

    def take(self, message: Message, now_ns: int) -> list[Result]:
        """Read one message. Never raises, whatever the bytes are.

        Args:
            message: On one of the shelf's topics.
            now_ns: When it arrived.
        """
        if self._presence is not None and message.topic == self._presence[0]:
            return self._present(message.payload)
        if message.retain:
            return [Refused("retained")]
        place = self._places.get(message.topic)
        if place is None:
            return []
        try:
            return self._read(message.payload, place, now_ns)
        except _BadError as bad:
            return [Refused(bad.reason)]

    def _present(self, payload: bytes) -> list[Result]:
        assert self._presence is not None
        _, online, offline = self._presence
        word = payload[:TEXT_BYTES_MAX].decode("utf-8", errors="replace").strip()
        if word not in (online, offline):
            return [Refused("malformed")]
        if word == offline:
            self._restarted()
        return [Presence(word == online)]

    def _text(self, payload: bytes, place: int, _now_ns: int) -> list[Result]:
        """Read numbers in text, with commas between them."""
        config = self._config
        assert not isinstance(config, JsonConfig | TasmotaConfig)
        cells = config.cells if isinstance(config, NumberConfig) else 1
        if len(payload) > TEXT_BYTES_MAX:
            raise _BadError("too-long")
        if not payload.isascii():
            raise _BadError("malformed")
        words = payload.decode("ascii").split(",")
        if len(words) != cells:
            raise _BadError("malformed")
        unit = config.unit
        return [
            Reading(_amount(_number(word), unit), unit=unit, channel=place * cells + cell)
            for cell, word in enumerate(words)
        ]


class _Json:
    """Messages of which JSON Pointers say where things are."""

    def __init__(self, config: JsonConfig) -> None:
        self._config = config
        self._values = [_parts(pointer) for pointer in config.values_at]
        self._clock = DeviceClock()
        self._marks = Marks()
        self._starts = 0

    def restarted(self) -> None:
        """Begin anew with the device's clock and numbers."""
        self._clock = DeviceClock()
        self._starts += 1

    def read(self, payload: bytes, _place: int, now_ns: int) -> list[Result]:
        if len(payload) > JSON_BYTES_MAX:
            raise _BadError("too-long")
        try:
            document = msgspec.json.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise _BadError("malformed") from None
        found = [_at(document, parts) for parts in self._values]
        if all(value is _ABSENT for value in found):
            raise _BadError("no-value")
        if any(value is _ABSENT for value in found):
            raise _BadError("malformed")
        unit = self._unit(document)
        good = self._good(document)
        readings = [
            Reading(_amount(_json_number(value), unit) if good else None, unit=unit, channel=plate)
            for plate, value in enumerate(found)
        ]
        # What is wrong with a message leaves neither its number nor its time behind.
        missing = self._numbered(document)
        self._in_time(document, now_ns)
        return [*([Refused("missing", missing)] if missing else []), *readings]

    def _unit(self, document: object) -> str:
        if self._config.unit_at is None:
            return self._config.unit
        told = self._told(document, self._config.unit_at)
        unit = unit_of(told) if isinstance(told, str) else ""
        if unit not in GRAMS:
            raise _BadError("unit")
        return unit

    def _good(self, document: object) -> bool:
        if self._config.status_at is None:
            return True
        told = self._told(document, self._config.status_at)
        if not isinstance(told, str | bool | int):
            raise _BadError("malformed")
        return (str(told) if isinstance(told, str) else str(told).lower()) in self._config.good

    def _numbered(self, document: object) -> int:
        """Return how many messages are missing just before this one.

        A number that goes back by more than a message may be overtaken by is a new start.
        """
        if self._config.sequence_at is None:
            return 0
        sequence = _count(self._told(document, self._config.sequence_at))
        if sequence < self._marks.highest - REORDERED_MAX:
            self.restarted()
        verdict, missing = self._marks.judge(str(self._starts), sequence)
        if verdict in (Verdict.REPEAT, Verdict.LATE, Verdict.STRAY):
            raise _BadError(verdict.value)
        return missing

    def _in_time(self, document: object, now_ns: int) -> None:
        if self._config.time_at is None:
            return
        t_ms = _count(self._told(document, self._config.time_at))
        at_ns = self._clock.read(t_ms, 0, now_ns)  # None does not tell how late anything is.
        if at_ns is not None and now_ns - at_ns > LATE_NS:
            raise _BadError("late")

    def _told(self, document: object, pointer: str) -> object:
        value = _at(document, _parts(pointer))
        if value is _ABSENT:
            raise _BadError("malformed")
        return value


REORDERED_MAX: Final = 8
"""Messages that a later one may overtake."""


class _Absent:
    """Says that there is nothing at a place; null is a value."""


_ABSENT: Final = _Absent()


def _parts(pointer: str) -> tuple[str, ...]:
    """Cut a JSON Pointer (RFC 6901) into its parts."""
    return tuple(
        part.replace("~1", "/").replace("~0", "~") for part in pointer.removeprefix("/").split("/")
    )


def _at(document: Any, parts: tuple[str, ...]) -> object:  # noqa: ANN401 - any JSON value.
    for part in parts:
        if isinstance(document, dict):
            document = document.get(part, _ABSENT)
        elif isinstance(document, list) and part.isascii() and part.isdigit() and len(part) < 6:
            document = document[int(part)] if int(part) < len(document) else _ABSENT
        else:
            return _ABSENT
    result: object = document
    return result


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= COUNT_MAX:
        raise _BadError("malformed")
    return value


def _json_number(value: object) -> Decimal | None:
    if value is None:
        return None
    if isinstance(value, str):
        return _number(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _BadError("malformed")
    return _number(str(value))


def _number(text: str) -> Decimal | None:
    """Read a number in text; None where it says that there is no value."""
    word = text.strip()
    if word.lower() in _NOTHING:
        return None
    if len(word) > NUMBER_CHARS_MAX or _NUMBER.fullmatch(word) is None:
        raise _BadError("malformed")
    return Decimal(word)


def _amount(number: Decimal | None, unit: str) -> Decimal | None:
    """Return grams, or counts where the unit is ``raw``."""
    if number is None:
        return None
    amount, limit = (number, RAW_MAX) if unit == "raw" else (number * GRAMS[unit], GRAMS_MAX)
    if abs(amount) > limit:
        raise _BadError("malformed")
    return amount
