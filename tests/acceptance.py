# SPDX-License-Identifier: Apache-2.0
"""``make acceptance``: the whole demo on many seeds, then with the daemon killed in it.

Each run is ``shelfgate demo`` as a person runs it, camera and model included. Beside its exit
status, this is checked on the files that it leaves: the integrator's books against the daemon's
database, and without kills the replay of its journal, whole and cut at every input. A killed daemon
leaves a journal that lacks up to a second before each kill: of that one, what there is.
"""

import argparse
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from gateway.domain.engine import Engine
from gateway.domain.events import Event
from gateway.domain.inputs import AnyInput, GatewayStarted
from gateway.envelope import made_from_payload, made_line
from gateway.journal import read_header, read_segment, segments
from gateway.replaying import replay
from gateway.simulator.delivery import compare

FOLDER = Path("build/acceptance")
DEMO_S_MAX = 300.0


@dataclass
class Outcome:
    """One run: what was seen, and what was wrong."""

    name: str
    kills: int
    took_s: float = 0.0
    receipts: str = ""
    events: str = ""
    inputs: int = 0
    wrong: list[str] = field(default_factory=list)


# What holds of the files that a demo leaves.


def committed_lines(files: Path) -> list[bytes]:
    """Return the engine's part of every committed event, in the order of sending."""
    with closing(sqlite3.connect(f"file:{files / 'gateway.db'}?mode=ro", uri=True)) as connection:
        rows = connection.execute("SELECT payload FROM events ORDER BY position").fetchall()
    return [made_from_payload(payload) for (payload,) in rows]


def replay_faults(files: Path) -> list[str]:
    """Hold what ``shelfgate replay`` prints against the committed events, byte by byte."""
    paths = segments(files / "journal")
    command = [sys.executable, "-m", "gateway.cli", "replay", *map(str, paths)]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode != 0:
        return [f"replay ended with {done.returncode}: {done.stderr.decode().strip()}"]
    made, replayed = committed_lines(files), done.stdout.splitlines()
    if made != replayed:
        return [f"replay made {len(replayed)} events unlike the {len(made)} committed"]
    return []


def tail_faults(files: Path) -> list[str]:
    """Replay the journal of a killed daemon: what it has equals what was committed.

    A kill may come between a commit and the journal's flush, or the other way round.
    """
    committed = {line: at for at, line in enumerate(committed_lines(files))}
    ids = {_id(line) for line in committed}
    places: list[int] = []
    wrong: list[str] = []

    def take(number: int, event: Event) -> None:
        line = made_line(event)
        if line in committed:
            places.append(committed[line])
        elif event.id in ids:
            wrong.append(f"replay made another {event.name} of input {number}")

    replay(segments(files / "journal"), take)
    if places != sorted(places):
        wrong.append("replay made events in another order")
    if not places:
        wrong.append("replay made none of the committed events")
    return wrong


def cut_faults(paths: Iterable[Path]) -> tuple[int, list[str]]:
    """Fold a journal as it is, and beside it with the engine restored after every input.

    Args:
        paths: Segments, in the order in which they were written.

    Returns:
        How many inputs there were, and what differed.
    """
    whole, cut, count = Engine(), Engine(), 0
    for number, item in _inputs(paths):
        if isinstance(item, GatewayStarted):
            whole, cut = Engine(), Engine()
        count += 1
        steps = [engine.step(number, item) for engine in (whole, cut)]
        lines = [[made_line(event) for event in step.events] for step in steps]
        if lines[0] != lines[1] or steps[0].effects != steps[1].effects:
            return count, [f"cut before input {number}: it makes other events"]
        snapshot = cut.snapshot()
        if snapshot != whole.snapshot():
            return count, [f"cut before input {number}: the snapshot after it differs"]
        cut = Engine.restore(snapshot)
    return count, []


def delivery_faults(files: Path, kills: int) -> tuple[str, list[str]]:
    """Hold the integrator's books against the daemon's database.

    Returns:
        Events received and repeated, in words, and what was wrong.
    """
    delivery = compare(files / "gateway.db", files / "integrator.db")
    wrong = [f"{count} events {name}" for name, count in delivery.faults.items() if count]
    with closing(sqlite3.connect(f"file:{files / 'gateway.db'}?mode=ro", uri=True)) as connection:
        [(epochs,)] = connection.execute("SELECT count(*) FROM epochs")
        broken = connection.execute(
            "SELECT epoch FROM events GROUP BY epoch"
            " HAVING min(sequence) != 0 OR max(sequence) + 1 != count(*)"
        ).fetchall()
    if epochs != kills + 1:
        wrong.append(f"{epochs} starts, {kills + 1} expected")
    wrong += [f"epoch {epoch} was committed with a gap" for (epoch,) in broken]
    return f"{delivery.received} ({delivery.repeated})", wrong


def _inputs(paths: Iterable[Path]) -> Iterator[tuple[int, AnyInput]]:
    for path in paths:
        read_header(path)
        yield from read_segment(path)


