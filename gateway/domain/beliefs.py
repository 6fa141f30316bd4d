# SPDX-License-Identifier: Apache-2.0
"""What is believed of the store now: the beam of explanations, and what of it has been told."""

from collections.abc import Mapping, Sequence
from math import exp, log

import msgspec

from gateway.domain.carts import CartLine, Lines
from gateway.domain.choices import Sketch, identified, plain
from gateway.domain.events import Act, PlateDelta
from gateway.domain.explanations import (
    Explanation,
    Way,
    known_now,
    likeliest_ways,
    line_probability,
    marginals,
    merged,
    normalised,
    probability,
    replace,
    tallies,
)
from gateway.domain.goods import Item, Known


class Attribution(msgspec.Struct):
    """A change whose acts may still be revised."""

    change: str
    subject: str
    since_ns: int
    stable_ns: int
    options: list[tuple[Sketch, ...]]
    weights: list[PlateDelta]
    started: str
    ended: str
    told: int | None = None
    """Which option was told last; None: nothing was."""
    acts: list[Act] = []
    """As they were told."""
    revision: int = -1
    asked: bool = False
    """A review was asked for."""
    alike: list[int] = []
    """Of each option the first that comes to the same."""
    moved_g: list[tuple[tuple[float, float], ...]] = []
    """By option, of each act: what plates felt of it, and how far off they may be."""
    takes: list[tuple[tuple[str, int], ...]] = []
    """By option: units taken from counted facings, by their first plate; below 0: put there."""
    known: dict[str, Known] = {}
    """What products weighed by which it was weighed last."""
    near: dict[str, float] = {}
    """Sessions of those who may have done something there, with how likely the hand was theirs."""

    def __post_init__(self) -> None:
        """Compare the options once: it is asked of each change with every other."""
        if not self.alike:
            first: dict[object, int] = {}
            self.alike = [
                first.setdefault(plain(identified(option)), number)
                for number, option in enumerate(self.options)
            ]

    def taken(self, option: int) -> tuple[tuple[str, int], ...]:
        """Return the units that an option takes from counted facings, by their first plate."""
        return self.takes[option] if self.takes else ()  # Of an older version none are known.


