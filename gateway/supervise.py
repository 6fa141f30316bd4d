# SPDX-License-Identifier: Apache-2.0
"""Keep a driver running through bad weather, and let bugs end the process."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from random import Random
from typing import Final, NoReturn

from drivers.errors import DriverError, OtherDeviceError
from drivers.ports import Clock, Intake
from gateway.backoff import Backoff
from gateway.domain.inputs import DeviceStatus

log = logging.getLogger(__name__)

DEVICES: Final = Backoff(first_s=0.5, cap_s=1.0)
"""Of a cable that is put back nobody tells the daemon, so it looks: opening a port that is not
there costs as little as asking whether it is. Long waits are for what would be burdened."""


async def supervise(
    name: str,
    run: Callable[[Callable[[], None]], Awaitable[None]],
    *,
    random: Random,
    backoff: Backoff = DEVICES,
    on_change: Callable[[DriverError | None], None] | None = None,
) -> NoReturn:
    """Run a driver for ever, restarting it after a ``DriverError``.

    An outage is logged twice, when it starts and when it ends; in between only that another device
    is there, which is no matter of waiting. Any other exception passes through: the task group then
    stops the daemon and systemd restarts it.

    Args:
        name: The device or link, as logs call it.
        run: Runs the driver until it fails; calls its argument at the first good reading.
        random: Where the jitter comes from.
        backoff: How long to wait between attempts.
        on_change: Called with the error when the driver first fails, and with None when it comes
            up, the first time included.
    """
    failures = 0
    lost = False
    up = False
    other = ""

    def came_up() -> None:
        nonlocal failures, lost, up, other
        if lost:
            log.info("%s is back after %d failed attempts", name, failures)
        if not up and on_change is not None:
            on_change(None)
        failures, lost, up, other = 0, False, True, ""

    while True:
        try:
            await run(came_up)
        except DriverError as error:
            failures += 1
            other = _logged(name, error, lost=lost, other=other)
            if not lost and on_change is not None:
                on_change(error)
            lost, up = True, False
        else:
            raise AssertionError(f"{name}: a driver returned instead of failing")
        await asyncio.sleep(backoff.delay_s(failures, random.random))


def _logged(name: str, error: DriverError, *, lost: bool, other: str) -> str:
    """Log a failure if it is news; return what was last said of another device in this outage."""
    is_other = isinstance(error, OtherDeviceError)
    if not lost:
        log.warning("%s is down: %s", name, str(error).removeprefix(f"{name}: "))
    elif is_other and str(error) != other:
        log.warning("%s", error)
    return str(error) if is_other else other


def status_reporter(
    device: str, intake: Intake, clock: Clock
) -> Callable[[DriverError | None], None]:
    """Return an ``on_change`` that tells the engine of a device on a line of its own.

    Its ``DeviceStatus`` has an empty ``boot``: the line is lost whichever boot was heard last.
    """

    def report(error: DriverError | None) -> None:
        intake.offer(
            DeviceStatus(
                at=clock.stamp(),
                device=device,
                state="online" if error is None else "offline",
                boot="",
                reason=None if error is None else error.problem,
            )
        )

    return report


def leaves(group: BaseExceptionGroup[Exception]) -> Iterator[Exception]:
    """Yield the exceptions of a group, and of the groups in it."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from leaves(error)
        else:
            yield error
