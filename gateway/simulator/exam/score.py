# SPDX-License-Identifier: Apache-2.0
"""The score: answers against the truth, summed over cases.

What counts is the first ``cart.closed`` of each visit. A unit is right when product and shopper
are; what is billed and not right is wrong, whoever took it; what was taken and not billed is
missing, also when a review is open about it. Acts that no observer could decide are scored apart.
"""

from collections import Counter
from collections.abc import Iterable
from math import ceil
from typing import Final

import msgspec
import numpy as np

from gateway.simulator.exam.answers import Answer, Decision
from gateway.simulator.stock import TrueAct, Truth

MARGIN_NS: Final = 750_000_000
"""A decision is about an act when their times are no further apart and they share a plate."""
PIECES: Final = 2
"""An act may be told of in so many pieces."""
REVIEWED: Final = 0.05
"""Share of the lines that are reviewed, the least certain first."""
BINS: Final = 10
"""Bins of the calibration, with equal numbers of lines."""


class Pair(msgspec.Struct, array_like=True):
    """One shopper and product: how many units were truly taken, and how many were billed."""

    true: int
    billed: int
    undecidable: bool


class Sure(msgspec.Struct, array_like=True):
    """Something that was concluded with a probability.

    ``fixes`` are the numbers of the pairs that are right once a person has looked at it.
    """

    probability: float
    line: bool
    right: bool
    fixes: list[int]


class Acts(msgspec.Struct, array_like=True):
    """Counts of true acts."""

    all: int = 0
    found: int = 0
    product: int = 0
    """Found, with the right product, count and direction."""
    shopper: int = 0
    """And with the right shopper."""


class Result(msgspec.Struct):
    """One case, judged."""

    kind: str
    condition: str
    seed: int
    pairs: list[Pair]
    sure: list[Sure]
    acts: Acts
    seconds: list[float]
    """From each found act's lift to the first word of it."""

    @property
    def wrong(self) -> int:
        """Units that are wrong or missing."""
        return sum(abs(pair.true - pair.billed) for pair in self.pairs if not pair.undecidable)

    @property
    def units(self) -> int:
        """Units truly taken that somebody could decide."""
        return sum(pair.true for pair in self.pairs if not pair.undecidable)


class Calibration(msgspec.Struct):
    """How far lines' probabilities can be trusted.

    Attributes:
        lines: How many.
        right: Share that was right.
        expected_error: Expected calibration error, over bins of equal numbers of lines.
        brier_skill: 1 is perfect, 0 as good as always saying the base rate; None if all are alike.
        bins: For each bin: mean probability, share right, lines.
    """

    lines: int
    right: float
    expected_error: float
    brier_skill: float | None
    bins: list[tuple[float, float, int]]


class Figures(msgspec.Struct):
    """Everything about some cases.

    Attributes:
        cases: How many.
        precision: Share of billed units that are right.
        recall: Share of taken units that are billed right.
        f1: Harmonic mean of both.
        f1_error: Its standard error, from how much cases differ; None of a single one.
        reviewed_f1: F1 once the least certain ``REVIEWED`` of the lines were looked at.
        undecidable_f1: F1 of the pairs with acts that nobody could decide; None without any.
        found: Share of true acts that were noticed; this and what follows is of those that
            somebody could decide, and None where there are none.
        product: Of these, with the right product and count.
        shopper: Of these, with the right shopper.
        reviews: Reviews asked for, for each true act.
        seconds: Median and 95 % of the time from lift to the first word.
        calibration: Of the lines.
    """

    cases: int
    units: int
    precision: float
    recall: float
    f1: float
    f1_error: float | None
    reviewed_f1: float
    undecidable_f1: float | None
    found: float | None
    product: float | None
    shopper: float | None
    reviews: float | None
    seconds: tuple[float, float] | None
    calibration: Calibration | None


def judge(
    answer: Answer, truth: Truth, *, kind: str = "", condition: str = "", seed: int = 0
) -> Result:
    """Hold an answer against the truth.

    Raises:
        ValueError: The answer bills what cannot be billed.
    """
    _refuse_nonsense(answer)
    result = Result(kind, condition, seed, [], [], Acts(), [])
    keys = _pair_up(result.pairs, answer, truth)
    about = _assigned(answer.decisions, truth.acts)
    _judge_acts(result.acts, result.seconds, answer, truth, about)
    for shopper, lines in answer.receipts.items():
        for gtin, line in lines.items():
            pair = result.pairs[keys[shopper, gtin]]
            if not pair.true and not pair.billed:
                continue  # All of it undecidable.
            fixes = {keys[shopper, gtin]}
            for decision, acts in zip(answer.decisions, about, strict=True):
                if any(one.shopper == shopper and one.gtin == gtin for one in decision.claims):
                    fixes |= _touched(keys, decision, acts)
            right = pair.true == pair.billed
            result.sure.append(Sure(line.probability, True, right, sorted(fixes)))
    for decision, acts in zip(answer.decisions, about, strict=True):
        if decision.open and not (acts and all(act.undecidable for act in acts)):
            fixes = _touched(keys, decision, acts)
            result.sure.append(Sure(decision.probability, False, False, sorted(fixes)))
    return result


