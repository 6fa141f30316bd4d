# SPDX-License-Identifier: Apache-2.0
"""The whole exam: some hundred cases a condition, sat by everybody, in parallel."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from typing import Final

import msgspec

from gateway.domain.inputs import AnyInput, EngineSettings, EvidencePart
from gateway.simulator.exam import baseline, oracle
from gateway.simulator.exam.answers import Answer
from gateway.simulator.exam.cases import Case, make_case
from gateway.simulator.exam.casting import MIXED
from gateway.simulator.exam.conditions import CONDITIONS
from gateway.simulator.exam.examinee import sit
from gateway.simulator.exam.scenes import KINDS
from gateway.simulator.exam.score import Result, judge

SEEDS: Final = {"tuning": 1, "reporting": 10_001}
"""First seed of each set. Nothing is ever tuned on the cases of ``reporting``."""
CASES: Final = 200
CASES_MAX: Final = 10_000
"""Of a condition: one more would be a case of the other set."""
EXAMINEES: Final[dict[str, Callable[[Case, list[AnyInput], EngineSettings], Answer]]] = {
    "engine": lambda case, inputs, settings: sit(case.store, inputs, settings),
    "baseline": lambda case, inputs, _: baseline.decide(case.store, inputs),
    "nearest-wrist": lambda case, inputs, _: oracle.nearest(case, inputs),
    "attentive": lambda case, _inputs, _: oracle.attentive(case),
}
"""Who sits the exam: shelfgate, which alone has settings, the published way, and two oracles.

Each is given a case and its inputs, which take a while to make.
"""
BITE: Final = 5
"""Cases that a process takes at a time."""

Results = dict[str, Result]
"""One case's results by examinee."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Which cases, and who sits them.

    Attributes:
        conditions: Names.
        first_seed: Of each condition's cases; the others follow it.
        cases: How many a condition.
        kind: Only this script; None: all of them, as :func:`kinds` mixes them.
        examinees: Names.
        without: Parts of the evidence that the engine is to leave out.
    """

    conditions: tuple[str, ...] = tuple(CONDITIONS)
    first_seed: int = SEEDS["tuning"]
    cases: int = CASES
    kind: str | None = None
    examinees: tuple[str, ...] = tuple(EXAMINEES)
    without: tuple[EvidencePart, ...] = ()

    @property
    def settings(self) -> EngineSettings:
        """What the engine sits the exam with."""
        return EngineSettings(without=self.without)

    @property
    def total(self) -> int:
        """How many cases there are in all."""
        return len(self.conditions) * self.cases

    def names(self) -> Iterator[tuple[str, str, int]]:
        """Yield script, condition and seed of each case."""
        for condition in self.conditions:
            for number, kind in zip(range(self.cases), kinds(), strict=False):
                yield self.kind or kind, condition, self.first_seed + number


def kinds() -> Iterator[str]:
    """Yield scripts without end: of five, three are played alone and two are mixed."""
    alone = list(KINDS)
    number = 0
    while True:
        for _ in range(3):
            yield alone[number % len(alone)]
            number += 1
        yield from (MIXED, MIXED)


def run(plan: Plan, *, jobs: int, progress: Callable[[int], None]) -> list[Results]:
    """Let everybody sit all cases; return the results in the order of the plan.

    Args:
        plan: Which cases.
        jobs: Processes.
        progress: Called with the number of cases that are done.
    """
    names = list(plan.names())
    bites = [names[start : start + BITE] for start in range(0, len(names), BITE)]
    if jobs == 1:
        return _gather((sit_some(bite, plan.examinees, plan.settings) for bite in bites), progress)
    # One thread each: more would only contend for the cores that the processes have.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, initializer=_leave_interrupts) as pool:
        try:
            found = pool.map(sit_some, bites, repeat(plan.examinees), repeat(plan.settings))
            return _gather(found, progress)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _leave_interrupts() -> None:
    """Let Ctrl-C end the parent, which ends its processes in order."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _gather(bites: Iterator[bytes], progress: Callable[[int], None]) -> list[Results]:
    results: list[Results] = []
    for bite in bites:
        results += msgspec.json.decode(bite, type=list[Results])
        progress(len(results))
    return results


def sit_some(
    names: Sequence[tuple[str, str, int]], examinees: Sequence[str], settings: EngineSettings
) -> bytes:
    """Let everybody sit some cases; return their results as JSON, to pass between processes."""
    found = []
    for kind, condition, seed in names:
        case = make_case(kind, CONDITIONS[condition], seed)
        inputs = case.inputs()
        found.append(
            {
                name: judge(
                    EXAMINEES[name](case, inputs, settings),
                    case.truth,
                    kind=kind,
                    condition=condition,
                    seed=seed,
                )
                for name in examinees
            }
        )
    return msgspec.json.encode(found)
