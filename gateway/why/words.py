# SPDX-License-Identifier: Apache-2.0
"""A story in words, at most 100 columns wide."""

import textwrap
from collections.abc import Iterable, Sequence
from typing import Final

from gateway.domain.probability import told
from gateway.why.facts import (
    ABOUT_CHANGE,
    SHORT,
    Deed,
    Evidence,
    Fit,
    Moved,
    Near,
    Receipt,
    Story,
    Told,
    Turn,
    deed_of,
    deeds_of,
    latest,
)

WIDTH: Final = 98
NAME_MAX: Final = 34
LIST_MAX: Final = 24
"""Most rows of one part; what is more is counted."""
ENDINGS: Final = {
    "unattended": "no explanation was made: nobody was near who could have done it",
    "settled at once": "settled at once",
}


def tell(story: Story) -> str:
    """Return a story as lines."""
    teller = _Teller(story)
    teller.head()
    if story.change is not None:
        teller.change()
    else:
        teller.other()
    for note in story.notes:
        teller.part("Note", [note])
    return "\n".join(_printable(line) for line in teller.lines) + "\n"


def _printable(text: str) -> str:
    """Return a text that cannot command a terminal, whatever names came over a wire."""
    return "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text
    )


class Namer:
    """Says who, what and which."""

    def __init__(self, names: dict[str, str]) -> None:
        self._names = names

    def product(self, gtin: str) -> str:
        """Return what a product is called."""
        if not gtin:
            return "something unknown"
        name = self._names.get(gtin, gtin)
        return name if len(name) <= NAME_MAX else f"{name[: NAME_MAX - 1]}…"

    @staticmethod
    def who(session: str | None) -> str:
        """Return a visit as ``tail`` shows it."""
        return f"[{session[:SHORT]}]" if session else "nobody known"

    def deed(self, deed: Deed, *, place: bool = True) -> str:
        """Return an act as a sentence without its full stop."""
        who = self.who(deed.session) if deed.session else "somebody unknown"
        verb = "took" if deed.direction == "pick" else "put back"
        if not deed.session and deed.direction == "put-back":
            verb = "brought"
        what = f"{deed.quantity} x {self.product(deed.gtin)}" if deed.gtin else "something unknown"
        where = f" at {deed.plate}" if place else ""
        astray = ", where it does not belong" if deed.misplaced and place else ""
        return f"{who} {verb} {what}{where}{astray}"

    def deeds(self, deeds: Sequence[Deed], *, place: bool = True) -> str:
        """Return all that was done."""
        return "; ".join(self.deed(one, place=place) for one in deeds) or "nothing was moved"


