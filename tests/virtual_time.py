# SPDX-License-Identifier: Apache-2.0
"""An event loop whose clock jumps. Sleeping costs nothing and nothing depends on the machine."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

from gateway.domain.inputs import Stamp

T = TypeVar("T")


class _JumpingSelector(selectors.SelectSelector):
    now_s = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if ready:
            return ready
        if timeout is None:
            raise AssertionError("deadlock: every task waits and no timer is set")
        self.now_s += timeout
        return []


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Advances to the next timer as soon as every task is blocked."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now_s


def run_virtual(main: Coroutine[Any, Any, T]) -> tuple[T, float]:
    """Run to completion; return the result and how many virtual seconds it took."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        result = runner.run(main)
        return result, runner.get_loop().time()


class LoopClock:
    """A ``Clock`` that shows the running loop's time."""

    def __init__(self, *, boot: str = "boot", utc_trusted: bool = True) -> None:
        self.boot = boot
        self.utc_trusted = utc_trusted

    def stamp(self) -> Stamp:
        """Return the loop's time as CLOCK_BOOTTIME, and UTC in 2026 beside it."""
        mono_ns = round(asyncio.get_running_loop().time() * 1e9)
        return Stamp(mono_ns, 1_795_000_000_000_000_000 + mono_ns, self.utc_trusted, 1, self.boot)