def _refuse_nonsense(answer: Answer) -> None:
    for shopper, lines in answer.receipts.items():
        for gtin, line in lines.items():
            if line.quantity < 1 or not 0.0 <= line.probability <= 1.0:
                raise ValueError(f"{shopper}, {gtin}: {line} is no line. Bill what was taken")


def _pair_up(pairs: list[Pair], answer: Answer, truth: Truth) -> dict[tuple[str, str], int]:
    """Fill in the pairs; return where those are of which all could be decided.

    Units that nobody could decide make pairs of their own: what is billed counts for the others
    first.
    """
    undecidable: Counter[tuple[str, str]] = Counter()
    together: Counter[str] = Counter()
    for act in truth.acts:
        if act.undecidable:
            undecidable[act.shopper, act.gtin] += act.quantity
            together[act.gtin] += act.quantity
    named = {(act.shopper, act.gtin) for act in truth.acts if act.shopper in truth.baskets}
    named |= {(name, gtin) for name, basket in truth.baskets.items() for gtin in basket}
    named |= {(name, gtin) for name, lines in answer.receipts.items() for gtin in lines}
    keys = {}
    for shopper, gtin in sorted(named):
        true = truth.baskets.get(shopper, {}).get(gtin, 0)
        line = answer.receipts.get(shopper, {}).get(gtin)
        billed = line.quantity if line is not None else 0
        apart = min(undecidable[shopper, gtin], true)
        # One of those who reached in may be taken to have all that was taken there.
        apart_billed = min(together[gtin] if apart else 0, max(billed - (true - apart), 0))
        keys[shopper, gtin] = len(pairs)
        pairs.append(Pair(true - apart, billed - apart_billed, False))
        if apart:
            pairs.append(Pair(apart, apart_billed, True))
    return keys


def _assigned(decisions: list[Decision], acts: list[TrueAct]) -> list[list[TrueAct]]:
    """Return the acts that each decision is about: at most as many as it names, or one.

    They share a plate, are near in time, and nothing is told before it happens.
    """
    about: list[list[TrueAct]] = [[] for _ in decisions]
    near = sorted(
        (abs(one.since_ns - act.start_ns), place, number)
        for number, one in enumerate(decisions)
        for place, act in enumerate(acts)
        if act.start_ns <= one.until_ns + MARGIN_NS
        and act.end_ns >= one.since_ns - MARGIN_NS
        and one.told_ns >= (act.lift_ns or act.start_ns)
        and not one.plates.isdisjoint(act.plates)
    )
    taken: Counter[int] = Counter()
    for _, place, number in near:
        if len(about[number]) < max(len(decisions[number].claims), 1) and taken[place] < PIECES:
            about[number].append(acts[place])
            taken[place] += 1
    return about


def _touched(keys: dict[tuple[str, str], int], decision: Decision, acts: list[TrueAct]) -> set[int]:
    """Return the pairs that a person who looks at a decision sets right."""
    named = {(one.shopper or "", one.gtin) for one in decision.claims}
    named |= {(act.shopper, act.gtin) for act in acts}
    return {keys[pair] for pair in named if pair in keys}


def _judge_acts(
    counts: Acts,
    seconds: list[float],
    answer: Answer,
    truth: Truth,
    about: list[list[TrueAct]],
) -> None:
    """Count the acts that somebody could decide; each claim is about one act at most."""
    spent: set[tuple[int, int]] = set()
    for act in sorted(truth.acts, key=lambda act: act.start_ns):
        if act.undecidable:
            continue
        mine = [number for number, acts in enumerate(about) if act in acts]
        counts.all += 1
        counts.found += bool(mine)
        if mine and act.lift_ns is not None:
            told_ns = min(answer.decisions[number].told_ns for number in mine)
            seconds.append(round((told_ns - act.lift_ns) / 1e9, 3))
        owner = act.shopper if act.shopper in truth.baskets else None
        fitting = [
            (claim.shopper != owner, number, place)
            for number in mine
            for place, claim in enumerate(answer.decisions[number].claims)
            if (number, place) not in spent
            and (claim.gtin, claim.quantity, claim.direction)
            == (act.gtin, act.quantity, act.direction)
        ]
        if fitting:
            wrong, number, place = min(fitting)
            spent.add((number, place))
            counts.product += 1
            counts.shopper += not wrong
        elif owner is None and mine and not any(answer.decisions[one].claims for one in mine):
            counts.product += 1  # What is nobody's, was charged to nobody.
            counts.shopper += 1


