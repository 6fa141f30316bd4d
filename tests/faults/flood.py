# SPDX-License-Identifier: Apache-2.0
"""Somebody who publishes much, and what that does to a process."""

import json
import secrets
import socket
from pathlib import Path


class Flood:
    """A client that only publishes, as fast as the broker reads."""

    def __init__(self, port, root):
        self._root = root
        self._socket = socket.create_connection(("127.0.0.1", port))
        name = f"stranger-{secrets.token_hex(4)}".encode()
        head = b"\x00\x04MQTT\x04\x02\x00\x00" + len(name).to_bytes(2, "big") + name
        self._socket.sendall(b"\x10" + bytes([len(head)]) + head)
        assert self._socket.recv(4) == b"\x20\x02\x00\x00"
        self._waiting = bytearray()
        self.bytes = 0

    def send(self, topic, payload, *, retain=False):
        if not isinstance(payload, bytes):
            payload = json.dumps(payload).encode()
        name = f"{self._root}/{topic}".encode()
        body = len(name).to_bytes(2, "big") + name + payload
        length, left = b"", len(body)
        while left or not length:
            left, low = divmod(left, 128)
            length += bytes([low | (128 if left else 0)])
        self._waiting += (b"\x31" if retain else b"\x30") + length + body
        self.bytes += len(body)
        if len(self._waiting) > 1 << 16:
            self.flush()

    def flush(self):
        self._socket.sendall(self._waiting)
        self._waiting.clear()

    def close(self):
        self.flush()
        # Whoever waits for the end of the answer knows that the broker has read all of it.
        self._socket.sendall(b"\xc0\x00")
        assert self._socket.recv(2) == b"\xd0\x00"
        self._socket.close()


def rss_kb(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
