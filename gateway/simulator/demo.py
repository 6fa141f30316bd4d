# SPDX-License-Identifier: Apache-2.0
"""The command ``shelfgate demo``: a whole store on one machine, an outage included, and a verdict.

Every part is a process of its own, as in a store: the upstream broker, an integrator, the daemon
(which starts its in-store broker itself), the vision worker, and the simulated devices.
"""

import argparse
import asyncio
import math
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

from drivers.errors import DriverError
from drivers.mqtt.client import connect
from drivers.mqtt.config import Message, MqttConfig
from gateway.config import ConfigError, load_store
from gateway.domain.store import Store
from gateway.simulator.delivery import compare
from gateway.simulator.demo_settings import ROOT, bridges, settings_text
from gateway.simulator.demo_why import pointer
from gateway.simulator.keys import JWKS_NAME
from gateway.simulator.processes import Child, ReadySocket, accepts, free_ports
from gateway.simulator.receipts import Books, Interval, judge, keep_books, read_ids, read_payloads
from gateway.simulator.screen import Screen
from gateway.simulator.witness import Witness, read_witness

START_S = 30.0
"""Longest wait for each part to come up."""
OUTAGE_AT_S = 24.0
"""With few shoppers it comes sooner: half-way."""
VISIT_S_MAX = 105.0
"""Everybody must have left by then."""
SETTLE_S = 25.0
"""Longest wait for receipts and for the backlog to empty."""
DOWN_MARGIN_NS = 2_500_000_000
"""Acts this near a downtime may be unseen too: their shelf had not settled."""


class DemoError(Exception):
    """The demo cannot go on; says what and where to look."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``shelfgate demo`` takes."""
    parser.add_argument("--seed", type=int, default=1, help="decides the story (%(default)s)")
    parser.add_argument("--shoppers", type=int, default=5, help="how many come (%(default)s)")
    parser.add_argument(
        "--keep-going", action="store_true", help="shoppers keep coming until Ctrl-C"
    )
    parser.add_argument(
        "--no-vision",
        action="store_true",
        help="people come from the simulation instead of the camera and the model",
    )
    parser.add_argument(
        "--outage",
        type=float,
        default=20.0,
        metavar="SECONDS",
        help="how long the upstream broker is away (%(default)s)",
    )
    parser.add_argument(
        "--kill-daemon",
        type=int,
        default=0,
        metavar="N",
        help="kill the daemon N times at random and start it again",
    )
    parser.add_argument(
        "--keep-files", type=Path, metavar="DIR", help="leave all files in this directory"
    )
    parser.add_argument(
        "--store", type=Path, help="store file (the demo's own, fixtures/stores/demo.toml)"
    )


async def run_demo(args: argparse.Namespace) -> int:
    """Run ``shelfgate demo``.

    Returns:
        The exit status: 0 if every receipt is right and the integrator's books hold each event
        once, 1 if not, 2 if the demo could not run, 130 after an interrupt without
        ``--keep-going``.
    """
    directory: Path | None = None
    try:
        _refuse_nonsense(args)
        directory = _directory(args.keep_files)
        demo = Demo(args, directory.resolve())
        return await demo.run()
    except (DemoError, ConfigError) as error:
        sys.stderr.write(f"demo: {error}\n")
        return 2
    finally:
        if args.keep_files is None and directory is not None:
            shutil.rmtree(directory, ignore_errors=True)


def _refuse_nonsense(args: argparse.Namespace) -> None:
    if args.shoppers < 1:
        raise DemoError(f"--shoppers {args.shoppers}: nobody would come. Give 1 or more")
    if not 0 <= args.outage < math.inf:
        raise DemoError(f"--outage {args.outage:g}: not a duration. Give seconds, 0 or more")
    if args.kill_daemon < 0:
        raise DemoError(f"--kill-daemon {args.kill_daemon}: negative. Give 0 or more")


def _directory(kept: Path | None) -> Path:
    """Return where the files go, made if absent and tried."""
    if kept is None:
        return Path(tempfile.mkdtemp(prefix="shelfgate-demo-"))
    try:
        kept.mkdir(parents=True, exist_ok=True)
        if (kept / "gateway.db").exists():
            problem = f"--keep-files {kept}: holds files of an earlier run, which this one adds to"
            sys.stderr.write(f"{problem}. Name an empty directory to keep them apart\n")
        with tempfile.TemporaryFile(dir=kept):
            return kept
    except OSError as error:
        problem = f"--keep-files {kept}: cannot be written ({error.strerror})"
        raise DemoError(f"{problem}. Name a directory that you may write") from error


