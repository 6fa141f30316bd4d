# SPDX-License-Identifier: Apache-2.0
"""Regular expressions from a settings file, matched in time that is linear in the line.

A backtracking matcher can be brought to a standstill by an expression that looks harmless and a
line that nearly fits. This one follows all ways at once: its work is at most the length of the
line times the size of the expression. It takes the usual syntax but what cannot be had that way:
no back-references and no looking around. It matches bytes; ``.`` is any of them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

STEPS_MAX: Final = 2_000
"""Size of an expression, repetitions written out."""
DEPTH_MAX: Final = 40
REPEAT_MAX: Final = 256

_DIGITS: Final = frozenset(b"0123456789")
_SPACES: Final = frozenset(b" \t\r\n\f\v")
_WORD: Final = _DIGITS | frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_")
_ALL: Final = frozenset(range(256))
_CLASSES: Final = {
    "d": _DIGITS,
    "D": _ALL - _DIGITS,
    "s": _SPACES,
    "S": _ALL - _SPACES,
    "w": _WORD,
    "W": _ALL - _WORD,
}
_CONTROLS: Final = {"t": 9, "n": 10, "v": 11, "f": 12, "r": 13}


class PatternError(ValueError):
    """An expression cannot be used; says where, why and what to do."""


@dataclass(frozen=True, slots=True)
class _Step:
    """One instruction of the matcher."""

    kind: Literal["byte", "split", "save", "begin", "end", "match"]
    bytes_: frozenset[int] = frozenset()
    to: tuple[int, ...] = ()
    """Where to go on, the preferred way first; for ``save`` the slot."""


_Way = tuple[int, tuple[int, ...]]
"""A step, and where each named group began and ended on the way to it."""
Emit = Callable[["_Program"], None]


@dataclass(slots=True)
class _Program:
    steps: list[_Step] = field(default_factory=list)

    def add(self, step: _Step) -> int:
        if len(self.steps) >= STEPS_MAX:
            raise PatternError(
                f"is too large: more than {STEPS_MAX} steps. Use smaller numbers in {{m,n}}"
            )
        self.steps.append(step)
        return len(self.steps) - 1

    def split(self, first: int, second: int, *, greedy: bool) -> _Step:
        return _Step("split", to=(first, second) if greedy else (second, first))


class Pattern:
    """A compiled expression."""

    def __init__(self, text: str) -> None:
        """Compile.

        Args:
            text: The expression, of characters up to U+00FF, each of which stands for a byte.

        Raises:
            PatternError: It cannot be read, is too large, or wants what is not offered.
        """
        if not text or ord(max(text)) > 255:
            raise PatternError("is empty or holds letters beyond U+00FF. Describe the bytes sent")
        parser = _Parser(text)
        emit = parser.whole()
        self.names: tuple[str, ...] = tuple(parser.names)
        program = _Program()
        emit(program)
        program.add(_Step("match"))
        self._steps = program.steps
        self._takes = [step.bytes_ for step in program.steps]

    def match(self, line: bytes) -> dict[str, bytes] | None:
        """Match the whole of a line; return what the named groups took, those that took part."""
        end = len(line)
        ways = self._follow([(0, (-1,) * (2 * len(self.names)))], 0, end)
        for at, byte in enumerate(line):
            taken = [(number + 1, saved) for number, saved in ways if byte in self._takes[number]]
            if not taken:
                return None
            ways = self._follow(taken, at + 1, end)
        for number, saved in ways:
            if self._steps[number].kind == "match":
                spans = zip(self.names, saved[::2], saved[1::2], strict=True)
                return {name: line[start:end] for name, start, end in spans if end >= 0}
        return None

    def _follow(self, ways: list[_Way], at: int, end: int) -> list[_Way]:
        """Go on from steps that take no byte; return all ways to those that do, in preference."""
        found: list[_Way] = []
        seen: set[int] = set()
        waiting = ways[::-1]
        while waiting:
            number, saved = waiting.pop()
            if number in seen:
                continue
            seen.add(number)
            step = self._steps[number]
            if step.kind in {"byte", "match"}:
                found.append((number, saved))
            elif step.kind == "split":
                waiting += [(to, saved) for to in reversed(step.to)]
            elif step.kind == "save":
                [slot] = step.to
                waiting.append((number + 1, (*saved[:slot], at, *saved[slot + 1 :])))
            elif at == (0 if step.kind == "begin" else end):
                waiting.append((number + 1, saved))
        return found


class _Parser:
    """Reads an expression; each piece becomes a function that writes its steps."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0
        self.names: list[str] = []

    def whole(self) -> Emit:
        emit = self._choice()
        if self._at < len(self._text):
            raise self._error("a ) without its (", "Remove it, or write \\)")
        return emit

    def _error(self, problem: str, remedy: str) -> PatternError:
        return PatternError(f"has {problem} at character {self._at + 1}. {remedy}")

    def _next(self, wanted: str) -> bool:
        """Go past a text if it stands here."""
        if not self._text.startswith(wanted, self._at):
            return False
        self._at += len(wanted)
        return True

    def _choice(self) -> Emit:
        ways = [self._sequence()]
        while self._next("|"):
            ways.append(self._sequence())
        return ways[0] if len(ways) == 1 else _any_of(ways)

    def _sequence(self) -> Emit:
        parts: list[Emit] = []
        while self._at < len(self._text) and self._text[self._at] not in "|)":
            parts.append(self._repeated(self._piece()))
        return _all_of(parts)

    def _repeated(self, emit: Emit) -> Emit:
        marks = {"*": (0, None), "+": (1, None), "?": (0, 1)}
        here = self._text[self._at : self._at + 1]
        if here in marks and here:
            self._at += 1
            least, most = marks[here]
        elif here == "{":
            least, most = self._counts()
        else:
            return emit
        greedy = not self._next("?")
        if self._text[self._at : self._at + 1] in {"*", "+", "?", "{"}:
            raise self._error("a repetition of a repetition", "Put the inner one into (?:…)")
        return _repeat(emit, least, most, greedy=greedy)

    def _counts(self) -> tuple[int, int | None]:
        end = self._text.find("}", self._at)
        inner = self._text[self._at + 1 : end] if end >= 0 else ""
        low, comma, high = inner.partition(",")
        numbers = [part for part in (low, high) if part]
        if not low or not all(part.isascii() and part.isdigit() for part in numbers):
            raise self._error("a { that is no repetition", "Write {m}, {m,} or {m,n}, or \\{")
        least = int(low[:6])
        most = (int(high[:6]) if high else None) if comma else least
        if max(least, most or 0) > REPEAT_MAX or (most is not None and most < least):
            raise self._error(
                "a repetition out of range", f"Give at most {REPEAT_MAX}, least first"
            )
        self._at = end + 1
        return least, most

    def _piece(self) -> Emit:
        char = self._text[self._at]
        if char == "(":
            return self._group()
        if char == "[":
            return _byte(self._class())
        if char in "*+?{":
            raise self._error(f"a {char} with nothing before it", f"Write \\{char} for the sign")
        if char == "\\":
            return _byte(self._escape())
        self._at += 1
        if char in "^$":
            return _at_edge("begin" if char == "^" else "end")
        return _byte(_ALL if char == "." else frozenset({ord(char)}))

    def _group(self) -> Emit:
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise self._error("groups too deep in each other", "Write it more simply")
        slot = None
        if self._next("(?P<"):
            slot = self._name()
        elif not self._next("(?:"):
            if self._text.startswith("(?", self._at):
                raise self._error(
                    "a (? that is not offered", "Use (?P<name>…) and (?:…); nothing looks around"
                )
            self._at += 1
        emit = self._choice()
        if not self._next(")"):
            raise self._error("a ( without its )", "Close it")
        self._depth -= 1
        return emit if slot is None else _kept(slot, emit)

    def _name(self) -> int:
        end = self._text.find(">", self._at)
        name = self._text[self._at : end] if end >= 0 else ""
        if not name.isidentifier() or name in self.names:
            raise self._error("a group without a name of its own", "Write (?P<name>…), each once")
        self._at = end + 1
        self.names.append(name)
        return len(self.names) - 1

    def _escape(self) -> frozenset[int]:
        char = self._text[self._at + 1 : self._at + 2]
        if char == "x":
            digits = self._text[self._at + 2 : self._at + 4]
            if len(digits) != 2 or any(digit not in "0123456789abcdefABCDEF" for digit in digits):
                raise self._error("a \\x without two hex digits", "Write \\x02 for the byte 2")
            self._at += 4
            return frozenset({int(digits, 16)})
        known = _CLASSES.get(char)
        if known is None and char in _CONTROLS:
            known = frozenset({_CONTROLS[char]})
        if known is None and (not char or char.isalnum()):
            raise self._error(
                f"\\{char}, which is not offered", "Of letters, \\d \\s \\w \\t \\r \\n \\x00 are"
            )
        self._at += 2
        return frozenset({ord(char)}) if known is None else known

    def _class(self) -> frozenset[int]:
        begun = self._at
        self._at += 1
        negated = self._next("^")
        found: set[int] = set()
        first = True
        while first or not self._text.startswith("]", self._at):
            if self._at >= len(self._text):
                self._at = begun
                raise self._error("a [ without its ]", "Close it, or write \\[")
            first = False
            low = self._member()
            if self._text.startswith("-", self._at) and self._text[
                self._at + 1 : self._at + 2
            ] not in {
                "]",
                "",
            }:
                self._at += 1
                high = self._member()
                if len(low) != 1 or len(high) != 1 or min(low) > min(high):
                    raise self._error(
                        "a range that is none", "Write it as a-z, or \\- for the sign"
                    )
                found.update(range(min(low), min(high) + 1))
            else:
                found |= low
        self._at += 1
        return _ALL - found if negated else frozenset(found)

    def _member(self) -> frozenset[int]:
        if self._text[self._at] == "\\":
            return self._escape()
        self._at += 1
        return frozenset({ord(self._text[self._at - 1])})


