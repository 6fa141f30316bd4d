# SPDX-License-Identifier: Apache-2.0
"""Why a driver stopped. Anything else that a driver raises is a bug and ends the process."""


class DriverError(Exception):
    """The device or the line to it failed; the supervisor retries with backoff."""

    def __init__(self, device: str, problem: str, remedy: str) -> None:
        super().__init__(f"{device}: {problem}. {remedy}")
        self.device = device
        self.problem = problem
        self.remedy = remedy


class DeviceGoneError(DriverError):
    """The port vanished or the connection failed: unplugged, powered off, or reset."""


class DeviceSilentError(DriverError):
    """The port is open but nothing intelligible arrived in time."""


class OtherDeviceError(DriverError):
    """Another device than the one before, or than the settings name, is on the line."""
