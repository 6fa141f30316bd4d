# SPDX-License-Identifier: Apache-2.0
"""An event loop whose clock runs faster than the wall's: real sockets, and limits of half a minute
that pass in a second. What is asked of other processes takes as long as ever, so tests wait for
conditions and never judge by time."""

import asyncio
import selectors
import time

SPEED = 12.0


class _QuickSelector(selectors.DefaultSelector):
    def select(self, timeout=None):
        return super().select(None if timeout is None else timeout / SPEED)


class QuickLoop(asyncio.SelectorEventLoop):
    """Lets ``SPEED`` seconds pass in each."""

    def __init__(self):
        super().__init__(_QuickSelector())

    def time(self):
        return time.monotonic() * SPEED


def run_quick(coroutine, limit_s=240):
    """Run a test's coroutine; the limit is wall time."""

    async def limited():
        async with asyncio.timeout(limit_s * SPEED):
            return await coroutine

    with asyncio.Runner(loop_factory=QuickLoop) as runner:
        return runner.run(limited())
