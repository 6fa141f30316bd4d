# SPDX-License-Identifier: Apache-2.0
"""A story as a picture: weights, wrists, and what was believed of them."""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import PercentFormatter

from gateway.why.facts import SHORT, Curve, Evidence, Moved, Point, Story, deeds_of, latest
from gateway.why.words import Namer, percent

SIZE_INCHES: Final = (11.0, 9.6)
DPI: Final = 130
PLATES: Final = ("#1f4e79", "#c8791b", "#4c8c4a", "#8a5a9e", "#7f7f7f")
VISITS: Final = ("#0b7a75", "#d1495b", "#edae49", "#5b5ea6", "#30638e", "#8d6a9f", "#6a994e")
UNKNOWN: Final = "#8c8c8c"
INK: Final = "#2b2b2b"
FAINT: Final = "#d9d9d9"
SPAN: Final = "#f3eee2"
GAP_S: Final = 0.35
"""A wrist unseen for longer was hidden."""
FAR_MM: Final = 1_500.0
"""Wrists farther away than this are cut off."""
LEGEND_MAX: Final = 8
LABEL_WIDTH: Final = 44
PLATE_LEAST: Final = 0.06
"""A plate that felt less than this part of what the loudest did is not drawn."""
STEP_LEAST: Final = 0.15
"""Nor is a step marked."""
LEAST_SHARE: Final = 0.0005


def draw(story: Story, evidence: Evidence, path: Path) -> None:
    """Draw a change's story into a PNG.

    Raises:
        OSError: The file cannot be written.
    """
    colours = _colours(evidence)
    say = Namer(story.names)
    layout = ConstrainedLayoutEngine(h_pad=0.09, w_pad=0.09)
    figure = Figure(figsize=SIZE_INCHES, layout=layout, facecolor="white")
    # Two figures in one, so that long names below do not narrow what is above.
    above, below = _halves(figure)
    weights, wrists = above.subplots(2, 1, sharex=True, height_ratios=(1.25, 1.0))
    bars, course = below.subplots(1, 2, width_ratios=(1.0, 1.0))
    _weights(weights, evidence)
    _wrists(wrists, evidence, colours)
    _bars(bars, evidence, colours, say)
    _course(course, evidence, colours, say)
    figure.suptitle(_title(story, evidence, say), x=0.01, ha="left", fontsize=11, color=INK)
    figure.savefig(path, dpi=DPI, format="png")


def _halves(figure: Figure) -> tuple[SubFigure, SubFigure]:
    above, below = np.ravel(np.array(figure.subfigures(2, 1, height_ratios=(2.5, 1.0))))
    return above, below


def _title(story: Story, evidence: Evidence, say: Namer) -> str:
    final = latest(story.tellings)
    held = say.deeds(deeds_of(final)) if final is not None else _unheld(story)
    day, _, clock = evidence.time.partition("T")
    where = f"shelf {evidence.shelf}, {day} {clock[:12]} UTC, change {story.change}"
    return "\n".join([*textwrap.wrap(_plain(held), 110)[:2], where])


def _unheld(story: Story) -> str:
    reason = next((one.data["reason"] for one in story.tellings if "reason" in one.data), "")
    return f"nobody was named: {reason}" if reason else "nobody was named"


def _plain(text: str) -> str:
    """Return a text that is not taken for a formula."""
    return text.replace("$", r"\$")


def _colours(evidence: Evidence) -> dict[str | None, str]:
    """Return a colour for each visit, the likeliest first."""
    near = [one.session for read in evidence.readings for move in read.moves for one in move.near]
    done = [deed.session for one in evidence.possibilities for deed in one.deeds]
    seen = [one.session for one in evidence.wrists]
    visits = dict.fromkeys(one for one in [*near, *done, *seen] if one is not None)
    found: dict[str | None, str] = {None: UNKNOWN}
    for place, visit in enumerate(visits):
        found[visit] = VISITS[place % len(VISITS)]
    return found


def _clean(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=9.5, color=INK, fontweight="bold")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#9a9a9a")
    axes.tick_params(labelsize=8, colors="#4a4a4a")
    axes.grid(color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)


