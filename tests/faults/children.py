# SPDX-License-Identifier: Apache-2.0
"""Work in a process of its own, which may be killed or kept from writing."""

import asyncio
import os
import resource
import signal
import traceback


def in_child(work):
    """Run something in a process of its own; return whether it came to its end."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            asyncio.run(work())
            status = 0
        finally:
            if status:
                traceback.print_exc()
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return False
    assert os.WEXITSTATUS(status) == 0, "the child failed"
    return True


def limited(work, bytes_max):
    """Run something in a process whose files may not grow beyond a size; return what it says."""
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_max, resource.RLIM_INFINITY))
            os.write(write_fd, asyncio.run(work()).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(write_fd)
    with os.fdopen(read_fd, "rb") as said:
        words = said.read().decode()
    assert os.waitpid(pid, 0)[1] == 0, "the child failed"
    return words
