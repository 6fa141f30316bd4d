# SPDX-License-Identifier: Apache-2.0
"""Keeps the file of entry keys fresh while there is a network; without one the file goes on.

The file is the cache: its time of change says when its keys were fetched last, so the limit on its
age holds whoever renews it. Nothing here is waited for by anybody.
"""

import asyncio
import http.client
import logging
import os
import secrets
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final, NoReturn
from urllib.parse import urlsplit

from drivers.daemon_thread import in_daemon_thread
from drivers.entry.tokens import JWKS_BYTES_MAX, parse_jwks
from drivers.mqtt.config import Tls
from drivers.mqtt.tls import Context

log = logging.getLogger(__name__)

ASKED_S: Final = 30.0
"""An unknown key makes no more than one look in this long."""
AGAIN_S: Final = 300.0
"""How soon a look that failed is repeated."""
ANSWER_S: Final = 10.0
"""How long the server may be silent."""
WHOLE_S: Final = 30.0
"""How long a look may take in all."""
READ_BYTES: Final = 8_192


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where the keys come from, and where they are kept."""

    url: str
    """``https://`` only; a redirection is not followed."""
    file: Path
    ca: str | None = None
    """File with the authorities to trust; None: the system's."""
    every_s: float = 3_600.0

    @property
    def name(self) -> str:
        """Return what logs call it: paths and queries may hold secrets."""
        return f"entry keys https://{urlsplit(self.url).hostname}"


class _RefusedError(Exception):
    """What came is no key set; never leaves this module."""


class Renewal:
    """Fetches the keys again and again."""

    def __init__(self, source: Source, *, fetch: Callable[[Source], None] | None = None) -> None:
        """Prepare; ``run`` fetches.

        Args:
            source: Where from and where to.
            fetch: Renews the file, and blocks; ``renew`` when absent.
        """
        self._source = source
        self._fetch = renew if fetch is None else fetch
        self._asked = asyncio.Event()
        self._failing = False

    def ask(self) -> None:
        """Ask for a look soon: somebody showed a key that is not known."""
        self._asked.set()

    async def run(self) -> NoReturn:
        """Look now, from time to time, and when asked, until cancelled."""
        while True:
            self._asked.clear()
            good = await self._look()
            # Chance keeps the gateways of a chain from asking all at once.
            wait_s = self._source.every_s * (0.9 + secrets.randbelow(200) / 1_000)
            wait_s = max(wait_s if good else min(wait_s, AGAIN_S), ASKED_S)
            await asyncio.sleep(ASKED_S)
            try:
                async with asyncio.timeout(wait_s - ASKED_S):
                    await self._asked.wait()
            except TimeoutError:
                continue

    async def _look(self) -> bool:
        """Fetch once; tell whether that worked. Said are the first failure and its end."""
        try:
            async with asyncio.timeout(WHOLE_S):
                await in_daemon_thread(lambda: self._fetch(self._source), lambda _: None)
        except (OSError, UnicodeError, http.client.HTTPException, _RefusedError) as error:
            if not self._failing:
                log.warning("%s: %s", self._source.name, _said(error))
            self._failing = True
            return False
        if self._failing:
            log.info("%s are fetched again", self._source.name)
        self._failing = False
        return True


def renew(source: Source) -> None:
    """Fetch the keys and write them, where they differ; else only note that they are still right.

    Raises:
        OSError: The server cannot be reached or proves nobody, or the file cannot be written.
        UnicodeError: The server's name can be none.
        http.client.HTTPException: It does not speak HTTP.
        _RefusedError: What came is no key set.
    """
    content = download(source)
    try:
        parse_jwks(content)
    except ValueError as error:
        raise _RefusedError(f"{error}. Check url") from None
    file = source.file
    try:
        same = file.read_bytes() == content
    except OSError:
        same = False
    if same:
        os.utime(file)
        return
    beside = file.with_name(f"{file.name}.new")
    with beside.open("wb") as opened:
        opened.write(content)
        opened.flush()
        os.fsync(opened.fileno())
    beside.replace(file)


def download(source: Source) -> bytes:
    """Return what the server says, at most one byte beyond the limit.

    Raises:
        OSError: It cannot be reached, proves nobody, or is too slow.
        http.client.HTTPException: It does not speak HTTP.
        _RefusedError: It answers with something else than 200.
    """
    until_s = time.monotonic() + WHOLE_S
    parts = urlsplit(source.url)
    assert parts.scheme == "https", "looked at when the settings were read"
    assert parts.hostname is not None
    connection = http.client.HTTPSConnection(
        parts.hostname, parts.port, timeout=ANSWER_S, context=Context.of(Tls(ca=source.ca))
    )
    ended: threading.Timer | None = None
    try:
        connection.connect()
        ended = threading.Timer(WHOLE_S, _cut, (connection.sock,))
        ended.daemon = True
        ended.start()
        path = parts.path or "/"
        connection.request(
            "GET",
            f"{path}?{parts.query}" if parts.query else path,
            headers={"Accept": "application/jwk-set+json, application/json"},
        )
        answer = connection.getresponse()
        if answer.status != HTTPStatus.OK:
            raise _RefusedError(f"the server answers {answer.status}. Give the address itself")
        content = b""
        while len(content) <= JWKS_BYTES_MAX and (piece := answer.read(READ_BYTES)):
            content += piece
    except (OSError, http.client.HTTPException) as error:
        if time.monotonic() > until_s:  # What was cut looks like a connection that broke...
            raise TimeoutError("too slow") from error
        raise
    else:
        if time.monotonic() > until_s:  # ... or like an answer that is short.
            raise TimeoutError("too slow")
        return content
    finally:
        if ended is not None:
            ended.cancel()
        connection.close()


def _cut(connected: socket.socket) -> None:
    """End a connection whose other side says a little again and again, and never ends."""
    with suppress(OSError):
        connected.shutdown(socket.SHUT_RDWR)


def _said(error: Exception) -> str:
    match error:
        case _RefusedError():
            return str(error)
        case ssl.SSLCertVerificationError():
            return (
                f"the server's certificate is not trusted ({error.verify_message}). "
                "Name the right authority in entry.ca, and the server as its certificate does"
            )
        case OSError():
            problem = error.strerror or str(error) or "no answer"
            return f"{problem}. The keys fetched before stay in use until they are too old"
        case _:
            return f"no HTTP ({error!r}). Check url"
