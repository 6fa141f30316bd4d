# SPDX-License-Identifier: Apache-2.0
"""What somebody who sits the exam answers: receipts, and the decisions behind them."""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple


class Billed(NamedTuple):
    """One line of a receipt."""

    quantity: int
    probability: float


class Claim(NamedTuple):
    """One act as it was decided; ``shopper`` is None when nobody is charged."""

    shopper: str | None
    gtin: str
    quantity: int
    direction: Literal["pick", "put-back"]


@dataclass(slots=True)
class Decision:
    """What was concluded of one change of weight.

    Attributes:
        plates: Names of those that felt it.
        since_ns: The plates began to move.
        until_ns: They were still again.
        told_ns: When it was first told.
        claims: What was decided, by the latest word.
        open: It waits for a person, who has to choose.
        probability: Of the best explanation of an open one.
    """

    plates: frozenset[str]
    since_ns: int
    until_ns: int
    told_ns: int
    claims: list[Claim]
    open: bool = False
    probability: float = 1.0


@dataclass(slots=True)
class Answer:
    """Everything that counts.

    Attributes:
        receipts: By shopper: the lines by GTIN of the first ``cart.closed`` of each visit; of
            several visits the sum.
        decisions: In the order in which they were first told.
    """

    receipts: dict[str, dict[str, Billed]] = field(default_factory=dict)
    decisions: list[Decision] = field(default_factory=list)

    def bill(self, shopper: str, gtin: str, quantity: int, probability: float) -> None:
        """Add units to a receipt; the least certain part decides how certain a line is."""
        lines = self.receipts.setdefault(shopper, {})
        before = lines.get(gtin, Billed(0, 1.0))
        lines[gtin] = Billed(before.quantity + quantity, min(before.probability, probability))
