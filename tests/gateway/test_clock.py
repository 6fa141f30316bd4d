# SPDX-License-Identifier: Apache-2.0
"""The clocks: monotonic time measures, and UTC is trusted only when the kernel says so."""

import ctypes

import pytest

from gateway import clock
from gateway.clock import (
    BRACKETS_MAX,
    STA_UNSYNC,
    TIME_ERROR,
    OsClock,
    SteadyClock,
    judge,
    read_boot,
    read_trust,
)
from gateway.domain.inputs import Stamp
from gateway.domain.timekeeping import STEADY_NS


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
        *((leap, 0x10, 900, True, 1) for leap in (1, 2, 3, 4)),
        (TIME_ERROR, 0x2001 | 0x1000, 900, False, 1),
        (0, 0, -1, True, None),
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


def test_without_ntp_the_error_grows_until_it_says_nothing_any_more():
    """As the kernel does: 500 ppm from the last word of NTP on, unsynchronised at 16 s."""
    errors = [judge(0, 0, 500 * hours * 3_600).error_ms for hours in range(9)]
    assert errors == [1_800 * hours for hours in range(9)]
    lost = judge(TIME_ERROR, STA_UNSYNC, 16_000_000)
    assert (lost.trusted, lost.error_ms) == (False, None)


def readings(monkeypatch, asleep_ns):
    """Let the process sleep between reading one clock and the other, so often and so long."""
    now = [10**9]

    def boottime(_clock):
        now[0] += 100
        return now[0]

    def utc():
        now[0] += asleep_ns.pop(0) if asleep_ns else 100
        return now[0] + 10**18

    monkeypatch.setattr(clock.time, "clock_gettime_ns", boottime)
    monkeypatch.setattr(clock.time, "time_ns", utc)


def test_a_process_that_was_stopped_between_two_clocks_sees_no_step(monkeypatch):
    readings(monkeypatch, [3_600 * 10**9, 2_000_000])
    stamp = OsClock().stamp()
    assert stamp.utc_ns - stamp.mono_ns - 10**18 < 1_000


def test_a_machine_that_is_always_slow_still_has_a_clock(monkeypatch):
    readings(monkeypatch, [5_000_000] * 100)
    stamp = OsClock().stamp()
    assert stamp.utc_ns - stamp.mono_ns - 10**18 == 5_000_000
    assert BRACKETS_MAX < 100


def at(mono_s, *, shift_s=0, trusted=True):
    mono_ns = int(mono_s * 1e9)
    return Stamp(mono_ns, 10**18 + mono_ns + int(shift_s * 1e9), trusted, 1, "boot")


@pytest.mark.parametrize("doubt", [{"shift_s": 0.9}, {"shift_s": -3e8}, {"trusted": False}])
def test_utc_is_steady_after_an_hour_without_doubt(doubt):
    steady, hour_s = SteadyClock(), STEADY_NS / 1e9
    assert not steady.steady(at(0))
    assert not steady.steady(at(hour_s - 1))
    assert steady.steady(at(hour_s))
    assert steady.steady(at(hour_s + 60, shift_s=0.4))
    assert not steady.steady(at(hour_s + 120, **doubt))
    shift_s = doubt.get("shift_s", 0)
    assert not steady.steady(at(hour_s + 180, shift_s=shift_s))
    assert not steady.steady(at(2 * hour_s + 119, shift_s=shift_s))
    assert steady.steady(at(2 * hour_s + 120, shift_s=shift_s))
