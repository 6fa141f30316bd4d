# SPDX-License-Identifier: Apache-2.0
"""``python -m tests.vision_bench.beside``: the vision worker beside the plain way, in one table.

The plain way is ultralytics' ``track()`` in a loop. Both watch the same rendered clips with the
same weights at the same size, each in a process of its own on one core and one thread. Three times
over each other, so that what else the machine does falls on both; the median counts. Needs
ultralytics; ``make bench`` runs it once, but the empty aisle, which is near its limit, three times
for the median. Ends with status 1 where a limit is missed.
"""

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.vision_bench import films, workers

RESULTS = Path("build/beside.json")
INPUT_PX = 320
EVERY_FRAME = 120.0
"""``fps_max`` with which the worker looks at every frame of a slow clip."""
SLOW_RATE = 5
"""Pictures a second of the clip of which every frame is looked at, on a busy machine as well."""
SETTLED_S = 5.0
"""After so long the worker takes an aisle for empty."""
DECODED_S = 6.0
EMPTY_RUNS = 3
PARTS = ("frames", "mixed", "empty")
MODELS = ("people", "yolo11n-pose")
"""The one trained on rendered figures, and one of real size, untrained, that finds nobody."""


def missing():
    """Return why the plain way cannot be run here, or nothing."""
    needed = ("torch", "ultralytics", "onnx")
    absent = [name for name in needed if importlib.util.find_spec(name) is None]
    return f"{' and '.join(absent)} not installed (extra ultralytics)" if absent else ""


def measure(folder, weights=None, parts=PARTS, empty_runs=EMPTY_RUNS):
    """Measure all of it; return plain numbers, or ``{"skipped": why}``.

    Args:
        folder: For files, empty.
        weights: Folder of the models; they are made where none is given.
        parts: Which of :data:`PARTS` to measure.
        empty_runs: How often to measure the empty aisle; everything else is measured once.
    """
    if missing():
        return {"skipped": missing()}
    if weights is None:
        weights = folder / "weights"
        _make_weights(weights)
    results = {}
    if "frames" in parts:
        busy = films.make_clip(folder / "busy.mp4", [(3, 16.0)], rate=SLOW_RATE)
        results["frames"] = {
            name: _frames(folder / f"frames-{name}", busy, weights / name) for name in MODELS
        }
    if "mixed" in parts:
        stretches = [(3, 12.0), (0, 12.0), (2, 12.0), (0, 12.0)]
        mixed = films.make_clip(folder / "mixed.mp4", stretches)
        results["mixed"] = _mixed(folder / "mixed", mixed, weights / MODELS[0])
    if "empty" in parts:
        empty = films.make_clip(folder / "empty.mp4", [(0, 25.0)])
        results["empty"] = [
            _empty(folder / f"empty-{number}", empty, weights / MODELS[1])
            for number in range(empty_runs)
        ]
    return results


def _empty(folder, clip, model):
    """Measure the worker where nobody is, once it has settled, and decoding apart."""
    decoding_percent = workers.decoding(clip, DECODED_S)
    own = workers.own(folder, clip, model.with_suffix(".onnx"), from_s=SETTLED_S, input_px=INPUT_PX)
    beyond = own["cpu_percent"] - decoding_percent
    return _told(own) | {
        "decoding_percent": decoding_percent,
        "beyond_decoding_percent": round(beyond, 2),
    }


def _make_weights(folder):
    """Write the models in a process of its own: what makes them takes much memory, and prints."""
    subprocess.run(
        [sys.executable, "-m", "tests.vision.yolo.weights", str(folder)],
        check=True,
        stdout=subprocess.DEVNULL,
    )


def _frames(folder, clip, model):
    """Compare what a frame takes, and the memory."""
    own = workers.own(
        folder,
        clip,
        model.with_suffix(".onnx"),
        from_s=1.0,
        input_px=INPUT_PX,
        fps_max=EVERY_FRAME,
    )
    assert own["looked"] == own["people_messages"], "the worker left frames out"
    plain = workers.plain(clip, model.with_suffix(".pt"), INPUT_PX)
    return {
        "own": _told(own),
        "plain": _told(plain),
        "times_better": round(plain["cpu_people_ms"] / own["cpu_ms"], 2),
        "memory_share": round(own["memory_mb"] / plain["memory_mb"], 2),
    }


