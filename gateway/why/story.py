# SPDX-License-Identifier: Apache-2.0
"""A story from its sources: a journal alone, or a database with a journal where there is one."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import msgspec

from gateway.config import Settings
from gateway.domain.inputs import (
    AnyInput,
    Command,
    DeviceInput,
    DeviceStatus,
    Dropped,
    EntryScanned,
    GatewayStarted,
    GatewayStopping,
    LinkState,
    ProductScanned,
    ScanRejected,
    Tick,
)
from gateway.journal import JournalError, segments
from gateway.why.facts import (
    RECEIPTS,
    Cause,
    Deed,
    Evidence,
    Line,
    Receipt,
    Story,
    Told,
    WhyError,
    deeds_of,
)
from gateway.why.recall import recall
from gateway.why.records import Index, Records, Seen, check_id, choose, covering

OTHERS_MAX: Final = 40
SESSIONS_MAX: Final = 50
DEVICES: Final = ("shelf/", "camera/", "scanner/", "door/")
NO_JOURNAL: Final = (
    "weights and hands are not kept without a journal. For later events, add a table [journal] with"
    " a directory to the settings (docs/settings.md)"
)


def from_journal(wanted: str, paths: Sequence[Path]) -> Story:
    """Return an event's story as a journal tells it.

    Raises:
        WhyError: There is no such event, or more than one.
        OSError: A file cannot be read.
        JournalError: A file is no journal.
    """
    wanted = check_id(wanted)
    index = Index(paths)
    event = choose(wanted, index.events, index.changes, f"the journal {paths[0].parent}")
    related = _related(event, index.events)
    story = _gather(event, related, index.names, f"journal {paths[0].parent}")
    return _with_journal(story, index)


def from_database(wanted: str, settings: Settings, names: Mapping[str, str]) -> Story:
    """Return an event's story as a gateway's database tells it, and its journal, if it has one.

    Args:
        wanted: An event's, a change's or a review's id, or the beginning of one.
        settings: Of the daemon.
        names: Of products, by GTIN, where they are known.

    Raises:
        WhyError: There is no such event, or more than one.
        DatabaseError: The database cannot be read.
    """
    wanted = check_id(wanted)
    path = Path(settings.database)
    with closing(Records(path)) as records:
        event = records.find(wanted)
        related = _of_database(event, records)
        known = {**records.product_names(), **names}
    story = _gather(event, related, known, f"database {path}")
    if settings.journal is None:
        return msgspec.structs.replace(story, missing=NO_JOURNAL)
    directory = Path(settings.journal.directory)
    try:
        paths = covering(segments(directory), [event, *story.tellings])
        if paths:
            with _quiet():
                return _with_journal(story, Index(paths), compare=True)
    except (OSError, JournalError) as error:
        missing = f"the journal {directory} cannot be replayed: {error}"
        return msgspec.structs.replace(story, missing=missing)
    remedy = "Raise megabytes or hours of [journal] in the settings to keep more"
    return msgspec.structs.replace(
        story, missing=f"the journal {directory} no longer covers it. {remedy}"
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Let the journal not warn of a segment that ends early: a daemon is still writing it."""
    teller = logging.getLogger("gateway.journal")
    before = teller.level
    teller.setLevel(logging.ERROR)
    try:
        yield
    finally:
        teller.setLevel(before)


def _of_database(event: Told, records: Records) -> list[Told]:
    """Return the events that have to do with one, in order."""
    words = [word for word in (event.change, event.session) if word is not None]
    if not words and event.subject.startswith(DEVICES):
        words = [event.subject]
    found = records.about(words) or [event]
    if event.change is not None:
        sessions = {deed.session for one in found for deed in deeds_of(one) if deed.session}
        words += sorted(sessions)[:SESSIONS_MAX]
        found = records.about(words)
    return _related(event, found)


def _related(event: Told, events: Sequence[Told]) -> list[Told]:
    """Return the events that have to do with one, in their order."""
    change = event.change
    about = [one for one in events if change is not None and one.change == change]
    sessions = {deed.session for one in about for deed in deeds_of(one) if deed.session}
    sessions |= {event.session} if event.session is not None else set()
    return [
        one
        for one in events
        if one.id == event.id
        or one in about
        or one.session in sessions
        or (event.session is not None and any(d.session in sessions for d in deeds_of(one)))
        or (change is None and event.session is None and one.subject == event.subject)
        or (change is not None and any(d.session in sessions for d in deeds_of(one)))
    ]


def _gather(event: Told, related: Sequence[Told], names: Mapping[str, str], source: str) -> Story:
    change = event.change
    tellings = [one for one in related if change is not None and one.change == change]
    receipts = [receipt for receipt in _receipts(related) if _matters(event, receipt, tellings)]
    others = [
        one
        for one in related
        if one.id != event.id and one.change is None and one.name not in RECEIPTS
    ]
    if change is not None:
        others = []
    said = {
        line["gtin"]: line["name"]
        for one in related
        if one.name in RECEIPTS
        for line in one.data["lines"]
        if line["name"]
    }
    return Story(
        event=event,
        source=source,
        names=_named({**said, **names}, tellings, receipts),
        change=change,
        tellings=tellings,
        receipts=receipts,
        others=others[-OTHERS_MAX:],
    )


def _named(
    names: Mapping[str, str], tellings: Iterable[Told], receipts: Iterable[Receipt]
) -> dict[str, str]:
    """Return the names of the products that are spoken of."""
    gtins = {deed.gtin for one in tellings for deed in deeds_of(one)}
    gtins |= {
        act["gtin"]
        for one in tellings
        for candidate in one.data.get("candidates", [])
        for act in candidate["acts"]
    }
    gtins |= {line.gtin for one in receipts for line in one.lines}
    return {gtin: names[gtin] for gtin in sorted(gtins) if names.get(gtin)}


