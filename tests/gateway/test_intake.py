# SPDX-License-Identifier: Apache-2.0
"""The intake: bounded by rule, in order, counted, and ticking through stalls."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.inputs import DeviceStatus, Dropped, Samples, Tick
from gateway.intake import COUNTERS_MAX, ONE_MAX, REST, Intake
from tests.small_store import samples, stamp
from tests.virtual_time import LoopClock, run_virtual


class Clock:
    def __init__(self, mono_ns=0):
        self.mono_ns = mono_ns

    def stamp(self):
        return stamp(self.mono_ns)


def status(number, mono_ns=0, device="door/front"):
    return DeviceStatus(at=stamp(mono_ns), device=device, state="online", boot=str(number))


def names(items):
    return [(item.device, item.seq) if isinstance(item, Samples) else item.boot for item in items]


def test_inputs_leave_in_the_order_in_which_they_came():
    intake = Intake(Clock())
    items = [samples(0), status(0), samples(1, device="shelf/g2.s1"), samples(2), status(1)]
    assert all(intake.offer(item) for item in items)
    assert intake.take(3) == items[:3]
    assert intake.take(9) == items[3:]
    assert len(intake) == 0


def test_a_full_stream_keeps_the_newest_of_the_device_with_most_waiting():
    intake = Intake(Clock(), stream_max=4)
    intake.offer(samples(0, device="shelf/quiet"))
    for seq in range(6):
        assert intake.offer(samples(seq, device="shelf/loud"))
    assert names(intake.take(99)) == [("shelf/quiet", 0)] + [("shelf/loud", n) for n in (3, 4, 5)]
    assert intake.totals == {"overflow": 3}


def test_a_flood_of_samples_keeps_nothing_else_out():
    intake = Intake(Clock(), stream_max=4, others_max=2)
    for seq in range(50):
        intake.offer(samples(seq))
    assert intake.offer(status(0))
    assert intake.offer(status(1))
    assert not intake.offer(status(2))
    assert names(intake.take(99))[-2:] == ["0", "1"]
    assert intake.totals == {"overflow": 47}


def test_a_flood_of_one_device_keeps_no_other_ones_states_out():
    intake = Intake(Clock())
    taken = [intake.offer(status(number, device="scanner/loud")) for number in range(2_000)]
    assert taken.count(True) == ONE_MAX
    assert intake.offer(status(0, device="shelf/g1.s1"))
    assert intake.totals == {"overflow": 2_000 - ONE_MAX}
    assert len(intake.take(9_999)) == ONE_MAX + 1
    assert intake.offer(status(0, device="scanner/loud"))


def test_memory_stays_bounded_while_nobody_takes():
    intake = Intake(Clock(), stream_max=8, others_max=2)
    for seq in range(10_000):
        intake.offer(samples(seq % 100, device=f"shelf/{seq % 3}"))
    assert len(intake) == 8
    assert len(intake._cells) <= 2 * (8 + 2) + 1


def test_put_waits_for_room_and_its_stamp_does_not_go_back():
    async def main():
        intake = Intake(LoopClock(), others_max=1)
        await intake.put(status(0, 10))

        async def late():
            await intake.put(status(1, 20))

        async with asyncio.TaskGroup() as group:
            group.create_task(late())
            await asyncio.sleep(1)
            assert len(intake) == 1
            intake.offer(samples(0, mono_ns=30))
            assert names(await intake.drain(1)) == ["0"]
        return await intake.drain(9)

    items, _ = run_virtual(main())
    assert names(items) == [("shelf/g1.s1", 0), "1"]
    assert [item.at.mono_ns for item in items] == [30, 30]


def test_drain_waits_for_the_first_input():
    async def main():
        intake = Intake(LoopClock())
        asyncio.get_running_loop().call_later(3, intake.offer, status(7))
        return await intake.drain(5)

    items, took_s = run_virtual(main())
    assert (names(items), took_s) == (["7"], 3)


def test_ticks_come_every_100_ms_on_a_grid():
    async def main():
        intake = Intake(LoopClock())
        async with asyncio.TaskGroup() as group:
            ticking = group.create_task(intake.run())
            seen = []
            while len(seen) < 30:
                seen += await intake.drain(9)
            ticking.cancel()
        return [round(item.at.mono_ns / 1e6) for item in seen]

    assert run_virtual(main())[0] == [n * 100 for n in range(30)]


def test_a_stall_ends_with_one_tick_and_the_grid_goes_on():
    async def main():
        intake = Intake(LoopClock())
        async with asyncio.TaskGroup() as group:
            ticking = group.create_task(intake.run())
            await intake.drain(9)
            await asyncio.sleep(0.95)
            stalled = await intake.drain(9)
            after = await intake.drain(9)
            ticking.cancel()
        return [[round(item.at.mono_ns / 1e6) for item in items] for items in (stalled, after)]

    assert run_virtual(main())[0] == [[100], [1000]]


def test_a_loop_that_hung_gets_one_tick_at_once():
    async def main():
        intake = Intake(LoopClock())
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            ticking = group.create_task(intake.run())
            await intake.drain(9)
            loop._jumping.now_s += 1.23
            hung = await intake.drain(9)
            after = await intake.drain(9)
            ticking.cancel()
        return [round(item.at.mono_ns / 1e6) for item in hung + after]

    assert run_virtual(main())[0] == [1230, 1300]


def test_drops_are_counted_and_told_once_a_second():
    clock = Clock()
    intake = Intake(clock)
    for _ in range(5):
        intake.drop("shelf/g1.s1", "malformed")
    intake.drop("scanner/gate", "too-long", 2)
    intake.tick()
    assert [type(item) for item in intake.take(9)] == [Tick]
    clock.mono_ns = 1_000_000_000
    intake.tick()
    at = clock.stamp()
    assert intake.take(9) == [
        Dropped(at=at, device="shelf/g1.s1", reason="malformed", count=5),
        Dropped(at=at, device="scanner/gate", reason="too-long", count=2),
        Tick(at=at),
    ]
    clock.mono_ns = 2_000_000_000
    intake.tick()
    assert [type(item) for item in intake.take(9)] == [Tick]
    assert intake.totals == {"malformed": 5, "too-long": 2}


def test_devices_that_invent_names_are_counted_together():
    clock = Clock()
    intake = Intake(clock)
    for number in range(5 * COUNTERS_MAX):
        intake.drop(f"shelf/{number}", "unknown-device")
    intake.flush()
    dropped = intake.take(10_000)
    assert len(dropped) <= COUNTERS_MAX + 1
    assert sum(item.count for item in dropped) == 5 * COUNTERS_MAX
    assert dropped[-1].device == REST


def test_counts_without_room_stay_for_the_next_time():
    intake = Intake(Clock(), others_max=1)
    intake.offer(status(0))
    intake.drop("shelf/g1.s1", "malformed")
    intake.flush()
    assert names(intake.take(9)) == ["0"]
    intake.flush()
    assert [item.count for item in intake.take(9)] == [1]


@given(
    st.lists(
        st.tuples(st.sampled_from("abcs"), st.integers(0, 50)) | st.integers(1, 5), max_size=80
    )
)
def test_what_leaves_came_in_order_and_what_does_not_is_counted(steps):
    """A letter offers an input of that device (s: a state), a number takes as many."""
    intake = Intake(Clock(), stream_max=4, others_max=3)
    offered, taken = [], []
    for number, step in enumerate(steps):
        if isinstance(step, int):
            taken += intake.take(step)
            continue
        kind, mono_ns = step
        item = (
            status(number, mono_ns)
            if kind == "s"
            else samples(number, device=kind, mono_ns=mono_ns)
        )
        intake.offer(item)
        offered.append(item)
        assert len(intake) <= 7
    taken += intake.take(999)
    order = {name: place for place, name in enumerate(names(offered))}
    places = [order[name] for name in names(taken)]
    assert places == sorted(set(places))
    assert len(offered) == len(taken) + intake.totals["overflow"]
    times = [item.at.mono_ns for item in taken]
    assert times == sorted(times)
    assert len(intake) == 0
    assert not intake._by_device


@pytest.mark.parametrize("count", [1, 200])
def test_cancelling_a_drain_loses_nothing(count):
    async def main():
        intake = Intake(LoopClock())
        waiting = asyncio.ensure_future(intake.drain(9))
        await asyncio.sleep(0)
        for number in range(count):
            intake.offer(status(number))
        waiting.cancel()
        await asyncio.sleep(0)
        return len(intake)

    assert run_virtual(main())[0] == count
