# SPDX-License-Identifier: Apache-2.0
"""Receipts held against the truth: what an integrator stored beside what shoppers really took."""

import itertools
import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from gateway.domain.event_types import name_of
from gateway.simulator.stock import TrueAct
from gateway.simulator.witness import Witness

Interval = tuple[int, int]
"""From and to: CLOCK_BOOTTIME, nanoseconds."""


@dataclass(slots=True)
class ShopperReceipts:
    """All receipts of one shopper added up, the last revision of each.

    Attributes:
        lines: Units by GTIN.
        open: Reviews that may still change it.
    """

    lines: Counter[str] = field(default_factory=Counter)
    open: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class OpenReview:
    """Something that a person is asked to decide.

    Attributes:
        name: Of the review.
        plates: That felt the change.
        text: What it is about, for people.
    """

    name: str
    plates: frozenset[str]
    text: str


@dataclass(frozen=True, slots=True)
class Books:
    """What an integrator concludes from its events."""

    receipts: dict[str, ShopperReceipts]
    open_reviews: list[OpenReview]
    sessions: dict[str, str]
    """Shopper by session."""
    unclosed: set[str]
    """Shoppers of a visit whose cart is not closed: one whose scan seemed unheard has two."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One shopper's receipt, judged."""

    shopper: str
    right: bool
    note: str


def read_payloads(database: Path) -> list[bytes]:
    """Return the CloudEvents that an integrator's database holds, in the order of their arrival."""
    return [payload for (payload,) in _rows(database, "SELECT payload FROM events ORDER BY rowid")]


def read_ids(database: Path, where: str = "true") -> set[str]:
    """Return the ids of events in a database of either side.

    Args:
        database: A file that may not be there yet.
        where: An SQL condition on the rows; part of the program, never from outside.
    """
    return {name for (name,) in _rows(database, f"SELECT id FROM events WHERE {where}")}  # noqa: S608


def _rows(database: Path, query: str) -> list[Any]:
    if not database.exists():
        return []
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        connection.execute("PRAGMA busy_timeout = 5000")
        try:
            return connection.execute(query).fetchall()
        except sqlite3.OperationalError:
            return []  # The tables are not made yet.


def keep_books(payloads: Iterable[bytes]) -> Books:
    """Work out receipts and open reviews, as any integrator would."""
    sessions: dict[str, str] = {}
    carts: dict[str, dict[str, Any]] = {}
    reviews: dict[str, OpenReview] = {}
    resolved: set[str] = set()
    for payload in payloads:
        event = msgspec.json.decode(payload)
        name = name_of(event["type"])
        data = event["data"]
        if name == "session.started":
            sessions[data["session"]] = data.get("shopper") or data["session"]
        elif name in ("cart.closed", "cart.adjusted"):
            known = carts.get(data["session"])
            if known is None or known["revision"] < data["revision"]:
                carts[data["session"]] = data
        elif name in ("review.requested", "shelf.changed-unattended") and data["review"]:
            felt = data["weights"]
            reviews[data["review"]] = OpenReview(
                name=data["review"],
                plates=frozenset(one["plate"] for one in felt),
                text=", ".join(f"{one['plate']} {one['delta_g']:+.0f} g" for one in felt)
                + f" ({data['reason']})",
            )
        elif name == "review.resolved":
            resolved.add(data["review"])
    receipts: dict[str, ShopperReceipts] = {}
    for session, cart in carts.items():
        receipt = receipts.setdefault(sessions.get(session, session), ShopperReceipts())
        for line in cart["lines"]:
            receipt.lines[line["gtin"]] += int(line["quantity"])
        receipt.open += cart["open"]
    open_reviews = [review for name, review in reviews.items() if name not in resolved]
    unclosed = {shopper for session, shopper in sessions.items() if session not in carts}
    return Books(receipts, open_reviews, sessions, unclosed)


def judge(
    witness: Witness, books: Books, downtimes: Sequence[Interval] = (), margin_ns: int = 0
) -> list[Verdict]:
    """Hold every receipt against the truth.

    A receipt is right if it equals what the shopper took. While the gateway was down it could not
    see, so acts that overlap a downtime may be missing, if the receipt lists as open a review that
    names their plates.

    Args:
        witness: The truth.
        books: What the integrator concludes.
        downtimes: When the gateway was down.
        margin_ns: How much longer each downtime counts, at both ends.
    """
    verdicts = []
    for shopper in sorted(witness.left_ns, key=lambda name: witness.left_ns[name]):
        receipt = books.receipts.get(shopper)
        if receipt is None:
            verdicts.append(Verdict(shopper, right=False, note="no receipt"))
            continue
        basket = Counter(witness.baskets[shopper])
        if receipt.lines == basket:
            verdicts.append(Verdict(shopper, right=True, note=""))
            continue
        acts = [act for act in witness.acts if act.shopper == shopper]
        listed = [review for review in books.open_reviews if review.name in receipt.open]
        missing = _excused(basket, receipt.lines, _unseen(acts, downtimes, margin_ns), listed)
        if missing is None:
            verdicts.append(Verdict(shopper, right=False, note="not what was taken"))
        else:
            note = f"{missing} act(s) while the gateway was down, open for review"
            verdicts.append(Verdict(shopper, right=True, note=note))
    return verdicts


def _unseen(
    acts: Sequence[TrueAct], downtimes: Sequence[Interval], margin_ns: int
) -> list[TrueAct]:
    """Return acts that overlap a downtime, and later ones that rest on them."""
    unseen: list[TrueAct] = []
    for act in acts:
        overlaps = any(
            act.start_ns <= until + margin_ns and act.end_ns >= since - margin_ns
            for since, until in downtimes
        )
        if overlaps or any(act.gtin == other.gtin for other in unseen):
            unseen.append(act)
    return unseen


def _excused(
    basket: Counter[str],
    lines: Counter[str],
    unseen: Sequence[TrueAct],
    reviews: Sequence[OpenReview],
) -> int | None:
    """Return how many unseen acts explain the difference; None if none do."""
    for count in range(1, len(unseen) + 1):
        for missing in itertools.combinations(unseen, count):
            left = Counter(basket)
            for act in missing:
                left[act.gtin] -= act.quantity if act.direction == "pick" else -act.quantity
            same = all(left[gtin] == lines[gtin] for gtin in {*left, *lines})
            if same and _listed(missing, reviews):
                return count
    return None


def _listed(acts: Sequence[TrueAct], reviews: Sequence[OpenReview]) -> bool:
    """Return whether open reviews name the plates on which these acts left a trace."""
    trace: Counter[tuple[tuple[str, ...], str]] = Counter()
    for act in acts:
        trace[act.plates, act.gtin] += act.quantity if act.direction == "pick" else -act.quantity
    return all(
        any(review.plates & set(plates) for review in reviews)
        for (plates, _), units in trace.items()
        if units
    )
