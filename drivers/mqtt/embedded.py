# SPDX-License-Identifier: Apache-2.0
"""A broker for a store that has none: amqtt in a process of its own, on loopback only.

It speaks MQTT 3.1.1, asks for no credentials, and keeps everything in memory: retained messages
live until it ends, and a client that is away gets nothing later. That fits devices whose messages
age in seconds, and an uplink that waits for the integrator's acknowledgement; a broker that must
hold messages is a Mosquitto.
"""

import argparse
import asyncio
import ctypes
import errno
import ipaddress
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from drivers.errors import DeviceGoneError

START_S: Final = 20.0  # Importing the broker takes a second on a slow board; the rest is margin.
STOP_S: Final = 1.0  # It holds nothing durable: waiting longer gains nothing.
READY: Final = b"1"
REMEDY: Final = "Stop what listens there, or choose a free port of loopback"
_PR_SET_PDEATHSIG: Final = 1


@asynccontextmanager
async def embedded_broker(
    port: int, host: str = "127.0.0.1"
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a broker while the body runs; it accepts connections when the body begins.

    The process ends with the body, and when this process dies.

    Args:
        port: TCP port to listen on.
        host: A loopback address.

    Raises:
        DeviceGoneError: It did not start, and why.
    """
    process = await start_broker(port, host)
    try:
        yield process
    finally:
        await stop_broker(process)


async def start_broker(port: int, host: str = "127.0.0.1") -> asyncio.subprocess.Process:
    """Start a broker and wait until it accepts connections; see ``embedded_broker``."""
    read_fd, write_fd = os.pipe()
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "drivers.mqtt.embedded"),
            *("--host", host, "--port", str(port), "--ready-fd", str(write_fd)),
            stdin=asyncio.subprocess.DEVNULL,
            pass_fds=(write_fd,),
        )
    except BaseException:
        os.close(read_fd)
        raise
    finally:
        os.close(write_fd)
    try:
        async with asyncio.timeout(START_S):
            told = await _read(read_fd)
    except TimeoutError:
        told = f"did not start within {START_S:g} s".encode()
    except BaseException:
        await stop_broker(process)
        raise
    finally:
        os.close(read_fd)
    if told != READY:
        await stop_broker(process)
        problem = told.decode(errors="replace") or "ended before it was ready"
        raise DeviceGoneError(f"embedded broker {host}:{port}", problem, REMEDY)
    return process


async def stop_broker(process: asyncio.subprocess.Process) -> None:
    """End a broker: SIGTERM, then SIGKILL if it does not listen."""
    _signal(process, signal.SIGTERM)
    try:
        async with asyncio.timeout(STOP_S):
            await process.wait()
    except TimeoutError:
        _signal(process, signal.SIGKILL)
        await process.wait()


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    """Send a signal unless the process has ended.

    Its own ``send_signal`` first reaps a process that has just ended (after Ctrl-C, say), and
    asyncio, which waits for it as well, then warns of an unknown child.
    """
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.kill(process.pid, number)


async def _read(descriptor: int) -> bytes:
    """Wait for the first words on a pipe, or its end."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(descriptor, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(descriptor)
    return os.read(descriptor, 1_000)


# The broker's own process.


class _Stable(dict[str, Any]):
    """A dictionary that is walked over as it stood at the beginning of the walk.

    amqtt awaits while it walks over its subscriptions and retained messages, and other clients'
    tasks change them meanwhile; a plain dictionary then raises RuntimeError, which cuts the client
    off or ends the task that hands messages on. Lists in it are copied too: one that shrinks
    during a walk skips a subscriber.
    """

    def __iter__(self) -> Iterator[str]:
        return iter(list(super().keys()))

    def items(self) -> Any:  # noqa: ANN401 - a list serves where amqtt looks for a view.
        return [
            (key, list(value) if isinstance(value, list) else value)
            for key, value in super().items()
        ]


async def serve(host: str, port: int, ready_fd: int | None) -> None:
    """Run the broker until SIGTERM or SIGINT.

    Args:
        host: A loopback address.
        port: TCP port.
        ready_fd: Gets ``READY`` once connections are accepted.
    """
    # Imported here: the side that starts this process needs none of it.
    from amqtt.broker import Broker  # type: ignore[import-untyped] # noqa: PLC0415 - no types.

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.set_exception_handler(_report)
    shown_host = f"[{host}]" if ":" in host else host
    broker = Broker(
        {
            "listeners": {"default": {"type": "tcp", "bind": f"{shown_host}:{port}"}},
            "plugins": {
                "amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}
            },
        }
    )
    broker._subscriptions = _Stable()  # noqa: SLF001 - there is no public way.
    broker._retained_messages = _Stable()  # noqa: SLF001
    await broker.start()
    if ready_fd is not None:
        os.write(ready_fd, READY)
        os.close(ready_fd)
    await stop.wait()
    # Clients are told by the closing sockets: waiting for each is not worth a slow stop.
    with suppress(TimeoutError):
        async with asyncio.timeout(STOP_S / 2):
            await broker.shutdown()


def _report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Say what went wrong, but for clients cut off by the end: those are not errors."""
    if not isinstance(context.get("exception"), asyncio.CancelledError):
        loop.default_exception_handler(context)


def _reason(error: BaseException) -> str:
    """Return why the broker did not start, without the wrappings of amqtt and asyncio."""
    inner = error
    while inner.__cause__ is not None:
        inner = inner.__cause__
    if isinstance(inner, OSError) and inner.errno == errno.EADDRINUSE:
        return "the port is in use"
    if isinstance(inner, OSError) and inner.errno == errno.EACCES:
        return "this user may not listen on the port"
    return f"did not start: {error}"


def die_with_parent() -> None:
    """Ask the kernel for SIGTERM when the parent dies, however it dies."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``python -m drivers.mqtt.embedded``.

    Returns:
        The exit status: 0, or 2 for an address that is not loopback or cannot be had.
    """
    parser = argparse.ArgumentParser(
        prog="python -m drivers.mqtt.embedded",
        description="Run an MQTT 3.1.1 broker on loopback until SIGTERM.",
        epilog="example: python -m drivers.mqtt.embedded --port 1883",
    )
    parser.add_argument("--host", default="127.0.0.1", help="a loopback address (%(default)s)")
    parser.add_argument("--port", type=int, required=True, help="TCP port")
    parser.add_argument(
        "--ready-fd", type=int, help="descriptor that gets 1 when ready, or else the reason"
    )
    options = parser.parse_args(arguments)
    try:
        loopback = ipaddress.ip_address(options.host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        parser.error(
            f"{options.host}: not a loopback address, and this broker asks for no credentials. "
            "Use 127.0.0.1, or run a Mosquitto for other machines"
        )
    if options.ready_fd is not None:
        die_with_parent()
    logging.basicConfig(level=logging.ERROR, format="embedded broker: %(message)s")
    logging.getLogger("amqtt").setLevel(logging.CRITICAL)  # What matters is said below.
    try:
        asyncio.run(serve(options.host, options.port, options.ready_fd))
    except Exception as error:  # noqa: BLE001 - the broker's own error types vary; all mean this.
        problem = _reason(error)
        if options.ready_fd is None:
            thing = f"embedded broker {options.host}:{options.port}"
            sys.stderr.write(f"{thing}: {problem}. {REMEDY}\n")
        else:  # Who started this process tells it, once and not at every attempt.
            with suppress(OSError):
                os.write(options.ready_fd, problem.encode()[:1_000])
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
