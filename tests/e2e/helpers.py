# SPDX-License-Identifier: Apache-2.0
"""The daemon as a process, real brokers around it, and an integrator of another make."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager, suppress

import paho.mqtt.client as paho

from gateway.domain.event_types import name_of
from gateway.simulator.keys import ISSUER, JWKS_NAME
from tests.brokers import MOSQUITTO, free_port

PATIENCE_S = 120.0
"""Longest wait for anything: generous, for machines that are busy."""
GATEWAY = "gw-1"
CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def now_ns():
    """Return the clock that the daemon stamps its inputs with."""
    return time.clock_gettime_ns(CLOCK)


def until(look, what, patience_s=PATIENCE_S):
    """Look again and again until there is something; for what gives no event of its own."""
    end = time.monotonic() + patience_s
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {patience_s:.0f} s")
        time.sleep(0.03)


class Program:
    """A process of its own, of this Python unless told otherwise."""

    def __init__(self, folder, name, *arguments, environment=None, executable=sys.executable):
        self.log = folder / f"{name}.log"
        self.name = name
        self._command = [executable, *map(str, arguments)]
        self._environment = {**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})}
        self.process = None

    def start(self):
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
            )
        return self

    @property
    def pid(self):
        return self.process.pid

    def stop(self, number=signal.SIGTERM, patience_s=PATIENCE_S):
        """Send a signal and wait; return the exit status and how long it took, in seconds."""
        began = time.monotonic()
        with suppress(ProcessLookupError):
            self.process.send_signal(number)
        try:
            status = self.process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        return status, time.monotonic() - began

    def kill(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def words(self):
        return self.log.read_text("utf-8", "replace") if self.log.exists() else ""


class Notes:
    """What the daemon tells systemd, as systemd would hear it."""

    def __init__(self, path):
        self.path = path
        path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))

    def wait(self, note, patience_s=PATIENCE_S, still_there=lambda: True):
        """Read on until a note; what came before it is forgotten."""
        end = time.monotonic() + patience_s
        while time.monotonic() < end:
            assert still_there(), f"the daemon ended before {note}"
            self._socket.settimeout(0.2)
            with suppress(TimeoutError):
                if note in self._socket.recv(4_096).decode().splitlines():
                    return
        raise AssertionError(f"no {note} within {patience_s:.0f} s")

    def before(self, start):
        """Read on until a note that begins so; return what came before it."""
        self._socket.settimeout(PATIENCE_S)
        found = []
        while not (note := self._socket.recv(4_096).decode()).startswith(start):
            found.append(note)
        return found

    def forget(self):
        self._socket.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                self._socket.recv(4_096)

    def close(self):
        self._socket.close()


class Daemon:
    """``shelfgate run``, with an in-store broker of its own unless a port is given."""

    def __init__(
        self, folder, store, *, upstream=None, instore=None, journal=True, more="", name="daemon"
    ):
        self.folder = folder
        self.store = store
        self.instore = instore or free_port()
        self.database = folder / "gateway.db"
        self.settings = folder / "settings.toml"
        self.notes = Notes(folder / "notify")
        uplink = f'[uplink]\nhost = "127.0.0.1"\nport = {upstream}\nprotocol = 4\n'
        self.settings.write_text(
            f'gateway = "{GATEWAY}"\ndatabase = "gateway.db"\n'
            + ('[broker]\nhost = "127.0.0.1"\nprotocol = 4\n' if instore else "[broker]\n")
            + f"port = {self.instore}\n"
            f'[entry]\njwks = "keys/{JWKS_NAME}"\nissuer = "{ISSUER}"\n'
            + (uplink if upstream else "")
            + ('[journal]\ndirectory = "journal"\n' if journal else "")
            + more
        )
        self.program = Program(
            folder,
            name,
            *("-m", "gateway.cli", "run", "--settings", self.settings, "--store", store),
            "--show-events",
            environment={
                "NOTIFY_SOCKET": str(self.notes.path),
                "WATCHDOG_USEC": "20000000",
            },
        )

    def start(self):
        """Start, and wait until it says that it is ready."""
        self.notes.forget()
        self.program.start()
        try:
            self.notes.wait("READY=1", still_there=lambda: self.program.process.poll() is None)
        except AssertionError as error:
            raise AssertionError(f"{error}; its log:\n{self.program.words()}") from None
        return self

    def stop(self):
        return self.program.stop()

    def close(self):
        self.program.kill()
        self.notes.close()

    def rows(self, query="SELECT epoch, sequence, id, payload, shopper FROM events ORDER BY rowid"):
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as connection:
            connection.execute("PRAGMA busy_timeout = 5000")
            return connection.execute(query).fetchall()


@contextmanager
def daemon(folder, store, **options):
    """Make a daemon that is not started yet, and end it in any case."""
    one = Daemon(folder, store, **options)
    try:
        yield one
    finally:
        one.close()


@contextmanager
def outside_broker(folder, name="upstream", port=None, lines=()):
    """Run Mosquitto where there is one, otherwise the embedded broker."""
    port = port or free_port()
    if MOSQUITTO is None:
        program = Program(folder, name, "-m", "drivers.mqtt.embedded", "--port", port)
    else:
        config = folder / f"{name}.conf"
        about = (f"listener {port} 127.0.0.1", "user root", "persistence false", *lines)
        config.write_text("\n".join((*about, "allow_anonymous true", "")))
        program = Program(folder, name, "-c", config, executable=MOSQUITTO)
    program.start()
    program.port = port
    until(lambda: accepts(port), f"the {name} broker")
    try:
        yield program
    finally:
        program.kill()


def accepts(port):
    """Tell whether somebody listens on a port of loopback."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


