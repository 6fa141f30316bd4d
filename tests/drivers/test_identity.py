# SPDX-License-Identifier: Apache-2.0
"""Which USB device is behind a port: read from a made-up sysfs, beside real pseudo-terminals."""

import asyncio
import os
from contextlib import asynccontextmanager

import msgspec
import pytest

from drivers.errors import OtherDeviceError
from drivers.identity import SameDevice, UsbName, usb_name
from tests.drivers.usb import Sysfs


@pytest.fixture
def terminal():
    device, host = os.openpty()
    yield os.ttyname(host)
    os.close(device)
    os.close(host)


@pytest.mark.parametrize(
    ("serial", "expected"),
    [("A1B2", "0403:6001:A1B2"), (None, "0403:6001"), ("\x01 ", "0403:6001")],
)
def test_a_usb_device_is_named_by_what_it_says(tmp_path, terminal, serial, expected):
    sysfs = Sysfs(tmp_path)
    sysfs.plug(terminal, "0403", "6001", serial)
    link = tmp_path / "by-id"
    link.symlink_to(terminal)
    assert usb_name(terminal, sysfs.root) == expected
    assert usb_name(link, sysfs.root) == expected
    assert msgspec.convert(expected, UsbName) == expected


def test_what_is_not_on_usb_has_no_name(tmp_path, terminal):
    for path in (terminal, "/dev/null", "/dev/nothing", "socket://10.0.0.1:1", "a\0b"):
        assert usb_name(path, tmp_path) is None


def opening(found, *, usb=None):
    """Return what became of each attempt to open a port, where each time another thing is there."""
    opened = []

    @asynccontextmanager
    async def open_stream(url, baud):
        opened.append((url, baud))
        yield None

    left = list(found)
    port = SameDevice("shelf/a", open_stream, usb=usb, identify=lambda _url: left.pop(0))

    async def once():
        try:
            async with port.open("/dev/x", 9_600):
                return None
        except OtherDeviceError as error:
            return str(error)

    async def main():
        return [await once() for _ in found]

    told = asyncio.run(main())
    assert len(opened) == told.count(None)
    return told


def test_another_device_on_a_socket_is_refused_and_not_opened():
    told = opening(["1a86:7523", None, "0403:6001:A", "1a86:7523"])
    assert told[0] is told[1] is told[3] is None
    assert told[2] == (
        "shelf/a: USB device 0403:6001:A is on /dev/x, where 1a86:7523 belongs. "
        'If it was exchanged, write usb = "0403:6001:A" in its table and restart'
    )


def test_what_the_settings_name_is_held_from_the_start():
    told = opening(["1a86:7523", "0403:6001:A"], usb="0403:6001:A")
    assert "where 0403:6001:A belongs" in told[0]
    assert told[1] is None
