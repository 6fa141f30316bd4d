# SPDX-License-Identifier: Apache-2.0
"""Whether an integrator has everything, and what it lacks, by sequences and the chain of epochs.

Within an epoch sequences count from 0 without a gap, up to the end that the next start names; what
``events.dropped`` names is explained. Each start names the epoch before it, so that the starts make
one chain. Where they do not, somebody changed the gateway's database, and that is told.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Final, Literal

import msgspec

Range = tuple[int, int]
"""First and last sequence, both included."""


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """Sequences that are not here, and that no event explains."""

    epoch: str
    first: int
    last: int
    where: Literal["within", "end", "whole"]
    """``end``: behind the last one here, up to what the next start names. ``whole``: nothing of the
    epoch is here, but a later start names it."""
    gone: bool
    """Whether the gateway, asked for them, said that it no longer has them."""

    @property
    def count(self) -> int:
        """Return how many events that is."""
        return self.last + 1 - self.first


class Doubt(msgspec.Struct, frozen=True, kw_only=True):
    """Where the chain of epochs is not one chain."""

    kind: Literal["fork", "overrun", "anew", "no-start", "open-end"]
    """
    - ``fork``: several starts name the same epoch before them: the database is a copy.
    - ``overrun``: a start names less of the epoch before than is here: an older copy.
    - ``anew``: a start names no epoch before, though others were: the database began anew.
    - ``no-start``: the start of an epoch is not here and is not missing either.
    - ``open-end``: nobody names the end of an epoch that is over.
    """
    epochs: tuple[str, ...]
    """The epoch it is about, and those that name it."""
    explained: bool
    """Whether the gateway told why, by ``database.recovered`` or ``events.dropped``."""


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """What one gateway's events prove."""

    source: str
    epochs: int
    events: int
    dropped: int
    """Events given up by the gateway, and told."""
    conflicting: int
    """Events beyond the first under one sequence."""
    gaps: tuple[Gap, ...]
    doubts: tuple[Doubt, ...]

    @property
    def complete(self) -> bool:
        """Whether everything is here, or its absence is explained."""
        unexplained = any(not doubt.explained for doubt in self.doubts)
        return not (self.gaps or unexplained or self.conflicting)

    @property
    def wanted(self) -> list[Gap]:
        """Return what it is worth to ask the gateway for."""
        return [gap for gap in self.gaps if not gap.gone]


class _Epoch:
    """What is known of one epoch."""

    def __init__(self) -> None:
        self.count = 0
        self.distinct = 0
        self.first = 0
        self.last = -1
        self.arrived = 0
        """Order in which its first event came here; 0: none did."""
        self.started = False
        self.before: str | None = None
        self.named: list[tuple[str, int]] = []
        """Starts that name this epoch as the one before them, and its last sequence by them."""
        self.recovered = False
        self.dropped: list[Range] = []
        self.gone: list[Range] = []

    @property
    def end(self) -> int:
        """Return the last sequence known to have been."""
        named = max((last for _, last in self.named), default=-1)
        told = max((last for _, last in self.dropped), default=-1)
        return max(self.last, named, told)


class _Start(msgspec.Struct):
    previous_epoch: str | None = None
    previous_sequence: str | None = None


class _Told(msgspec.Struct):
    data: _Start


def prove(database_path: Path | str) -> list[Proof]:
    """Read an integrator's database, which may be in use; one proof for each gateway.

    Raises:
        sqlite3.Error: It is no integrator's database.
    """
    with closing(sqlite3.connect(f"file:{database_path}?mode=ro", uri=True)) as connection:
        connection.isolation_level = None
        connection.execute("PRAGMA busy_timeout = 5000")
        connection.execute("BEGIN")
        sources = connection.execute(
            "SELECT DISTINCT source FROM epochs UNION SELECT source FROM gateways ORDER BY source"
        ).fetchall()
        return [prove_in(connection, source) for (source,) in sources]


