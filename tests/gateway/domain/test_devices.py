# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.devices import (
    AHEAD_MAX,
    BACK_MS_MAX,
    BEHIND_MS_MAX,
    CLOCK_SPAN_NS,
    FIRST_MAX,
    FORWARD_MS_MAX,
    OLD_BOOTS,
    SEEN_WINDOW,
    T_MS_WRAP,
    Device,
    DeviceClock,
    Marks,
    Verdict,
)
from gateway.domain.inputs import DoorState, Stamp

MS = 1_000_000


class MarksByHand:
    """What marks mean: a set of numbers a boot, and a limit to how far back it reaches."""

    def __init__(self):
        self.boot = None
        self.over = []
        self.numbers = set()
        self.astray = -1

    def judge(self, boot, seq):
        if boot != self.boot:
            ended = boot in self.over[-OLD_BOOTS:]
            if ended or seq > FIRST_MAX:
                return (Verdict.STALE if ended else Verdict.STRAY), 0
            first = self.boot is None
            if not first:
                self.over.append(self.boot)
            self.boot, self.numbers = boot, {seq}
            return (Verdict.NEW if first else Verdict.RESTARTED), 0
        highest = max(self.numbers)
        if seq - highest > AHEAD_MAX and not 0 < seq - self.astray <= SEEN_WINDOW:
            self.astray = seq
            return Verdict.STRAY, 0
        if seq in self.numbers or seq <= highest - SEEN_WINDOW:
            return Verdict.REPEAT, 0
        self.numbers.add(seq)
        if seq < highest:
            return Verdict.LATE, -1
        return Verdict.NEW, seq - highest - 1


@given(
    st.lists(
        st.tuples(
            st.sampled_from("aaaaaaaab"),
            st.one_of(st.integers(0, 12), st.integers(0, 200), st.integers(0, 2**63 - 1)),
        )
    )
)
def test_marks_are_a_set_of_numbers(messages):
    marks, by_hand = Marks(), MarksByHand()
    for boot, seq in messages:
        assert marks.judge(boot, seq) == by_hand.judge(boot, seq)
        assert marks.seen < 1 << SEEN_WINDOW
        assert len(marks.old_boots) <= OLD_BOOTS


@given(st.lists(st.sampled_from("abcdefgh"), max_size=30))
def test_marks_remember_the_boots_that_ended(boots):
    marks, by_hand = Marks(), MarksByHand()
    for seq, boot in enumerate(boots):
        assert marks.judge(boot, seq) == by_hand.judge(boot, seq)


@given(st.permutations(range(40)))
def test_every_message_counts_once_and_what_was_missing_comes_to_nothing(order):
    marks = Marks()
    marks.judge("a", 0)
    missing = sum(marks.judge("a", 1 + seq)[1] for seq in order)
    assert missing == 0
    assert all(marks.judge("a", 1 + seq)[0] is Verdict.REPEAT for seq in order)


@pytest.mark.parametrize(
    ("earlier", "message", "expected"),
    [
        ([], ("a", 7), (Verdict.NEW, 0)),
        ([("a", 7)], ("a", 8), (Verdict.NEW, 0)),
        ([("a", 7)], ("a", 7), (Verdict.REPEAT, 0)),
        ([("a", 7)], ("a", 11), (Verdict.NEW, 3)),
        ([("a", 7), ("a", 11)], ("a", 9), (Verdict.LATE, -1)),
        ([("a", 7), ("a", 100)], ("a", 100 - SEEN_WINDOW), (Verdict.REPEAT, 0)),
        ([("a", 7), ("a", 100)], ("a", 101 - SEEN_WINDOW), (Verdict.LATE, -1)),
        ([("a", 7)], ("b", 3), (Verdict.RESTARTED, 0)),
        ([("a", 7), ("b", 3)], ("a", 8), (Verdict.STALE, 0)),
    ],
)
def test_verdicts(earlier, message, expected):
    marks = Marks()
    for one in earlier:
        marks.judge(*one)
    assert marks.judge(*message) == expected


def mapped(messages):
    """Map ``(t_ms, arrived_ns)`` in the order given; any may have been overtaken."""
    clock = DeviceClock()
    return [clock.map(t_ms % T_MS_WRAP, 0, arrived, BEHIND_MS_MAX) for t_ms, arrived in messages]


