# SPDX-License-Identifier: Apache-2.0
"""``make endure``: a busy nano-store while links are cut and processes are killed.

The daemon runs as a process between a simulated store's devices and a real broker. The link to
that broker is cut, held, slowed and refused at random every few seconds, and so is the
integrator's; the broker is killed every minute, with what it had acknowledged and not passed on,
and the daemon every two. Then the faults stop, and: the backlog empties within a bound; the
integrator's database holds each committed event once, byte by byte, and nothing else; sequences
have no gap; and the starts form one chain, so that the integrator can prove that it has everything.
"""

import argparse
import asyncio
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from gateway.simulator.keys import TokenMaker
from gateway.simulator.proof import prove, report
from gateway.simulator.store_files import write_store
from tests.acceptance import delivery_faults
from tests.brokers import MOSQUITTO, free_port
from tests.e2e.helpers import GATEWAY, Daemon, Program, accepts, until
from tests.faults.busy_store import busy_store
from tests.faults.proxy import (
    BLACK_HOLE,
    DEAF,
    NO_PUBACK,
    NONE,
    REFUSE,
    RESET,
    SLOW,
    Fault,
    proxied,
)

SETTLE_S = 90.0
"""How long the backlog may take to empty once the faults have stopped."""
FAULTS = {
    "cut": NONE,
    "refuse": REFUSE,
    "reset": RESET,
    "black hole": BLACK_HOLE,
    "deaf": DEAF,
    "no puback": NO_PUBACK,
    "slow": SLOW,
    "cut up": None,
    "cut down": None,
}


@dataclass
class Plan:
    """How long, how big, and how often what goes wrong."""

    seconds: float
    seed: int
    plates: int = 306
    cameras: int = 3
    shoppers: int = 10
    visitor_every_s: float = 1.0
    calm_s: tuple[float, float] = (0.5, 5.0)
    """Least and greatest time between two faults of the link."""
    fault_s: tuple[float, float] = (0.5, 6.0)
    """Least and greatest time that one lasts which has to be ended."""
    broker_every_s: float = 60.0
    daemon_every_s: float = 120.0
    kills_min: int = 0
    """Go on for longer if broker or daemon were killed less often, on a slow machine."""


@dataclass
class Outcome:
    """What was done to the gateway, and what came of it."""

    broker_kills: int = 0
    daemon_kills: int = 0
    link_faults: Counter = field(default_factory=Counter)
    integrator_faults: Counter = field(default_factory=Counter)
    cuts: int = 0
    connections: int = 0
    settled_s: float = 0.0
    cpu_s: Counter = field(default_factory=Counter)
    rss_mb: list[float] = field(default_factory=list)
    committed: int = 0
    epochs: int = 0
    delivered: str = ""
    names: Counter = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


