# SPDX-License-Identifier: Apache-2.0
"""A real RTSP server for tests: Debian's gst-rtsp-server, where it is installed."""

import subprocess
from functools import cache
from pathlib import Path

import pytest

from tests.brokers import free_port

SCRIPT = Path(__file__).with_name("rtsp_server.py")
PYTHON = "/usr/bin/python3"
PACKAGES = (
    "gir1.2-gst-rtsp-server-1.0 python3-gi gstreamer1.0-plugins-base gstreamer1.0-plugins-good "
    "gstreamer1.0-plugins-ugly"
)


@cache
def lacking():
    """Tell whether the server cannot run on this machine."""
    command = [PYTHON, SCRIPT, "check", "0", "0", "0"]
    try:
        return subprocess.run(command, capture_output=True, check=False, timeout=30).returncode != 0
    except OSError:
        return True


class RtspCamera:
    """A camera on loopback whose server can be killed and started again on the same port."""

    def __init__(self, size_wh=(160, 120), fps=20):
        if lacking():
            pytest.skip(f"gst-rtsp-server is not installed (apt install {PACKAGES})")
        self.port = free_port()
        self.url = f"rtsp://user:secret@127.0.0.1:{self.port}/cam"
        self._arguments = [str(self.port), *map(str, (*size_wh, fps))]
        self._process = None
        self.start()

    def start(self):
        self._process = subprocess.Popen(
            [PYTHON, SCRIPT, *self._arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout.readline() == "ready\n"

    def set(self, **properties):
        """Change the picture's source; there has to be somebody who watches."""
        for name, value in properties.items():
            self._process.stdin.write(f"{name.replace('_', '-')}={value}\n")
            self._process.stdin.flush()
            assert self._process.stdout.readline() == "done\n"

    def kill(self):
        self._process.kill()
        self._process.communicate()

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self.kill()