@given(st.lists(st.integers(0, 200), min_size=2, max_size=60), st.integers(0, T_MS_WRAP - 1))
def test_the_least_delayed_message_sets_the_clock(delays_ms, base_ms):
    sent_ms = [200 * n for n in range(len(delays_ms))]
    times = mapped(
        [
            (base_ms + sent, (10_000 + sent + delay) * MS)
            for sent, delay in zip(sent_ms, delays_ms, strict=True)
        ]
    )
    least = delays_ms[0]
    for sent, delay, at_ns in zip(sent_ms, delays_ms, times, strict=True):
        least = min(least, delay)
        assert at_ns == (10_000 + sent + least) * MS


@pytest.mark.parametrize("behind_ms", [1, 150, 400])
def test_messages_that_overtake_each_other_across_the_wrap(behind_ms):
    edge = T_MS_WRAP
    sent = [edge - 1_000, edge - 600, edge + 200, edge - behind_ms, edge + 400, edge + 800]
    arrived = [10_000, 10_400, 11_200, 11_201, 11_400, 11_800]
    times = mapped([(ms, at * MS) for ms, at in zip(sent, arrived, strict=True)])
    assert times == [(ms - edge + 11_000) * MS for ms in sent]


def test_a_clock_goes_round_more_than_once():
    clock = DeviceClock()
    quarter = T_MS_WRAP // 2**11  # Below what counts as a new clock.
    assert quarter < FORWARD_MS_MAX
    for n in range(3 * 2**11):
        at_ns = clock.map(n * quarter % T_MS_WRAP, 0, n * quarter * MS, BACK_MS_MAX)
        assert at_ns == n * quarter * MS


@pytest.mark.parametrize("jump_ms", [2 * FORWARD_MS_MAX, T_MS_WRAP - 2 * FORWARD_MS_MAX])
def test_a_clock_that_jumps_far_is_a_new_clock(jump_ms):
    times = mapped(
        [(5_000, 1_000 * MS), (5_000 + jump_ms, 1_300 * MS), (5_200 + jump_ms, 1_600 * MS)]
    )
    assert times == [1_000 * MS, 1_300 * MS, 1_500 * MS]


@pytest.mark.parametrize("ppm", [-200, 200])
def test_a_drifting_crystal_is_followed(ppm):
    clock = DeviceClock()
    for n in range(5 * 300):  # Five minutes of blocks, each delayed by 3 to 22 ms.
        true_ns = n * 200 * MS
        device_ms = int(true_ns * (1 + ppm / 1e6)) // MS
        arrived_ns = true_ns + (3 + n * 7 % 20) * MS
        at_ns = clock.map(device_ms, 0, arrived_ns, BACK_MS_MAX)
        error_ms = (at_ns - true_ns) / MS
        # In two spans a crystal strays by this much, and the least delay is 3 ms.
        assert abs(error_ms) <= 4 + 20 + 2 * CLOCK_SPAN_NS / MS * abs(ppm) / 1e6
    assert abs(error_ms - 3) <= 1.5 + 2 * CLOCK_SPAN_NS / MS * abs(ppm) / 1e6


def door(mono_ns, **fields):
    at = Stamp(mono_ns, mono_ns, True, 1, "kernel")
    return DoorState(at=at, device="door/a", boot="b", seq=0, open=True, **fields)


@pytest.mark.parametrize(
    ("fields", "at_ms"),
    [
        ({}, 800),  # The arrival counts, less the length of the block.
        ({"t_ms": 123}, 800),
        ({"host_boot": "kernel", "host_mono_ms": 640.5, "t_ms": 123}, 640.5),
        ({"host_boot": "kernel", "host_mono_ms": 5_000.0}, 800),  # All of it is past on arrival.
        ({"host_boot": "other", "host_mono_ms": 640.5}, 800),
        ({"host_boot": "other", "host_mono_ms": 640.5, "t_ms": 123}, 800),
    ],
)
def test_the_clock_that_counts(fields, at_ms):
    assert Device().time_of(door(1_000 * MS, **fields), 200 * MS) == at_ms * MS


def test_a_restart_forgets_the_clock():
    device = Device()
    device.time_of(door(1_000 * MS, t_ms=900_000), 0)
    device.restarted()
    assert device.time_of(door(9_000 * MS, t_ms=10), 0) == 9_000 * MS
