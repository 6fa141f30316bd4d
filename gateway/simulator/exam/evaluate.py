# SPDX-License-Identifier: Apache-2.0
"""The command ``shelfgate evaluate``: how well the engine tells who took what."""

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import msgspec

from gateway.domain.events import Event
from gateway.domain.inputs import AnyInput, EvidencePart
from gateway.journal import JournalError
from gateway.plotting import without_plots
from gateway.replaying import replay
from gateway.simulator.exam.answers import Answer
from gateway.simulator.exam.cases import ALL_KINDS
from gateway.simulator.exam.conditions import CONDITIONS
from gateway.simulator.exam.examinee import EventReader
from gateway.simulator.exam.report import document, receipts, single, table, worst
from gateway.simulator.exam.score import Result, figures, judge
from gateway.simulator.exam.suite import CASES, CASES_MAX, EXAMINEES, SEEDS, Plan, Results, run
from gateway.simulator.stock import Truth
from gateway.simulator.witness import Witness, read_witness

if TYPE_CHECKING:  # Drawing needs a library that is not always there.
    from gateway.simulator.exam.plots import Plots

JOBS = os.cpu_count() or 1
JOBS_MAX = 256
SEED_MAX = 2**31
TOLD_S = 10.0
"""Without a terminal, progress is told this often."""


class EvaluateError(Exception):
    """The evaluation cannot be made; says why, and what to do."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``shelfgate evaluate`` takes."""
    parser.add_argument(
        "journal", nargs="*", type=Path, help="segments of a journal, in order, or its directory"
    )
    parser.add_argument("--truth", type=Path, metavar="FILE", help="what really happened in it")
    parser.add_argument(
        "--suite",
        nargs="?",
        choices=sorted(SEEDS),
        const="tuning",
        help="sit the exam instead, on these seeds (%(const)s): figures are reported of the others",
    )
    parser.add_argument("--cases", type=int, metavar="N", help=f"of each condition ({CASES})")
    parser.add_argument(
        "--first-seed", type=int, metavar="N", help="of the suite's cases; default its first"
    )
    parser.add_argument(
        "--condition", action="append", choices=list(CONDITIONS), help="may repeat; default all"
    )
    parser.add_argument("--kind", choices=ALL_KINDS, help="only this script")
    parser.add_argument(
        "--who", action="append", choices=list(EXAMINEES), help="may repeat; default all"
    )
    parser.add_argument(
        "--without",
        action="append",
        choices=get_args(EvidencePart),
        help="let the engine leave this evidence out; may repeat",
    )
    parser.add_argument("--jobs", type=int, metavar="N", help=f"processes ({JOBS})")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument(
        "--plot", type=Path, metavar="DIR", help="draw a reliability diagram and the worst cases"
    )


