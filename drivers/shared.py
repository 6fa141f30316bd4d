# SPDX-License-Identifier: Apache-2.0
"""Ports that several devices have open at once: opened by the first, closed by the last."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Generic, Protocol, TypeVar


class Port(Protocol):
    """What is shared."""

    lost: bool
    """Whether it failed; whoever still has it is told, and nobody gets it any more."""

    async def open(self) -> None:
        """Open it unless it is; raise ``OSError`` where that is not possible."""
        ...

    async def close(self) -> None:
        """Close it."""
        ...


One = TypeVar("One", bound=Port)


class Shared(Generic[One]):
    """The ports of one kind, by address."""

    def __init__(self) -> None:
        """Begin without one."""
        self._ports: dict[str, One] = {}
        self._users: dict[One, int] = {}

    @asynccontextmanager
    async def use(self, url: str, make: Callable[[], One]) -> AsyncIterator[One]:
        """Open a port, or share it.

        Args:
            url: Its address.
            make: Returns it, not open yet, for whoever comes first.

        Raises:
            OSError: It cannot be opened.
        """
        port = self._ports.get(url)
        if port is None or port.lost:
            port = self._ports[url] = make()
        self._users[port] = self._users.get(port, 0) + 1
        try:
            await port.open()
            yield port
        finally:
            self._users[port] -= 1
            if not self._users[port]:
                del self._users[port]
                await port.close()
                if self._ports.get(url) is port:
                    del self._ports[url]
