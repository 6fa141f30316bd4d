# SPDX-License-Identifier: Apache-2.0
"""The exam's results: tables for people, a document for programs."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from gateway.simulator.exam.answers import Answer
from gateway.simulator.exam.cases import ALL_KINDS
from gateway.simulator.exam.score import Figures, Result, figures
from gateway.simulator.exam.suite import Plan, Results
from gateway.version import VERSION

HEAD = (
    *("precision", "recall", "F1", "+-", "reviewed", "apart", "found", "product", "shopper"),
    *("reviews", "seconds", "ECE", "Brier"),
)
SHORT = {"engine": "eng", "baseline": "base", "nearest-wrist": "near", "attentive": "att"}
"""Examinees as the heads of narrow columns name them."""
WORST = 10


def of(
    results: Iterable[Results], who: str, *, condition: str, kind: str | None = None
) -> list[Result]:
    """Return one examinee's results of one condition, of one script if that is given."""
    return [
        one[who]
        for one in results
        if one[who].condition == condition and kind in {None, one[who].kind}
    ]


def table(plan: Plan, results: Sequence[Results]) -> str:
    """Return everything as text: figures by condition, then F1 by script."""
    lines = [_row("", "", HEAD)]
    for condition in plan.conditions:
        for who in plan.examinees:
            found = figures(of(results, who, condition=condition))
            lines.append(figures_row(condition, who, found))
        lines.append("")
    if plan.without:
        lines += [f"The engine sat it without: {', '.join(plan.without)}", ""]
    lines += [_by_kind_title(plan), "", *_by_kind(plan, results)]
    return "\n".join(lines)


def figures_row(condition: str, who: str, found: Figures) -> str:
    """Return one examinee's figures as a line of the table."""
    numbers = [
        "" if value is None else f"{value:.3f}"
        for value in (
            found.precision,
            found.recall,
            found.f1,
            found.f1_error,
            found.reviewed_f1,
            found.undecidable_f1,
            found.found,
            found.product,
            found.shopper,
            found.reviews,
        )
    ]
    seconds = "" if found.seconds is None else f"{found.seconds[0]:.1f}/{found.seconds[1]:.1f}"
    scale = found.calibration
    error = "" if scale is None else f"{scale.expected_error:.3f}"
    skill = "" if scale is None or scale.brier_skill is None else f"{scale.brier_skill:.2f}"
    return _row(condition, who, [*numbers, seconds, error, skill])


def single(result: Result) -> str:
    """Return the figures of one recording as text."""
    found = figures([result])
    lines = [
        _row("", "", HEAD),
        figures_row("recording", "engine", found),
        "",
        f"Units: {found.units} taken, {result.wrong} wrong or missing",
    ]
    return "\n".join(lines)


def receipts(answer: Answer, baskets: Mapping[str, Mapping[str, int]]) -> str:
    """Return each shopper's receipt beside the truth, and what waits for a review."""
    lines = []
    for shopper in sorted({*baskets, *answer.receipts}):
        took = baskets.get(shopper, {})
        billed = {gtin: one.quantity for gtin, one in answer.receipts.get(shopper, {}).items()}
        if shopper not in answer.receipts:
            lines.append(f"{shopper}: no receipt; took {_units(took)}")
        elif billed == took:
            lines.append(f"{shopper}: right: {_units(took)}")
        else:
            lines.append(f"{shopper}: billed {_units(billed)}; took {_units(took)}")
    waiting = [
        f"review ({one.probability:.2f}): {', '.join(sorted(one.plates))}"
        for one in answer.decisions
        if one.open
    ]
    return "\n".join([*lines, *waiting])


def _units(units: Mapping[str, int]) -> str:
    return ", ".join(f"{count} x {gtin}" for gtin, count in sorted(units.items())) or "nothing"


def worst(results: Iterable[Results], who: str, count: int = WORST) -> list[Result]:
    """Return the cases with most units wrong or missing."""
    ranked = sorted((one[who] for one in results), key=lambda result: -result.wrong)
    return [result for result in ranked[:count] if result.wrong]


def document(plan: Plan, results: Sequence[Results]) -> dict[str, Any]:
    """Return everything as plain values."""
    conditions: dict[str, Any] = {}
    for condition in plan.conditions:
        conditions[condition] = {}
        for who in plan.examinees:
            mine = of(results, who, condition=condition)
            kinds = {one.kind for one in mine}
            conditions[condition][who] = {
                "all": msgspec.to_builtins(figures(mine)),
                "wrong": sum(one.wrong for one in mine),
                "kinds": {
                    kind: msgspec.to_builtins(figures([one for one in mine if one.kind == kind]))
                    for kind in ALL_KINDS
                    if kind in kinds
                },
            }
    return {
        "version": VERSION,
        "seeds": [plan.first_seed, plan.first_seed + plan.cases - 1],
        "cases": plan.total,
        "without": plan.without,
        "conditions": conditions,
        "worst": [
            {"kind": one.kind, "condition": one.condition, "seed": one.seed, "wrong": one.wrong}
            for one in worst(results, plan.examinees[0])
        ],
    }


def _by_kind_title(plan: Plan) -> str:
    names = ", ".join(f"{SHORT[who]} {who}" for who in plan.examinees)
    return f"F1 by script, and units taken ({names})"


def _by_kind(plan: Plan, results: Sequence[Results]) -> list[str]:
    whose = "".join(f"{SHORT[who]:>5}" for who in plan.examinees) + f"{'units':>6}"
    head = "".join(f"  {condition:<{len(whose) - 2}}" for condition in plan.conditions)
    lines = [f"{'':<22}{head}".rstrip(), f"{'':<22}{whose * len(plan.conditions)}"]
    known = {one[plan.examinees[0]].kind for one in results}
    for kind in (kind for kind in ALL_KINDS if kind in known):
        cells = ""
        for condition in plan.conditions:
            units = 0
            for who in plan.examinees:
                found = figures(of(results, who, condition=condition, kind=kind))
                units = found.units
                cells += f"{found.f1:>5.2f}" if found.units else f"{'':>5}"
            cells += f"{units:>6}"
        lines.append(f"{kind:<22}{cells}")
    return lines


def _row(condition: str, who: str, cells: Sequence[str]) -> str:
    row = "".join(f"{cell:>10}" for cell in cells)
    return f"{condition:<10}{who:<14}{row}".rstrip()