def _byte(allowed: frozenset[int]) -> Emit:
    return lambda program: (program.add(_Step("byte", allowed)), None)[1]


def _at_edge(kind: Literal["begin", "end"]) -> Emit:
    return lambda program: (program.add(_Step(kind)), None)[1]


def _all_of(parts: list[Emit]) -> Emit:
    def emit(program: _Program) -> None:
        for part in parts:
            part(program)

    return emit


def _kept(slot: int, inner: Emit) -> Emit:
    def emit(program: _Program) -> None:
        program.add(_Step("save", to=(2 * slot,)))
        inner(program)
        program.add(_Step("save", to=(2 * slot + 1,)))

    return emit


def _any_of(ways: list[Emit]) -> Emit:
    def emit(program: _Program) -> None:
        jumps = []
        for way in ways[:-1]:
            fork = program.add(_Step("split"))
            way(program)
            jumps.append(program.add(_Step("split")))
            program.steps[fork] = _Step("split", to=(fork + 1, len(program.steps)))
        ways[-1](program)
        for jump in jumps:
            program.steps[jump] = _Step("split", to=(len(program.steps),))

    return emit


def _repeat(inner: Emit, least: int, most: int | None, *, greedy: bool) -> Emit:
    def emit(program: _Program) -> None:
        for _ in range(least):
            before = len(program.steps)
            inner(program)
            if len(program.steps) == before:
                return  # Nothing, however often.
        if most is None:
            fork = program.add(_Step("split"))
            inner(program)
            program.add(_Step("split", to=(fork,)))
            after = len(program.steps)
            program.steps[fork] = program.split(fork + 1, after, greedy=greedy)
            return
        forks = []
        for _ in range(most - least):
            forks.append(program.add(_Step("split")))
            inner(program)
        for fork in forks:
            program.steps[fork] = program.split(fork + 1, len(program.steps), greedy=greedy)

    return emit
