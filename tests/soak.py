# SPDX-License-Identifier: Apache-2.0
"""Simulated days, one seed after the other, for as long as asked.

    python -m tests.soak --seeds 1-10000            these seeds
    python -m tests.soak --minutes 30 --first 1     as many as this time allows

A seed that breaks a promise is run again, to see that it does the same, and is printed with what
happened and the command that repeats it. Exit status: 1 when a promise was broken.
"""

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import islice
from statistics import median

from tests.faults.simulation import Day, Outcome, describe, failure, simulate

CHUNK = 20


@dataclass
class Result:
    """Some days."""

    days: int = 0
    inputs: int = 0
    events: int = 0
    lives: int = 0
    mishaps: int = 0
    virtual_s: float = 0.0
    cpu_s: list[float] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def add(self, other: "Result") -> None:
        """Take others in."""
        for name in (
            "days",
            "inputs",
            "events",
            "lives",
            "mishaps",
            "virtual_s",
            "cpu_s",
            "broken",
        ):
            setattr(self, name, getattr(self, name) + getattr(other, name))


def run(seeds: Sequence[int]) -> Result:
    """Run these seeds, in this process."""
    result = Result()
    for seed in seeds:
        began_s = time.process_time()
        outcome = attempt(seed)
        result.cpu_s.append(time.process_time() - began_s)
        result.days += 1
        result.inputs += outcome.inputs
        result.events += outcome.events
        result.lives += outcome.lives
        result.mishaps += len(outcome.mishaps)
        result.virtual_s += outcome.virtual_s
        if outcome.broken:
            result.broken.append(examine(outcome))
    return result


def attempt(seed: int, change: Callable[[Day], None] | None = None) -> Outcome:
    """Run a seed; what it raises is a broken promise too."""
    try:
        return simulate(seed, change=change)
    except Exception as error:  # noqa: BLE001 - told as what it is.
        return failure(seed, error)


def examine(outcome: Outcome) -> str:
    """Say what a seed broke, whether it does so again, and how to repeat it."""
    again = attempt(outcome.seed)
    same = (again.digest, again.broken) == (outcome.digest, outcome.broken)
    verdict = "the same when it ran again" if same else "NOT THE SAME when it ran again"
    repeat = f"python -m tests.faults.simulation {outcome.seed}"
    return f"{describe(outcome)}\n  {verdict}; repeat: {repeat}"


def tell(text: str) -> None:
    """Print a line now."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def soak(seeds: Iterator[int], *, seconds: float | None, jobs: int) -> Result:
    """Run seeds in several processes until they or the time are over."""
    total = Result()
    end_s = None if seconds is None else time.monotonic() + seconds
    told_s = time.monotonic()
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        running: set[Future[Result]] = set()
        while True:
            while len(running) < 2 * jobs and (end_s is None or time.monotonic() < end_s):
                chunk = list(islice(seeds, CHUNK))
                if not chunk:
                    break
                running.add(pool.submit(run, chunk))
            if not running:
                return total
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                result = future.result()
                for text in result.broken:
                    tell(text)
                total.add(result)
            if time.monotonic() - told_s > 60:
                told_s = time.monotonic()
                tell(f"{total.days} days, {len(total.broken)} broken")


def summary(total: Result, wall_s: float) -> str:
    """Return what was run, in one line."""
    days = max(1, total.days)
    return (
        f"{total.days} days in {wall_s:.0f} s: {len(total.broken)} broke a promise; a day has"
        f" {total.virtual_s / days:.0f} s of shop time,"
        f" {total.inputs / days:.0f} inputs, {total.events / days:.0f} events,"
        f" {total.mishaps / days:.1f} mishaps, {total.lives / days:.1f} lives of the daemon and"
        f" takes {median(total.cpu_s or [0.0]):.2f} CPU s"
        f" (at most {max(total.cpu_s, default=0.0):.2f})"
    )


def main() -> int:
    """Run ``python -m tests.soak``."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description="Simulated days.")
    parser.add_argument("--seeds", metavar="A-B", help="these seeds, both ends included")
    parser.add_argument("--first", type=int, default=1, help="first seed (%(default)s)")
    parser.add_argument("--minutes", type=float, help="end after this long")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    options = parser.parse_args()
    first, _, last = (options.seeds or "").partition("-")
    if options.seeds and not (first.isdigit() and last.isdigit()):
        parser.error(f"--seeds {options.seeds}: not A-B. Write it as 1-10000")
    if not options.seeds and options.minutes is None:
        parser.error("give --seeds A-B, --minutes N, or both")
    if options.seeds and int(first) > int(last):
        parser.error(f"--seeds {options.seeds}: ends before it begins")
    begin = int(first) if options.seeds else options.first
    end = int(last) + 1 if options.seeds else sys.maxsize
    seconds = None if options.minutes is None else 60.0 * options.minutes
    began_s = time.monotonic()
    total = soak(iter(range(begin, end)), seconds=seconds, jobs=options.jobs)
    tell(summary(total, time.monotonic() - began_s))
    return 1 if total.broken else 0


if __name__ == "__main__":
    sys.exit(main())
