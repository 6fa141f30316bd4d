# SPDX-License-Identifier: Apache-2.0
"""The same inputs give the same events: again, cut anywhere, in another process."""

import hashlib
import os
import random
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from gateway.domain.engine import Engine, fold
from gateway.domain.inputs import AnyInput
from gateway.envelope import made_line
from tests.gateway.domain.eventful import eventful
from tests.gateway.domain.runs import Books, Run, restarted, run
from tests.gateway.domain.scene import Scene
from tests.gateway.domain.test_promises import together

SEED = 100
LIMITS = {"shoppers": 4, "duration_s": 40.0}
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def lived():
    lived = run(SEED, **LIMITS)
    books = Books(lived.flat)
    # Otherwise the tests below would hold of nothing.
    assert books.names["item.picked"] >= 5
    assert books.names["item.put-back"] >= 1
    assert books.names["cart.closed"] >= 1
    return lived


def lines(events):
    return [made_line(event) for event in events]


def test_folding_again_gives_the_same_bytes(lived):
    assert lines(fold(Engine(), lived.inputs)) == lines(lived.flat)


def test_inputs_that_went_through_a_file_give_the_same_bytes(lived):
    decoder = msgspec.json.Decoder(AnyInput)
    written = [(number, decoder.decode(msgspec.json.encode(item))) for number, item in lived.inputs]
    assert lines(fold(Engine(), written)) == lines(lived.flat)


def snapshots(lived, numbers):
    """Return the snapshot before each of the inputs numbered."""
    engine, taken = Engine(), {}
    for number, item in lived.inputs:
        if number in numbers:
            taken[number] = engine.snapshot()
        engine.step(number, item)
    return taken


def state(snapshot):
    """Return a snapshot's content: whole numbers of the simulation may be written either way."""
    return msgspec.json.decode(snapshot)


def test_a_run_cut_at_any_input_goes_on_the_same(lived):
    last = len(lived.inputs)
    cuts = random.Random(1).sample(range(2, last + 1), 25)
    for number, snapshot in snapshots(lived, set(cuts)).items():
        engine = Engine.restore(snapshot)
        assert state(engine.snapshot()) == state(snapshot)
        rest = lines(fold(engine, lived.inputs[number - 1 :]))
        assert rest == lines(e for made in lived.events[number - 1 :] for e in made), number
        assert state(engine.snapshot()) == state(lived.engine.snapshot()), number


def test_every_input_of_a_busy_stretch_is_a_place_to_cut(lived):
    picked = next(
        n
        for n, made in enumerate(lived.events, 1)
        if any(event.name == "item.picked" for event in made)
    )
    ends_ns = lived.inputs[picked - 1][1].at.mono_ns + 500_000_000
    stretch = {
        number
        for number, item in lived.inputs
        if number > 1 and ends_ns - 2_000_000_000 <= item.at.mono_ns < ends_ns
    }
    assert len(stretch) > 60
    far = max(stretch) + 60
    taken = snapshots(lived, {*stretch, far + 1})
    for number in sorted(stretch):
        engine = Engine.restore(taken[number])
        rest = lines(fold(engine, lived.inputs[number - 1 : far]))
        assert rest == lines(e for made in lived.events[number - 1 : far] for e in made), number
        assert state(engine.snapshot()) == state(taken[far + 1]), number


def test_an_eventful_scene_may_be_cut_at_every_other_input():
    scene = eventful()
    assert {"review.requested", "inputs.dropped", "device.lost", "device.recovered"} <= {
        made.name for made in scene.events
    }
    engine, taken, made = Engine(), {}, {}
    for number, item in scene.inputs:
        taken[number] = engine.snapshot() if number > 1 else b""
        made[number] = lines(engine.step(number, item).events)
    assert sum(map(len, made.values())) == len(scene.events)
    last = len(scene.inputs)
    for number in range(2, last, 2):
        far = min(number + 40, last - 1)
        again = Engine.restore(taken[number])
        for other in range(number, far + 1):
            events = again.step(other, scene.inputs[other - 1][1]).events
            assert lines(events) == made[other], (number, other)
        assert again.snapshot() == taken[far + 1], number


def test_counts_and_trembles_go_on_alike_from_any_snapshot():
    scene = Scene(store=together())
    scene.weights_g |= {"g1.s1.p2": 480.0, "g1.s1.p3": 1_170.0}
    scene.run(2.0)
    for name in ("anna", "bert"):
        scene.enter(name)
    for who, changes_g, noise_g in (
        ("anna", {"g1.s1.p2": -240.0}, 0.6),
        ("bert", {"g1.s1.p2": -130.0, "g1.s1.p3": -110.0}, 4.0),
        ("anna", {"g1.s1.p3": 700.0}, 0.6),
        ("bert", {"g2.s1.p0": -900.0}, 4.0),
    ):
        scene.noise_g = noise_g
        scene.act(who, changes_g, wait_s=1.0)
    scene.leave("anna", wait_s=1.0)
    scene.leave("bert", wait_s=40.0)
    assert scene.state.holdings["g1.s1.p2"].stock is not None
    whole, cut = Engine(), Engine()
    for number, item in scene.inputs:
        assert cut.step(number, item) == whole.step(number, item), number
        assert cut.changed_rows() == whole.changed_rows()
        if number % 53 == 0:
            cut = Engine.restore(cut.snapshot())
    assert cut.snapshot() == whole.snapshot()


def test_the_order_of_hashes_does_not_matter(lived):
    program = (
        "from tests.gateway.domain.test_determinism import digest; print(digest(), flush=True)"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=50,
        ).stdout.strip()
        for seed in ("1", "4242")
    }
    assert digests == {digest(lived)}


def digest(lived=None):
    """Return a hash of all events of the run."""
    lived = lived or Run(SEED, **LIMITS)
    return hashlib.sha256(b"\n".join(lines(lived.flat))).hexdigest()


# Kills: durable rows and a gap are all that is left


@pytest.mark.parametrize("down_inputs", [1, 60])
def test_a_run_killed_anywhere_keeps_its_carts(down_inputs):
    lived = run(SEED)
    for cut in random.Random(down_inputs).sample(range(50, len(lived.inputs) - 100), 6):
        events, engine = restarted(lived.inputs, {cut}, down_inputs=down_inputs)
        books = Books(events)
        assert books.names["gateway.started"] == 2
        assert not lost_sessions(lived, cut, down_inputs, books), cut
        assert books.wrong(lived.truth) == [] or scan_was_lost(lived, cut, down_inputs), cut
        assert engine.state.sessions == {}, cut


def test_a_run_killed_again_and_again_keeps_its_carts():
    lived = run(SEED)
    cuts = set(range(400, len(lived.inputs) - 200, 400))
    events, _ = restarted(lived.inputs, cuts, down_inputs=2)
    books = Books(events)
    assert books.names["gateway.started"] == len(cuts) + 1
    assert books.wrong(lived.truth) == []
    ids = [event.id for event in events]
    assert len(set(ids)) == len(ids)


def scans(lived, cut, down_inputs):
    """Return the shoppers whose scan was lost with the gateway down."""
    down = lived.inputs[cut - 1 : cut - 1 + down_inputs]
    return {item.shopper for _, item in down if hasattr(item, "shopper")}


def scan_was_lost(lived, cut, down_inputs):
    return bool(scans(lived, cut, down_inputs))


def lost_sessions(lived, cut, down_inputs, books):
    """Return the shoppers without a receipt though their scan was heard."""
    told = {books.shoppers[session] for session in books.carts}
    return set(lived.truth.left_ns) - told - scans(lived, cut, down_inputs)
