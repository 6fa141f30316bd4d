# SPDX-License-Identifier: Apache-2.0
"""A typical case with rendered cameras through the daemon itself, its vision worker and Mosquitto.

``python -m tests.vision_bench.shop_daemon mixed 20004`` plays one case in real time: every process
is a process, cameras are MJPEG over HTTP. A rendered floor is so plain that an empty store would
count as a covered camera, so that is not asked; and who is out of sight is given up after 20 s, not
120, so that a case ends sooner. What is printed is the score of the daemon's
journal, and the receipts, in the journal and at the integrator.
"""

import argparse
import asyncio
import dataclasses
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import numpy as np

from drivers.mqtt.config import MqttConfig
from gateway.simulator.demo_settings import entry_table
from gateway.simulator.exam.cases import make_case
from gateway.simulator.exam.conditions import CONDITIONS
from gateway.simulator.exam.evaluate import judge_recording
from gateway.simulator.exam.playing import PlayConfig, Player
from gateway.simulator.keys import TokenMaker
from gateway.simulator.processes import Child, ReadySocket, free_ports
from gateway.simulator.receipts import keep_books, read_payloads
from gateway.simulator.store_files import write_store
from gateway.simulator.witness import read_witness
from tests.brokers import mosquitto
from tests.vision_bench.rendered import stepping_aside, with_lenses

MODELS = Path(__file__).parents[2] / "fixtures" / "model"
FPS = 10.0
SETTLE_S = 26.0
"""Receipts wait up to 15 s for doubts; who was lost to the cameras is given up after 20 s."""


def settings(files, *, instore, upstream, cameras):
    """Return the settings of the daemon and its vision worker."""
    vision = "".join(
        f"""[[vision]]
camera = "{name}"
url = "http://127.0.0.1:{port}/"
model = "{MODELS / "people.onnx"}"
hands = "{MODELS / "hands.onnx"}"
blind_after_s = 0
"""
        for name, port in cameras.items()
    )
    return f"""gateway = "gw-1"
database = "{files / "gateway.db"}"
[broker]
host = "127.0.0.1"
port = {instore}
[uplink]
host = "127.0.0.1"
port = {upstream}
acknowledge = "application"
[journal]
directory = "{files / "journal"}"
{entry_table(files / "keys")}
[engine]
unseen_max_s = 20
{vision}"""


async def play(case, files):
    """Play a case; return its answer, result, and the integrator's books."""
    store = with_lenses(case.store, case.stage.room.layout)
    write_store(files / "store.toml", store)
    TokenMaker.in_directory(store.name, files / "keys")
    ports = dict(zip([c.name for c in store.cameras], free_ports(len(store.cameras)), strict=True))
    ready = ReadySocket(files / "notify")
    async with mosquitto(files) as instore, mosquitto(files) as upstream, asyncio.TaskGroup() as g:
        text = settings(files, instore=instore.port, upstream=upstream.port, cameras=ports)
        (files / "settings.toml").write_text(text)
        both = ["--settings", str(files / "settings.toml"), "--store", str(files / "store.toml")]
        cameras = {
            name: Child(
                f"camera {name}",
                [
                    "-m",
                    "gateway.simulator.camera",
                    *both[2:],
                    "--camera",
                    name,
                    "--port",
                    str(port),
                ],
                files,
                has_input=True,
            )
            for name, port in ports.items()
        }
        integrator = ["-m", "gateway.simulator.integrator", "--broker"]
        integrator += [f"127.0.0.1:{upstream.port}", "--database", str(files / "integrator.db")]
        children = [
            Child("integrator", integrator, files),
            *cameras.values(),
            Child(
                "daemon",
                ["-m", "gateway.cli", "run", *both],
                files,
                environment={"NOTIFY_SOCKET": str(ready.path)},
            ),
            Child("vision", ["-m", "gateway.cli", "vision", *both], files),
        ]
        try:
            for child in children:
                child.group = g
                await child.start()
                if child.name == "daemon":
                    assert await ready.ready(lambda child=child: child.running), child.last_words()
            await _story(case, store, files, cameras, instore.port)
        finally:
            for child in reversed(children):
                await child.stop()
            ready.close()
    answer, result = judge_recording(sorted((files / "journal").iterdir()), _witness(files))
    return answer, result, keep_books(read_payloads(files / "integrator.db"))


async def _story(case, store, files, cameras, port):
    """Show pictures until the worker has seen some, then play the case and wait for receipts."""
    times_s = np.arange(0.0, case.length_s, 1.0 / FPS)
    poses = stepping_aside(case, times_s)
    deaf = dataclasses.replace(case, store=msgspec.structs.replace(store, cameras=()), frames={})
    broker = MqttConfig(host="127.0.0.1", port=port, client_id="set by each device", protocol=4)
    config = PlayConfig(broker=broker, keys=files / "keys", truth=files / "truth.json", held=True)
    player, stop = Player(deaf, config), asyncio.Event()
    playing = asyncio.create_task(player.run(stop))
    for _ in range(80):  # An empty store, while models load.
        _show(cameras, [])
        await asyncio.sleep(1.0 / FPS)
    player.begin()
    began_s = time.monotonic()
    number = 0
    while number < len(times_s) or not playing.done():
        _show(cameras, list(poses.at(number)) if number < len(times_s) else [])
        number += 1
        await asyncio.sleep(max(began_s + number / FPS - time.monotonic(), 0.0))
        if time.monotonic() - began_s > case.length_s + SETTLE_S:
            stop.set()
    await playing


def _show(cameras, poses):
    line = msgspec.json.encode(poses).decode()
    for camera in cameras.values():
        camera.say(line)


def _witness(files):
    witness = read_witness(files / "truth.json")
    assert witness is not None, "the player writes it"
    return witness


def main():
    """Play one case and print its score."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("kind")
    parser.add_argument("seed", type=int)
    parser.add_argument("--keep-files", type=Path)
    options = parser.parse_args()
    case = make_case(options.kind, CONDITIONS["typical"], options.seed)
    with tempfile.TemporaryDirectory() as folder:
        files = options.keep_files or Path(folder)
        files.mkdir(exist_ok=True)
        answer, result, books = asyncio.run(play(case, files))
    told = {
        name: {gtin: line.quantity for gtin, line in lines.items()}
        for name, lines in answer.receipts.items()
    }
    sys.stdout.write(f"{case.name}: {result.wrong} of {result.units} units wrong or missing\n")
    sys.stdout.write(f"truth    {case.truth.baskets}\njournal  {told}\nupstream {books.receipts}\n")


if __name__ == "__main__":
    main()
