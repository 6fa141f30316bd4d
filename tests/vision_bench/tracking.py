# SPDX-License-Identifier: Apache-2.0
"""``python -m tests.vision_bench.tracking``: the tracker against ultralytics', in one table.

On rendered sequences of 20 s with two to four people who pass each other and go behind a gondola:
detections of the repository's own model, and the truth with errors on more seeds. Ends with status
1 where the figures to reach are missed.
"""

import argparse
import json
import sys
import time
from pathlib import Path

from tests.vision_bench import tracks
from vision.appearance import TorsoColours
from vision.tracking import MEMORY_S, Tracker

RESULTS = Path("build/tracking.json")
RATES = {5: 6, 10: 3, 30: 1}
"""Frames a second, and which of the 30 they are: every so many-th."""
LIBRARY = ("bytetrack", "botsort", "ocsort")
REACH = 0.95
"""IDF1 with four people, and the share of identities kept over one to two seconds."""


def trackers(library):
    """Return the trackers by name: shots and rate in, names out."""
    found = {
        "the truth's names": lambda shots, _: tracks.true_names(shots),
        "own, place and looks": lambda shots, _: tracks.named(
            Tracker(TorsoColours().scatter()), shots
        ),
        "own, place alone": lambda shots, _: tracks.named(Tracker(), shots, looks=False),
    }
    if library:
        # In a folder of its own: what uses ultralytics is under its licence.
        from tests.vision.yolo.trackers import ultralytics_names

        for kind in LIBRARY:
            found[kind] = lambda shots, fps, kind=kind: ultralytics_names(
                kind, shots, fps, memory_s=MEMORY_S
            )
        for kind in ("botsort", "deepocsort"):  # those that take descriptors
            found[f"{kind}, our looks"] = lambda shots, fps, kind=kind: ultralytics_names(
                kind, shots, fps, memory_s=MEMORY_S, looks=True
            )
    return found


def measure(sequences, source, library):
    """Return a row for each tracker and rate; ``sequences`` are pairs of people and shots."""
    rows = []
    for name, track in trackers(library).items():
        for fps, every in RATES.items():
            sums, frames, busy_s = [], 0, 0.0
            for people, shots in sequences:
                chosen = shots[::every]
                began = time.process_time()
                names = track(chosen, fps)
                busy_s += time.process_time() - began
                frames += len(chosen)
                sums.append((people, tracks.score(chosen, names)))
            four = [one for people, one in sums if people == 4]
            row = {"source": source, "tracker": name, "fps": fps}
            row |= tracks.figures([one for _, one in sums])
            row["idf1_four"] = tracks.figures(four)["idf1"] if four else None
            row["cpu_ms_frame"] = round(1e3 * busy_s / frames, 2)
            rows.append(row)
    return rows


def made(source, seeds):
    """Return pairs of people and shots: four people twice, three, two, and again."""
    make = {"model": tracks.by_model, "truth": tracks.by_truth}[source]
    pairs = []
    for number, seed in enumerate(seeds):
        people = (4, 4, 3, 2)[number % 4]
        pairs.append((people, make(seed, people)))
        sys.stderr.write(f"{source}: sequence {number + 1} of {len(seeds)}\n")
    return pairs


def table(rows):
    """Return the rows for people."""
    head = f"{'detections':<10} {'tracker':<22} {'fps':>3} {'MOTA':>6} {'IDF1':>6} {'IDF1, 4':>8}"
    lines = [f"{head} {'switches':>8} {'kept over 1 to 2 s':>19} {'CPU ms':>7}"]
    for row in rows:
        four = "-" if row["idf1_four"] is None else f"{row['idf1_four']:.3f}"
        kept = f"{row['kept']} of {row['hidden']} ({100 * row['kept_share']:.0f} %)"
        lines.append(
            f"{row['source']:<10} {row['tracker']:<22} {row['fps']:>3} {row['mota']:>6.3f}"
            f" {row['idf1']:>6.3f} {four:>8} {row['switches']:>8} {kept:>19}"
            f" {row['cpu_ms_frame']:>7.2f}"
        )
    return "\n".join(lines)


def span(text):
    """Return the seeds of ``101-106``, ``7`` or nothing."""
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1) if first else range(0)


def main():
    """Measure, print, write down and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model-seeds", type=span, default=span("401-408"), metavar="A-B")
    parser.add_argument("--truth-seeds", type=span, default=span("401-408"), metavar="A-B")
    parser.add_argument("--no-library", action="store_true", help="the project's own alone")
    options = parser.parse_args()
    rows = []
    for source, seeds in (("model", options.model_seeds), ("truth", options.truth_seeds)):
        if seeds:
            rows += measure(made(source, seeds), source, not options.no_library)
    sys.stdout.write(table(rows) + "\n")
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    ours = [row for row in rows if row["tracker"] == "own, place and looks"]
    missed = [
        row
        for row in ours
        if min(row["kept_share"], 1.0 if row["idf1_four"] is None else row["idf1_four"]) < REACH
    ]
    for row in missed:
        sys.stderr.write(f"MISSED: {row['source']} at {row['fps']} frames a second\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