class _Teller:
    def __init__(self, story: Story) -> None:
        self._story = story
        self._say = Namer(story.names)
        self.lines: list[str] = []

    def part(self, title: str, rows: Iterable[str]) -> None:
        """Add a part: a title, and rows under it."""
        rows = list(rows)
        if not rows:
            return
        self.lines += ["", title]
        for row in rows[:LIST_MAX]:
            body = row.lstrip(" ")
            deep = 2 + len(row) - len(body)
            self.lines += textwrap.wrap(
                body,
                WIDTH,
                initial_indent=" " * deep,
                subsequent_indent=" " * (deep + 4),
                break_on_hyphens=False,
                drop_whitespace=True,
            )
        if len(rows) > LIST_MAX:
            self.lines.append(f"  and {len(rows) - LIST_MAX} more")

    def head(self) -> None:
        """Say what it is about."""
        event = self._story.event
        day, _, clock = event.time.partition("T")
        self.lines.append(f"{event.name} {event.id}")
        about = f"{day} {clock}, {event.subject}; from the {self._story.source}"
        self.lines += textwrap.wrap(about, WIDTH, break_on_hyphens=False)

    # A change.

    def change(self) -> None:
        """Tell the story of a change."""
        story = self._story
        evidence = story.evidence
        final = latest(story.tellings)
        if final is not None:
            deeds = deeds_of(final)
            sure = min((one.probability or 0.0 for one in deeds), default=None)
            words = self._say.deeds(deeds) + (f" ({percent(sure)})" if sure is not None else "")
            self.part("What holds", [words])
        self._when(evidence)
        if evidence is not None:
            self._felt(evidence)
            self._read(evidence)
            self._who(evidence)
            self._explained(evidence)
            self._turned(evidence)
        self._told()
        self._receipts()
        if story.missing:
            self.part("What is not known here", [f"{story.missing}."])

    def _when(self, evidence: Evidence | None) -> None:
        rows = [f"change {self._story.change}"]
        told = next((one for one in self._story.tellings if "started" in one.data), None)
        felt = [one.data["weights"] for one in self._story.tellings if "weights" in one.data]
        if evidence is not None:
            rows.append(
                f"plates began to move at {_clock(evidence.time)}, were still after"
                f" {evidence.lasted_s:.1f} s; decided at {_clock(evidence.decided)}"
            )
            if evidence.reason != "attended":
                rows.append(f"it came to light while nobody looked ({evidence.reason})")
        elif told is not None:
            began, ended = _clock(told.data["started"]), _clock(told.data["ended"])
            rows.append(f"plates began to move at {began}, were still at {ended}")
        if evidence is None:
            rows += [
                f"{one['plate']} felt {one['delta_g']:+.1f} g (sigma {one['sigma_g']:.1f} g)"
                for one in (felt[0] if felt else [])
            ]
        self.part("When and where", rows)

    def _felt(self, evidence: Evidence) -> None:
        rows = [f"{'plate':<20} {'change':>10} {'sigma':>8} {'begins':>8} {'half':>8} {'ends':>8}"]
        rows += [
            f"{one.plate[:20]:<20} {one.delta_g:>+8.1f} g {one.sigma_g:>6.2f} g"
            f" {one.began_s:>6.2f} s {one.half_s:>6.2f} s {one.ended_s:>6.2f} s"
            for one in evidence.felt
        ]
        self._table("What the plates felt", rows)

    def _table(self, title: str, rows: Sequence[str]) -> None:
        """Add rows that are in columns already."""
        self.lines += ["", title, *(f"  {row.rstrip()}" for row in rows[: LIST_MAX + 1])]
        if len(rows) > LIST_MAX + 1:
            self.lines.append(f"  and {len(rows) - LIST_MAX - 1} more")

    def _read(self, evidence: Evidence) -> None:
        rows = []
        for number, one in enumerate(evidence.readings):
            odds = "likeliest" if number == 0 else _odds(one.odds)
            if not one.moves:
                rows.append(f"{odds}: nothing was moved; a hand touched, or the plate shifted")
            several = f"{len(one.moves)} moves, " if len(one.moves) > 1 else ""
            if number:
                alike = dict.fromkeys(self._move(move) for move in one.moves)
                several += "each " if len(alike) < len(one.moves) else ""
                words = "; ".join(alike)
                rows += [f"{odds}: {several}{words}"] if one.moves else []
                continue
            for move in one.moves:
                rows.append(f"{odds}: {several}{self._move(move)}")
                rows += [f"  {self._fit(fit, move)}" for fit in move.fits]
                if not move.fits:
                    rows.append("  nothing that is known weighs like that here")
                several, odds = "", "and"
        self.part("What it was read as", rows)

    @staticmethod
    def _move(move: Moved) -> str:
        return (
            f"{move.total_g:+.0f} g at {move.x_mm:.0f} mm along the shelf, give or take"
            f" {move.slack_mm:.0f} mm ({', '.join(move.plates)})"
        )

    def _fit(self, fit: Fit, move: Moved) -> str:
        odds = "best fit" if fit.odds >= 1.0 else _odds(fit.odds)
        off_g = abs(move.total_g) - fit.weighs_g
        what = f"{fit.quantity} x {self._say.product(fit.gtin)}"
        if fit.session is not None:
            astray = ", misplaced here" if fit.misplaced else ""
            holder = self._say.who(fit.session)
            weighed = f"weighed {fit.weighs_g:.1f} g when taken"
            return f"{odds}: {what} that {holder} held: {weighed}, {_off(off_g, 1)}{astray}"
        astray = ", does not belong here" if fit.misplaced else ""
        weighs = f"should weigh {fit.weighs_g:.0f} g, {_off(off_g, 0)}"
        return f"{odds}: {what}{_standing(fit)}: {weighs}{astray}"

    def _who(self, evidence: Evidence) -> None:
        moves = evidence.readings[0].moves if evidence.readings else []
        for move in moves or [m for read in evidence.readings for m in read.moves][:1]:
            title = "Who was there (share: by hands and feet alone)"
            if len(moves) > 1:
                title += f", for {move.total_g:+.0f} g at {', '.join(move.plates)}"
            if not move.near:
                self.part(title, ["nobody was seen near"])
                continue
            rows = [_columns("person", "visit", "nearest wrist", "feet", "evidence", "share")]
            rows += [self._near(one) for one in move.near]
            rows.append(_columns("", "nobody known", "", "", "", percent(move.nobody)))
            self._table(title, rows)

    def _near(self, one: Near) -> str:
        wrist = "hidden" if one.wrist_mm is None else f"{one.wrist_mm:.0f} mm"
        visit = self._say.who(one.session) if one.session else "none"
        feet, score = f"{one.floor_mm / 1000:.2f} m", f"{one.score:+.1f}"
        return _columns(one.person[:14], visit, wrist, feet, score, percent(one.probability))

    def _explained(self, evidence: Evidence) -> None:
        if not evidence.possibilities:
            self.part("How it was explained", [ENDINGS.get(evidence.ended, evidence.ended)])
            return
        likely = [one for one in evidence.possibilities if one.probability >= 0.0005]
        rows = [f"{percent(one.probability)}  {self._say.deeds(one.deeds)}" for one in likely]
        shown = sum(one.probability for one in likely)
        if shown < 0.9995:
            rows.append(f"{percent(1.0 - shown)}  anything else")
        self.part(f"How it was explained at {_clock(evidence.decided)}", rows)

    def _turned(self, evidence: Evidence) -> None:
        rows = []
        for turn in evidence.turns:
            rows.append(
                f"{_clock(turn.time)}, {turn.at_s:.1f} s after it began: {self._cause(turn)}"
            )
            for shift in turn.shifts:
                what = self._say.deeds(evidence.possibilities[shift.possibility].deeds)
                rows.append(f"  {percent(shift.before)} to {percent(shift.after)}: {what}")
        if evidence.possibilities:
            if not rows:
                rows.append("nothing moved it by more than 5 points")
            rows.append(evidence.ended)
        self.part("What changed that later", rows)

    def _cause(self, turn: Turn) -> str:
        said = [
            f"{one.name}{f' of change {one.change}' if one.change else ''}: {self._what(one)}"
            for one in turn.causes
            if one.change is not None
        ]
        silent = set(turn.changes) - {one.change for one in turn.causes}
        said += [f"change {one} was decided, of which nothing was told" for one in sorted(silent)]
        said += [
            f"{one.name} {self._say.who(one.session)}" for one in turn.causes if one.change is None
        ]
        return "; ".join(said) or "another change was settled"

    def _what(self, told: Told) -> str:
        match told.name:
            case "review.requested":
                return f"asked ({told.data['reason']})"
            case "shelf.changed-unattended":
                return str(told.data["reason"])
            case _:
                return self._say.deeds(deeds_of(told))

    def _told(self) -> None:
        rows = []
        for one in self._story.tellings:
            mark = "*" if one.id == self._story.event.id else "-"
            at = _clock(one.time)
            if one.name == "review.requested":
                rows.append(f"{mark} {at} a person was asked: {one.data['reason']}")
                rows += [
                    f"    {percent(candidate['probability'])}"
                    f"  {self._say.deeds([deed_of(act) for act in candidate['acts']])}"
                    for candidate in one.data["candidates"]
                ]
            elif one.name == "review.resolved":
                words = self._say.deeds(deeds_of(one))
                rows.append(f"{mark} {at} {one.data['by']} decided: {words}")
            elif one.name == "shelf.changed-unattended":
                rows.append(f"{mark} {at} {one.name}: {one.data['reason']}")
            else:
                why = f" ({one.data['reason']})" if "reason" in one.data else ""
                words = self._say.deeds(deeds_of(one))
                sure = [deed.probability or 0.0 for deed in deeds_of(one)]
                share = f", {percent(min(sure))}" if sure else ""
                revision = one.data["revision"]
                rows.append(f"{mark} {at} {one.name}, revision {revision}{why}: {words}{share}")
        asked = {
            one.data["review"] for one in self._story.tellings if one.name == "review.requested"
        }
        done = {one.data["review"] for one in self._story.tellings if one.name == "review.resolved"}
        if asked - done:
            rows.append(f"nobody has decided review {', '.join(sorted(asked - done))} yet")
        self.part("What was told of it (* is what was asked for)", rows)

    def _receipts(self) -> None:
        rows = []
        told = [deed for one in self._story.tellings for deed in deeds_of(one)]
        concerned = {(deed.session, deed.gtin) for deed in told}
        for receipt in self._story.receipts:
            lines = [line for line in receipt.lines if (receipt.session, line.gtin) in concerned]
            words = ", ".join(
                f"{line.quantity} x {self._say.product(line.gtin)} ({percent(line.probability)})"
                for line in lines
            )
            rows.append(f"{self._receipt(receipt)}: {words or 'no line of it'}")
        self.part("Receipts", rows)

    def _receipt(self, receipt: Receipt) -> str:
        why = f" ({receipt.reason})" if receipt.reason else ""
        left = f", {_many(len(receipt.open), 'review')} open" if receipt.open else ""
        who = self._say.who(receipt.session)
        return (
            f"{_clock(receipt.time)} {receipt.name} {who}, revision {receipt.revision}{why}{left}"
        )

    # Other events.

    def other(self) -> None:
        """Tell a shorter story."""
        story = self._story
        data = {
            key: value
            for key, value in story.event.data.items()
            if key not in {"clock", "store_version", "lines", "shopper", "acts", "pairs"}
        }
        self.part("What it says", [f"{key}: {_value(value)}" for key, value in data.items()])
        if story.cause is not None:
            cause = story.cause
            self.part("What made it", [f"input {cause.number}, {cause.input}: {cause.text}"])
        elif story.missing:
            self.part("What made it", [f"the input is not known: {story.missing}."])
        for receipt in story.receipts:
            if receipt.event == story.event.id or story.event.name.startswith("session."):
                self._lines(receipt)
        others = [
            f"{_clock(one.time)} {one.name}{_reason(one)}"
            for one in story.others
            if one.name not in ABOUT_CHANGE
        ]
        about = "visit" if story.event.session else "subject"
        self.part(f"Other events of the same {about}", others)

    def _lines(self, receipt: Receipt) -> None:
        rows = []
        for line in receipt.lines:
            what = line.name or line.gtin
            rows.append(f"{line.quantity} x {what}, {percent(line.probability)}")
            rows += [
                f"  {self._say.deed(deed)}, {percent(deed.probability or 0.0)}: change {change}"
                for change, deed in zip(line.changes, line.deeds, strict=True)
            ]
            if not line.deeds:
                rows.append("  the changes that made it are not kept here any more")
        self.part(self._receipt(receipt), rows or ["nothing was taken"])
        self.part("Reviews that may change it", receipt.open)