def _legend(axes: Axes) -> None:
    """Name the curves above the plot, where nothing is drawn."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(
            loc="lower right",
            bbox_to_anchor=(1.0, 0.99),
            fontsize=8,
            frameon=False,
            ncols=LEGEND_MAX,
            borderaxespad=0.0,
            handlelength=1.4,
            columnspacing=1.4,
        )


# Weights.


def _weights(axes: Axes, evidence: Evidence) -> None:
    _clean(axes, "What plates weighed, against before")
    axes.set_ylabel("grams", fontsize=8.5)
    axes.axvspan(0.0, evidence.lasted_s, color=SPAN, zorder=0)
    net = _net(evidence)
    curves = sorted(evidence.weights, key=lambda one: -abs(net.get(one.of, 0.0)))
    least_g = PLATE_LEAST * max((abs(one) for one in net.values()), default=0.0)
    shown = [one for one in curves if abs(net.get(one.of, 0.0)) >= least_g][: len(PLATES)]
    low, high = _bounds(shown)
    room = max(high - low, 20.0)
    axes.set_ylim(low - 0.12 * room, high + 0.12 * room)
    colours: dict[str, str] = {}
    for curve, colour in zip(shown, PLATES, strict=False):
        colours[curve.of] = colour
        times, values = _apart(curve.points)
        label = f"{curve.of}  {net[curve.of]:+.0f} g"
        axes.plot(times, values, color=colour, linewidth=1.4, label=label)
    largest_g = max((abs(one.delta_g) for one in evidence.felt), default=0.0)
    for one in evidence.felt:
        if one.plate in colours and abs(one.delta_g) >= STEP_LEAST * largest_g:
            colour = colours[one.plate]
            axes.axvline(one.half_s, color=colour, linewidth=0.9, linestyle=(0, (4, 3)))
    if not evidence.weights:
        _say_nothing(axes, "the journal has no samples around it")
    _legend(axes)


def _net(evidence: Evidence) -> dict[str, float]:
    """Return what each plate felt in all."""
    net: dict[str, float] = {}
    for one in evidence.felt:
        net[one.plate] = net.get(one.plate, 0.0) + one.delta_g
    return net


def _bounds(curves: Iterable[Curve]) -> tuple[float, float]:
    """Return the least and greatest weight, single odd samples left out."""
    values = [point.value for curve in curves for point in curve.points]
    if not values:
        return 0.0, 1.0
    low, high = np.percentile(values, (0.3, 99.7))
    return min(float(low), 0.0), max(float(high), 0.0)


def _apart(points: Sequence[Point]) -> tuple[list[float], list[float]]:
    """Return times and values, with a gap where nothing came for long."""
    times: list[float] = []
    values: list[float] = []
    for place, point in enumerate(points):
        if place and point.at_s - points[place - 1].at_s > GAP_S:
            times.append(points[place - 1].at_s)
            values.append(float("nan"))
        times.append(point.at_s)
        values.append(point.value)
    return times, values


# Wrists.


def _wrists(axes: Axes, evidence: Evidence, colours: Mapping[str | None, str]) -> None:
    _clean(
        axes, "How far each one's nearest wrist was from the place (gaps: hidden, or beyond 1.5 m)"
    )
    axes.set_ylabel("millimetres", fontsize=8.5)
    axes.set_xlabel("seconds since the plates began to move", fontsize=8.5)
    axes.axvspan(0.0, evidence.lasted_s, color=SPAN, zorder=0)
    highest = 500.0
    for place, curve in enumerate(evidence.wrists):
        colour = colours.get(curve.session, UNKNOWN)
        near = [one for one in curve.points if one.value <= FAR_MM]
        if not near:
            continue
        times, values = _apart(near)
        highest = max(highest, *(one.value for one in near))
        label = f"[{curve.session[:SHORT]}]" if curve.session else f"{curve.of}, no visit"
        # The first is the widest, so that one right under another still shows.
        wide = max(2.3 - 0.6 * place, 1.1)
        axes.plot(
            times,
            values,
            color=colour,
            linewidth=wide,
            marker="o",
            markersize=wide + 1.1,
            label=label,
        )
    axes.set_ylim(1.08 * highest, -0.06 * highest)  # At the place is up.
    if not evidence.wrists:
        _say_nothing(axes, "no wrist was seen")
    _legend(axes)


def _say_nothing(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", fontsize=10, color="#777777")


# Explanations.


def _bars(axes: Axes, evidence: Evidence, colours: Mapping[str | None, str], say: Namer) -> None:
    shown = [one for one in evidence.possibilities if max(one.probability, one.last) >= LEAST_SHARE]
    shares: Iterable[float]
    if shown:
        _clean(axes, "What it may have been (pale: at first; full: last)")
        labels = [_label(say.deeds(one.deeds, place=False)) for one in shown]
        tints = [_tint(one.deeds[0].session if one.deeds else None, colours) for one in shown]
        shares = [one.last for one in shown]
        axes.barh(
            range(len(shown)), [one.probability for one in shown], 0.74, color=tints, alpha=0.28
        )
    else:
        _clean(axes, "Who it may have been, by hands and feet alone")
        rows = _shares(evidence)
        labels = [f"[{who[:SHORT]}]" if who else "nobody known" for who, _ in rows]
        tints = [_tint(who, colours) for who, _ in rows]
        shares = [share for _, share in rows]
    shares = list(shares)
    axes.barh(range(len(labels)), shares, 0.4, color=tints)
    for place, share in enumerate(shares):
        first = shown[place].probability if shown else share
        axes.text(
            max(share, first) + 0.02, place, percent(share), va="center", fontsize=8, color=INK
        )
    axes.set_yticks(range(len(labels)), [_plain(label) for label in labels], fontsize=8)
    axes.set_ylim(max(len(labels), 3) - 0.4, -0.6)
    axes.set_xlim(0.0, 1.14)
    axes.set_xticks(np.arange(0.0, 1.01, 0.25))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.grid(visible=False, axis="y")


def _shares(evidence: Evidence) -> list[tuple[str | None, float]]:
    moves: list[Moved] = [move for read in evidence.readings for move in read.moves]
    if not moves:
        return []
    best = {one.session: one.probability for one in moves[0].near if one.session is not None}
    ranked = sorted(best.items(), key=lambda pair: -pair[1])
    return [*ranked, (None, moves[0].nobody)]


def _label(text: str) -> str:
    lines = textwrap.wrap(text, LABEL_WIDTH)
    return "\n".join(lines[:2]) + ("…" if len(lines) > 2 else "")


def _tint(session: str | None, colours: Mapping[str | None, str]) -> str:
    return colours.get(session, UNKNOWN)


def _course(axes: Axes, evidence: Evidence, colours: Mapping[str | None, str], say: Namer) -> None:
    _clean(axes, "How that went over later changes")
    axes.set_ylim(-0.04, 1.08)
    axes.set_yticks(np.arange(0.0, 1.01, 0.25))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_xlabel("seconds since the plates began to move", fontsize=8.5)
    drawn = 0
    for curve in reversed(evidence.course):
        possibility = evidence.possibilities[int(curve.of)]
        if max((one.value for one in curve.points), default=0.0) < 0.02:
            continue
        session = possibility.deeds[0].session if possibility.deeds else None
        times, values = _stepped(curve)
        axes.step(
            times,
            values,
            where="post",
            color=_tint(session, colours),
            linewidth=1.8,
            marker="o",
            markersize=3.2,
            linestyle="-" if int(curve.of) == 0 else (0, (4, 2)),
            label=_label(_plain(say.deeds(possibility.deeds, place=False))).partition("\n")[0],
        )
        drawn += 1
    for turn in evidence.turns:
        axes.axvline(turn.at_s, color="#b0b0b0", linewidth=0.8, linestyle=(0, (2, 2)), zorder=0)
    if not drawn:
        _say_nothing(axes, "it was not explained")
        return
    last_s = max(one.at_s for curve in evidence.course for one in curve.points)
    axes.set_xlim(0.0, 1.06 * max(last_s, evidence.lasted_s + 5.0))
    if _flat(evidence.course):
        _clean(axes, "Over later changes: nothing moved it")


def _stepped(curve: Curve) -> tuple[list[float], list[float]]:
    return [one.at_s for one in curve.points], [one.value for one in curve.points]


def _flat(course: Sequence[Curve]) -> bool:
    return all(
        abs(one.value - other.value) < 0.02
        for curve in course
        for one, other in pairwise(curve.points)
    )
