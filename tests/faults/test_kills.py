# SPDX-License-Identifier: Apache-2.0
"""Real processes that are killed, again and again, while the network fails too."""

import asyncio
import resource
from contextlib import ExitStack

import psutil
import pytest

from gateway.simulator.keys import TokenMaker
from tests.e2e.helpers import Program, closed, daemon, outside_broker, until
from tests.e2e.shop import FILE, ROOT, STORE, Shop, settled
from tests.endure import Outcome, Plan, endure, examine

pytestmark = pytest.mark.slow


def run_plan(folder, plan):
    outcome = asyncio.run(endure(folder, plan, say=lambda _line: None))
    assert outcome.wrong == []
    assert min(outcome.daemon_kills, outcome.broker_kills) >= 2
    assert outcome.cuts >= 2
    assert outcome.epochs == outcome.daemon_kills + 1
    return outcome


def test_daemon_broker_and_link_fail_in_quick_succession(tmp_path):
    """A flow of events so dense that each kill finds some committed and not sent."""
    plan = Plan(
        seconds=12,
        seed=1,
        plates=12,
        cameras=1,
        shoppers=2,
        visitor_every_s=0.03,
        calm_s=(0.05, 0.8),
        fault_s=(0.1, 1.0),
        broker_every_s=4.0,
        daemon_every_s=2.5,
        kills_min=2,
    )
    outcome = run_plan(tmp_path, plan)
    assert outcome.committed > 10


# Memory.

FLOOD = """
import json, sys
import paho.mqtt.client as paho
port, topic, rows = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
client = paho.Client(paho.CallbackAPIVersion.VERSION2)
client.connect("127.0.0.1", port)
client.loop_start()
w = json.dumps([[812.4, 17.5, 3.25]] * rows)
seq = 0
while True:
    block = {"v": 1, "boot": "ff", "seq": seq, "t_ms": seq * 10, "period_us": 100, "unit": "g"}
    payload = json.dumps(block)[:-1] + ', "w": ' + w + "}"
    client.publish(topic, payload, qos=1).wait_for_publish(10)
    print(seq, flush=True)
    seq += 1
"""


def allow_no_more_memory(pid):
    """Let a running process have no more address space than it has now."""
    now = psutil.Process(pid).memory_info().vms
    resource.prlimit(pid, resource.RLIMIT_AS, (now, now))


@pytest.mark.parametrize(("rows", "count"), [(2_500, 40), (1_000_000, 6)], ids=["blocks", "huge"])
def test_a_daemon_without_memory_goes_on_or_ends_and_loses_nothing(tmp_path, rows, count):
    """A flood at the in-store broker, of blocks as large as may be and of what is far too large."""
    file = tmp_path / "store.toml"
    file.write_text(FILE)
    TokenMaker.in_directory(STORE, tmp_path / "keys")
    with ExitStack() as stack:
        upstream = stack.enter_context(outside_broker(tmp_path))
        instore = stack.enter_context(outside_broker(tmp_path, "instore"))
        one = stack.enter_context(
            daemon(tmp_path, file, upstream=upstream.port, instore=instore.port, journal=False)
        )
        books = Program(
            tmp_path,
            "integrator",
            *("-m", "gateway.simulator.integrator", "--broker", f"127.0.0.1:{upstream.port}"),
            *("--database", tmp_path / "integrator.db"),
        ).start()
        stack.callback(books.kill)
        one.start()
        shop = stack.enter_context(closed(Shop(one.instore, tmp_path / "keys")))
        settled(one)
        allow_no_more_memory(one.program.pid)
        topic = f"{ROOT}/shelf/g1.s1/samples"
        flood = Program(tmp_path, "flood", "-c", FLOOD, one.instore, topic, rows).start()
        stack.callback(flood.kill)
        visitors = 0
        while one.program.process.poll() is None and len(flood.words().splitlines()) < count:
            visitors += 1
            shop.scan(shop.tokens.token(f"visitor-{visitors}"))
            shop.frames(3)
        flood.kill()
        if one.program.process.poll() is None:
            one.notes.forget()
            one.notes.wait("WATCHDOG=1")  # It commits: systemd would not kill it.
            until(lambda: excuses(one), "what it dropped or no longer hears is told")
        before = one.rows()
        one.program.kill()
        one.start()
        assert one.rows()[: len(before)] == before
        until(lambda: not one.rows("SELECT 1 FROM events WHERE acknowledged = 0"), "no backlog")
        assert one.stop()[0] == 0
        assert books.stop()[0] == 0
    outcome = Outcome(daemon_kills=1)
    examine(tmp_path, outcome)
    assert outcome.wrong == []


def excuses(one):
    """Return what the daemon told of inputs that it dropped, and of devices that fell silent."""
    return one.rows("SELECT id FROM events WHERE name IN ('inputs.dropped', 'device.lost')")
