# SPDX-License-Identifier: Apache-2.0
"""Whether an integrator has everything, and what it lacks, by sequences and the chain of epochs.

Within an epoch sequences count from 0 without a gap, up to the end that the next start names, or
how far the gateway's status says that it had come; what ``events.dropped`` names is explained. Each
start names the epoch before it, so that the starts make one chain. Where they do not, or where the
gateway tells that its database was another copy, what an epoch held may be known to nobody: then
nothing can be proved, however much is here, and that is said.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Final, Literal

import msgspec

from gateway.simulator.ranges import Asked, Range, ranges_here, size, without

Verdict = Literal["complete", "missing", "unprovable"]
"""
- ``complete``: up to every known end all is here, or given up and told.
- ``missing``: something is not here, or two events claim one place.
- ``unprovable``: nothing is known to be missing, but the end of an epoch is known to nobody.
"""


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """Sequences that are not here, and that no event explains."""

    epoch: str
    first: int
    last: int
    where: Literal["within", "end", "whole"]
    """``end``: behind the last one here, up to what the next start or the status names. ``whole``:
    nothing of the epoch is here, but a later start or the status names it."""
    gone: bool
    """Whether the gateway, asked for them, said that it no longer has them."""

    @property
    def count(self) -> int:
        """Return how many events that is."""
        return self.last + 1 - self.first


class ChainDoubt(msgspec.Struct, frozen=True, kw_only=True):
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


class Recovery(msgspec.Struct, frozen=True, kw_only=True):
    """A ``database.recovered``: the gateway's database was mended, or was another copy."""

    epoch: str
    """Which began with it."""
    reason: str
    complete: bool
    """Whether the gateway could read all that was there."""

    @property
    def forgets(self) -> bool:
        """Whether the gateway may have had events before that it does not know of any more."""
        return self.reason != "corrupt" or not self.complete


class Unknown(msgspec.Struct, frozen=True, kw_only=True):
    """What nobody can know any more."""

    epoch: str
    behind: int | None
    """Whether the epoch held anything behind this sequence. None: what came before the epoch."""
    why: tuple[str, ...]
    """Reasons that the gateway told; none: it told nothing."""


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """What one gateway's events prove."""

    source: str
    epochs: int
    events: int
    dropped: int
    """Events given up by the gateway, and told, that are not here."""
    conflicting: int
    """Events beyond the first under one sequence."""
    gaps: tuple[Gap, ...]
    doubts: tuple[ChainDoubt, ...]
    recoveries: tuple[Recovery, ...] = ()
    unknown: tuple[Unknown, ...] = ()

    @property
    def gapless(self) -> bool:
        """Whether nothing is known to be missing, and nothing conflicts."""
        return not (self.gaps or self.conflicting)

    @property
    def verdict(self) -> Verdict:
        """Return what is proved."""
        if not self.gapless:
            return "missing"
        broken = any(one.kind != "no-start" or not one.explained for one in self.doubts)
        return "unprovable" if self.unknown or broken else "complete"

    @property
    def complete(self) -> bool:
        """Whether all up to every known end is here or told as given up, and no end is unknown."""
        return self.verdict == "complete"

    @property
    def wanted(self) -> list[Gap]:
        """Return what it is worth to ask the gateway for."""
        return [gap for gap in self.gaps if not gap.gone]


class _Epoch:
    """What is known of one epoch."""

    def __init__(self) -> None:
        self.count = 0
        self.distinct = 0
        self.here: list[Range] = []
        self.arrived = 0
        """Order in which its first event came here; 0: none did."""
        self.started = False
        self.before: str | None = None
        self.named: list[tuple[str, int]] = []
        """Starts that name this epoch as the one before them, and its last sequence by them."""
        self.recovered: list[Recovery] = []
        self.reached = -1
        """How far it had come, as the gateway's status said."""
        self.dropped: list[Range] = []
        self.gone: list[Range] = []

    @property
    def last(self) -> int:
        """Return the last sequence here; -1: there is none."""
        return self.here[-1][1] if self.here else -1

    @property
    def end(self) -> int:
        """Return the last sequence known to have been."""
        named = max((last for _, last in self.named), default=-1)
        told = max((last for _, last in self.dropped), default=-1)
        return max(self.last, named, told, self.reached)


