# SPDX-License-Identifier: Apache-2.0
"""What every numbered message of the in-store contract begins with, and its clock."""

import secrets
import time
from pathlib import Path
from typing import Any

CONTRACT_VERSION = 1
FIRMWARE = "shelfgate-vision 1"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Numbering:
    """A device's boot, and the numbers and times of its messages."""

    def __init__(self, boot: str | None = None) -> None:
        """Begin to count.

        Args:
            boot: Drawn when absent.
        """
        self.boot = boot or secrets.token_hex(8)
        self._seq = 0
        self._started_ns = boottime_ns()
        self._host_boot = _host_boot()

    def next(self, at_ns: int) -> dict[str, Any]:
        """Return what the next message begins with.

        Args:
            at_ns: CLOCK_BOOTTIME of what it tells.
        """
        message: dict[str, Any] = {
            "v": CONTRACT_VERSION,
            "boot": self.boot,
            "seq": self._seq,
            "t_ms": max(at_ns - self._started_ns, 0) // 1_000_000 % 2**32,
        }
        if self._host_boot is not None:
            message["host_boot"] = self._host_boot
            message["host_mono_ms"] = round(at_ns / 1e6, 3)
        self._seq += 1
        return message


def boottime_ns() -> int:
    """Return CLOCK_BOOTTIME."""
    return time.clock_gettime_ns(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _host_boot() -> str | None:
    """Return the kernel's boot id, or None where there is none and times mean nothing to others."""
    try:
        return BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return None
