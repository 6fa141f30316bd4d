# SPDX-License-Identifier: Apache-2.0
"""What real pictures cost: the exam's typical cases with rendered cameras beside simulated people.

``python -m tests.vision_bench.shop`` lets the engine sit cases again and again. Weights, scans,
delays and losses are the same; people are what the exam's cameras say, or what tracker and placing
make of the bodies' keypoints, or of what a model of the repository finds in rendered pictures,
without second looks and with them. Each case is written down when it is done, so that a run can be
cut short and gone on with; what was played with other options or sources is played again. Seeds 301
to 360 were for tuning; the default ones are for reporting.
"""

import argparse
import hashlib
import heapq
import itertools
import sys
import time
from collections import Counter
from pathlib import Path

import msgspec
import numpy as np

from drivers.instore.codec import Known, decode
from gateway.domain.effects import Look
from gateway.domain.engine import Engine
from gateway.domain.inputs import DeviceStatus, Looked, People
from gateway.simulator.exam.cases import make_case, stamp
from gateway.simulator.exam.conditions import CONDITIONS
from gateway.simulator.exam.examinee import EventReader, sit, started
from gateway.simulator.exam.score import Result, figures, judge
from gateway.simulator.exam.stage import START_NS
from gateway.simulator.exam.suite import Plan
from tests.vision_bench.rendered import CHEST_MM, rendered, why_wrong
from vision.detectors import build

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "fixtures" / "model" / "384"
SOURCES = ("gateway", "drivers", "vision", "tests/vision_bench", "fixtures/model")
RESULTS = Path("build/shop.jsonl")
REACH = 0.02
"""How much F1 may fall."""
SCORE_MIN = 0.35
"""Of a person: what the worker's detector has."""
WAYS = ("simulated", "keypoints", "rendered", "looks")
PAIRS = (
    ("simulated", "keypoints"),
    ("simulated", "rendered"),
    ("simulated", "looks"),
    ("looks", "rendered"),
)
WIRE_NS = 20_000_000
LOOK_NS = 25_000_000
"""What a worker takes for each frame of a second look."""


class Recipe(msgspec.Struct, frozen=True):
    """What a case was played with; another recipe may have another result.

    Attributes:
        sources: Hash of the code and the models.
        aside: Bodies step aside for one another.
        seen_mm: Up to what height cameras show who scans.
        score_min: Of the model's persons.
        models: Folder of the models.
    """

    sources: str
    aside: bool
    seen_mm: float
    score_min: float
    models: str


class Case(msgspec.Struct):
    """One case: how each way went, and why acts were given to others than with simulated people."""

    results: dict[str, Result]
    causes: dict[str, int]
    looks: int
    recipe: Recipe | None = None

    @property
    def key(self):
        """Return what tells it from others of the same recipe: script and seed."""
        one = self.results["simulated"]
        return one.kind, one.seed


def sources_hash(root):
    """Return a hash of all code and models in a checkout that a result depends on."""
    told = hashlib.blake2b(digest_size=16)
    for path in sorted(path for name in SOURCES for path in (root / name).rglob("*")):
        if path.suffix in {".py", ".onnx", ".toml"}:
            told.update(f"{path.relative_to(root)} {path.stat().st_size}\n".encode())
            told.update(path.read_bytes())
    return told.hexdigest()


def played(path, recipe):
    """Return the cases in a file by script and seed that were played with a recipe.

    How many others there are is said: they are played again.
    """
    lines = path.read_bytes().splitlines() if path.exists() else []
    cases = [msgspec.json.decode(line, type=Case) for line in lines]
    same = {case.key: case for case in cases if case.recipe == recipe}
    others = sum(case.recipe != recipe for case in cases)
    if others:
        sys.stderr.write(f"{path}: {others} results of other options or sources do not count\n")
    return same


def shop_detector(score_min=SCORE_MIN, models=MODELS):
    """Return a worker's detector, of a folder with persons and hands."""
    return build(
        "onnxruntime",
        models / "people.onnx",
        hands=models / "hands.onnx",
        threads=1,
        score_min=score_min,
    )