class Site:
    """All processes of a run; each is started, killed and looked after here."""

    def __init__(self, folder, plan, broker_port, proxies, outcome):
        self.folder = folder
        self.outcome = outcome
        store = busy_store(plan.plates, plan.cameras)
        file, keys = folder / "store.toml", folder / "keys"
        write_store(file, store)
        TokenMaker.in_directory(store.name, keys)
        self.down = set()
        """Who is killed and not started again yet."""
        self.broker_port = broker_port
        self.broker = _broker(folder, broker_port)
        self.daemon = Daemon(
            folder,
            file,
            upstream=proxies["daemon"].port,
            journal=False,
            more="retry_max_s = 2\n[engine]\nunseen_max_s = 30\n",
        )
        self.devices = Program(
            folder,
            "devices",
            *("-m", "tests.faults.busy_store", "--store", file, "--keys", keys),
            *("--broker-port", self.daemon.instore, "--seed", plan.seed),
            *("--shoppers", plan.shoppers, "--visitor-every", plan.visitor_every_s),
        )
        self.integrator = Program(
            folder,
            "integrator",
            *("-m", "gateway.simulator.integrator"),
            *("--broker", f"127.0.0.1:{proxies['integrator'].port}"),
            *("--database", folder / "integrator.db"),
        )

    @property
    def programs(self):
        return {
            "broker": self.broker,
            "daemon": self.daemon.program,
            "devices": self.devices,
            "integrator": self.integrator,
        }

    def start(self):
        self.start_broker()
        self.integrator.start()
        self.start_daemon()
        self.devices.start()

    def start_broker(self):
        self.broker.start()
        until(lambda: accepts(self.broker_port), "the upstream broker")
        self.down.discard("broker")

    def start_daemon(self):
        self.daemon.start()
        self.down.discard("daemon")

    def kill(self, name):
        """Kill with SIGKILL; what it had used is counted first."""
        self.count_cpu(name)
        self.down.add(name)
        self.programs[name].kill()

    def count_cpu(self, name):
        program = self.programs[name]
        if program.process is not None and program.process.poll() is None:
            process = psutil.Process(program.pid)
            for one in (process, *process.children(recursive=True)):
                times = one.cpu_times()
                self.outcome.cpu_s[name] += times.user + times.system

    def died(self):
        """Return who ended although nobody had asked."""
        return [
            name
            for name, program in self.programs.items()
            if name not in self.down and program.process.poll() is not None
        ]

    def close(self):
        self.daemon.close()
        for program in self.programs.values():
            program.kill()

    def pending(self):
        [(count,)] = self.daemon.rows("SELECT count(*) FROM events WHERE acknowledged = 0")
        return count

    def committed(self):
        [(count,)] = self.daemon.rows("SELECT count(*) FROM events")
        return count

    def stored(self):
        path = self.folder / "integrator.db"
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            connection.execute("PRAGMA busy_timeout = 5000")
            [(count,)] = connection.execute("SELECT count(*) FROM events").fetchall()
        return count


def _broker(folder, port):
    """Return Mosquitto without persistence where there is one, otherwise the embedded broker."""
    if MOSQUITTO is None:
        return Program(folder, "upstream", "-m", "drivers.mqtt.embedded", "--port", port)
    config = folder / "upstream.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\nuser root\npersistence false\nallow_anonymous true\n"
    )
    return Program(folder, "upstream", "-c", config, executable=MOSQUITTO)


# What goes wrong. Each ends by itself soon after ``stop``, and leaves all as it should be.


