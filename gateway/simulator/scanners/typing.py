# SPDX-License-Identifier: Apache-2.0
"""What a scanner that types sends: keys that go down and up, as Linux tells of them.

An event is ``struct input_event`` of linux/input.h; the codes of keys are those of
linux/input-event-codes.h, for the US layout.
"""

import struct
from collections import deque
from collections.abc import Callable
from typing import Final

_EVENT: Final = struct.Struct("@llHHi")
_SYN, _KEY = 0, 1
_DROPPED: Final = 3
_LEFT_CTRL, _LEFT_SHIFT, _ENTER = 29, 42, 28
_REPORT_BYTES: Final = 2 * _EVENT.size
"""A key and the end of its report."""
REPORT_S: Final = 0.001

_ROWS: Final = {
    2: ("1234567890-=", "!@#$%^&*()_+"),
    16: ("qwertyuiop[]", "QWERTYUIOP{}"),
    30: ("asdfghjkl;'`", 'ASDFGHJKL:"~'),
    43: ("\\zxcvbnm,./", "|ZXCVBNM<>?"),
    57: (" ", ""),
}
_KEYS: Final = {
    letter: (first + index, shifted)
    for first, row in _ROWS.items()
    for shifted, letters in enumerate(row)
    for index, letter in enumerate(letters)
}
_GROUP_SEPARATOR: Final = "\x1d"


def typed(text: str, *, entered: bool = True) -> bytes:
    """Return the events of a text, with Enter behind it.

    Raises:
        ValueError: A letter that a US keyboard does not have.
    """
    stream = b"".join(map(_stroke, text))
    return stream + _pressed(_ENTER) if entered else stream


def lost_keys() -> bytes:
    """Return keys of which the kernel dropped some, longer than any scan, with an Enter behind."""
    dropped = _report(_SYN, _DROPPED, 0)
    return typed("garbage " * 150, entered=False) + dropped + _pressed(_ENTER)


def _stroke(letter: str) -> bytes:
    if letter == _GROUP_SEPARATOR:
        return _held(_LEFT_CTRL, _KEYS["]"][0])
    if letter not in _KEYS:
        raise ValueError(f"{letter!r}: no key types it. Give letters of a US keyboard")
    key, shifted = _KEYS[letter]
    return _held(_LEFT_SHIFT, key) if shifted else _pressed(key)


def _held(modifier: int, key: int) -> bytes:
    return _report(_KEY, modifier, 1) + _pressed(key) + _report(_KEY, modifier, 0)


def _pressed(key: int) -> bytes:
    return _report(_KEY, key, 1) + _report(_KEY, key, 0)


def _report(kind: int, code: int, value: int) -> bytes:
    return _EVENT.pack(0, 0, kind, code, value) + _EVENT.pack(0, 0, _SYN, 0, 0)


class Typist:
    """Sends reports one after the other, as fast as a scanner types."""

    def __init__(
        self,
        write: Callable[[bytes], None],
        later: Callable[[float, Callable[[], None]], object],
    ) -> None:
        """Prepare.

        Args:
            write: Sends bytes.
            later: Calls back after so many seconds.
        """
        self._write, self._later = write, later
        self._reports: deque[bytes] = deque()
        self._busy = False

    def write(self, stream: bytes) -> None:
        """Type what ``typed`` returned, behind what is being typed."""
        starts = range(0, len(stream), _REPORT_BYTES)
        self._reports += (stream[start : start + _REPORT_BYTES] for start in starts)
        if not self._busy:
            self._next()

    def stop(self) -> None:
        """Forget what is not typed yet."""
        self._reports.clear()

    def _next(self) -> None:
        self._busy = bool(self._reports)
        if self._busy:
            self._write(self._reports.popleft())
            self._later(REPORT_S, self._next)