def _matters(event: Told, receipt: Receipt, tellings: Iterable[Told]) -> bool:
    if event.change is None:
        return True
    wanted = {(deed.session, deed.gtin) for one in tellings for deed in deeds_of(one)}
    sessions = {session for session, _ in wanted}
    return receipt.session in sessions or any(
        one.data.get("review") in receipt.open for one in tellings
    )


def _receipts(events: Sequence[Told]) -> list[Receipt]:
    """Return receipts, each line with the acts that had made it by then."""
    told: dict[str, Told] = {}
    found = []
    for one in events:
        if one.change is not None and "revision" in one.data:
            told[one.change] = one
        if one.name not in RECEIPTS or one.session is None:
            continue
        made: dict[str, list[tuple[str, Deed]]] = {}
        for change, telling in told.items():
            for deed in deeds_of(telling):
                if deed.session == one.session:
                    made.setdefault(deed.gtin, []).append((change, deed))
        found.append(
            Receipt(
                event=one.id,
                name=one.name,
                time=one.time,
                session=one.session,
                revision=one.data["revision"],
                reason=one.data.get("reason"),
                lines=[
                    Line(
                        gtin=line["gtin"],
                        name=line["name"],
                        quantity=line["quantity"],
                        probability=line["probability"],
                        deeds=[deed for _, deed in made.get(line["gtin"], [])],
                        changes=[change for change, _ in made.get(line["gtin"], [])],
                    )
                    for line in one.data["lines"]
                ],
                open=list(one.data["open"]),
            )
        )
    return found


# The journal's part.


def _with_journal(story: Story, index: Index, *, compare: bool = False) -> Story:
    """Add what a journal tells: the input, and what a change was judged by."""
    made = {one.told.id: one for one in index.made}
    wanted = [story.event, *story.tellings]
    if compare and not any(one.id in made for one in wanted):
        gone = f"the journal {index.paths[0].parent} does not hold it (any more)"
        return msgspec.structs.replace(story, missing=gone)
    notes = []
    if any(one.id in made and made[one.id].told.data != one.data for one in wanted if compare):
        notes.append(
            "the journal, replayed by this version, tells it otherwise than it was told: what"
            " follows from the replay is not what decided it then"
        )
    caused = index.cause(story.event)
    cause = Cause(caused[0], type(caused[1]).__name__, _said(caused[1])) if caused else None
    seen = index.seen(next((one for one in wanted if one.id in made), story.event))
    if story.change is None:
        return msgspec.structs.replace(story, cause=cause, notes=notes)
    evidence = recall(_needed(story, index, seen), seen) if seen is not None else None
    missing: str | None = None
    if evidence is None:
        missing = "the journal begins after the change was decided. Give earlier segments too"
    return msgspec.structs.replace(
        story,
        cause=cause,
        evidence=evidence,
        missing=missing,
        notes=notes,
        names={**story.names, **_spoken_of(evidence, index.names)},
    )


def _needed(story: Story, index: Index, seen: Seen) -> list[Path]:
    """Return the segments from shortly before a change to the last event about it."""
    about = {one.id for one in story.tellings} | {one.event for one in story.receipts}
    last = max((one.segment for one in index.made if one.told.id in about), default=seen.segment)
    return index.paths[max(seen.segment - 1, 0) : max(last, seen.segment) + 2]


def _spoken_of(evidence: Evidence | None, names: Mapping[str, str]) -> dict[str, str]:
    if evidence is None:
        return {}
    gtins = {fit.gtin for read in evidence.readings for move in read.moves for fit in move.fits}
    gtins |= {deed.gtin for one in evidence.possibilities for deed in one.deeds}
    gtins |= {
        deed.gtin for turn in evidence.turns for told in turn.causes for deed in deeds_of(told)
    }
    return {gtin: names[gtin] for gtin in sorted(gtins) if names.get(gtin)}


def _said(item: AnyInput) -> str:
    """Return what an input says, in a few words; never a token or whose it was."""
    said = type(item).__name__
    match item:
        case Tick():
            said = "time passed"
        case EntryScanned() | ProductScanned() | ScanRejected():
            said = _scan_said(item)
        case DeviceStatus():
            said = f"{item.device} is {item.state}{f' ({item.reason})' if item.reason else ''}"
        case Dropped():
            said = f"{item.count} inputs of {item.device} were dropped: {item.reason}"
        case LinkState():
            said = f"the uplink is {'online' if item.online else 'offline'}"
        case Command():
            said = f"the command {item.name} {item.id} from upstream"
        case GatewayStarted():
            said = f"the daemon {item.version} started"
        case GatewayStopping():
            said = f"the daemon was asked to stop ({item.reason})"
        case DeviceInput():
            said = f"message {item.seq} of {item.device}"
    return said


def _scan_said(item: EntryScanned | ProductScanned | ScanRejected) -> str:
    if isinstance(item, EntryScanned):
        return f"a token was scanned at {item.device}: {item.verdict}"
    if isinstance(item, ProductScanned):
        return f"the code {item.code} was scanned at {item.device}"
    return f"a scan at {item.device} was rejected: {item.reason}"


def require_change(story: Story) -> Evidence:
    """Return what a picture is made of.

    Raises:
        WhyError: There is nothing to draw.
    """
    if story.change is None:
        problem = f"{story.event.name} is about no change of weight: there is nothing to draw"
        raise WhyError(f"--plot: {problem}. Ask for an item.picked, or leave --plot out")
    if story.evidence is None:
        raise WhyError(f"--plot: nothing to draw: {story.missing}")
    return story.evidence
