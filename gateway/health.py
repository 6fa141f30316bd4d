# SPDX-License-Identifier: Apache-2.0
"""What systemd is told (sd_notify(3))."""

import os
import socket
from collections.abc import Mapping


class Notifier:
    """Speaks sd_notify over ``NOTIFY_SOCKET``; silent where systemd did not start us."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        """Look for systemd in the environment, and open a socket to it."""
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket: socket.socket | None = None
        if address[:1] in ("/", "@"):
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)
        self.watchdog_s = _watchdog_s(environ)
        """Seconds within which ``watchdog`` must be called; None when nobody watches."""
        self.undelivered = 0
        """Messages that systemd did not take."""

    def starting(self, longest_s: float) -> None:
        """Say how long start-up may take, where that is more than the unit file allows."""
        self._send(f"EXTEND_TIMEOUT_USEC={longest_s * 1e6:.0f}")

    def ready(self) -> None:
        """Say that start-up is complete."""
        self._send("READY=1")

    def watchdog(self) -> None:
        """Say that the pipeline moves. Called by the commit loop and by nothing else."""
        if self.watchdog_s is not None:
            self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """Say in one line how things stand; ``systemctl status`` shows it."""
        self._send("STATUS=" + " ".join(text.split()))

    def stopping(self) -> None:
        """Say that shutdown has begun."""
        self._send("STOPPING=1")

    def close(self) -> None:
        """Close the socket; later messages go nowhere."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, message: str) -> None:
        if self._socket is None:
            return
        try:
            self._socket.sendto(message.encode(), self._address)
        except OSError:
            # Never a reason to stop: if it lasts, the watchdog says so.
            self.undelivered += 1


def _watchdog_s(environ: Mapping[str, str]) -> float | None:
    """Return systemd's watchdog timeout in seconds, if it is meant for this process."""
    usec, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not usec.isdecimal() or int(usec) == 0:
        return None
    if pid and pid != str(os.getpid()):
        return None
    return int(usec) / 1e6
