# SPDX-License-Identifier: Apache-2.0
"""Plots of the exam: a reliability diagram, and what the scales read in the worst cases."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gateway.domain.inputs import EngineSettings
from gateway.simulator.exam.answers import Answer, Decision
from gateway.simulator.exam.cases import Case, make_case
from gateway.simulator.exam.conditions import CONDITIONS
from gateway.simulator.exam.report import of, worst
from gateway.simulator.exam.score import Result, figures
from gateway.simulator.exam.stage import RATE_HZ, seconds
from gateway.simulator.exam.suite import EXAMINEES, Plan, Results
from gateway.simulator.stock import TrueAct

DRAWN = 4
"""Worst cases that are drawn."""
LEAST_DRAWN_G = 15.0
"""A plate that changed less in the whole case is left out."""
LETTER_SHARE = 0.0055
"""How much of a plot's width a letter takes."""
LANE = 0.11
"""How far labels in neighbouring lanes are apart, in a shelf's range of weights."""
WORDS_MAX = 2
TITLE_WIDTH = 190
"""Characters."""
TELLS = ("engine", "baseline")
"""Whose probabilities mean something: oracles are always sure."""


class Plots:
    """Draws into a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.made: list[Path] = []

    def suite(self, plan: Plan, results: Sequence[Results]) -> None:
        """Draw everything about a suite."""
        self.reliability(
            {
                condition: {who: of(results, who, condition=condition) for who in plan.examinees}
                for condition in plan.conditions
            }
        )
        for one in worst(results, plan.examinees[0], DRAWN):
            self.case(one, plan.examinees[0], plan.settings)

    def reliability(self, results: Mapping[str, Mapping[str, Sequence[Result]]]) -> Path:
        """Draw how often lines were right against how sure they were; return the file."""
        figure = Figure(figsize=(4.6 * len(results), 4.6), layout="constrained")
        for axes, (condition, by_who) in zip(
            figure.subplots(1, len(results), squeeze=False)[0], results.items(), strict=True
        ):
            _reliability(axes, condition, by_who)
        return self._write(figure, "reliability.png")

    def case(self, result: Result, who: str, settings: EngineSettings) -> Path:
        """Draw what the scales read in one case, the truth, and what was decided."""
        case = make_case(result.kind, CONDITIONS[result.condition], result.seed)
        answer = EXAMINEES[who](case, case.inputs(), settings)
        figure = Figure(figsize=(15, 9), layout="constrained")
        drawn = _drawn(case, answer)
        axes = figure.subplots(len(drawn), 1, sharex=True, squeeze=False)[:, 0]
        for one, number in zip(axes, drawn, strict=True):
            _shelf(one, case, answer, number)
        axes[-1].set_xlabel("seconds")
        title = (
            f"{case.name}: {result.wrong} units wrong or missing by {who}. Green, above: what was"
            " truly taken (-) and put (+), by whom; red, below: what was decided."
            f" s2: shopper-2, P20: Product 20. {_receipts(case, answer)}"
        )
        figure.suptitle("\n".join(textwrap.wrap(title, TITLE_WIDTH)), fontsize=9)
        return self._write(figure, f"{result.kind}-{result.condition}-{result.seed}.png")

    def _write(self, figure: Figure, name: str) -> Path:
        path = self._directory / name
        figure.savefig(path)
        self.made.append(path)
        return path


def _reliability(axes: Axes, condition: str, by_who: Mapping[str, Sequence[Result]]) -> None:
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    told = False
    for who, results in by_who.items():
        scale = figures(results).calibration
        if who not in TELLS or scale is None:
            continue
        said, was, lines = zip(*scale.bins, strict=True)
        label = f"{who}: ECE {scale.expected_error:.3f}, {sum(lines)} lines"
        axes.plot(said, was, marker="o", markersize=4, label=label)
        told = True
    axes.set(
        title=condition,
        xlabel="probability that the line gave",
        ylabel="share that was right",
        xlim=(0, 1.02),
        ylim=(0, 1.02),
    )
    if told:
        axes.legend(loc="upper left", fontsize=8)
    else:
        axes.text(0.5, 0.6, "nobody told a line with a probability", ha="center", fontsize=8)
    axes.grid(color="0.9")


class _Lanes:
    """Puts labels that would lie over each other into lanes."""

    def __init__(self, duration_s: float) -> None:
        self._letter_s = duration_s * LETTER_SHARE
        self._ends_s: list[float] = []

    def place(self, at_s: float, text: str) -> int:
        """Return the first lane that is free where a text begins."""
        free = (lane for lane, end_s in enumerate(self._ends_s) if end_s <= at_s)
        lane = next(free, len(self._ends_s))
        self._ends_s[lane : lane + 1] = [at_s + len(text) * self._letter_s]
        return lane


def _drawn(case: Case, answer: Answer) -> list[int]:
    """Return the shelves of which there is something to see: an act, or a decision."""
    concerned = {plate for act in case.truth.acts for plate in act.plates}
    concerned |= {plate for decision in answer.decisions for plate in decision.plates}
    return [
        number
        for number, shelf in enumerate(case.store.shelves)
        if not concerned.isdisjoint(plate.name for plate in shelf.plates)
    ] or [0]


def _shelf(axes: Axes, case: Case, answer: Answer, number: int) -> None:
    """Draw one shelf: each plate that changed, its start at 0."""
    shelf = case.store.shelves[number]
    plates = case.stage.room.layout.shelf_plates[number]
    times = np.arange(len(case.read_g)) / RATE_HZ
    names = {plate.name for plate in shelf.plates}
    shown = case.read_g[:, plates] - np.nanmedian(case.read_g[: 2 * RATE_HZ, plates], axis=0)
    for index in range(len(plates)):
        if np.nanmax(np.abs(shown[:, index])) > LEAST_DRAWN_G:
            axes.plot(times, shown[:, index], linewidth=0.7, label=shelf.plates[index].name)
    low, high = np.nanpercentile(shown, (0.1, 99.9))
    room = max(high - low, 100.0)
    axes.set_ylim(low - 0.5 * room, high + 0.5 * room)
    above, below = _Lanes(times[-1]), _Lanes(times[-1])
    for act in sorted(case.truth.acts, key=_moment_s):
        if names.isdisjoint(act.plates):
            continue
        at_s = _moment_s(act)
        axes.axvline(at_s, color="tab:green", linewidth=0.8)
        sign = "-" if act.direction == "pick" else "+"
        text = f"{_who(act.hand or act.shopper)} {sign}{act.quantity} {_name(case, act.gtin)}"
        up = high + (0.06 + LANE * above.place(at_s, text)) * room
        axes.text(at_s, up, f" {text}", fontsize=7, color="tab:green")
    for decision in sorted(answer.decisions, key=lambda one: one.since_ns):
        if names.isdisjoint(decision.plates):
            continue
        at_s, text = seconds(decision.since_ns), _words(case, decision)
        axes.axvspan(at_s, seconds(decision.until_ns), color="tab:red", alpha=0.12)
        down = low - (0.06 + LANE * below.place(at_s, text)) * room
        axes.text(at_s, down, text, fontsize=7, color="tab:red", va="top")
    axes.set_ylabel(f"{shelf.name}, g")
    if axes.lines:
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=6)


def _moment_s(act: TrueAct) -> float:
    return seconds(act.lift_ns or act.start_ns)


def _words(case: Case, decision: Decision) -> str:
    if decision.open and not decision.claims:
        return f"review ({decision.probability:.2f})"
    words = [
        f"{_who(claim.shopper)} {'-' if claim.direction == 'pick' else '+'}{claim.quantity}"
        f" {_name(case, claim.gtin)}"
        for claim in decision.claims[:WORDS_MAX]
    ]
    return ", ".join(words) or "nothing"


def _receipts(case: Case, answer: Answer) -> str:
    """Return the receipts that are not right, beside the truth."""
    parts = []
    for shopper, basket in sorted(case.truth.baskets.items()):
        billed = {gtin: line.quantity for gtin, line in answer.receipts.get(shopper, {}).items()}
        if billed == basket:
            continue
        took, paid = _list(case, basket), _list(case, billed)
        parts.append(f"{_who(shopper)} took {took}, was billed {paid}.")
    return " ".join(parts)


def _list(case: Case, units: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {_name(case, gtin)}" for gtin, count in units.items()) or "nothing"


def _name(case: Case, gtin: str) -> str:
    return case.store.products[gtin].name.replace("Product ", "P")


def _who(name: str | None) -> str:
    return "nobody" if name is None else name.replace("shopper-", "s")
