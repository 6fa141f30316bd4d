# SPDX-License-Identifier: Apache-2.0
"""The operating system's clocks, and how far its UTC can be trusted."""

import ctypes
import time
from pathlib import Path
from typing import Final
from uuid import uuid4

from gateway.domain.inputs import Stamp
from gateway.domain.timekeeping import CLOCK_STEP_NS, STEADY_NS

STA_UNSYNC: Final = 0x40
"""Status bit of adjtimex(2): nobody keeps the kernel's clock in step."""
TIME_ERROR: Final = 5
"""Return value of adjtimex(2): the clock is not synchronised."""
MAXERROR_SATURATED_US: Final = 16_000_000
"""Where the kernel's estimate of its error stops growing: from there on it says nothing."""
TRUST_CACHE_NS: Final = 1_000_000_000
BRACKET_NS: Final = 1_000_000
BRACKETS_MAX: Final = 5
BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")

# macOS has no CLOCK_BOOTTIME; there, time asleep does not count.
_BOOTTIME: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class _Timex(ctypes.Structure):
    """``struct timex`` of adjtimex(2), with padding for what newer kernels may append."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_long * 64),
    )


class Trust:
    """Whether UTC is synchronised, and its greatest error in milliseconds (None: unknown)."""

    __slots__ = ("error_ms", "trusted")

    def __init__(self, trusted: bool, error_ms: int | None) -> None:
        self.trusted = trusted
        self.error_ms = error_ms


def read_trust() -> Trust:
    """Ask the kernel with adjtimex(2); where it may not be asked, nothing is trusted."""
    try:
        adjtimex = ctypes.CDLL(None, use_errno=True).adjtimex
    except (OSError, AttributeError):
        return Trust(trusted=False, error_ms=None)
    timex = _Timex(modes=0)
    return judge(adjtimex(ctypes.byref(timex)), timex.status, timex.maxerror)


def judge(state: int, status: int, maxerror_us: int) -> Trust:
    """Turn what adjtimex(2) said into trust.

    Args:
        state: Its return value; -1 where it was refused.
        status: The field ``status``.
        maxerror_us: The field ``maxerror``, microseconds.
    """
    if state < 0:
        return Trust(trusted=False, error_ms=None)
    trusted = state != TIME_ERROR and not status & STA_UNSYNC
    if maxerror_us >= MAXERROR_SATURATED_US or maxerror_us < 0:
        return Trust(trusted=trusted, error_ms=None)
    return Trust(trusted=trusted, error_ms=-(-maxerror_us // 1_000))


def read_boot() -> str:
    """Return the kernel's boot id; where there is none, one drawn for this process."""
    try:
        return BOOT_ID.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return str(uuid4())


class OsClock:
    """Stamps inputs with the operating system's clocks. The kernel is asked once a second."""

    def __init__(self) -> None:
        self.boot = read_boot()
        self._trust = read_trust()
        self._asked_ns = time.clock_gettime_ns(_BOOTTIME)

    def stamp(self) -> Stamp:
        """Return now, on all clocks."""
        mono_ns = time.clock_gettime_ns(_BOOTTIME)
        if mono_ns - self._asked_ns >= TRUST_CACHE_NS:
            self._trust, self._asked_ns = read_trust(), mono_ns
        trust = self._trust
        for _ in range(BRACKETS_MAX):
            # The two clocks belong together: between their readings the process may have slept.
            mono_ns = time.clock_gettime_ns(_BOOTTIME)
            utc_ns = time.time_ns()
            if time.clock_gettime_ns(_BOOTTIME) - mono_ns <= BRACKET_NS:
                break
        return Stamp(mono_ns, utc_ns, trust.trusted, trust.error_ms, self.boot)


class SteadyClock:
    """Tells whether UTC may decide what is deleted: trusted, and without a step, for long."""

    def __init__(self) -> None:
        self._offset_ns: int | None = None
        self._since_ns = 0

    def steady(self, stamp: Stamp) -> bool:
        """Take in how the clocks stand; tell whether UTC has been steady for ``STEADY_NS``."""
        offset_ns, before_ns = stamp.utc_ns - stamp.mono_ns, self._offset_ns
        self._offset_ns = offset_ns
        stepped = before_ns is None or abs(offset_ns - before_ns) >= CLOCK_STEP_NS
        if stepped or not stamp.utc_trusted:
            self._since_ns = stamp.mono_ns
            return False
        return stamp.mono_ns - self._since_ns >= STEADY_NS
