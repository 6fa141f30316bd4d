# SPDX-License-Identifier: Apache-2.0
"""Any text protocol: a regular expression with named groups, and what words mean, from settings.

Groups: ``weight`` (needed), ``sign``, ``unit``, ``tare``, ``channel``, and any whose name begins
with ``state``, which hold words such as ``ST`` or ``OL``. The expression has to match the whole
line, without the spaces around it.
"""

import re
import tomllib
from collections.abc import Iterable
from decimal import Decimal
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from drivers.scale.frames import Form, Wire
from drivers.scale.patterns import Pattern, PatternError
from drivers.scale.reading import Flag, Found, Shown, number
from drivers.shipped import names, text_of

Words = Annotated[
    tuple[Annotated[str, Meta(min_length=1, max_length=32)], ...],
    Meta(max_length=16, description='a list of words that the state groups hold, such as ["ST"]'),
]
GROUPS: Final = frozenset({"weight", "sign", "unit", "tare", "channel"})
CHANNELS_MAX: Final = 64


class LinesFormat(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How an unlisted scale's lines are read."""

    pattern: Annotated[
        str, Meta(min_length=1, max_length=1_000, description="a regular expression")
    ]
    end: Annotated[
        str, Meta(max_length=16, description='what ends a record, 16 characters at most, or ""')
    ] = ""
    """Empty: CR or LF. Otherwise a record may hold several lines, 256 bytes in all."""
    stable: Words = ()
    moving: Words = ()
    over: Words = ()
    under: Words = ()
    fault: Words = ()
    gross: Words = ()
    net: Words = ()
    poll: Annotated[
        str, Meta(max_length=32, description='what asks for a weight, such as "P\\r\\n", or ""')
    ] = ""
    """Empty: the scale sends by itself."""


def shipped() -> list[str]:
    """Return the names of the descriptions that come with the product."""
    return names("drivers.scale", "lines")


def load(name: str) -> LinesFormat:
    """Return a description that comes with the product.

    Raises:
        KeyError: There is none of this name.
    """
    if name not in shipped():
        raise KeyError(name)
    return msgspec.convert(tomllib.loads(text_of("drivers.scale", "lines", name)), LinesFormat)


def problem(lines: LinesFormat) -> str | None:
    """Say what is wrong with a description; None when it can be used."""
    try:
        groups = Pattern(lines.pattern).names
    except PatternError as error:
        return f"pattern {error}"
    if "weight" not in groups:
        return "pattern has no group weight. Write (?P<weight>[\\d.]+) where the number stands"
    odd = [name for name in groups if name not in GROUPS and not name.startswith("state")]
    if odd:
        known = ", ".join(sorted(GROUPS))
        return f"pattern has a group {odd[0]}. Known are {known} and state, state2, …"
    words = (*lines.stable, *lines.moving, *lines.over, *lines.under, *lines.fault)
    words = (*words, *lines.gross, *lines.net)
    if words and not any(name.startswith("state") for name in groups):
        return (
            f"{words[0]} is a word of a state, and pattern has no group for it. Write (?P<state>…)"
        )
    for text in (lines.end, lines.poll):
        if any(ord(char) > 255 for char in text):
            return "end and poll are letters beyond U+00FF. Write the bytes as \\u0000 to \\u00ff"
    return None


class _Reader:
    def __init__(self, lines: LinesFormat) -> None:
        self._pattern = Pattern(lines.pattern)
        self._stable = _bytes(lines.stable)
        self._moving = _bytes(lines.moving)
        self._net = _bytes(lines.net)
        self._gross = _bytes(lines.gross)
        self._flags: dict[bytes, Flag] = dict.fromkeys(_bytes(lines.over), "over")
        self._flags |= dict.fromkeys(_bytes(lines.under), "under")
        self._flags |= dict.fromkeys(_bytes(lines.fault), "fault")

    def read(self, match: re.Match[bytes]) -> Found | None:
        """Return what a line says; None where it does not fit."""
        groups = self._pattern.match(match[0].strip())
        if groups is None:
            return None
        words = {text.strip() for name, text in groups.items() if name.startswith("state")}
        stable = _either(words, self._stable, self._moving)
        flags = {self._flags[word] for word in words if word in self._flags}
        if stable is False:
            flags.add("motion")
        channel = number(groups.get("channel", b"0"))
        if channel is None or channel not in range(CHANNELS_MAX):
            return None
        amount: Decimal | None = None
        if not flags & {"over", "under", "fault"}:
            amount = number(groups.get("weight", b""))
            if amount is None:
                return None
            if groups.get("sign", b"").strip() == b"-":
                amount = -amount
        unit = groups.get("unit", b"").decode("latin-1").strip()
        return Shown(
            amount,
            unit or None,
            stable,
            _either(words, self._net, self._gross),
            number(groups["tare"]) if "tare" in groups else None,
            frozenset(flags),
            int(channel),
        )


def _bytes(words: Iterable[str]) -> frozenset[bytes]:
    return frozenset(word.encode("latin-1", "replace") for word in words)


def _either(words: set[bytes], yes: frozenset[bytes], no: frozenset[bytes]) -> bool | None:
    """Tell which of two lists a word is on; where only one is given, the rest is on the other."""
    if words & yes:
        return True
    if words & no:
        return False
    if yes and not no:
        return False
    return True if no and not yes else None


_LINE: Final = re.compile(rb"\A[\x00-\xff]*\Z")


def wire(lines: LinesFormat) -> Wire:
    """Return what a description looks like on the line.

    Raises:
        PatternError: Its expression cannot be used; ``problem`` says so first.
    """
    return Wire(
        forms=(Form(_LINE, _Reader(lines).read),),
        whole=lines.end.encode("latin-1", "replace"),
        # A line may have lost its beginning, and with it digits.
        weak_start=True,
    )