def figures(results: Iterable[Result]) -> Figures:
    """Sum up some cases."""
    found = list(results)
    fixed = _reviewed(found)
    every, noticed, product, shopper = (
        sum(column) for column in zip(*(_counts(one.acts) for one in found), strict=True)
    )
    plain = [pair for one in found for pair in one.pairs if not pair.undecidable]
    hard = [pair for one in found for pair in one.pairs if pair.undecidable]
    precision, recall, f1 = _f1(plain)
    seconds = [value for one in found for value in one.seconds]
    reviews = sum(not one.line for result in found for one in result.sure)
    return Figures(
        cases=len(found),
        units=sum(pair.true for pair in plain),
        precision=precision,
        recall=recall,
        f1=f1,
        f1_error=_f1_error(found, f1),
        reviewed_f1=_f1(fixed)[2],
        undecidable_f1=_f1(hard)[2] if hard else None,
        found=noticed / every if every else None,
        product=product / noticed if noticed else None,
        shopper=shopper / product if product else None,
        reviews=reviews / every if every else None,
        seconds=(float(np.median(seconds)), float(np.percentile(seconds, 95))) if seconds else None,
        calibration=calibration([one for result in found for one in result.sure if one.line]),
    )


def _counts(acts: Acts) -> tuple[int, int, int, int]:
    return acts.all, acts.found, acts.product, acts.shopper


def _f1_error(results: list[Result], f1: float) -> float | None:
    """Return the standard error of F1 as a ratio of sums over cases (by linearisation)."""
    if len(results) == 1:
        return None
    residuals, total = [], 0
    for result in results:
        pairs = [pair for pair in result.pairs if not pair.undecidable]
        right = sum(min(pair.true, pair.billed) for pair in pairs)
        both = sum(pair.true + pair.billed for pair in pairs)
        residuals.append(2 * right - f1 * both)
        total += both
    return float(np.linalg.norm(residuals)) / total if total else 0.0


def _f1(pairs: list[Pair]) -> tuple[float, float, float]:
    """Return precision, recall and F1 of units; of nothing at all, 1."""
    right = sum(min(pair.true, pair.billed) for pair in pairs)
    billed, true = sum(pair.billed for pair in pairs), sum(pair.true for pair in pairs)
    precision = right / billed if billed else 1.0
    recall = right / true if true else 1.0
    return precision, recall, 2 * right / (billed + true) if billed + true else 1.0


def _reviewed(results: list[Result]) -> list[Pair]:
    """Return the decidable pairs once the least certain of the lines were looked at.

    Open reviews are looked at in the same order, and count as lines do.
    """
    every = [(one, number) for number, result in enumerate(results) for one in result.sure]
    budget = ceil(REVIEWED * len(every))
    least = sorted(every, key=lambda item: item[0].probability)[:budget]
    fixed = {(number, pair) for one, number in least for pair in one.fixes}
    return [
        Pair(pair.true, pair.true, False) if (number, index) in fixed else pair
        for number, result in enumerate(results)
        for index, pair in enumerate(result.pairs)
        if not pair.undecidable
    ]


def calibration(lines: list[Sure]) -> Calibration | None:
    """Return how well probabilities match what was right; None without lines."""
    if not lines:
        return None
    ordered = sorted(lines, key=lambda one: one.probability)
    said = np.array([one.probability for one in ordered])
    was = np.array([float(one.right) for one in ordered])
    bins = []
    error = 0.0
    for part in np.array_split(np.arange(len(ordered)), min(BINS, len(ordered))):
        mean, share = float(said[part].mean()), float(was[part].mean())
        error += len(part) / len(ordered) * abs(mean - share)
        bins.append((round(mean, 4), round(share, 4), len(part)))
    base = float(was.mean())
    spread = base * (1.0 - base)
    skill = 1.0 - float(((said - was) ** 2).mean()) / spread if spread > 0 else None
    return Calibration(len(ordered), base, error, skill, bins)
