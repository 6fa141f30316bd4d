# SPDX-License-Identifier: Apache-2.0
"""The supervisor: outages are bounded, told once, and bugs are not outages."""

import asyncio
import logging
from itertools import pairwise
from random import Random

import pytest

from drivers.errors import DeviceGoneError, OtherDeviceError
from gateway.backoff import Backoff
from gateway.intake import Intake
from gateway.supervise import status_reporter, supervise
from tests.virtual_time import LoopClock, run_virtual

STEADY = Backoff(first_s=1.0, cap_s=8.0, jitter=0.0)


def gone():
    return DeviceGoneError("scale-7", "no such device", "Check the cable")


def test_an_outage_is_logged_once_and_retried_with_growing_delays(caplog):
    caplog.set_level(logging.INFO)
    attempts_at_s = []

    async def flaky(came_up):
        attempts_at_s.append(asyncio.get_running_loop().time())
        if len(attempts_at_s) <= 5:
            raise gone()
        came_up()
        came_up()
        await asyncio.Event().wait()

    async def main():
        async with asyncio.timeout(60):
            await supervise("scale-7", flaky, random=Random(1), backoff=STEADY)

    with pytest.raises(TimeoutError):
        run_virtual(main())
    assert attempts_at_s == [0.0, 1.0, 3.0, 7.0, 15.0, 23.0]
    assert [record.message for record in caplog.records] == [
        "scale-7 is down: no such device. Check the cable",
        "scale-7 is back after 5 failed attempts",
    ]


def test_another_device_in_an_outage_is_logged_once_beside_it(caplog):
    caplog.set_level(logging.INFO)

    def other(name):
        return OtherDeviceError("scale-7", f"{name} is there", "Write it down")

    script = [gone(), other("B"), gone(), other("B"), other("C"), None, gone(), other("C"), None]

    async def flaky(came_up):
        error = script.pop(0)
        if error is not None:
            raise error
        came_up()
        if script:
            await asyncio.sleep(5)
            raise gone()
        await asyncio.Event().wait()

    async def main():
        async with asyncio.timeout(60):
            await supervise("scale-7", flaky, random=Random(1), backoff=STEADY)

    with pytest.raises(TimeoutError):
        run_virtual(main())
    down = "scale-7 is down: no such device. Check the cable"
    assert [record.message for record in caplog.records] == [
        down,
        "scale-7: B is there. Write it down",
        "scale-7: C is there. Write it down",
        "scale-7 is back after 5 failed attempts",
        down,
        "scale-7: C is there. Write it down",
        "scale-7 is back after 3 failed attempts",
    ]


def test_a_device_is_looked_for_within_a_second_for_as_long_as_it_takes():
    attempts_at_s = []

    async def away(_came_up):
        attempts_at_s.append(asyncio.get_running_loop().time())
        raise gone()

    async def main():
        async with asyncio.timeout(3_600):
            await supervise("scale-7", away, random=Random(1))

    with pytest.raises(TimeoutError):
        run_virtual(main())
    pauses_s = [after - before for before, after in pairwise(attempts_at_s)]
    assert max(pauses_s) <= 1.0
    assert min(pauses_s) >= 0.25


def test_a_bug_is_not_retried():
    async def buggy(_came_up):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_virtual(supervise("scale-7", buggy, random=Random(1)))


def test_a_driver_that_returns_is_a_bug():
    async def lazy(_came_up):
        pass

    with pytest.raises(AssertionError, match="returned instead of failing"):
        run_virtual(supervise("scale-7", lazy, random=Random(1)))


def test_cancellation_passes_through():
    async def main():
        async def steady(came_up):
            came_up()
            await asyncio.Event().wait()

        task = asyncio.ensure_future(supervise("scale-7", steady, random=Random(1)))
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert run_virtual(main())[0]


def test_the_engine_hears_of_each_change_once():
    async def main():
        clock = LoopClock()
        intake = Intake(clock)
        attempts = 0

        async def flapping(came_up):
            nonlocal attempts
            attempts += 1
            if attempts in (1, 4, 7):
                came_up()
                came_up()
                await asyncio.sleep(5)
            raise gone()

        report = status_reporter("scanner/gate", intake, clock)
        try:
            async with asyncio.timeout(26):
                await supervise(
                    "scanner/gate", flapping, random=Random(1), backoff=STEADY, on_change=report
                )
        except TimeoutError:
            return intake.take(99)

    items, _ = run_virtual(main())
    assert [(item.device, item.state, item.reason, item.boot) for item in items] == [
        ("scanner/gate", "online", None, ""),
        ("scanner/gate", "offline", "no such device", ""),
    ] * 2 + [("scanner/gate", "online", None, "")]
    assert [round(item.at.mono_ns / 1e9) for item in items] == [0, 5, 12, 17, 24]


def test_delays_double_are_capped_jittered_and_never_zero():
    random = Random(7)
    backoff = Backoff(first_s=0.5, cap_s=30.0, jitter=0.5)
    for failures, longest_s in [(1, 0.5), (2, 1.0), (5, 8.0), (7, 30.0), (10_000, 30.0)]:
        delays = [backoff.delay_s(failures, random.random) for _ in range(200)]
        assert all(longest_s / 2 <= delay_s <= longest_s for delay_s in delays)
        assert max(delays) - min(delays) > longest_s / 4
