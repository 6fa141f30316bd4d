# SPDX-License-Identifier: Apache-2.0
"""Open a device's line by its address, whatever kind it is of."""

from contextlib import AbstractAsyncContextManager

from drivers.ports import ByteStream
from drivers.serial_port import open_serial
from drivers.tcp_port import SCHEME, open_tcp


def open_line(url: str, baud: int) -> AbstractAsyncContextManager[ByteStream]:
    """Open ``socket://host:port``, or else a serial port: 8 data bits, no parity, 1 stop bit.

    Args:
        url: Address, or path of a terminal device.
        baud: Bits per second; means nothing on TCP.

    Returns:
        A context manager whose entering raises ``OSError`` where the line cannot be opened.
    """
    return open_tcp(url) if url.startswith(SCHEME) else open_serial(url, baud)