def run_evaluate(args: argparse.Namespace) -> int:
    """Run ``shelfgate evaluate``.

    Returns:
        The exit status: 1 if a file cannot be used, 2 if the arguments do not go together.
    """
    wrong = _misused(args)
    if wrong is not None:
        sys.stderr.write(f"{wrong}\n")
        return 2
    try:
        draw = _plotter(args.plot)
        if args.suite is not None:
            _suite(args, draw)
        else:
            _recording(args, draw)
    except (EvaluateError, JournalError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _misused(args: argparse.Namespace) -> str | None:
    if args.suite is None and not args.journal:
        return "evaluate: nothing to evaluate. Give --suite, or a journal with --truth"
    if args.suite is not None and (args.journal or args.truth):
        return "--suite: sits made-up cases. Leave the journal and --truth out"
    if args.suite is None and args.truth is None:
        return f"{args.journal[0]}: no truth to hold it against. Give --truth FILE"
    return _misused_choice(args)


def _misused_choice(args: argparse.Namespace) -> str | None:
    for name in ("first-seed", "cases", "jobs", "condition", "kind", "who", "without"):
        if args.suite is None and _given(args, name) is not None:
            return f"--{name}: is of the suite. Leave it out, or give --suite"
    for name, most in (("first-seed", SEED_MAX), ("cases", CASES_MAX), ("jobs", JOBS_MAX)):
        given = _given(args, name)
        if given is not None and not 1 <= given <= most:
            return f"--{name} {given}: out of range. Give 1 to {most}"
    if args.without and args.who and "engine" not in args.who:
        return "--without: is of the engine, which does not sit. Leave it out, or give --who engine"
    return _misused_seeds(args)


def _given(args: argparse.Namespace, name: str) -> Any:  # noqa: ANN401
    """Return what was given for an option; None: nothing."""
    return getattr(args, name.replace("-", "_"))


def _seeds(args: argparse.Namespace) -> range:
    """Return the seeds of the suite's cases, the same in each condition."""
    first = args.first_seed or SEEDS[args.suite]
    return range(first, first + (args.cases or CASES))


def _misused_seeds(args: argparse.Namespace) -> str | None:
    """Refuse to name one set of cases and sit the other's."""
    if args.suite is None:
        return None
    seeds, most = _seeds(args), SEEDS["reporting"] - 1
    given = f"--first-seed {seeds[0]} with {len(seeds)} cases"
    if args.suite == "tuning" and seeds[-1] > most:
        return f"{given}: tuning ends at {most}. Take less, or give --suite reporting"
    if args.suite == "reporting" and seeds[0] <= most:
        return f"{given}: reporting begins at {most + 1}. Take that, or give --suite tuning"
    return None


def _suite(args: argparse.Namespace, draw: "Plots | None") -> None:
    seeds = _seeds(args)
    plan = Plan(
        conditions=tuple(name for name in CONDITIONS if name in (args.condition or CONDITIONS)),
        first_seed=seeds[0],
        cases=len(seeds),
        kind=args.kind,
        examinees=tuple(name for name in EXAMINEES if name in (args.who or EXAMINEES)),
        without=tuple(name for name in get_args(EvidencePart) if name in (args.without or ())),
    )
    began_s = time.monotonic()
    results = run(plan, jobs=args.jobs or JOBS, progress=_progress(plan.total))
    took_s = time.monotonic() - began_s
    if args.json:
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(document(plan, results))))
        sys.stdout.write("\n")
    else:
        sys.stdout.write(f"{table(plan, results)}\n\n{_worst_lines(plan, results)}")
        named = f"seeds {seeds[0]} to {seeds[-1]}"
        sys.stdout.write(f"{plan.total} cases, {named}, in {took_s:.0f} s\n")
    if draw is not None:
        draw.suite(plan, results)
        _told_drawn(draw)


def _worst_lines(plan: Plan, results: list[Results]) -> str:
    who = plan.examinees[0]
    found = worst(results, who)
    if not found:
        return f"No unit of {who} is wrong or missing.\n\n"
    lines = [f"Worst cases of {who}: units wrong or missing, and how to see them"]
    lines += [
        f"{one.wrong:>4}  shelfgate simulate --script {one.kind} --condition {one.condition}"
        f" --seed {one.seed} --render case.mp4"
        for one in found
    ]
    return "\n".join([*lines, "", ""])


def _recording(args: argparse.Namespace, draw: "Plots | None") -> None:
    witness = _truth(args.truth)
    answer, result = judge_recording(args.journal, witness)
    if args.json:
        found = {
            "figures": figures([result]),
            "receipts": {
                name: {gtin: line.quantity for gtin, line in lines.items()}
                for name, lines in answer.receipts.items()
            },
            "truth": witness.baskets,
        }
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(found)) + b"\n")
    else:
        sys.stdout.write(f"{single(result)}\n\n{receipts(answer, witness.baskets)}\n")
    if draw is not None:
        draw.reliability({"recording": {"engine": [result]}})
        _told_drawn(draw)