def _id(line: bytes) -> str:
    found = re.search(rb'"id":"([^"]+)"', line)
    assert found is not None
    return found[1].decode()


# Runs.


def run(folder: Path, seed: int, kills: int, words: Sequence[str] = ()) -> Outcome:
    """Run the demo once and check what it leaves; a good run's files are deleted.

    Args:
        folder: Where its files and its log go.
        seed: Of the demo.
        kills: How often the daemon is killed.
        words: More for the command line of the demo.
    """
    outcome = Outcome(f"{seed}", kills)
    files, log = folder / f"{seed}", folder / f"{seed}.log"
    shutil.rmtree(files, ignore_errors=True)
    command = [sys.executable, "-m", "gateway.cli", "demo", "--seed", str(seed), *words]
    command += ["--keep-files", str(files), "--kill-daemon", str(kills)]
    began_s = time.monotonic()
    try:
        with log.open("wb") as file:
            done = subprocess.run(
                command, stdout=file, stderr=subprocess.STDOUT, timeout=DEMO_S_MAX, check=False
            )
    except subprocess.TimeoutExpired:
        outcome.wrong.append(f"went on for more than {DEMO_S_MAX:.0f} s")
        return outcome
    finally:
        outcome.took_s = time.monotonic() - began_s
    told = log.read_text(errors="replace")
    right = len(re.findall(r"^shopper-\d+ .*  right\b.*$", told, re.MULTILINE))
    outcome.receipts = f"{right} of {len(re.findall(r'^shopper-[0-9]+ ', told, re.MULTILINE))}"
    if done.returncode != 0:
        outcome.wrong.append(f"the demo ended with {done.returncode}")
    if done.returncode in (0, 1):  # Otherwise it did not come to its end.
        _check(outcome, files)
    if not outcome.wrong:
        shutil.rmtree(files)
        log.unlink()
    return outcome


def _check(outcome: Outcome, files: Path) -> None:
    outcome.events, wrong = delivery_faults(files, outcome.kills)
    outcome.wrong += wrong
    outcome.wrong += tail_faults(files) if outcome.kills else replay_faults(files)
    outcome.inputs, wrong = cut_faults(segments(files / "journal"))
    outcome.wrong += wrong


def seeds(text: str) -> list[int]:
    """Read seeds: ``101-110``, ``3,7``, or nothing for none.

    Raises:
        ValueError: It is neither.
    """
    found: list[int] = []
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def table(outcomes: Iterable[Outcome]) -> str:
    """Return the outcomes for people."""
    form = "{:>6} {:>6} {:>7} {:>10} {:>20} {:>11}  {}".format
    lines = [form("seed", "kills", "took", "receipts", "received (repeated)", "inputs cut", "")]
    lines += [
        form(
            *(one.name, one.kills, f"{one.took_s:.0f} s", one.receipts, one.events, one.inputs),
            "; ".join(one.wrong) or "ok",
        )
        for one in outcomes
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all and print one table; the exit status is 1 if anything was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.acceptance", description=__doc__)
    parser.add_argument("--seeds", type=seeds, default="101-110", help="(%(default)s)")
    parser.add_argument("--kill-seeds", type=seeds, default="201-210", help="(%(default)s)")
    parser.add_argument("--kills", type=int, default=2, help="of each of those (%(default)s)")
    parser.add_argument("--jobs", type=int, default=1, help="demos at once (%(default)s)")
    parser.add_argument(
        "--folder", type=Path, default=FOLDER, help="files of runs that went wrong (%(default)s)"
    )
    parser.add_argument(
        "--demo", action="append", default=[], metavar="WORD", help="a word more for each demo"
    )
    options = parser.parse_args(arguments)
    plan = [(seed, 0) for seed in options.seeds]
    plan += [(seed, options.kills) for seed in options.kill_seeds]
    options.folder.mkdir(parents=True, exist_ok=True)
    outcomes: list[Outcome] = []
    with ThreadPoolExecutor(options.jobs) as pool:
        running = [pool.submit(run, options.folder, *one, options.demo) for one in plan]
        for count, future in enumerate(as_completed(running), start=1):
            outcomes.append(future.result())
            one = outcomes[-1]
            told = f"seed {one.name}, {one.took_s:.0f} s: {'; '.join(one.wrong) or 'ok'}"
            sys.stderr.write(f"{count} of {len(plan)}: {told}\n")
    outcomes.sort(key=lambda one: (one.kills, int(one.name)))
    wrong = sum(bool(one.wrong) for one in outcomes)
    kills = sum(one.kills for one in outcomes)
    sys.stdout.write(f"{table(outcomes)}\n\n{len(outcomes)} demos, {kills} kills, {wrong} wrong\n")
    if wrong:
        sys.stdout.write(f"What the wrong ones left: {options.folder}\n")
    return 1 if wrong or not outcomes else 0


if __name__ == "__main__":
    sys.exit(main())
