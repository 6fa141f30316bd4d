# SPDX-License-Identifier: Apache-2.0
"""TOML documents whose every key knows its line, and the problems found in them.

``tomllib`` says what a file means but not where it says it, so a small scanner walks the same
text again and notes the line of every key. The scanner only ever sees text that ``tomllib``
accepted.
"""

import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

FILE_BYTES_MAX: Final = 4 * 1024 * 1024
PROBLEMS_MAX: Final = 100

KeyPath = tuple[str | int, ...]


Severity = Literal["error", "warning", "note"]
"""An error keeps from starting, a warning is told at each start, a note only by a check."""


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One thing wrong with a file, and what to do about it."""

    file: str
    line: int | None
    """Line in ``file``, from 1; None when the problem has no place in it."""
    key: str
    """For example ``product[2].unit_g``, counted from 0; empty when it is the whole file."""
    problem: str
    remedy: str
    severity: Severity = "error"

    def __str__(self) -> str:
        """Return ``file:line: key: problem. Remedy``, marked when it is no error."""
        return self.text if self.severity == "error" else f"{self.severity}: {self.text}"

    @property
    def text(self) -> str:
        """Return ``file:line: key: problem. Remedy``, as editors can jump to."""
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        thing = f"{place}: {self.key}" if self.key else place
        return f"{thing}: {self.problem}. {self.remedy}"


class ConfigError(Exception):
    """A settings or store file cannot be used; ``problems`` lists everything found in it."""

    def __init__(self, problems: list[Problem]) -> None:
        shown = [str(problem) for problem in problems[:PROBLEMS_MAX]]
        if len(problems) > PROBLEMS_MAX:
            shown.append(f"and {len(problems) - PROBLEMS_MAX} more")
        super().__init__("\n".join(shown))
        self.problems = problems


@dataclass(frozen=True)
class Document:
    """One TOML file: what it means and where it says so."""

    path: Path
    data: dict[str, Any]
    lines: dict[KeyPath, int]


@dataclass
class Problems:
    """Collects what is wrong, in the order found."""

    found: list[Problem] = field(default_factory=list)

    def add(
        self,
        where: "Where",
        problem: str,
        remedy: str,
        *,
        severity: Severity = "error",
    ) -> None:
        """Note one problem at a place."""
        self.found.append(
            Problem(
                file=str(where.document.path),
                line=where.line,
                key=where.key,
                problem=problem,
                remedy=remedy,
                severity=severity,
            )
        )

    @property
    def errors(self) -> list[Problem]:
        """Return the problems that make a file unusable."""
        return [problem for problem in self.found if problem.severity == "error"]


@dataclass(frozen=True)
class Where:
    """A place in a document."""

    document: Document
    path: KeyPath = ()

    def at(self, *keys: str | int) -> "Where":
        """Return the place of a key or index below this one."""
        return Where(self.document, (*self.path, *keys))

    @property
    def line(self) -> int | None:
        """Return the line of the key, or of the nearest table around it that has one."""
        for end in range(len(self.path), 0, -1):
            line = self.document.lines.get(self.path[:end])
            if line is not None:
                return line
        return None

    @property
    def key(self) -> str:
        """Return the path as people write it."""
        text = ""
        for part in self.path:
            text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
        return text


def load_document(path: Path) -> Document:
    """Read one TOML file.

    Raises:
        ConfigError: It cannot be read, is too large, is not UTF-8 or is not TOML.
    """
    text = read_text(path)
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"\(at line (\d+), column \d+\)", str(error))
        line = int(found[1]) if found else len(text.rstrip().splitlines())
        problem = re.sub(r" \(at .*\)$", "", str(error))
        remedy = "Correct the TOML; text needs quotes and every bracket its pair"
        if problem.startswith("Unescaped"):
            remedy = "Write the text in single quotes, which keep backslashes as they are"
        raise _unreadable(path, line, f"not TOML: {problem}", remedy) from error
    except RecursionError as error:
        raise _unreadable(path, None, "nested too deeply", "Use flat tables") from error
    except ValueError as error:  # Python reads no integer of more than 4,300 digits.
        raise _unreadable(path, None, f"not TOML: {error}", "Write a smaller number") from error
    return Document(path=path, data=data, lines=_Scanner(text.replace("\r\n", "\n")).scan())


def read_text(path: Path) -> str:
    """Read a text file of at most ``FILE_BYTES_MAX`` bytes; a byte order mark is dropped.

    Raises:
        ConfigError: It cannot be read, is too large or is not UTF-8.
    """
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        remedy = "Check the path and its permissions"
        raise _unreadable(path, None, f"cannot be read: {reason}", remedy) from error
    if len(content) > FILE_BYTES_MAX:
        remedy = "Give it in pieces with include"
        raise _unreadable(path, None, f"larger than {FILE_BYTES_MAX} bytes", remedy)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise _unreadable(path, line, "not UTF-8", "Save the file as UTF-8") from error


def _unreadable(path: Path, line: int | None, problem: str, remedy: str) -> ConfigError:
    return ConfigError([Problem(file=str(path), line=line, key="", problem=problem, remedy=remedy)])


class _Scanner:
    """Notes the line of every table, key and array element of a valid TOML text."""

    _BARE_END: Final = re.compile(r"[,\]}\n#]")
    _BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
    _BLANK: Final = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._lines: dict[KeyPath, int] = {}
        self._tables: dict[KeyPath, int] = {}
        self._line = 1
        self._counted_to = 0

    def scan(self) -> dict[KeyPath, int]:
        """Return the line of each path, from 1."""
        table: KeyPath = ()
        self._blank()
        while self._at < len(self._text):
            if self._text.startswith("[", self._at):
                table = self._header()
            else:
                self._pair(table)
            self._blank()
        return self._lines

    def _note(self, path: KeyPath) -> None:
        self._line += self._text.count("\n", self._counted_to, self._at)
        self._counted_to = self._at
        self._lines.setdefault(path, self._line)

    def _blank(self) -> None:
        found = self._BLANK.match(self._text, self._at)
        assert found is not None
        self._at = found.end()

    def _spaces(self) -> None:
        while self._at < len(self._text) and self._text[self._at] in " \t":
            self._at += 1

    def _header(self) -> KeyPath:
        many = self._text.startswith("[[", self._at)
        start = self._at
        self._at += 2 if many else 1
        *before, last = self._key()
        end, self._at = self._at + (2 if many else 1), start
        path: KeyPath = ()
        for key in before:
            path = (*path, key)
            self._note(path)
            if path in self._tables:
                path = (*path, self._tables[path] - 1)
        path = (*path, last)
        self._note(path)
        if many:
            index = self._tables.get(path, 0)
            self._tables[path] = index + 1
            path = (*path, index)
            self._note(path)
        self._at = end
        return path

    def _pair(self, table: KeyPath) -> None:
        start = self._at
        keys = self._key()
        end, self._at = self._at, start
        path = table
        for key in keys:
            path = (*path, key)
            self._note(path)
        self._at = end + 1  # Past the equals sign.
        self._spaces()
        self._value(path)

    def _key(self) -> list[str]:
        """Read a dotted key and the blanks around it; stop at what follows."""
        keys = []
        while True:
            self._spaces()
            if self._text[self._at] in "\"'":
                keys.append(self._string())
            else:
                found = self._BARE_KEY.match(self._text, self._at)
                assert found is not None
                keys.append(found[0])
                self._at = found.end()
            self._spaces()
            if not self._text.startswith(".", self._at):
                return keys
            self._at += 1

    def _string(self) -> str:
        """Skip a string; return a key's text (only keys need it)."""
        start, quote = self._at, self._text[self._at]
        if self._text.startswith(quote * 3, start):
            self._at = self._close(start + 3, quote * 3)
            while self._text.startswith(quote, self._at):  # Quotes may touch the end.
                self._at += 1
            return ""
        self._at = self._close(start + 1, quote)
        literal = self._text[start : self._at]
        return str(tomllib.loads(f"key = {literal}")["key"])

    def _close(self, at: int, quotes: str) -> int:
        while not self._text.startswith(quotes, at):
            at += 2 if quotes[0] == '"' and self._text[at] == "\\" else 1
        return at + len(quotes)

    def _value(self, path: KeyPath) -> None:
        first = self._text[self._at]
        if first in "\"'":
            self._string()
        elif first == "[":
            self._array(path)
        elif first == "{":
            self._inline(path)
        else:
            found = self._BARE_END.search(self._text, self._at)
            self._at = found.start() if found else len(self._text)

    def _array(self, path: KeyPath) -> None:
        self._at += 1
        index = 0
        self._blank()
        while self._text[self._at] != "]":
            self._note((*path, index))
            self._value((*path, index))
            index += 1
            self._blank()
            if self._text[self._at] == ",":
                self._at += 1
                self._blank()
        self._at += 1

    def _inline(self, path: KeyPath) -> None:
        self._at += 1
        self._blank()
        while self._text[self._at] != "}":
            self._pair(path)
            self._blank()
            if self._text[self._at] == ",":
                self._at += 1
                self._blank()
        self._at += 1
