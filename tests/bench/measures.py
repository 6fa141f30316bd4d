# SPDX-License-Identifier: Apache-2.0
"""What is measured, and how. Each returns plain numbers; limits and table are ``__main__``'s."""

import os
import re
import resource
import statistics
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path

import psutil

from drivers.entry.tokens import EntryConfig, Verifier
from gateway.clock import OsClock
from gateway.domain.engine import Engine
from gateway.domain.inputs import People, Samples, Tick
from gateway.simulator.keys import ISSUER, JWKS_NAME, TokenMaker
from gateway.simulator.store_files import write_store
from tests.bench import busy
from tests.bench.recording import recorded, started, write_journal, write_messages
from tests.e2e.helpers import Program, Witness, accepts, closed, daemon, outside_broker, until

WARM_S = 6.0
"""Left out of the measured stretch: connecting, first windows of every plate."""


def machine():
    """Return what the numbers depend on."""
    text = "unknown"
    about = Path("/proc/cpuinfo").read_text("ascii", "replace")
    found = re.search(r"model name\s*: (.*)|Model\s*: (.*)", about)
    if found:
        text = found[1] or found[2]
    packages = ("aiosqlite", "amqtt", "msgspec", "numpy", "paho-mqtt")
    return {
        "cpu": text,
        "cores": os.cpu_count(),
        "memory_mb": psutil.virtual_memory().total // 1_000_000,
        "kernel": os.uname().release,
        "python": sys.version.split()[0],
        "packages": {name: version(name) for name in (*packages, "shelfgate")},
        "load_1min": round(os.getloadavg()[0], 2),
    }


def real_time(folder, measured_s, *, plates=306, cameras=3, shoppers=10, journal=False, hook=None):
    """Play a store in real time; return CPU, memory and latencies of the daemon.

    CPU is user and system time of the daemon's process alone over the wall time of the stretch;
    its in-store broker is a process of its own and told apart. A latency is from the arrival of
    the input that caused an event (``data.clock.mono_ns``) to the event's arrival at another
    subscriber of the upstream broker, which gets it when the daemon gets its PUBACK.
    """
    store, inputs = recorded(measured_s + WARM_S, plates=plates, cameras=cameras, shoppers=shoppers)
    file, messages = folder / "store.toml", folder / "messages.jsonl"
    write_store(file, store)
    count = write_messages(messages, store, inputs)
    del inputs
    TokenMaker.in_directory(store.name, folder / "keys")
    with ExitStack() as stack:
        upstream = stack.enter_context(outside_broker(folder))
        one = stack.enter_context(daemon(folder, file, upstream=upstream.port, journal=journal))
        witness = stack.enter_context(closed(Witness(upstream.port, store.name)))
        one.start()
        process = psutil.Process(one.program.pid)
        broker = until(process.children, "the in-store broker")[0]
        until(lambda: accepts(one.instore), "the in-store broker")
        player = Program(
            folder,
            "player",
            *("-m", "tests.bench.player", "--messages", messages, "--store", store.name),
            *("--broker-port", one.instore, "--keys", folder / "keys"),
        ).start()
        stack.callback(player.kill)
        time.sleep(WARM_S)
        if hook is not None:
            hook(process.pid)
        began_s, cpu, broker_cpu = time.monotonic(), cpu_s(process), cpu_s(broker)
        status = player.process.wait(measured_s + 60)
        assert status == 0, player.words()
        wall_s = time.monotonic() - began_s
        used_s, broker_s = cpu_s(process) - cpu, cpu_s(broker) - broker_cpu
        memory = process.memory_info().rss
        status, stop_s = one.stop()
        assert status == 0, one.program.words()
        rows = one.rows("SELECT count(*) FROM events")[0][0]
        witness.wait(lambda: len(witness.events) >= rows, "every event at the subscriber")
    late_ms = sorted(
        (event["arrived_ns"] - event["data"]["clock"]["mono_ns"]) / 1e6
        for event in witness.events.values()
        if event["delivery"] == "online"  # Before the first connection nobody can be told.
    )
    names = [event["type"].split(".", 2)[2].rsplit(".", 1)[0] for event in witness.events.values()]
    return {
        "wall_s": round(wall_s, 1),
        "messages_per_s": round(count / (measured_s + WARM_S), 1),
        "player": player.words().strip(),
        "cpu_percent": round(100 * used_s / wall_s, 1),
        "broker_cpu_percent": round(100 * broker_s / wall_s, 1),
        "rss_mb": round(memory / 1e6, 1),
        "stop_s": round(stop_s, 2),
        "events": len(names),
        "latencies": len(late_ms),
        "event_names": {name: names.count(name) for name in sorted(set(names))},
        "latency_ms": {
            "p50": round(percentile(late_ms, 50), 1),
            "p99": round(percentile(late_ms, 99), 1),
            "max": round(late_ms[-1], 1),
        },
        "load_1min": round(os.getloadavg()[0], 2),
    }


