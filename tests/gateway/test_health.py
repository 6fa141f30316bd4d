# SPDX-License-Identifier: Apache-2.0
"""What systemd hears, over real sockets."""

import os
import socket

import pytest

from gateway.health import Notifier


@pytest.fixture(params=["path", "abstract"])
def systemd(request, tmp_path):
    address = str(tmp_path / "n") if request.param == "path" else f"@shelfgate-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0" + address[1:] if address.startswith("@") else address)
        listener.settimeout(5)
        yield address, listener


def test_systemd_hears_the_life_of_the_daemon(systemd):
    address, listener = systemd
    notifier = Notifier({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "30000000"})
    notifier.starting(90.0)
    notifier.ready()
    notifier.status("12 events\nwait")
    notifier.watchdog()
    notifier.stopping()
    heard = [listener.recv(4096) for _ in range(5)]
    assert heard.pop(0) == b"EXTEND_TIMEOUT_USEC=90000000"
    assert heard == [b"READY=1", b"STATUS=12 events wait", b"WATCHDOG=1", b"STOPPING=1"]
    assert notifier.watchdog_s == 30.0
    notifier.close()
    notifier.ready()


def test_without_systemd_nothing_happens():
    notifier = Notifier({})
    notifier.ready()
    notifier.watchdog()
    notifier.close()
    assert notifier.watchdog_s is None


def test_a_systemd_that_is_gone_stops_nothing(tmp_path):
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")})
    notifier.ready()
    assert notifier.undelivered == 1
    notifier.close()


@pytest.mark.parametrize(
    ("environ", "watchdog_s"),
    [
        ({"WATCHDOG_USEC": "2000000", "WATCHDOG_PID": str(os.getpid())}, 2.0),
        ({"WATCHDOG_USEC": "2000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_is_fed_only_when_it_is_ours(environ, watchdog_s):
    assert Notifier(environ).watchdog_s == watchdog_s