def _mixed(folder, clip, model, input_px=INPUT_PX):
    """Compare a clip with people in half of it, at the worker's own rate."""
    size = {} if input_px is None else {"input_px": input_px}
    own = workers.own(folder, clip, model.with_suffix(".onnx"), **size)
    plain = workers.plain(clip, model.with_suffix(".pt"), INPUT_PX)
    scores = {"own": films.figures(clip, own["told"]), "plain": films.figures(clip, plain["told"])}
    return {
        "own": _told(own) | scores["own"],
        "plain": _told(plain) | scores["plain"],
        "times_better": round(plain["cpu_percent"] / own["cpu_percent"], 2),
        "idf1_ahead": round(scores["own"]["idf1"] - scores["plain"]["idf1"], 3),
    }


def _told(figures):
    return {name: value for name, value in figures.items() if name != "told"}


def rows(results):
    """Return rows of a table: what, measured, unit, relation, limit."""
    found = []
    for name, frames in results.get("frames", {}).items():
        own, plain = frames["own"], frames["plain"]
        found += [
            (f"vision, CPU a frame of 320 px, {name}", own["cpu_ms"], "ms", "", 0),
            ("... the plain way", plain["cpu_people_ms"], "ms", "", 0),
            ("... times better", frames["times_better"], "x", ">=", 1.5),
            (f"vision, peak memory, {name}", own["memory_mb"], "MB", "", 0),
            ("... share of the plain way's", frames["memory_share"], "", "<=", 0.5),
        ]
    if "mixed" in results:
        mixed = results["mixed"]
        found += [
            (
                "vision, people half the time, CPU of a core",
                mixed["own"]["cpu_percent"],
                "%",
                "",
                0,
            ),
            ("... the plain way", mixed["plain"]["cpu_percent"], "%", "", 0),
            ("... times better", mixed["times_better"], "x", ">=", 3),
            ("... IDF1", mixed["own"]["idf1"], "", "", 0),
            ("... IDF1 of the plain way", mixed["plain"]["idf1"], "", "", 0),
            ("... ahead of it by", mixed["idf1_ahead"], "", ">=", -0.02),
        ]
    if "empty" in results:
        found += middle([_empty_rows(empty) for empty in results["empty"]])
    return found


def _empty_rows(empty):
    return [
        ("vision, empty aisle: decoding, of a core", empty["decoding_percent"], "%", "", 0),
        ("... all beyond decoding", empty["beyond_decoding_percent"], "%", "<=", 2),
    ]


def kept(value, relation, limit):
    """Tell whether a limit is kept; what has none always is."""
    return {"<=": value <= limit, ">=": value >= limit, "": True}[relation]


def line(what, value, unit, relation, limit):
    """Return a row as a line, with its verdict."""
    bound = f"{relation} {limit:g} {unit}".strip() if relation else ""
    verdict = "" if not relation else ("ok" if kept(value, relation, limit) else "MISSED")
    return f"{what:<50} {value:>8} {unit:<3} {bound:<10} {verdict}".rstrip()


def middle(runs):
    """Return the median of each row over several runs' rows."""
    return [
        (what, round(statistics.median(run[index][1] for run in runs), 3), *rest)
        for index, (what, _, *rest) in enumerate(runs[0])
    ]


def main():
    """Measure, print, write down and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="whose median counts (%(default)s)")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="(all)")
    options = parser.parse_args()
    if missing():
        sys.exit(f"beside: {missing()}")
    runs = []
    with tempfile.TemporaryDirectory(prefix="shelfgate-beside-") as folder:
        weights = Path(folder) / "weights"
        _make_weights(weights)
        for number in range(options.runs):
            sys.stderr.write(f"run {number + 1} of {options.runs} ...\n")
            at = Path(folder) / str(number)
            at.mkdir()
            runs.append(measure(at, weights, options.parts, empty_runs=1))
    told = middle([rows(run) for run in runs])
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(runs, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write("\n".join(line(*row) for row in told) + f"\n\nAll numbers: {RESULTS}\n")
    return 0 if all(kept(row[1], row[3], row[4]) for row in told) else 1


if __name__ == "__main__":
    sys.exit(main())