class Demo:
    """One run."""

    def __init__(self, args: argparse.Namespace, directory: Path) -> None:
        self._args = args
        self._directory = directory
        self._store_path = (args.store or ROOT / "fixtures" / "stores" / "demo.toml").resolve()
        self._store: Store = load_store(self._store_path)
        self._vision: bool = not args.no_vision
        self._upstream_port, self._instore_port, self._camera_port = free_ports(3)
        self._screen = Screen()
        self._stop = asyncio.Event()
        self._rng = random.Random(f"demo-{args.seed}")
        self._downtimes: list[Interval] = []
        self._queued_while_down = 0
        self._back_s: float | None = None
        self._settings = directory / "settings.toml"
        camera = (self._camera_name(), self._camera_port) if self._vision else None
        self._settings.write_text(
            settings_text(
                self._store,
                directory,
                instore_port=self._instore_port,
                upstream_port=self._upstream_port,
                camera=camera,
            )
        )
        (directory / "lines").mkdir(exist_ok=True)
        for left in (directory / "lines").iterdir():
            left.unlink()  # By an earlier run, if it was killed.
        self._ready = ReadySocket(_fresh(directory / "notify"))
        self._children = self._describe()

    async def run(self) -> int:
        """Start everything, watch, and judge; whatever happens, leave no process behind.

        Raises:
            DemoError: A part did not come up, or ended by itself.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._interrupt)
        failure: DemoError | None = None
        status = 2
        async with asyncio.TaskGroup() as group:
            for child in self._children.values():
                child.group = group
            try:
                status = await self._story()
            except DemoError as error:
                failure = error
            finally:
                for child in reversed(self._children.values()):
                    await child.stop()
                self._ready.close()
        if failure is not None:
            raise failure
        return status

    async def _story(self) -> int:
        await self._start()
        await self._play()
        if self._stop.is_set() and not self._args.keep_going:
            return 130
        return await self._finish(await self._settle())

    def _interrupt(self) -> None:
        """Say at once that it was heard; what is under way may take a while."""
        if not self._stop.is_set():
            what = "waiting for the last receipts" if self._args.keep_going else "stopping all"
            self._screen.note(f"interrupted: {what}")
        self._stop.set()

    # Parts.

    def _describe(self) -> dict[str, Child]:
        files, store = self._directory, str(self._store_path)
        shoppers = 0 if self._args.keep_going else self._args.shoppers
        devices = [
            *("-m", "gateway.simulator.simulate", "--held"),
            *("--store", store, "--broker", f"127.0.0.1:{self._instore_port}"),
            *("--seed", str(self._args.seed), "--shoppers", str(shoppers)),
            *("--keys", str(files / "keys"), "--lines", str(files / "lines")),
            *("--truth", str(files / "truth.json")),
        ]
        for name in bridges(self._store):
            devices += ["--bridge", name]
        if self._vision:
            devices += ["--camera", f"{self._camera_name()}:{self._camera_port}"]
        both = ("--settings", str(self._settings), "--store", store)
        children = {
            "upstream": Child(
                "upstream broker",
                ["-m", "drivers.mqtt.embedded", "--port", str(self._upstream_port)],
                files,
            ),
            "integrator": Child(
                "integrator",
                [
                    *("-m", "gateway.simulator.integrator"),
                    *("--broker", f"127.0.0.1:{self._upstream_port}"),
                    *("--database", str(files / "integrator.db")),
                ],
                files,
            ),
            "devices": Child("simulated devices", devices, files, has_input=True),
            "daemon": Child(
                "daemon",
                ["-m", "gateway.cli", "run", *both, "--show-events"],
                files,
                environment={"NOTIFY_SOCKET": str(self._ready.path)},
                on_line=self._screen.event,
            ),
        }
        if self._vision:
            children["vision"] = Child(
                "vision worker", ["-m", "gateway.cli", "vision", *both], files
            )
        return children

    def _camera_name(self) -> str:
        if not self._store.cameras:
            raise DemoError(f"{self._store_path}: has no camera. Add one, or use --no-vision")
        return self._store.cameras[0].name

    # The story.

    async def _start(self) -> None:
        note, children = self._screen.note, self._children
        note(f"store {self._store.name}, seed {self._args.seed}, files in {self._directory}")
        await children["upstream"].start()
        await children["devices"].start()
        await self._wait(accepts(self._upstream_port, self._all_run), "the upstream broker")
        await children["integrator"].start()
        await self._wait(self._devices_there(), "the simulated devices")
        await self._start_daemon()
        await self._wait(accepts(self._instore_port, self._all_run), "the in-store broker")
        note("daemon ready: in-store broker, bridge and scanner on their lines, uplink")
        if self._vision:
            await children["vision"].start()
        await self._wait(self._people_seen(), "the cameras' first word")
        note("cameras see; the store opens")
        children["devices"].say("go")

    async def _start_daemon(self) -> None:
        self._ready.forget()
        await self._children["daemon"].start()
        await self._wait(self._ready.ready(self._all_run), "the daemon")

    async def _devices_there(self) -> bool:
        """Wait for what the daemon reads at its start: the keys, then every line."""
        lines = self._directory / "lines"
        paths = [self._directory / "keys" / JWKS_NAME]
        paths += [lines / f"bridge-{name}" for name in bridges(self._store)]
        paths += [lines / f"scanner-{scanner.name}" for scanner in self._store.scanners]
        while self._all_run():
            if all(
                path.exists() and (path.is_char_device() or path.stat().st_size) for path in paths
            ):
                return True
            await asyncio.sleep(0.05)
        return False

    async def _people_seen(self) -> bool:
        """Wait until every camera has reported once, over the in-store broker."""
        waiting = {camera.name for camera in self._store.cameras}
        seen = asyncio.Event()

        def take(message: Message) -> None:
            waiting.discard(message.topic.split("/")[4])
            if not waiting:
                seen.set()

        config = MqttConfig(
            host="127.0.0.1", port=self._instore_port, client_id="demo", protocol=4, clean=True
        )
        topic = f"shelfgate/v1/{self._store.name}/camera/+/people"
        try:
            async with connect(config, subscriptions=[(topic, 0)], on_message=take):
                while self._all_run():
                    try:
                        async with asyncio.timeout(0.2):
                            await seen.wait()
                    except TimeoutError:
                        continue
                    return True
        except DriverError as error:
            raise DemoError(str(error)) from error
        return False

    async def _play(self) -> None:
        """Let the store live, with its outage and kills, until everybody has left."""
        began_s = time.monotonic()
        plan = self._plan()
        while not self._stop.is_set():
            now_s = time.monotonic() - began_s
            while plan and plan[0][0] <= now_s:
                await plan.pop(0)[1]()
            self._check()
            self._watch_backlog()
            if not self._args.keep_going:
                witness = read_witness(self._directory / "truth.json")
                if witness is not None and witness.over and not plan:
                    return
                if now_s > VISIT_S_MAX:
                    raise DemoError(f"shoppers are still in the store after {VISIT_S_MAX:.0f} s")
            await self._pause(0.1)

    def _plan(self) -> list[tuple[float, Callable[[], Coroutine[Any, Any, None]]]]:
        """Return what happens when, in order."""
        at_s = OUTAGE_AT_S
        if not self._args.keep_going:
            at_s = min(at_s, 6.0 * self._args.shoppers)
        plan = [
            (at_s, self._upstream_dies),
            (at_s + self._args.outage, self._upstream_returns),
        ]
        times = [self._rng.uniform(4.0, 55.0) for _ in range(self._args.kill_daemon)]
        plan += [(at_s, self._daemon_dies) for at_s in times]
        return sorted(plan, key=lambda step: step[0])

    async def _upstream_dies(self) -> None:
        await self._children["upstream"].kill()
        self._screen.note(f"upstream broker killed (SIGKILL), for {self._args.outage:.0f} s")

    async def _upstream_returns(self) -> None:
        self._queued_while_down = len(self._committed()) - len(self._received())
        await self._children["upstream"].start()
        await self._wait(accepts(self._upstream_port, self._all_run), "the upstream broker")
        self._screen.note(f"upstream broker is back, empty; {self._queued_while_down} events wait")
        self._back_s = time.monotonic()

    def _watch_backlog(self) -> None:
        """Tell once after an outage that every event was acknowledged."""
        if self._back_s is not None and not self._pending():
            took_s = time.monotonic() - self._back_s
            self._screen.note(f"backlog empty again after {took_s:.1f} s")
            self._back_s = None

    async def _daemon_dies(self) -> None:
        since = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        await self._children["daemon"].kill()
        self._screen.note("daemon killed (SIGKILL)")
        await self._pause(self._rng.uniform(0.1, 1.5))
        await self._start_daemon()
        self._downtimes.append((since, time.clock_gettime_ns(time.CLOCK_BOOTTIME)))
        self._screen.note("daemon is back")

    async def _settle(self) -> Witness:
        """Wait for the last receipts and until the backlog is empty; return the truth then."""
        if not self._children["upstream"].running:
            await self._upstream_returns()
        until_s = time.monotonic() + SETTLE_S
        while time.monotonic() < until_s:
            self._check()
            self._watch_backlog()
            witness, books = self._witness(), self._books()
            complete = books.receipts.keys() - books.unclosed
            if set(witness.left_ns) <= complete and not self._pending():
                break
            await asyncio.sleep(0.25)
        else:
            self._screen.note(f"still waiting after {SETTLE_S:.0f} s; stopping the daemon")
            return self._witness()
        self._screen.note("no receipt and no event is waited for; stopping the daemon")
        return witness

    async def _finish(self, witness: Witness) -> int:
        """Stop the daemon, let its last events arrive, and judge."""
        status = await self._children["daemon"].stop()
        for _ in range(50):
            if not self._committed() - self._received():
                break
            await asyncio.sleep(0.1)
        books = self._books()
        delivery = compare(self._directory / "gateway.db", self._directory / "integrator.db")
        verdicts = judge(witness, books, self._downtimes, DOWN_MARGIN_NS)
        self._screen.report(self._store, witness, books, verdicts)
        inside = [name for name in witness.entered_ns if name not in witness.left_ns]
        if inside:
            self._screen.note(f"still in the store, so without a receipt: {', '.join(inside)}")
        self._screen.counts(delivery)
        if status != 0:
            words = self._children["daemon"].last_words()
            self._screen.note(f"the daemon ended with status {status}:\n{words}")
        good = (
            bool(verdicts)
            and all(verdict.right for verdict in verdicts)
            and delivery.good
            and status == 0
        )
        self._screen.note("all right" if good else "NOT all right")
        kept = self._args.keep_files is not None
        self._screen.lines(pointer(self._payloads(), self._settings, self._store_path, kept=kept))
        return 0 if good else 1

    # Looking.

    def _all_run(self) -> bool:
        return not self._stop.is_set() and not any(
            child.failed for child in self._children.values()
        )

    def _check(self) -> None:
        for child in self._children.values():
            if child.failed:
                raise DemoError(
                    f"{child.name} ended with status {child.returncode}; its log ends so:\n"
                    f"{child.last_words()}"
                )

    async def _wait(self, coming_up: Awaitable[bool], what: str) -> None:
        try:
            async with asyncio.timeout(START_S):
                came = await coming_up
        except TimeoutError:
            came = False
        if self._stop.is_set():
            return
        if not came:
            words = "\n".join(
                f"  {child.name}:\n{child.last_words()}"
                for child in self._children.values()
                if child.last_words()
            )
            raise DemoError(f"{what} did not come up. The logs end so:\n{words}")

    async def _pause(self, for_s: float) -> None:
        try:
            async with asyncio.timeout(for_s):
                await self._stop.wait()
        except TimeoutError:
            return

    def _witness(self) -> Witness:
        witness = read_witness(self._directory / "truth.json")
        if witness is None:
            raise DemoError("the simulated devices left no truth. See their log")
        return witness

    def _books(self) -> Books:
        return keep_books(self._payloads())

    def _payloads(self) -> list[bytes]:
        return read_payloads(self._directory / "integrator.db")

    def _committed(self) -> set[str]:
        return read_ids(self._directory / "gateway.db")

    def _received(self) -> set[str]:
        return read_ids(self._directory / "integrator.db")

    def _pending(self) -> set[str]:
        return read_ids(self._directory / "gateway.db", "acknowledged = 0")


def _fresh(path: Path) -> Path:
    path.unlink(missing_ok=True)
    return path