def _reason(told: Told) -> str:
    reason = told.data.get("reason")
    return f" ({reason})" if reason else ""


def _value(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(str(one) for one in value[:LIST_MAX]) or "none"
    return "none" if value is None else str(value)


def _standing(fit: Fit) -> str:
    """Return how many units are thought to stand there, where they are counted."""
    if fit.standing is None:
        return ""
    low, high = fit.standing
    if high == 0:
        return " of none that should be left"
    return f" of {low} there" if low == high else f" of {low} to {high} there"


def _columns(*cells: str) -> str:
    person, visit, wrist, feet, evidence, share = cells
    return f"{person:<14} {visit:<12} {wrist:>15} {feet:>9} {evidence:>9} {share:>8}"


def _off(off_g: float, digits: int) -> str:
    """Return how far a weight is from what it should be."""
    shown = f"{off_g:+.{digits}f} g"
    return "which it did" if not float(shown[:-2]) else f"{shown} off"


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _clock(label: str) -> str:
    return label[11:23] or label


def percent(share: float) -> str:
    """Return a probability; never 0 or 100 % for what is only nearly so."""
    share = told(share)  # As events have it, so that both are shown alike.
    if 0.9995 <= share < 1.0:
        return ">99.9%"
    if 0.0 < share < 0.0005:
        return "<0.1%"
    return f"{100.0 * share:.1f}%"


def _odds(odds: float) -> str:
    times = 1.0 / max(odds, 1e-9)
    if times < 1.05:
        return "as likely"
    shown = f"{times:.1f}" if times < 10 else f"{times:.0f}"
    return f"{shown} times less likely"