class _Start(msgspec.Struct):
    previous_epoch: str | None = None
    previous_sequence: str | None = None


class _Told(msgspec.Struct):
    data: _Start


class _Mended(msgspec.Struct):
    reason: str
    complete: bool = False


class _ToldMended(msgspec.Struct):
    data: _Mended


def prove(database_path: Path | str) -> list[Proof]:
    """Read an integrator's database, which may be in use; one proof for each gateway.

    Raises:
        sqlite3.Error: It is no integrator's database.
    """
    with closing(sqlite3.connect(f"file:{database_path}?mode=ro", uri=True)) as connection:
        connection.isolation_level = None
        connection.execute("PRAGMA busy_timeout = 5000")
        connection.execute("BEGIN")
        return prove_all(connection)


def prove_all(connection: Asked) -> list[Proof]:
    """Prove what an open database of an integrator holds of each gateway."""
    sources = connection.execute(
        "SELECT DISTINCT source FROM epochs UNION SELECT source FROM gateways ORDER BY source"
    ).fetchall()
    return [prove_in(connection, source) for (source,) in sources]


def report(proofs: Iterable[Proof]) -> Iterable[str]:
    """Yield lines for people."""
    for proof in proofs:
        yield f"{proof.source}: {_events(proof.events)} of {_count(proof.epochs, 'epoch')}"
        yield from _missing(proof.gaps)
        if proof.conflicting:
            yield f"  conflict: {_events(proof.conflicting)} beyond the first under one sequence"
        for doubt in proof.doubts:
            names = [f"epoch {name}" for name in doubt.epochs]
            told = ", as the gateway told" if doubt.explained else ""
            yield f"  {doubt.kind}: {', '.join(names)}: {_WHAT[doubt.kind]}{told}"
        for one in proof.recoveries:
            unread = "" if one.complete else ", and not everything could be read"
            yield f"  database.recovered: epoch {one.epoch}: {one.reason}{unread}"
        if proof.dropped:
            yield f"  given up by the gateway, and told: {_events(proof.dropped)}"
        for nobody in proof.unknown:
            yield f"  cannot be proved: {_unknown_to_all(nobody)}"
        if proof.verdict == "unprovable" and not proof.unknown:
            yield "  cannot be proved: the starts make no chain. Ask the operator"
        if proof.verdict != "unprovable":
            yield f"  {'complete' if proof.complete else 'NOT complete'}"


def _missing(gaps: Iterable[Gap]) -> Iterable[str]:
    """Yield a line for each range, whether or not the gateway has part of it."""
    joined: list[list[Gap]] = []
    for gap in gaps:
        before = joined[-1][-1] if joined else None
        if before and (before.epoch, before.last + 1) == (gap.epoch, gap.first):
            joined[-1].append(gap)
        else:
            joined.append([gap])
    for parts in joined:
        whole = (parts[0].first, parts[-1].last)
        which = f"{_range(whole)} ({_events(size([whole]))})"
        gone = [(one.first, one.last) for one in parts if one.gone]
        if gone == [whole]:
            which += ", which the gateway no longer has"
        elif gone:
            which += f", of which the gateway no longer has {', '.join(map(_range, gone))}"
        yield f"  missing: epoch {parts[0].epoch}: {_WHERE[parts[0].where]}{which}"


def _unknown_to_all(one: Unknown) -> str:
    what = f"what epoch {one.epoch} held behind {one.behind}"
    if one.behind is None:
        what = f"what came before epoch {one.epoch}"
    told = "the gateway did not tell why. Ask the operator"
    if one.why:
        told = f"the gateway told why: {', '.join(one.why)}"
    return f"{what} is not known to anybody; {told}"


