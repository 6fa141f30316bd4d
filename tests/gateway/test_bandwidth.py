# SPDX-License-Identifier: Apache-2.0
"""What the backlog gets of the line: what live events leave of it, and a tenth in any case."""

import pytest

from gateway.bandwidth import BURST_NS, OVERHEAD, SECOND_NS, Bandwidth

LIMIT = 16
BYTES = 1_000 - OVERHEAD
MESSAGE_NS = SECOND_NS // 2
"""How long the line takes for one message."""


def sent_of_backlog(one, seconds, *, now_ns=0, live_per_s=0.0):
    """Let time pass while a backlog waits; return how many of its messages went out."""
    end_ns, sent, live_ns = now_ns + seconds * SECOND_NS, 0, now_ns
    while now_ns < end_ns:
        while live_per_s and live_ns <= now_ns:
            one.spend(BYTES, now_ns, live=True)
            live_ns += int(SECOND_NS / live_per_s)
        if now_ns >= one.due_ns():
            one.spend(BYTES, now_ns, live=False)
            sent += 1
        now_ns += SECOND_NS // 100
    return sent


def test_the_backlog_takes_all_of_the_line_and_no_more():
    assert sent_of_backlog(Bandwidth(LIMIT), 100) == pytest.approx(200, abs=2)


def test_the_backlog_takes_what_live_events_leave():
    assert sent_of_backlog(Bandwidth(LIMIT), 100, live_per_s=1.5) == pytest.approx(50, abs=3)


def test_a_burst_of_live_events_does_not_block_the_backlog():
    one = Bandwidth(LIMIT)
    for _ in range(2_000):  # The line needs a quarter of an hour for them.
        one.spend(BYTES, 0, live=True)
    one.spend(BYTES, 0, live=False)
    assert one.due_ns() <= 10 * MESSAGE_NS
    sent = sent_of_backlog(one, 900)
    assert sent == pytest.approx(180, abs=5), "a tenth, until it is paid back"
    rest = sent_of_backlog(one, 400, now_ns=900 * SECOND_NS)
    assert rest == pytest.approx((400 - 2_180 * 0.5 + 900) / 0.5, abs=40), "and all after that"


def test_live_events_beyond_the_line_leave_the_backlog_a_tenth():
    one = Bandwidth(LIMIT)
    assert sent_of_backlog(one, 1_000, live_per_s=10.0) == pytest.approx(200, abs=5)


def test_without_a_limit_nothing_waits():
    one = Bandwidth(None)
    one.spend(10**9, 0, live=False)
    assert one.due_ns() <= 0
    assert Bandwidth(LIMIT).due_ns() == -BURST_NS
