# SPDX-License-Identifier: Apache-2.0
"""Children of the demo: watched, killed, and never left behind."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from gateway.simulator.processes import Child, ReadySocket, accepts, free_ports

ECHO = "import sys\nprint('ready')\nfor line in sys.stdin: print('got', line.strip())"
STUBBORN = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('ready')\n"


async def with_group(child, body):
    async with asyncio.TaskGroup() as group:
        child.group = group
        try:
            await body()
        finally:
            await child.stop()


def test_lines_go_both_ways_and_a_child_can_be_started_again(tmp_path):
    lines = asyncio.Queue()
    child = Child("echo", ["-c", ECHO], tmp_path, on_line=lines.put_nowait, has_input=True)

    async def body():
        for _ in range(2):
            await child.start()
            assert await lines.get() == "ready"
            child.say("hello")
            assert await lines.get() == "got hello"
            await child.kill()
            assert child.returncode == -signal.SIGKILL
            assert not child.running

    asyncio.run(with_group(child, body))


def test_a_child_that_ignores_sigterm_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr("gateway.simulator.processes.STOP_S", 0.2)
    ready = asyncio.Event()
    script = STUBBORN + "while True: time.sleep(60)"
    child = Child("stubborn", ["-c", script], tmp_path, on_line=lambda _line: ready.set())

    async def body():
        await child.start()
        await ready.wait()
        assert await child.stop() == -signal.SIGKILL

    asyncio.run(with_group(child, body))


def test_the_log_keeps_last_words(tmp_path):
    child = Child("fails", ["-c", "raise SystemExit('no such thing')"], tmp_path)

    async def body():
        await child.start()
        await child.ended()

    asyncio.run(with_group(child, body))
    assert child.returncode == 1
    assert "no such thing" in child.last_words()


PARENT = """
import asyncio, sys
from pathlib import Path
from gateway.simulator.processes import Child
async def main():
    child = Child("sleeper", ["-c", "import os,time; print(os.getpid()); time.sleep(60)"],
                  Path(sys.argv[1]), on_line=lambda line: print(line, flush=True))
    async with asyncio.TaskGroup() as group:
        child.group = group
        await child.start()
        await asyncio.sleep(60)
asyncio.run(main())
"""


def test_a_killed_parent_takes_its_children_along(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE
    ) as parent:
        child = int(parent.stdout.readline())
        watch = os.pidfd_open(child)
        parent.kill()
    try:
        with suppress(ProcessLookupError):
            import select

            ended, _, _ = select.select([watch], [], [], 10)
            assert ended, "the child outlived its parent"
    finally:
        os.close(watch)


def test_readiness_is_heard(tmp_path):
    ready = ReadySocket(tmp_path / "notify")

    def tell(text):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as speaker:
            speaker.sendto(text, str(ready.path))

    async def main():
        tell(b"READY=1")
        ready.forget()
        tell(b"STATUS=warming up")
        tell(b"STATUS=up\nREADY=1\n")
        assert await ready.ready(lambda: True)
        assert not await ready.ready(lambda: False)

    asyncio.run(main())
    ready.close()


def test_a_listening_port_is_found_and_a_dead_wait_ends():
    async def main():
        server = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", 0)
        async with server:
            assert await accepts(server.sockets[0].getsockname()[1], lambda: True)
        [port] = free_ports(1)
        turns = iter([True, True, False])
        assert not await accepts(port, lambda: next(turns))

    asyncio.run(main())


def test_no_connection_takes_a_free_port_by_chance():
    low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    ports = free_ports(50)
    assert len(set(ports)) == 50
    assert not any(low <= port <= high for port in ports)