def judge_recording(journal: list[Path], witness: Witness) -> tuple[Answer, Result]:
    """Replay a journal and hold what the engine makes of it against the truth.

    Raises:
        EvaluateError: A file cannot be read, or the truth is of another recording.
        JournalError: A file is no journal.
    """
    reader = EventReader()
    cause: AnyInput | None = None

    def step(_number: int, item: AnyInput) -> None:
        nonlocal cause
        cause = item
        reader.note_store(item)

    def take(_number: int, event: Event) -> None:
        assert cause is not None, "no event without its input"
        reader.take(event, cause)

    try:
        done = replay(journal, take, on_input=step)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise EvaluateError(f"{error.filename}: {reason}. Check the path") from None
    _refuse_other(journal[0], witness, reader, (done.first_mono_ns or 0, done.last_mono_ns or 0))
    for shopper in reader.answer.receipts.keys() - witness.baskets.keys():
        del reader.answer.receipts[shopper]  # The truth ended before they left.
    truth = Truth(acts=witness.acts, baskets=witness.baskets)
    return reader.answer, judge(reader.answer, truth, kind="recording")


def _refuse_other(
    journal: Path, witness: Witness, reader: EventReader, spanned_ns: tuple[int, int]
) -> None:
    """Refuse a truth that cannot be of this journal: it would be scored as nonsense."""
    strangers = sorted(witness.baskets.keys() - reader.shoppers)
    if strangers:
        known = ", ".join(sorted(reader.shoppers)) or "nobody"
        remedy = f"Came in: {known}"
        raise EvaluateError(f"--truth: in {journal} {strangers[0]} did not come in. {remedy}")
    lacking = sorted(reader.shoppers - witness.baskets.keys())
    if lacking and witness.over:
        remedy = 'Give everybody a basket, {} for nothing, or "over": false'
        raise EvaluateError(f"--truth: in {journal} {lacking[0]} came in, too. {remedy}")
    gtins = {act.gtin for act in witness.acts}
    gtins |= {gtin for basket in witness.baskets.values() for gtin in basket}
    unknown = sorted(gtins - reader.gtins)
    if unknown:
        remedy = "Give GTINs of 14 digits, as the store file has them"
        raise EvaluateError(f"--truth: the store of {journal} has no {unknown[0]}. {remedy}")
    plates = sorted({plate for act in witness.acts for plate in act.plates} - reader.plates)
    if plates:
        remedy = "Give names of plates as the store file has them, such as g1.s1.p1"
        raise EvaluateError(f"--truth: the store of {journal} has no plate {plates[0]}. {remedy}")
    for act in witness.acts:
        if act.end_ns < act.start_ns:
            problem = f"an act of {act.shopper} ends at {act.end_ns}, before it began"
            raise EvaluateError(f"--truth: {problem} at {act.start_ns}. Exchange the two")
        if not spanned_ns[0] <= act.start_ns <= act.end_ns <= spanned_ns[1]:
            problem = f"an act of {act.shopper} at {act.start_ns} is not within {journal}"
            raise EvaluateError(f"--truth: {problem}. Give CLOCK_BOOTTIME, in nanoseconds")


def _told_drawn(draw: "Plots") -> None:
    sys.stderr.write("".join(f"{path}\n" for path in draw.made))


def _truth(path: Path) -> Witness:
    try:
        witness = read_witness(path)
    except (OSError, ValueError) as error:
        remedy = "Give a truth file as docs/accuracy.md describes it"
        raise EvaluateError(f"{path}: {error}. {remedy}") from None
    if witness is None:
        raise EvaluateError(f"{path}: no such file. Give the truth file of this journal")
    return witness


def _plotter(directory: Path | None) -> "Plots | None":
    if directory is None:
        return None
    try:
        from gateway.simulator.exam.plots import Plots  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise EvaluateError(without_plots(error)) from None
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        problem = f"--plot {directory}: cannot be made ({error.strerror})"
        raise EvaluateError(f"{problem}. Name a directory that you may write") from None
    return Plots(directory)


def _progress(total: int) -> Callable[[int], None]:
    """Return what tells how far the work is: one changing line on a terminal, else now and then."""
    terminal = sys.stderr.isatty()
    told_s = [time.monotonic()]

    def tell(done: int) -> None:
        if terminal:
            sys.stderr.write(f"\r{done} of {total} cases" + ("\n" if done == total else ""))
            sys.stderr.flush()
        elif time.monotonic() - told_s[0] > TOLD_S:
            told_s[0] = time.monotonic()
            sys.stderr.write(f"{done} of {total} cases\n")

    return tell
