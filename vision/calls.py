# SPDX-License-Identifier: Apache-2.0
"""One thread for a camera's detections, that may hang: it is noticed, and keeps no process alive.

A runtime's call cannot be broken off from outside. So the thread is a daemon, nobody waits for it
but for a moment, and a process that would end beside a hung call leaves without the runtime's own
tidying up, which might wait for that call.
"""

import asyncio
import atexit
import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")

PARTING_S = 2.0
"""A call that runs longer than this after the process's end began is taken for hung."""


class Calls:
    """Runs calls on one thread, one at a time and in the order of asking; a context manager.

    Use it on one event loop. Leaving it waits for no call.
    """

    def __init__(self, name: str) -> None:
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._turn = asyncio.Lock()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        atexit.register(self._part)
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._jobs.put(None)

    async def timed(
        self, call: Callable[..., T], *values: object, limit_s: float | None = None
    ) -> tuple[T, float]:
        """Return what a call returns and how long it ran, in seconds, without its wait for others.

        Args:
            call: What to run; what it raises is raised here.
            values: Its arguments.
            limit_s: How long it may run; None: for ever.

        Raises:
            TimeoutError: It still runs after that, and keeps the thread.
        """
        loop = asyncio.get_running_loop()
        async with self._turn:
            future: asyncio.Future[tuple[T, float]] = loop.create_future()

            def job() -> None:
                began_s = time.monotonic()
                try:
                    value = call(*values)
                except BaseException as error:  # noqa: BLE001 - raised where it was asked for
                    _tell(loop, future, future.set_exception, error)
                else:
                    _tell(loop, future, future.set_result, (value, time.monotonic() - began_s))

            self._jobs.put(job)
            async with asyncio.timeout(limit_s):
                return await future

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def _part(self) -> None:
        """End the process at its end where a call hangs; its streams are written out first."""
        self._jobs.put(None)
        self._thread.join(PARTING_S)
        if self._thread.is_alive():
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os._exit(1)


def _tell(
    loop: asyncio.AbstractEventLoop,
    future: asyncio.Future[Any],
    tell: Callable[[Any], None],
    value: object,
) -> None:
    """Give a future its outcome on its loop, if anybody still waits for it."""
    with contextlib.suppress(RuntimeError):  # The loop was closed: nobody waits.
        loop.call_soon_threadsafe(_told, future, tell, value)


def _told(future: asyncio.Future[Any], tell: Callable[[Any], None], value: object) -> None:
    if not future.done():
        tell(value)
