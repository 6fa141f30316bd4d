# SPDX-License-Identifier: Apache-2.0
"""The clocks: monotonic time measures, and UTC is trusted only when the kernel says so."""

import ctypes

import pytest

from gateway import clock
from gateway.clock import STA_UNSYNC, TIME_ERROR, OsClock, judge, read_boot, read_trust


def test_stamps_go_forward_and_name_the_boot():
    os_clock = OsClock()
    stamps = [os_clock.stamp() for _ in range(50)]
    times = [stamp.mono_ns for stamp in stamps]
    assert times == sorted(times)
    assert {stamp.boot for stamp in stamps} == {read_boot()}
    assert len(stamps[0].boot) == 36


@pytest.mark.parametrize(
    ("state", "status", "maxerror_us", "trusted", "error_ms"),
    [
        (0, 0, 1_801, True, 2),
        (0, 0, 0, True, 0),
        (0, 0x2001, 5_000, True, 5),
        (TIME_ERROR, STA_UNSYNC, 16_000_000, False, None),
        (0, STA_UNSYNC, 300_000, False, 300),
        (TIME_ERROR, 0, 300_000, False, 300),
        (-1, 0, 0, False, None),
        (0, 0, 16_000_000, True, None),
    ],
)
def test_trust_follows_the_kernel(state, status, maxerror_us, trusted, error_ms):
    trust = judge(state, status, maxerror_us)
    assert (trust.trusted, trust.error_ms) == (trusted, error_ms)


def test_a_system_that_refuses_or_lacks_adjtimex_is_not_trusted(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda *_args, **_more: object())
    assert not read_trust().trusted


def test_the_kernel_is_asked_once_a_second(monkeypatch):
    asked = []
    monkeypatch.setattr(
        clock, "read_trust", lambda: asked.append(1) or clock.Trust(trusted=True, error_ms=3)
    )
    now = [10**9]
    monkeypatch.setattr(clock.time, "clock_gettime_ns", lambda _clock: now[0])
    os_clock = OsClock()
    for now[0] in (10**9 + 1, 10**9 + 999_999_999, 2 * 10**9, 2 * 10**9 + 5):
        stamp = os_clock.stamp()
    assert len(asked) == 2
    assert (stamp.utc_trusted, stamp.utc_error_ms) == (True, 3)


def test_a_machine_without_a_boot_id_draws_one(monkeypatch, tmp_path):
    monkeypatch.setattr(clock, "BOOT_ID", tmp_path / "none")
    assert len(read_boot()) == 36
    assert read_boot() != read_boot()