def report(proofs: Iterable[Proof]) -> Iterable[str]:
    """Yield lines for people."""
    for proof in proofs:
        yield f"{proof.source}: {proof.events} events of {proof.epochs} epochs"
        for gap in proof.gaps:
            which = f"{gap.first} to {gap.last} ({gap.count} events)"
            if gap.gone:
                which += ", which the gateway no longer has"
            yield f"  missing: epoch {gap.epoch}: {_WHERE[gap.where]}{which}"
        if proof.conflicting:
            yield f"  conflict: {proof.conflicting} events beyond the first under one sequence"
        for doubt in proof.doubts:
            names = [f"epoch {name}" for name in doubt.epochs]
            told = ", as the gateway told" if doubt.explained else ""
            yield f"  {doubt.kind}: {', '.join(names)}: {_WHAT[doubt.kind]}{told}"
        if proof.dropped:
            yield f"  given up by the gateway, and told: {proof.dropped} events"
        yield f"  {'complete' if proof.complete else 'NOT complete'}"


_WHERE: Final = {"within": "", "end": "its end, ", "whole": "all of it, "}
_WHAT: Final = {
    "fork": "named as the one before by several starts, so the database is a copy",
    "overrun": "the start after it names less than is here, so the database is an older copy",
    "anew": "says to be the first, so the database began anew",
    "no-start": "its start is not here",
    "open-end": "nobody names its end: whether anything came after what is here is unknown",
}


def prove_in(connection: sqlite3.Connection, source: str) -> Proof:
    """Prove what an open database of an integrator holds of one gateway."""
    epochs = _read(connection, source)
    current = dict(connection.execute("SELECT source, epoch FROM gateways")).get(source)
    gaps = [gap for name in epochs for gap in _gaps(connection, source, name, epochs[name])]
    return Proof(
        source=source,
        epochs=sum(epoch.count > 0 for epoch in epochs.values()),
        events=sum(epoch.count for epoch in epochs.values()),
        dropped=sum(
            last + 1 - first for epoch in epochs.values() for first, last in _union(epoch.dropped)
        ),
        conflicting=sum(epoch.count - epoch.distinct for epoch in epochs.values()),
        gaps=tuple(gaps),
        doubts=tuple(_doubts(epochs, {gap.epoch for gap in gaps if gap.first == 0}, current)),
    )


def _read(connection: sqlite3.Connection, source: str) -> dict[str, _Epoch]:
    """Return every epoch known, in the order in which they came, those only named last."""
    epochs: defaultdict[str, _Epoch] = defaultdict(_Epoch)
    for name, count, distinct, first, last, arrived in connection.execute(
        "SELECT epoch, count(*), count(DISTINCT sequence), min(sequence), max(sequence), min(rowid)"
        " FROM events WHERE source = ? GROUP BY epoch ORDER BY min(rowid)",
        (source,),
    ):
        one = epochs[name]
        one.count, one.distinct, one.first, one.last = count, distinct, first, last
        one.arrived = arrived
    for name, payload in connection.execute(
        "SELECT epoch, payload FROM events WHERE source = ? AND name = 'gateway.started'"
        " ORDER BY sequence",
        (source,),
    ):
        start = msgspec.json.decode(payload, type=_Told).data
        if epochs[name].started:
            continue
        epochs[name].started = True
        if start.previous_epoch is not None and start.previous_sequence is not None:
            epochs[name].before = start.previous_epoch
            epochs[start.previous_epoch].named.append((name, int(start.previous_sequence)))
    for (name,) in connection.execute(
        "SELECT epoch FROM events WHERE source = ? AND name = 'database.recovered'", (source,)
    ):
        epochs[name].recovered = True
    for name, first, last in connection.execute(
        "SELECT epoch, first, last FROM dropped WHERE source = ?", (source,)
    ):
        epochs[name].dropped.append((first, last))
    for name, first, last in connection.execute(
        "SELECT epoch, first, last FROM gone WHERE source = ?", (source,)
    ):
        epochs[name].gone.append((first, last))
    return dict(epochs)


