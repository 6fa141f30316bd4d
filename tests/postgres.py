# SPDX-License-Identifier: Apache-2.0
"""A PostgreSQL for tests, on a socket of its own, where its server is installed."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

FOUND = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)
INITDB = str(FOUND[0]) if FOUND else shutil.which("initdb")
READY_S = 30

needs_postgres = pytest.mark.skipif(
    INITDB is None, reason="postgresql is not installed (apt install postgresql)"
)


@contextmanager
def postgres(*settings):
    """Run a server; yield how to reach it, as libpq takes it.

    Args:
        settings: Of its configuration, such as ``shared_buffers=256MB``.
    """
    # The server refuses root, and a socket's name may not be long.
    user = "postgres" if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="shelfgate-pg-", dir="/tmp") as name:
        folder = Path(name)
        if user is not None:
            os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
        data, log = folder / "data", folder / "log"
        made = [INITDB, "-D", data, "-U", "shelfgate", "--auth=trust", "-E", "UTF8", "--no-sync"]
        subprocess.run(made, check=True, stdout=subprocess.DEVNULL, user=user, cwd=folder)
        options = ["listen_addresses=", f"unix_socket_directories={folder}", *settings]
        server = [Path(INITDB).with_name("postgres"), "-D", data]
        for one in options:
            server += ["-c", one]
        with log.open("wb") as file:
            process = subprocess.Popen(server, stdout=file, stderr=file, user=user, cwd=folder)
        try:
            _wait(process, folder / ".s.PGSQL.5432", log)
            yield f"host={folder} user=shelfgate dbname=postgres"
        finally:
            process.send_signal(signal.SIGINT)  # Ends sessions and stops.
            process.wait(READY_S)


def _wait(process, socket, log):
    ready = Path(INITDB).with_name("pg_isready")
    until_s = time.monotonic() + READY_S
    while subprocess.run([ready, "-q", "-h", socket.parent], check=False).returncode:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < until_s, log.read_text()
        time.sleep(0.05)