def play(kind, seed, detector, recipe):
    """Return one typical case, sat in all ways.

    Args:
        kind: Its script.
        seed: Of everything.
        detector: Of persons.
        recipe: What cameras show.
    """
    more = {"aside": recipe.aside, "seen_mm": recipe.seen_mm}
    case = make_case(kind, CONDITIONS["typical"], seed)
    named = {"kind": kind, "condition": "typical", "seed": seed}
    answers = {"simulated": sit(case.store, case.inputs())}
    seen, eyes = rendered(case, **more)
    answers["keypoints"] = Sitting(seen, eyes, looks=False).run()
    seen, eyes = rendered(case, detector, **more)
    answers["rendered"] = Sitting(seen, eyes, looks=False).run()
    again = Sitting(seen, eyes, looks=True)
    answers["looks"] = again.run()
    results = {way: judge(answer, case.truth, **named) for way, answer in answers.items()}
    causes = why_wrong(case, eyes, answers["simulated"], answers["rendered"])
    return Case(results, causes, again.looks, recipe)


class Sitting:
    """The engine on one case; cameras with eyes answer its looks.

    Attributes:
        looks: How often it asked.
    """

    def __init__(self, case, eyes, *, looks):
        self.case, self.eyes, self.looks = case, eyes, 0
        self._queue, self._count = [], itertools.count()
        self._offset = dict.fromkeys(eyes, 0)
        self._sample = {}
        for item in case.inputs():
            asked = looks and isinstance(item, DeviceStatus) and item.device.startswith("camera/")
            if isinstance(item, People):
                self._sample.setdefault(item.device, item)
            self._push(
                item.at.mono_ns, msgspec.structs.replace(item, looks=True) if asked else item
            )

    def run(self):
        """Return the answer."""
        engine, reader, number = Engine(), EventReader(), 0
        item = started(self.case.store)
        while True:
            number += 1
            stepped = engine.step(number, item)
            for event in stepped.events:
                reader.take(event, item)
            engine.changed_rows()
            for effect in stepped.effects:
                if isinstance(effect, Look):
                    self._answer(effect, item.at.mono_ns)
            if not self._queue:
                return reader.answer
            item = self._numbered(heapq.heappop(self._queue)[2])

    def _push(self, at_ns, item):
        heapq.heappush(self._queue, (at_ns, next(self._count), item))

    def _numbered(self, item):
        """Return a camera's message with its number among those and the answers before it."""
        if isinstance(item, Looked | People):
            camera = item.device.removeprefix("camera/")
            self._offset[camera] += isinstance(item, Looked)
            if self._offset[camera] and isinstance(item, People):
                return msgspec.structs.replace(item, seq=item.seq + self._offset[camera])
        return item

    def _answer(self, look, now_ns):
        """Let a camera answer a look: after the wire, and the time that its frames take."""
        self.looks += 1
        eye, device = self.eyes[look.camera], f"camera/{look.camera}"
        first_ns, frames, count = eye.look_again(look, now_ns + WIRE_NS)
        like = self._sample[device]
        ago_ms = START_NS + int(eye.times_s[like.seq] * 1e9) - first_ns
        message = {
            "v": 1,
            "boot": like.boot,
            "seq": 0,
            "t_ms": (like.t_ms - ago_ms // 1_000_000) % 2**32,
            "look": look.id,
            "frames": frames,
        }
        if like.host_boot is not None:
            message |= {"host_boot": like.host_boot, "host_mono_ms": first_ns / 1e6}
        known = Known.of(self.case.store)
        at_ns = now_ns + 2 * WIRE_NS + count * LOOK_NS
        payload = msgspec.json.encode(message)
        item = decode(
            known, f"{known.root}{device}/looked", payload, retained=False, stamp=stamp(at_ns)
        )
        assert isinstance(item, Looked), item
        self._push(at_ns, item)


def parted(cases, one, other):
    """Return by how much F1 of one way is above another's, and the standard error of that.

    The error is from how much cases differ, each held against itself (by linearisation).
    """
    f1 = {way: figures([case.results[way] for case in cases]).f1 for way in (one, other)}
    residuals = {way: [] for way in (one, other)}
    totals = dict.fromkeys((one, other), 0)
    for case in cases:
        for way in (one, other):
            pairs = [pair for pair in case.results[way].pairs if not pair.undecidable]
            both = sum(pair.true + pair.billed for pair in pairs)
            right = sum(min(pair.true, pair.billed) for pair in pairs)
            residuals[way].append(2 * right - f1[way] * both)
            totals[way] += both
    parts = {way: np.array(residuals[way]) / max(totals[way], 1) for way in (one, other)}
    return f1[one] - f1[other], float(np.linalg.norm(parts[one] - parts[other]))


def table(cases):
    """Return the figures for people."""
    head = ("F1", "+-", "precision", "recall", "found", "product", "shopper", "reviews")
    lines = [f"{'people':<10}" + "".join(f"{word:>10}" for word in head)]
    for way in WAYS:
        one = figures([case.results[way] for case in cases])
        numbers = (one.f1, one.f1_error, one.precision, one.recall)
        numbers += (one.found, one.product, one.shopper, one.reviews)
        told = ("" if number is None else f"{number:.3f}" for number in numbers)
        lines.append(f"{way:<10}" + "".join(f"{number:>10}" for number in told))
    for one, other in PAIRS:
        away, error = parted(cases, one, other)
        known = f" +- {error:.3f}" if len(cases) > 1 else ""
        lines.append(f"F1 {one} less {other}: {away:+.3f}{known}")
    some = [case for case in cases if case.results["simulated"].kind != "mixed"]
    for name, part in (("mixed", [c for c in cases if c not in some]), ("other scripts", some)):
        f1s = [figures([case.results[way] for case in part]).f1 for way in WAYS] if part else []
        told = ", ".join(f"{way} {f1:.3f}" for way, f1 in zip(WAYS, f1s, strict=False))
        lines.append(f"{name} ({len(part)} cases): {told}")
    causes = Counter()
    for case in cases:
        causes.update(case.causes)
    lines.append(
        "acts right with simulated people and not with rendered ones: " + str(dict(causes))
    )
    units = sum(case.results["simulated"].units for case in cases)
    lines.append(f"{len(cases)} cases, {units} units, {sum(case.looks for case in cases)} looks")
    return "\n".join(lines)


def main():
    """Play what is not written down yet, print, and judge."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--first", type=int, default=20_001, help="seed (%(default)s)")
    parser.add_argument("--cases", type=int, default=60, help="how many (%(default)s)")
    parser.add_argument("--kind", help="only this script, as mixed or group")
    parser.add_argument("--seconds", type=float, default=1e9, help="begin no case after these")
    parser.add_argument("--results", type=Path, default=RESULTS, help="(%(default)s)")
    parser.add_argument("--through", action="store_true", help="bodies walk through one another")
    parser.add_argument(
        "--seen", type=float, default=CHEST_MM, help="mm of who scans in view (%(default)s)"
    )
    parser.add_argument(
        "--score-min", type=float, default=SCORE_MIN, help="of the model's persons (%(default)s)"
    )
    parser.add_argument(
        "--models", type=Path, default=MODELS, help="folder of people and hands (%(default)s)"
    )
    options = parser.parse_args()
    options.results.parent.mkdir(exist_ok=True)
    recipe = Recipe(
        sources_hash(ROOT),
        not options.through,
        options.seen,
        options.score_min,
        str(options.models.resolve()),
    )
    done = played(options.results, recipe)
    began_s, cases = time.monotonic(), []
    detector = shop_detector(options.score_min, options.models)
    plan = Plan(("typical",), options.first, options.cases, options.kind)
    for kind, _, seed in plan.names():
        if (kind, seed) not in done:
            if time.monotonic() - began_s > options.seconds:
                break
            done[kind, seed] = play(kind, seed, detector, recipe)
            with options.results.open("ab") as file:
                file.write(msgspec.json.encode(done[kind, seed]) + b"\n")
        cases.append(done[kind, seed])
        wrong = ", ".join(f"{way} {cases[-1].results[way].wrong}" for way in WAYS)
        units = cases[-1].results["simulated"].units
        sys.stderr.write(f"{kind} {seed}: of {units} units wrong or missing: {wrong}\n")
    if not cases:
        sys.exit(f"--seconds {options.seconds:g}: no case was played. Give more, or --cases")
    sys.stdout.write(table(cases) + "\n")
    return int(parted(cases, "simulated", "rendered")[0] > REACH)


if __name__ == "__main__":
    sys.exit(main())