class Peer:
    """A client of a broker, with paho's own thread: independent of the daemon's client."""

    def __init__(self, port, *topics, name=""):
        self.messages = []
        """``(arrived_ns, topic, payload, retained)``."""
        self.news = threading.Condition()
        self.subscriptions = 0
        """How often the broker took them: once a connection."""
        self._topics = topics
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=name)
        self._client.max_queued_messages_set(0)
        self._client.reconnect_delay_set(1, 2)
        self._client.on_message = self._came
        self._client.on_connect = self._connected
        self._client.on_subscribe = lambda *_: self._counted()
        until(lambda: self._connect(port), f"a broker on port {port}")
        self._client.loop_start()
        self.wait(lambda: self.subscriptions, "subscribing")

    def _connect(self, port):
        with suppress(OSError):
            return self._client.connect("127.0.0.1", port) == 0
        return False

    def _connected(self, client, _userdata, _flags, _code, _properties):
        if self._topics:
            client.subscribe([(topic, 1) for topic in self._topics])
        else:
            self._counted()

    def _counted(self):
        with self.news:
            self.subscriptions += 1
            self.news.notify_all()

    def _came(self, _client, _userdata, message):
        arrived_ns = now_ns()
        with self.news:
            self.messages.append((arrived_ns, message.topic, message.payload, message.retain))
            self.heard(message)
            self.news.notify_all()

    def heard(self, message):
        """Take a message; for subclasses."""

    def send(self, topic, payload, *, qos=1, retain=False):
        """Publish; with QoS 1 the broker has it when this returns."""
        if not isinstance(payload, bytes):
            payload = json.dumps(payload).encode()
        info = self._client.publish(topic, payload, qos=qos, retain=retain)
        if qos:
            info.wait_for_publish(PATIENCE_S)
            assert info.is_published()

    def wait(self, look, what, patience_s=PATIENCE_S):
        """Wait until ``look()`` finds something among what came."""
        with self.news:
            if not self.news.wait_for(look, patience_s):
                raise AssertionError(f"{what}: not within {patience_s:.0f} s")
            return look()

    def close(self):
        self._client.disconnect()
        self._client.loop_stop()
        # The client closes its last sockets when it goes; in a cycle they might go first.
        del self._client


class Witness(Peer):
    """A small integrator: keeps every event once, acknowledges what it has without a gap."""

    def __init__(self, port, store, *, acknowledge=True, name="witness"):
        self.events = {}
        """CloudEvents by ``(source, id)``."""
        self.repeated = 0
        self.replies = {}
        self._have = {}
        self._acknowledge = acknowledge
        self._root = f"shelfgate/v1/{store}/{GATEWAY}"
        super().__init__(port, f"{self._root}/#", name=name)

    def heard(self, message):
        leaf = message.topic.removeprefix(self._root + "/")
        if leaf.startswith("replies/"):
            self.replies[leaf.removeprefix("replies/")] = json.loads(message.payload)
        if not leaf.startswith("events/"):
            return
        event = json.loads(message.payload)
        assert leaf == "events/" + name_of(event["type"])
        key = event["source"], event["id"]
        self.repeated += key in self.events
        self.events.setdefault(key, {**event, "arrived_ns": now_ns(), "raw": message.payload})
        have = self._have.setdefault(event["epoch"], set())
        have.add(int(event["sequence"]))
        if self._acknowledge:
            marks = {}
            for epoch, numbers in self._have.items():
                mark = next(n for n in range(len(numbers) + 1) if n not in numbers) - 1
                if mark >= 0:
                    marks[epoch] = f"{mark:020d}"
            payload = json.dumps({"acknowledged": marks})
            self._client.publish(f"{self._root}/ack", payload, qos=1, retain=True)

    def command(self, name, command, **data):
        """Send a command; return its reply."""
        self.send(f"{self._root}/commands/{name}", {"id": command, **data})
        return self.wait(lambda: self.replies.get(command), f"the reply to {command}")

    def named(self, name):
        """Return the events of a name, in the order of their arrival."""
        return [event for event in self.events.values() if name_of(event["type"]) == name]

    def event(self, name, fits=lambda _event: True, count=1):
        """Wait for events of a name; return the last of them."""

        def look():
            found = [event for event in self.named(name) if fits(event)]
            return found[-1] if len(found) >= count else None

        return self.wait(look, f"{count} {name}")


@contextmanager
def closed(peer):
    """Close a peer at the end."""
    try:
        yield peer
    finally:
        peer.close()