def percentile(values, percent):
    """Return the value that so many percent of sorted values do not exceed."""
    return values[min(len(values) - 1, max(0, -(-len(values) * percent // 100) - 1))]


def replay_speed(folder, stretch_s, **store_options):
    """Fold a journal through ``shelfgate replay``; return how many times real time that is.

    The time is the CPU time of the whole process, its start included.
    """
    store, inputs = recorded(stretch_s, **store_options)
    path = folder / "journal.jsonl"
    write_journal(path, store, inputs)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began_s = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "gateway.cli", "replay", str(path)],
        check=True,
        capture_output=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    wall_s = time.monotonic() - began_s
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return {
        "stretch_s": stretch_s,
        "inputs": len(inputs) + 1,
        "events": done.stdout.count(b"\n"),
        "cpu_s": round(cpu_s, 2),
        "wall_s": round(wall_s, 2),
        "times_real_time": round(stretch_s / cpu_s, 1),
        "times_real_time_wall": round(stretch_s / wall_s, 1),
    }


def entry_costs(folder, count=500):
    """Verify tokens, each as its scan does; return CPU time a token in ms."""
    tokens = TokenMaker.in_directory("bench", folder)
    config = EntryConfig(jwks=folder / JWKS_NAME, issuer=ISSUER, store="bench")
    verifier, clock = Verifier(config), OsClock()
    spent_ms = []
    for text in [tokens.token(f"shopper-{number}") for number in range(count)]:
        began_ns = time.process_time_ns()
        verified = verifier.verify(text, clock.stamp())
        spent_ms.append((time.process_time_ns() - began_ns) / 1e6)
        assert verified.verdict == "valid"
    spent_ms.sort()
    return {
        "tokens": count,
        "p50_ms": round(percentile(spent_ms, 50), 3),
        "p99_ms": round(percentile(spent_ms, 99), 3),
    }


def busy_steps(seconds):
    """Return what steps cost of a store busier than any: ten shoppers, three acts a second."""
    spent_ms, told = busy.costs(seconds)
    return {
        "longest_ms": round(spent_ms[-1], 1),
        "p99_ms": round(percentile(spent_ms, 99), 1),
        "steps": len(spent_ms),
        "told": told,
    }


def step_costs(stretch_s, **store_options):
    """Step an engine through a store's inputs; return CPU time by kind of input, changed rows
    included, in ms a step, and of all steps as the share of a core in real time."""
    store, inputs = recorded(stretch_s, **store_options)
    engine = Engine()
    engine.step(1, started(store))
    spent_ns, counts = Counter(), Counter()
    for number, item in enumerate(inputs, start=2):
        began_ns = time.process_time_ns()
        engine.step(number, item)
        engine.changed_rows()
        spent_ns[type(item)] += time.process_time_ns() - began_ns
        counts[type(item)] += 1
    return {
        "stretch_s": stretch_s,
        **{
            name: round(spent_ns[kind] / max(counts[kind], 1) / 1e6, 3)
            for name, kind in (("samples_ms", Samples), ("people_ms", People), ("tick_ms", Tick))
        },
        "core_percent": round(spent_ns.total() / stretch_s / 1e7, 2),
    }


def start_up(folder, times, **store_options):
    """Start the daemon again and again on one database; return seconds to READY=1."""
    store, _ = recorded(0.1, **store_options)
    file = folder / "store.toml"
    write_store(file, store)
    TokenMaker.in_directory(store.name, folder / "keys")
    took_s, used_s = [], []
    with outside_broker(folder) as upstream, daemon(folder, file, upstream=upstream.port) as one:
        for _ in range(times):
            began_s = time.monotonic()
            one.start()
            took_s.append(time.monotonic() - began_s)
            used_s.append(cpu_s(psutil.Process(one.program.pid)))
            status, _ = one.stop()
            assert status == 0, one.program.words()
    return {
        "times": times,
        "median_s": round(statistics.median(took_s), 2),
        "worst_s": round(max(took_s), 2),
        "cpu_median_s": round(statistics.median(used_s), 2),
        "imports_cpu_s": _cpu_of("import gateway.app, gateway.cli"),
        "store_file_cpu_s": _cpu_of(READ_STORE, str(file)),
    }


READ_STORE = """
import sys, time
from gateway.config import load_store
began_s = time.process_time()
load_store(sys.argv[1])
sys.stdout.write(f"{time.process_time() - began_s}")
"""


def _cpu_of(code, *words):
    """Return the CPU seconds that a fresh Python says it used, or else used in all."""
    code += "\nimport sys, time\nsys.stdout.write(f' {time.process_time()}')"
    command = [sys.executable, "-c", code, *words]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return round(float(done.stdout.split()[0]), 2)


def cpu_s(process):
    """Return the CPU seconds that a process has used."""
    times = process.cpu_times()
    return times.user + times.system