def _range(one: Range) -> str:
    return str(one[0]) if one[0] == one[1] else f"{one[0]} to {one[1]}"


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _events(count: int) -> str:
    return _count(count, "event")


_WHERE: Final = {"within": "", "end": "its end, ", "whole": "all of it, "}
_WHAT: Final = {
    "fork": "named as the one before by several starts, so the database is a copy",
    "overrun": "the start after it names less than is here, so the database is an older copy",
    "anew": "says to be the first, so the database began anew",
    "no-start": "its start is not here",
    "open-end": "nobody names its end: whether anything came after what is here is unknown",
}


def prove_in(connection: Asked, source: str) -> Proof:
    """Prove what an open database of an integrator holds of one gateway."""
    epochs, current = _read(connection, source)
    gaps = [gap for name, epoch in epochs.items() for gap in _gaps(name, epoch)]
    doubts = list(_doubts(epochs, {gap.epoch for gap in gaps if gap.first == 0}, current))
    given_up = [without(epoch.dropped, epoch.here) for epoch in epochs.values()]
    return Proof(
        source=source,
        epochs=sum(epoch.count > 0 for epoch in epochs.values()),
        events=sum(epoch.count for epoch in epochs.values()),
        dropped=sum(size(ranges) for ranges in given_up),
        conflicting=sum(epoch.count - epoch.distinct for epoch in epochs.values()),
        gaps=tuple(gaps),
        doubts=tuple(doubts),
        recoveries=tuple(one for epoch in epochs.values() for one in epoch.recovered),
        unknown=tuple(_unknown(epochs, doubts)),
    )


def _read(connection: Asked, source: str) -> tuple[dict[str, _Epoch], str | None]:
    """Return every epoch in the order in which they came, and the one the gateway is in.

    Those that are only named come last.
    """
    epochs: defaultdict[str, _Epoch] = defaultdict(_Epoch)
    for name, count, distinct, first, last, arrived in connection.execute(
        "SELECT epoch, count(*), count(DISTINCT sequence), min(sequence), max(sequence), min(rowid)"
        " FROM events WHERE source = ? GROUP BY epoch ORDER BY min(rowid)",
        (source,),
    ):
        one = epochs[name]
        one.count, one.distinct, one.arrived = count, distinct, arrived
        one.here = [(first, last)]
        if distinct != last + 1 - first:
            one.here = ranges_here(connection, source, name)
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
    for name, payload in connection.execute(
        "SELECT epoch, payload FROM events WHERE source = ? AND name = 'database.recovered'"
        " ORDER BY sequence",
        (source,),
    ):
        epochs[name].recovered.append(_recovery(name, payload))
    for name, first, last in connection.execute(
        "SELECT epoch, first, last FROM dropped WHERE source = ?", (source,)
    ):
        epochs[name].dropped.append((first, last))
    for name, first, last in connection.execute(
        "SELECT epoch, first, last FROM gone WHERE source = ?", (source,)
    ):
        epochs[name].gone.append((first, last))
    current = _read_status(connection, source, epochs)
    return dict(epochs), current


def _recovery(epoch: str, payload: bytes) -> Recovery:
    try:
        data = msgspec.json.decode(payload, type=_ToldMended).data
    except ValueError:
        data = _Mended("for no readable reason")
    return Recovery(epoch=epoch, reason=data.reason, complete=data.complete)


def _read_status(connection: Asked, source: str, epochs: defaultdict[str, _Epoch]) -> str | None:
    """Take in how far epochs had come; return the one that the gateway says to be in."""
    for name, sequence in connection.execute(
        "SELECT epoch, sequence FROM reached WHERE source = ?", (source,)
    ):
        epochs[name].reached = sequence
    current = connection.execute(
        "SELECT epoch FROM gateways WHERE source = ?", (source,)
    ).fetchall()
    for (name,) in current:
        epochs[name].reached = max(epochs[name].reached, 0)  # Its start, at least.
        return str(name)
    return None


