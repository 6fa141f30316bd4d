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
LIMITS = ("-max_len=65536", "-timeout=20", "-rss_limit_mb=2500", "-malloc_limit_mb=500")
ROUND_S = 60
"""atheris keeps half a kilobyte of each changed input: a process of its own ends that."""
NOISE = re.compile(r"#\d+\s|==\d+==|INFO: |WARNING: ")
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
    found = [name for name in arguments.targets if not _fuzz(name, arguments.seconds)]
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


def _fuzz(name, seconds):
    """Fuzz one target, in rounds; tell whether nothing was found."""
    total = 0
    while seconds > 0:
        count, good = _round(name, min(seconds, ROUND_S))
        total += count
        if not good:
            return False
        seconds -= ROUND_S
    say(f"{name}: {total} inputs, nothing found")
    return True


def _round(name, seconds):
    """Return how many inputs a target was given, and whether nothing was found."""
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
    count = max(map(int, re.findall(r"^#(\d+)\s", words, re.MULTILINE)), default=0)
    new = sorted(set(findings.iterdir()) - before)
    if status or new:
        say(f"{name}: found something after {count} inputs")
        told = [line for line in words.splitlines() if not NOISE.match(line)]
        say("\n".join(told[-TRACE_LINES:]))
        for path in new:
            say(f"reproduce: python -m tests.fuzz {name} --reproduce {path}")
        return count, False
    return count, True


sys.exit(main())
