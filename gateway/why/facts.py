# SPDX-License-Identifier: Apache-2.0
"""What a story is made of. The whole of it is what ``--json`` prints.

Seconds (``_s``) count from the moment at which the plates of the change began to move.
"""

from typing import Any, Final

import msgspec

from gateway.domain.events import Direction

SHORT: Final = 6
"""Characters of a session, as ``shelfgate tail`` shows it."""
ABOUT_CHANGE: Final = frozenset(
    {
        "item.picked",
        "item.put-back",
        "attribution.revised",
        "review.requested",
        "review.resolved",
        "shelf.changed-unattended",
    }
)
RECEIPTS: Final = frozenset({"cart.closed", "cart.adjusted"})


class WhyError(Exception):
    """The story cannot be told; says why, and what to do."""


class Told(msgspec.Struct, frozen=True):
    """An event as it was sent."""

    id: str
    name: str
    subject: str
    time: str
    data: dict[str, Any]

    @property
    def change(self) -> str | None:
        """Return the change that it is about."""
        change = self.data.get("change") if self.name in ABOUT_CHANGE else None
        return change if isinstance(change, str) else None

    @property
    def review(self) -> str | None:
        """Return the review that it asks for or settles."""
        review = self.data.get("review") if self.name in ABOUT_CHANGE else None
        return review if isinstance(review, str) else None

    @property
    def session(self) -> str | None:
        """Return the visit that it is about."""
        session = self.data.get("session")
        return session if isinstance(session, str) else None


class Deed(msgspec.Struct, frozen=True):
    """An act in a story."""

    session: str | None
    gtin: str
    """Empty: something that is not known."""
    quantity: int
    direction: Direction
    plate: str
    misplaced: bool = False
    probability: float | None = None


class Felt(msgspec.Struct, frozen=True):
    """One step of one plate's weight."""

    plate: str
    delta_g: float
    sigma_g: float
    began_s: float
    half_s: float
    ended_s: float


class Fit(msgspec.Struct, frozen=True):
    """Something that weighs and stands about like what moved."""

    gtin: str
    quantity: int
    odds: float
    """Against the best fit, which has 1."""
    weighs_g: float
    session: str | None = None
    """Whose cart it would have come from; None: from a shelf."""
    misplaced: bool = False
    standing: tuple[int, int] | None = None
    """Units thought to stand there, from and to; None: they are not counted."""


class Near(msgspec.Struct, frozen=True):
    """Somebody who was seen around the time of a move."""

    person: str
    session: str | None
    wrist_mm: float | None
    """Nearest to the place during the move; None: no wrist was seen then."""
    floor_mm: float
    """From where the person stood to the place, on the floor."""
    score: float
    """Evidence of hands and feet, a logarithm against not having been there."""
    probability: float
    """That whoever has this session made the move, by hands and feet alone."""


class Moved(msgspec.Struct, frozen=True):
    """Goods that left a shelf or came to it, as the weights were read."""

    plates: list[str]
    x_mm: float
    slack_mm: float
    total_g: float
    sigma_g: float
    half_s: float
    fits: list[Fit]
    near: list[Near]
    nobody: float
    """Probability, by hands and feet alone, that it was nobody with a session."""


class Read(msgspec.Struct, frozen=True):
    """One way to cut what the plates felt into moves."""

    odds: float
    """Against the likeliest, which has 1, before anybody's hands and cart were asked."""
    moves: list[Moved]


class Possibility(msgspec.Struct, frozen=True):
    """What a change may have been."""

    deeds: list[Deed]
    probability: float
    """When the change was told first."""
    last: float
    """When it was looked at last."""


class Shift(msgspec.Struct, frozen=True):
    """A possibility that a later input made likelier or less likely."""

    possibility: int
    before: float
    after: float


class Turn(msgspec.Struct, frozen=True):
    """A later input that moved the probabilities of a change."""

    time: str
    at_s: float
    causes: list[Told]
    changes: list[str]
    """Other changes that were decided by it, told or not."""
    shifts: list[Shift]


class Point(msgspec.Struct, frozen=True, array_like=True):
    """One value of a curve."""

    at_s: float
    value: float


class Curve(msgspec.Struct, frozen=True):
    """What was measured over time: grams of a plate, millimetres of a wrist, a probability."""

    of: str
    session: str | None
    points: list[Point]


class Evidence(msgspec.Struct, frozen=True):
    """What only a journal tells of a change."""

    shelf: str
    time: str
    """When the plates began to move."""
    decided: str
    """When it was decided."""
    lasted_s: float
    reason: str
    felt: list[Felt]
    readings: list[Read]
    possibilities: list[Possibility]
    turns: list[Turn]
    ended: str
    """How its probabilities came to rest."""
    weights: list[Curve]
    """Of each felt plate, relative to its weight before."""
    wrists: list[Curve]
    """Of each person near, the nearest wrist's distance to the place."""
    course: list[Curve]
    """How likely each possibility was, over the later inputs."""


class Line(msgspec.Struct, frozen=True):
    """A line of a receipt and what made it."""

    gtin: str
    name: str
    quantity: str
    probability: float
    deeds: list[Deed]
    changes: list[str]
    """The change of each deed."""


class Receipt(msgspec.Struct, frozen=True):
    """A receipt in a story."""

    event: str
    name: str
    time: str
    session: str
    revision: int
    reason: str | None
    lines: list[Line]
    open: list[str]


class Cause(msgspec.Struct, frozen=True):
    """The input that made an event."""

    number: int
    input: str
    text: str


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """One event's story."""

    event: Told
    source: str
    """Where it was found."""
    names: dict[str, str]
    """Of the products that it names, by GTIN."""
    change: str | None = None
    tellings: list[Told] = []
    """Events about the change, in order."""
    receipts: list[Receipt] = []
    others: list[Told] = []
    """Further events of the same visit or device."""
    cause: Cause | None = None
    evidence: Evidence | None = None
    missing: str | None = None
    """Why there is no evidence, and what to do."""
    notes: list[str] = []


def deeds_of(told: Told) -> list[Deed]:
    """Return the acts that an event tells."""
    return [deed_of(act) for act in told.data.get("acts", [])]


def deed_of(act: dict[str, Any]) -> Deed:
    """Return an act of an event's data."""
    return Deed(
        session=act["session"],
        gtin=act["gtin"],
        quantity=act["quantity"],
        direction=act["direction"],
        plate=act["plate"],
        misplaced=act.get("misplaced", False),
        probability=act["probability"],
    )


def latest(tellings: list[Told]) -> Told | None:
    """Return the event that holds of a change: that of the highest revision."""
    revised = [one for one in tellings if "revision" in one.data]
    return max(revised, key=lambda one: int(one.data["revision"]), default=None)