def _gaps(name: str, epoch: _Epoch) -> Iterable[Gap]:
    """Yield what is missing of an epoch, what the gateway no longer has apart from what it may."""
    missing = without([(0, epoch.end)], [*epoch.here, *epoch.dropped])
    wanted = without(missing, epoch.gone)
    parts = [(first, last, False) for first, last in wanted]
    parts += [(first, last, True) for first, last in without(missing, wanted)]
    for first, last, gone in sorted(parts):
        where: Literal["within", "end", "whole"] = "within"
        if not epoch.count:
            where = "whole"
        elif first > epoch.last:
            where = "end"
        yield Gap(epoch=name, first=first, last=last, where=where, gone=gone)


def _doubts(
    epochs: dict[str, _Epoch], headless: set[str], current: str | None
) -> Iterable[ChainDoubt]:
    for name, epoch in epochs.items():
        if len(epoch.named) > 1:
            told = sum(bool(epochs[start].recovered) for start, _ in epoch.named)
            yield ChainDoubt(
                kind="fork",
                epochs=(name, *(start for start, _ in epoch.named)),
                explained=told >= len(epoch.named) - 1,
            )
        for start, last in epoch.named:
            if last < max(epoch.last, epoch.reached):
                explained = bool(epochs[start].recovered)
                yield ChainDoubt(kind="overrun", epochs=(name, start), explained=explained)
        if epoch.count and not epoch.started and name not in headless:
            told_so = any(first == 0 for first, _ in epoch.dropped)
            yield ChainDoubt(kind="no-start", epochs=(name,), explained=told_so)
    for name in _begun_anew(epochs):
        yield ChainDoubt(kind="anew", epochs=(name,), explained=bool(epochs[name].recovered))
    known = [name for name, one in epochs.items() if one.count or one.reached >= 0]
    leaves = [name for name in known if not epochs[name].named]
    newest = current if current in leaves else leaves[-1] if leaves else None
    ended = [name for name in leaves if name != newest]
    # A start that is missing may name one of them.
    for name in ended[: max(0, len(ended) - len(headless))]:
        why = bool(_reasons_after(epochs, name))
        yield ChainDoubt(kind="open-end", epochs=(name,), explained=why)


def _reasons_after(epochs: dict[str, _Epoch], name: str) -> list[str]:
    """Return why the gateway's database changed, of what came here after an epoch."""
    later = [one for one in epochs.values() if one.arrived > epochs[name].arrived]
    return [told.reason for one in later for told in one.recovered]


def _unknown(epochs: dict[str, _Epoch], doubts: Iterable[ChainDoubt]) -> Iterable[Unknown]:
    """Yield each epoch once whose end nobody knows."""
    why: dict[tuple[str, int | None], list[str]] = {}
    for doubt in doubts:
        name = doubt.epochs[0]
        if doubt.kind == "open-end":
            reasons = _reasons_after(epochs, name)
        elif doubt.kind == "overrun":
            reasons = [one.reason for one in epochs[doubt.epochs[1]].recovered]
        else:  # A fork leaves an open end, and so does what began anew.
            continue
        why.setdefault((name, epochs[name].end), []).extend(reasons)
    for name, epoch in epochs.items():
        reasons = [one.reason for one in epoch.recovered if one.forgets]
        if not (reasons and epoch.started):
            continue
        if epoch.before is None:
            why.setdefault((name, None), []).extend(reasons)
            continue
        before = epochs[epoch.before]
        others = [start for start, _ in before.named if not epochs[start].recovered]
        if not others:  # Otherwise its end is known, and theirs is open.
            why.setdefault((epoch.before, before.end), []).extend(reasons)
    for (name, behind), reasons in why.items():
        yield Unknown(epoch=name, behind=behind, why=tuple(dict.fromkeys(reasons)))


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
