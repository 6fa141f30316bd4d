# SPDX-License-Identifier: Apache-2.0
"""Why a driver stopped. Anything else that a driver raises is a bug and ends the process."""

from typing import Self


class DriverError(Exception):
    """The device or the line to it failed; the supervisor retries with backoff."""

    def __init__(self, device: str, problem: str, remedy: str) -> None:
        super().__init__(f"{device}: {problem}. {remedy}")
        self.device = device
        self.problem = problem
        self.remedy = remedy


class DeviceGoneError(DriverError):
    """The port vanished or the connection failed: unplugged, powered off, or reset."""

    @classmethod
    def of_line(cls, device: str, url: str, error: OSError) -> Self:
        """Return what to say of a line that cannot be opened, or that was lost."""
        problem = f"{url}: {error.strerror or error}"
        return cls(device, problem, "Check the cable, and who may open the port")


class DeviceSilentError(DriverError):
    """The port is open but nothing intelligible arrived in time."""


class OtherDeviceError(DriverError):
    """Another device than the one before, or than the settings name, is on the line."""
