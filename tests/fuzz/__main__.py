# SPDX-License-Identifier: Apache-2.0
"""Fuzz every decoder for a set time: ``make fuzz SECONDS=60``.

Each target runs in a process of its own under libFuzzer (atheris). What was found stays in
``.fuzz/findings``, and the corpus in ``.fuzz/corpus``, for the next run.
"""

import argparse
import importlib.util
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

from tests.fuzz.seeds import seeds
from tests.fuzz.targets import TARGETS

FOLDER = Path(".fuzz")
SPARE_S = 60
LIMITS = ("-max_len=65536", "-timeout=20", "-rss_limit_mb=1500", "-print_final_stats=1")
TRACE_LINES = 25


def main():
    """Return 0, or 1 when something was found or there is nothing to fuzz with."""
    arguments = _arguments()
    if arguments.reproduce:
        [name] = arguments.targets
        warnings.simplefilter("error")
        TARGETS[name](arguments.reproduce.read_bytes())
        say(f"{name}: does not fail")
        return 0
    if importlib.util.find_spec("atheris") is None:
        remedy = "Install the extra fuzz with CPython 3.11 to 3.13 on x86-64 Linux"
        sys.exit(f"fuzz: atheris: not installed. {remedy}")
    found = [name for name in arguments.targets if not _run(name, arguments.seconds)]
    say(f"{len(arguments.targets)} targets, found something in: {', '.join(found) or 'none'}")
    return 1 if found else 0


def say(text):
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _arguments():
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", default=list(TARGETS), help="all when none is named")
    parser.add_argument("--seconds", type=int, default=60, help="for each target (%(default)s)")
    parser.add_argument("--reproduce", type=Path, metavar="FILE", help="give a target this once")
    arguments = parser.parse_args()
    unknown = set(arguments.targets) - set(TARGETS)
    if unknown or (arguments.reproduce and len(arguments.targets) != 1):
        parser.error(f"targets: name one, or some, of {', '.join(TARGETS)}")
    return arguments


def _run(name, seconds):
    """Fuzz one target; tell whether nothing was found."""
    corpus, findings = FOLDER / "corpus" / name, FOLDER / "findings" / name
    for folder in (corpus, findings):
        folder.mkdir(parents=True, exist_ok=True)
    for place, seed in enumerate(seeds()[name]):
        (corpus / f"seed-{place}").write_bytes(seed)
    before = set(findings.iterdir())
    command = [sys.executable, "-m", "tests.fuzz.child", name, str(corpus), *LIMITS]
    command += [f"-max_total_time={seconds}", f"-artifact_prefix={findings}{os.sep}"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=seconds + SPARE_S, check=False)
        status, words = done.returncode, (done.stdout + done.stderr).decode(errors="replace")
    except subprocess.TimeoutExpired as error:
        status, words = 1, (error.stderr or b"").decode(errors="replace")
    runs = re.findall(r"stat::number_of_executed_units: *(\d+)|Done (\d+) runs", words)
    count = max((int(number) for pair in runs for number in pair if number), default=0)
    new = sorted(set(findings.iterdir()) - before)
    say(f"{name}: {count} inputs, {len(new)} findings")
    if status or new:
        told = [line for line in words.splitlines() if not re.match(r"#\d+\s|==\d+==", line)]
        say("\n".join(told[-TRACE_LINES:]))
        for path in new:
            say(f"reproduce: python -m tests.fuzz {name} --reproduce {path}")
        return False
    return True


sys.exit(main())