def _gaps(connection: sqlite3.Connection, source: str, name: str, epoch: _Epoch) -> Iterable[Gap]:
    """Yield what is missing of an epoch, what the gateway no longer has apart from what it may."""
    lacking: list[Range] = [(0, epoch.end)]
    if epoch.count:
        lacking = [(0, epoch.first - 1), (epoch.last + 1, epoch.end)]
    if epoch.distinct != epoch.last + 1 - epoch.first:
        lacking[1:1] = connection.execute(
            "SELECT sequence + 1, next - 1 FROM ("
            "SELECT sequence, lead(sequence) OVER (ORDER BY sequence) AS next FROM events"
            " WHERE source = ? AND epoch = ?) WHERE next > sequence + 1",
            (source, name),
        ).fetchall()
    unexplained = _without(lacking, _union(epoch.dropped))
    gone = _union(epoch.gone)
    wanted = _without(unexplained, gone)
    for first, last in sorted(wanted + _without(unexplained, wanted)):
        where: Literal["within", "end", "whole"] = "within"
        if not epoch.count:
            where = "whole"
        elif first > epoch.last:
            where = "end"
        yield Gap(epoch=name, first=first, last=last, where=where, gone=(first, last) not in wanted)


def _union(ranges: Iterable[Range]) -> list[Range]:
    """Return ranges in order, those joined that touch."""
    joined: list[Range] = []
    for first, last in sorted(one for one in ranges if one[0] <= one[1]):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(last, joined[-1][1]))
        else:
            joined.append((first, last))
    return joined


def _without(ranges: list[Range], taken: list[Range]) -> list[Range]:
    """Return what is left of ascending ranges when others, ascending and apart, are taken away."""
    left: list[Range] = []
    for start, last in ranges:
        first = start
        for begin, end in taken:
            if end < first or begin > last:
                continue
            if first < begin:
                left.append((first, begin - 1))
            first = end + 1
        if first <= last:
            left.append((first, last))
    return left


def _doubts(epochs: dict[str, _Epoch], headless: set[str], current: str | None) -> Iterable[Doubt]:
    recovered = [one.arrived for one in epochs.values() if one.recovered]
    for name, epoch in epochs.items():
        if len(epoch.named) > 1:
            told = sum(epochs[start].recovered for start, _ in epoch.named)
            yield Doubt(
                kind="fork",
                epochs=(name, *(start for start, _ in epoch.named)),
                explained=told >= len(epoch.named) - 1,
            )
        for start, last in epoch.named:
            if last < epoch.last:
                yield Doubt(kind="overrun", epochs=(name, start), explained=epochs[start].recovered)
        if epoch.count and not epoch.started and name not in headless:
            told_so = any(first == 0 for first, _ in epoch.dropped)
            yield Doubt(kind="no-start", epochs=(name,), explained=told_so)
    for name in _begun_anew(epochs):
        yield Doubt(kind="anew", epochs=(name,), explained=epochs[name].recovered)
    leaves = [name for name, epoch in epochs.items() if epoch.count and not epoch.named]
    newest = current if current in leaves else leaves[-1] if leaves else None
    for name in leaves:
        if name != newest:
            after = any(arrived > epochs[name].arrived for arrived in recovered)
            yield Doubt(kind="open-end", epochs=(name,), explained=after)


def _begun_anew(epochs: dict[str, _Epoch]) -> list[str]:
    """Return epochs that say to be the first, though another chain was here before them."""
    tops: dict[str, int] = {}
    for name, epoch in epochs.items():
        if epoch.count:
            top = _top(epochs, name)
            tops[top] = min(epoch.arrived, tops.get(top, epoch.arrived))
    oldest = min(tops, key=lambda top: tops[top], default=None)
    return [top for top in tops if top != oldest and epochs[top].started]


def _top(epochs: dict[str, _Epoch], name: str) -> str:
    """Return where a chain begins; one that bites its own tail ends where it was met again."""
    seen = {name}
    while (before := epochs[name].before) is not None and before not in seen:
        seen.add(before)
        name = before
    return name
