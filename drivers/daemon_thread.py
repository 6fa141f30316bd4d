# SPDX-License-Identifier: Apache-2.0
"""What blocks and cannot be told to stop runs in a thread that nobody has to wait for."""

import _thread
import asyncio
from collections.abc import Callable


async def in_daemon_thread(work: Callable[[], None], abandon: Callable[[None], None]) -> None:
    """Run ``work`` in a thread of its own that never keeps the process from ending.

    The loop's executor would: a name look-up may block for minutes, and ending the loop waits
    for the executor.

    Args:
        work: What blocks.
        abandon: Cleans up after ``work`` when nobody waits for it any more.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def settle(error: BaseException | None) -> None:
        if done.done():
            abandon(None)
        elif error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def body() -> None:
        error: BaseException | None = None
        try:
            work()
        except BaseException as caught:  # noqa: BLE001 - re-raised by the awaiting task.
            error = caught
        try:
            loop.call_soon_threadsafe(settle, error)
        except RuntimeError:  # The loop is closed: nobody waits.
            abandon(None)

    # threading.Thread.start would block the loop for good if the thread has no memory to begin.
    _thread.start_new_thread(body, ())
    await done
