# SPDX-License-Identifier: Apache-2.0
"""A camera's annotated stream on a local page, as MJPEG over HTTP.

Pictures are made only while somebody looks, kept in memory, and replaced by the next one. At most
four viewers; a fifth is told so.
"""

import contextlib
import ipaddress
import sys
import threading
from collections.abc import Callable, Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from vision.flats import Image
from vision.jpeg import to_jpeg

BOUNDARY = b"shelfgate-frame"
VIEWERS_MAX = 4
WAIT_S = 5.0
SEND_TIMEOUT_S = 10.0
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{name}</title>
<style>body{{margin:0;background:#222;color:#ddd;font:15px sans-serif}}
img{{display:block;max-width:100%;max-height:95vh;margin:auto}}p{{margin:6px 12px}}</style>
<p>camera {name}: seen live, kept nowhere</p><img src="stream" alt="camera {name}"></html>
"""


class Screen:
    """The newest picture, for all viewers."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._jpeg = b""
        self._number = 0
        self._viewers = 0
        self.closed = False

    def show(self, image: Image) -> None:
        """Replace the picture by an ``(h, w, 3)`` BGR one."""
        jpeg = to_jpeg(image, 80)
        with self._changed:
            self._jpeg = jpeg
            self._number += 1
            self._changed.notify_all()

    @property
    def number(self) -> int:
        """Return how many pictures were shown so far."""
        return self._number

    def newer(self, than: int) -> tuple[int, bytes] | None:
        """Wait for a picture after number ``than``; None if there is none for a while."""
        with self._changed:
            self._changed.wait_for(lambda: self._number > than or self.closed, WAIT_S)
            return (self._number, self._jpeg) if self._number > than else None

    def enter(self) -> bool:
        """Count a viewer in; False if there are too many."""
        with self._changed:
            if self._viewers >= VIEWERS_MAX:
                return False
            self._viewers += 1
            self._changed.notify_all()
            return True

    def leave(self) -> None:
        """Count a viewer out."""
        with self._changed:
            self._viewers -= 1

    def wait_for_viewer(self, wait_s: float = 0.5) -> bool:
        """Wait until somebody looks; False if nobody did."""
        with self._changed:
            return self._changed.wait_for(lambda: self._viewers > 0, wait_s)

    def close(self) -> None:
        """Let viewers go."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()


class PageServer(ThreadingHTTPServer):
    """Serves one camera's page.

    Args:
        host: Address to listen at.
        port: Its port; 0 takes a free one.
        name: The camera.
        screen: What to show.

    Raises:
        OSError: It cannot listen there.
    """

    daemon_threads = True

    def __init__(self, host: str, port: int, name: str, screen: Screen) -> None:
        super().__init__((host, port), _Viewer)
        self.name, self.screen = name, screen

    def handle_error(self, request: object, client_address: object) -> None:
        """A viewer that hangs up or sleeps is no error worth a traceback."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]  # narrower there


class LocalPage(BaseHTTPRequestHandler):
    """Answers who asks by address and not for another page; :meth:`answer` says with what."""

    timeout = SEND_TIMEOUT_S
    server_version = "shelfgate"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer, or say why not."""
        if not self._addressed():
            self.send_error(HTTPStatus.FORBIDDEN, "Open it by its IP address or as localhost")
        elif self.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
            self.send_error(
                HTTPStatus.FORBIDDEN, "Another page asks for it. Type its address into the browser"
            )
        elif not self.answer(self.path):
            self.send_error(HTTPStatus.NOT_FOUND)

    def answer(self, path: str) -> bool:
        """Send what is at a path; False if nothing is."""
        raise NotImplementedError

    def log_message(self, *_: object) -> None:
        """Say nothing: requests are not news."""

    def _addressed(self) -> bool:
        """Return whether it was asked by address: a web page elsewhere would have to use a name."""
        with contextlib.suppress(ValueError):
            host = urlsplit(f"//{self.headers.get('Host', '')}").hostname or ""
            return host == "localhost" or bool(ipaddress.ip_address(host))
        return False

    def begin(self, kind: str, length: int | None = None) -> None:
        """Send the head of an answer."""
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def give(self, kind: str, content: bytes) -> None:
        """Send a whole answer."""
        self.begin(kind, len(content))
        self.wfile.write(content)


class _Viewer(LocalPage):
    def answer(self, path: str) -> bool:
        """Send the page, one picture, or pictures as they come."""
        pages: dict[str, Callable[[], None]] = {
            "/": self._page,
            "/stream": self._stream,
            "/frame.jpg": self._picture,
        }
        page = pages.get(path)
        if page is not None:
            page()
        return page is not None

    @property
    def _served(self) -> PageServer:
        assert isinstance(self.server, PageServer)
        return self.server

    def _page(self) -> None:
        self.give("text/html; charset=utf-8", PAGE.format(name=self._served.name).encode())

    def _picture(self) -> None:
        with self._looking() as allowed:
            screen = self._served.screen
            frame = screen.newer(screen.number) if allowed else None
            if frame is None:
                self.send_error(HTTPStatus.SERVICE_UNAVAILABLE, "No picture, or too many viewers")
                return
            self.give("image/jpeg", frame[1])

    def _stream(self) -> None:
        with self._looking() as allowed:
            if not allowed:
                self.send_error(HTTPStatus.SERVICE_UNAVAILABLE, "Too many viewers")
                return
            self.begin(f"multipart/x-mixed-replace; boundary={BOUNDARY.decode()}")
            number, head = 0, b"--%s\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"
            while (frame := self._served.screen.newer(number)) is not None:
                number, jpeg = frame
                self.wfile.write(head % (BOUNDARY, len(jpeg)) + jpeg + b"\r\n")

    @contextlib.contextmanager
    def _looking(self) -> Iterator[bool]:
        allowed = self._served.screen.enter()
        try:
            yield allowed
        finally:
            if allowed:
                self._served.screen.leave()