async def pause(stop, seconds):
    """Wait, or until ``stop``; return whether to go on."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return True
    return False


async def trouble_link(whose, proxy, plan, faults, stop):
    rng = random.Random(f"{plan.seed}-{whose}")
    while await pause(stop, rng.uniform(*plan.calm_s)):
        name = rng.choice(list(FAULTS))
        fault = FAULTS[name]
        if fault is None:
            way = name.replace(" ", "_")
            fault = Fault(**{way: rng.randint(1, 4_000 if way == "cut_up" else 400)})
        faults[name] += 1
        await proxy.set(fault)
        if name in {"cut", "refuse", "reset", "cut up", "cut down"}:
            await proxy.cut(reset=rng.random() < 0.5)
        else:
            await pause(stop, rng.uniform(*plan.fault_s))
            if rng.random() < 0.5:  # Otherwise what was held moves on, late.
                await proxy.cut(reset=rng.random() < 0.5)
        if fault is not NONE:
            await pause(stop, rng.uniform(*plan.fault_s) / 2)
        await proxy.set(NONE)


def _until_kill(rng, began_s, kills, every_s):
    """Return how long to wait for the next kill: so often on average, at a random moment each."""
    due_s = began_s + every_s * (kills + rng.uniform(0.8, 1.0))
    return max(0.2 * every_s, due_s - time.monotonic())


async def kill_broker(site, plan, outcome, stop, onwards):
    """Kill the broker, and let it have something first that its way ``onwards`` holds up."""
    rng = random.Random(f"{plan.seed}-broker")
    began_s = time.monotonic()
    while await pause(stop, _until_kill(rng, began_s, outcome.broker_kills, plan.broker_every_s)):
        await onwards.set(BLACK_HOLE)
        await pause(stop, rng.uniform(0.0, plan.broker_every_s / 15))
        site.kill("broker")
        outcome.broker_kills += 1
        await onwards.cut()
        await onwards.set(NONE)
        await pause(stop, rng.uniform(0.0, plan.broker_every_s / 15))
        await asyncio.to_thread(site.start_broker)


async def kill_daemon(site, plan, outcome, stop):
    rng = random.Random(f"{plan.seed}-daemon")
    began_s = time.monotonic()
    while await pause(stop, _until_kill(rng, began_s, outcome.daemon_kills, plan.daemon_every_s)):
        if "daemon" in site.died():
            return  # Whoever watches tells it.
        outcome.rss_mb.append(_rss_mb(site))
        site.kill("daemon")
        outcome.daemon_kills += 1
        await pause(stop, rng.uniform(0.0, plan.daemon_every_s / 60))
        await asyncio.to_thread(site.start_daemon)


async def watch(site, plan, outcome, stop, say):
    """Tell how things stand each minute, and end the run when a process ends by itself."""
    began_s = told_s = time.monotonic()
    while await pause(stop, min(2.0, plan.seconds / 10)):
        now_s = time.monotonic()
        if died := site.died():
            outcome.wrong.append(f"ended by itself: {', '.join(died)}")
            stop.set()
        if now_s - told_s >= 60.0:
            told_s = now_s
            say(f"{(now_s - began_s) / 60:.0f} min: {_standing(site, outcome)}")
        kills = min(outcome.broker_kills, outcome.daemon_kills)
        if now_s - began_s >= plan.seconds and kills >= plan.kills_min:
            stop.set()


def _standing(site, outcome):
    try:
        counts = f"{site.committed()} committed, {site.pending()} pending, {site.stored()} stored"
    except sqlite3.Error as error:  # A database that is just made.
        counts = f"no counts ({error})"
    kills = f"broker killed {outcome.broker_kills}, daemon {outcome.daemon_kills} times"
    return f"{counts}; {kills}, {outcome.link_faults.total()} faults of the link"


def _rss_mb(site):
    return round(psutil.Process(site.daemon.program.pid).memory_info().rss / 1e6, 1)


# The end.


async def settle(site, outcome):
    """Stop the devices, wait for the backlog, stop the daemon, then the integrator."""
    for name in site.programs:
        site.count_cpu(name)
    outcome.rss_mb.append(_rss_mb(site))
    await asyncio.to_thread(site.devices.stop)
    began_s = time.monotonic()
    try:
        await asyncio.to_thread(until, lambda: not site.pending(), "an empty backlog", SETTLE_S)
    except AssertionError as error:
        outcome.wrong.append(f"{error}: {site.pending()} events still wait")
    outcome.settled_s = time.monotonic() - began_s
    status, _ = await asyncio.to_thread(site.daemon.stop)
    if status != 0:
        outcome.wrong.append(f"the daemon ended with {status}")
    try:
        have_all = lambda: site.stored() >= site.committed()  # noqa: E731
        await asyncio.to_thread(until, have_all, "the last events at the integrator", 20.0)
    except AssertionError as error:
        outcome.wrong.append(str(error))
    await asyncio.to_thread(site.integrator.stop)


def examine(folder, outcome):
    """Hold the integrator's database against the daemon's."""
    outcome.delivered, wrong = delivery_faults(folder, outcome.daemon_kills)
    outcome.wrong += wrong + proof_faults(folder / "integrator.db")
    with closing(sqlite3.connect(f"file:{folder / 'gateway.db'}?mode=ro", uri=True)) as connection:
        names = connection.execute("SELECT name, count(*) FROM events GROUP BY 1").fetchall()
        [(outcome.epochs,)] = connection.execute("SELECT count(*) FROM epochs").fetchall()
    outcome.names = Counter(dict(names))
    outcome.committed = outcome.names.total()


def proof_faults(integrator):
    """Return why the integrator cannot prove, by itself, that it has everything."""
    proofs = prove(integrator)
    if len(proofs) == 1 and proofs[0].gapless and proofs[0].complete:
        return []
    return [line.strip() for line in report(proofs)] or ["the integrator knows of no gateway"]


async def endure(folder, plan, say):
    """Run it all in a folder that is empty; return the outcome."""
    outcome = Outcome()
    task = asyncio.current_task()
    # What it started ends with it.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    broker_port = free_port()
    async with AsyncExitStack() as stack:
        proxies = {
            whose: await stack.enter_async_context(proxied(broker_port, seed=plan.seed))
            for whose in ("daemon", "integrator")
        }
        faults = {"daemon": outcome.link_faults, "integrator": outcome.integrator_faults}
        site = Site(folder, plan, broker_port, proxies, outcome)
        stack.callback(site.close)
        await asyncio.to_thread(site.start)
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(watch(site, plan, outcome, stop, say), name="watch")
            for whose, proxy in proxies.items():
                work = trouble_link(whose, proxy, plan, faults[whose], stop)
                group.create_task(work, name=f"link of the {whose}")
            onwards = proxies["integrator"]
            group.create_task(kill_broker(site, plan, outcome, stop, onwards), name="broker")
            group.create_task(kill_daemon(site, plan, outcome, stop), name="daemon")
        outcome.cuts, outcome.connections = proxies["daemon"].cuts, proxies["daemon"].accepted
        if not outcome.wrong:
            say(f"faults end: {_standing(site, outcome)}")
            await settle(site, outcome)
            examine(folder, outcome)
    return outcome


def told(plan, outcome, took_s):
    """Return the outcome for people."""
    faults, others, names = (
        f"{counts.total()} ({', '.join(f'{name} {count}' for name, count in counts.most_common())})"
        for counts in (outcome.link_faults, outcome.integrator_faults, outcome.names)
    )
    share = {name: 100 * used / max(took_s, 1.0) for name, used in outcome.cpu_s.items()}
    cpu = ", ".join(f"{name} {percent:.0f} %" for name, percent in sorted(share.items()))
    store = f"{plan.plates} plates, {plan.cameras} cameras, {plan.shoppers} shoppers"
    return "\n".join(
        [
            f"seed {plan.seed}, {took_s / 60:.1f} min; {store}",
            f"faults of its link {faults}",
            f"the integrator's   {others}",
            f"connections        {outcome.connections}, cut {outcome.cuts}",
            f"broker killed      {outcome.broker_kills} times",
            f"daemon killed      {outcome.daemon_kills} times, {outcome.epochs} epochs",
            f"events committed   {names}",
            f"received (again)   {outcome.delivered}",
            f"backlog empty in   {outcome.settled_s:.1f} s, at most {SETTLE_S:.0f} s",
            f"CPU of one core    {cpu}",
            f"daemon's memory    {', '.join(map(str, outcome.rss_mb))} MB, before each end",
            *(f"WRONG: {one}" for one in outcome.wrong),
            "NOT EQUAL" if outcome.wrong else "EQUAL: nothing lost, nothing twice, no gap",
        ]
    )


def say(text):
    """Print a line of progress at once."""
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stdout.flush()


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m tests.endure", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="(%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="(%(default)s)")
    parser.add_argument("--plates", type=int, default=306, help="(%(default)s)")
    parser.add_argument("--cameras", type=int, default=3, help="(%(default)s)")
    parser.add_argument("--shoppers", type=int, default=10, help="at once (%(default)s)")
    parser.add_argument("--broker-every", type=float, default=60.0, metavar="S")
    parser.add_argument("--daemon-every", type=float, default=120.0, metavar="S")
    parser.add_argument("--folder", type=Path, help="keep the files here; made, must be empty")
    options = parser.parse_args(arguments)
    plan = Plan(
        seconds=60 * options.minutes,
        seed=options.seed,
        plates=options.plates,
        cameras=options.cameras,
        shoppers=options.shoppers,
        broker_every_s=options.broker_every,
        daemon_every_s=options.daemon_every,
    )
    folder = options.folder or Path(tempfile.mkdtemp(prefix="shelfgate-endure-"))
    folder.mkdir(parents=True, exist_ok=True)
    say(f"{plan.seconds / 60:.1f} minutes of {GATEWAY}, files in {folder}")
    began_s = time.monotonic()
    outcome = asyncio.run(endure(folder, plan, say))
    say(f"done\n{told(plan, outcome, time.monotonic() - began_s)}")
    if outcome.wrong:
        say(f"what it left: {folder}")
        return 1
    if options.folder is None:
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