class Beliefs(msgspec.Struct):
    """The beam, the changes that it still explains in several ways, and what was settled."""

    beam: list[Explanation] = msgspec.field(
        default_factory=lambda: [Explanation(0.0, {}, (), [Way(1.0, {})])]
    )
    open: dict[str, Attribution] = {}
    sure: dict[str, dict[str, float]] = {}
    """By session and GTIN: what settling doubtful changes has cost the line's probability."""

    @property
    def best(self) -> Explanation:
        """Return the explanation that is told and billed."""
        return self.beam[0]

    @property
    def asked(self) -> list[str]:
        """Return the open changes that a person may decide."""
        return [name for name, one in self.open.items() if one.asked]

    def join(
        self, session: str, lines: Mapping[str, CartLine], unit_g: Mapping[str, float]
    ) -> None:
        """Take in a cart, as it was written down."""
        items = tuple(
            Item(gtin, (line.unit_g or unit_g.get(gtin, 1.0)) if line.quantity > 0 else 0.0)
            for gtin, line in sorted(lines.items())
            for _ in range(abs(line.quantity))
        )
        for one in self.beam:
            one.carts = {**one.carts, session: items}
        self.sure[session] = {
            gtin: line.probability for gtin, line in lines.items() if line.probability < 1.0
        }

    def leave(self, session: str) -> None:
        """Forget a cart that no open change concerns."""
        for one in self.beam:
            one.carts = {name: items for name, items in one.carts.items() if name != session}
        self.beam = merged(self.beam, self.asked)
        self.sure.pop(session, None)

    def concerning(self, session: str) -> list[str]:
        """Return the open changes of which any option has somebody do something."""
        return [
            name
            for name, one in self.open.items()
            if any(act.session == session for option in one.options for act in option)
        ]

    def settle(self, change: str) -> None:
        """Hold the best option of a change for true, and remember what that costs in certainty."""
        attribution = self.open.pop(change)
        best = self.best.chosen[change]
        kept = known_now(self.beam, change, {best})
        share = sum(probability(one) for one in kept)
        if share < 1.0 - 1e-9:
            for session, gtin in sorted(
                {
                    (act.session, act.gtin)
                    for option in attribution.options
                    for act in option
                    if act.session is not None and act.gtin
                }
            ):
                known = self.sure.setdefault(session, {})
                before = line_probability(self.beam, session, gtin)
                after = line_probability(kept, session, gtin) / share
                known[gtin] = known.get(gtin, 1.0) * min(before / max(after, 1e-9), 1.0)
        self.beam = merged(kept, self.asked)

    def weigh_again(self, change: str, gains: Sequence[float]) -> None:
        """Let options of a change be likelier or less likely than they were.

        Args:
            change: An open one.
            gains: By option, the logarithm of how much likelier.
        """
        for one in self.beam:
            parts = [way.share * exp(gains[way.chosen[change]]) for way in one.ways]
            total = sum(parts)
            one.logp += log(total)
            one.ways = likeliest_ways(
                Way(part / total, way.chosen) for part, way in zip(parts, one.ways, strict=True)
            )
        self.beam = normalised(self.beam)

    def forget_loads(self, change: str | None = None) -> bool:
        """Forget what hands press or lift, since one change or at all; tell whether any did."""
        pressed = [one for one in self.beam for load in one.loads if change in (None, load.change)]
        for one in pressed:
            one.loads = tuple(
                load for load in one.loads if change is not None and load.change != change
            )
        if pressed:
            self.beam = merged(self.beam, self.asked)
        return bool(pressed)

    def lines(self, session: str) -> Lines:
        """Return a cart as the best explanation has it, with each line's probability."""
        items = self.best.carts.get(session, ())
        told, *others = tallies(self.beam, session)
        found: Lines = {}
        for gtin, quantity in sorted(told[1].items()):
            sure = self.sure.get(session, {}).get(gtin, 1.0)
            sure *= sum(share for share, held in (told, *others) if held.get(gtin) == quantity)
            of_it = [item.unit_g for item in items if item.gtin == gtin and item.count > 0]
            found[gtin] = CartLine(
                quantity=quantity,
                probability=sure,
                unit_g=sum(of_it) / len(of_it) if of_it else None,
            )
        return found

    def sure_of_cart(self, session: str) -> float:
        """Return how likely it is that a cart holds just what the best explanation says."""
        told, *others = tallies(self.beam, session)
        return told[0] + sum(share for share, held in others if held == told[1])

    def options(self, change: str) -> list[tuple[float, tuple[Sketch, ...]]]:
        """Return what a change may have been, likeliest first, with probabilities."""
        return marginals(self.beam, change, self.open[change].options)

    def sure_of(self, change: str) -> float:
        """Return how likely explanations are that say of a change what the best one says.

        What led to the same carts in another way is no doubt of it.
        """
        alike = self.open[change].alike
        told = alike[self.best.chosen[change]]
        return sum(probability(one) for one in self.beam if alike[one.chosen[change]] == told)

    def hold(
        self,
        change: str | None,
        before: Sequence[Sketch],
        after: Sequence[Sketch],
        unit_g: Mapping[str, float],
    ) -> None:
        """Take in what a person decided of a change.

        Explanations that said so gain; where none did, the acts are replaced in all of them.

        Args:
            change: The change, if it is still open.
            before: Its acts as they were told.
            after: The acts as they were.
            unit_g: What a unit of each product weighs.
        """
        if change is not None and change in self.open:
            self.forget_loads(change)
            attribution = self.open.pop(change)
            options, wanted = attribution.options, plain(identified(after), where=True)
            right = {
                number
                for number, option in enumerate(options)
                if plain(identified(option), where=True) == wanted
            }
            agreeing = known_now(self.beam, change, right)
            self.beam = agreeing or [
                known
                for one in self.beam
                for known in known_now(
                    [replace(one, options[one.chosen[change]], after, unit_g)],
                    change,
                    {one.chosen[change]},
                )
            ]
        else:
            self.beam = [replace(one, before, after, unit_g) for one in self.beam]
        self.beam = merged(self.beam, self.asked)
