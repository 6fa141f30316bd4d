# SPDX-License-Identifier: Apache-2.0
"""A shop of one aisle, played by hand: weights and people are what a test sets them to."""

import random
import secrets
import threading
import time
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace

from gateway.simulator.keys import TokenMaker
from tests.e2e.helpers import Peer, Witness, closed, daemon, outside_broker, until
from tests.schema_check import check_event

STORE = "corner"
CRISPS, TEA, JAM = "09506000130057", "09506000130026", "09506000130088"
UNIT_G = {CRISPS: 165.0, TEA: 80.0, JAM: 330.0}
PLATES = {"g1.s1.p1": 500.0, "g1.s1.p2": 0.0, "g1.s1.p3": -500.0}
"""The x of each plate's middle, in mm."""
ROOT = f"shelfgate/v1/{STORE}"
PERIOD_US = 16_667
ROWS = 12
STEP_S = 0.1

FILE = """version = 1
[store]
name = "corner"
[[product]]
gtin = "9506000130057"
name = "Crisps"
unit_g = 165
tolerance_g = 4
[[product]]
gtin = "9506000130026"
name = "Green tea"
unit_g = 80
tolerance_g = 2
[[product]]
gtin = "9506000130088"
name = "Strawberry jam"
unit_g = 330
tolerance_g = 6
[[gondola]]
name = "g1"
[[gondola.shelf]]
name = "g1.s1"
front_mm = [750, 900, -750, 900]
z_mm = 800
depth_mm = 350
plates = 3
[[facing]]
gtin = "9506000130057"
plates = ["g1.s1.p1"]
[[facing]]
gtin = "9506000130026"
plates = ["g1.s1.p2"]
[[facing]]
gtin = "9506000130088"
plates = ["g1.s1.p3"]
[[zone]]
name = "entrance"
kind = "entry"
x_mm = [-1900, -1200]
y_mm = [-700, 700]
[[zone]]
name = "way-out"
kind = "exit"
x_mm = [1200, 1900]
y_mm = [-700, 700]
[[door]]
name = "gate"
[[scanner]]
name = "entrance"
zone = "entrance"
door = "gate"
[[camera]]
name = "top"
size_px = [512, 384]
floor_points = [
  [76, 32, -1500, 900],
  [436, 32, 1500, 900],
  [436, 352, 1500, -900],
  [76, 352, -1500, -900],
]
"""
BRIDGE = """
[[gondola]]
name = "g2"
[[gondola.shelf]]
name = "g2.s1"
front_mm = [-750, -900, 750, -900]
z_mm = 800
depth_mm = 350
[[gondola.shelf.plate]]
name = "g2.s1.p1"
offset_mm = 0
width_mm = 750
calibration = { id = "c1", zero_raw = 10000, counts_per_g = 100 }
[[gondola.shelf.plate]]
name = "g2.s1.p2"
offset_mm = 750
width_mm = 750
calibration = { id = "c1", zero_raw = 10000, counts_per_g = 100 }
"""


class Shop(Peer):
    """Shelf, camera, scanner and door of the shop, on MQTT, in real time."""

    def __init__(self, port, keys):
        self.load_g = dict.fromkeys(PLATES, 4_000.0)
        self.people = {}
        """``(floor, hand)`` by track; a hand may be None."""
        self.tokens = TokenMaker.in_directory(STORE, keys)
        self.token = None
        """The last one that a visitor showed."""
        self.boots = {name: secrets.token_hex(8) for name in ("shelf", "camera", "scanner")}
        self._seqs = dict.fromkeys(self.boots, 0)
        self._rng = random.Random(1)
        self._frames = 0
        self._began = time.monotonic()
        self._ended = threading.Event()
        self._scanning = threading.Lock()
        super().__init__(port, f"{ROOT}/door/+/open", name="shop")
        self._thread = threading.Thread(target=self._live, name="shop")
        self._thread.start()

    def close(self):
        self._ended.set()
        self._thread.join()
        super().close()

    def number(self, device):
        """Return what every message of a device begins with."""
        seq = self._seqs[device]
        self._seqs[device] += 1
        return {"v": 1, "boot": self.boots[device], "seq": seq}

    def t_ms(self, ago_ms=0):
        return int((time.monotonic() - self._began) * 1_000) + 10_000 - ago_ms

    def _live(self):
        steps = 0
        while not self._ended.wait(max(0.0, self._began + steps * STEP_S - time.monotonic())):
            if steps % 2 == 0:
                self.weigh()
            self._look()
            steps += 1

    def weigh(self):
        rows = [
            [round(g + self._rng.gauss(0, 0.5), 2) for g in self.load_g.values()]
            for _ in range(ROWS)
        ]
        message = {**self.number("shelf"), "t_ms": self.t_ms(ROWS * PERIOD_US // 1_000)}
        message |= {"period_us": PERIOD_US, "unit": "g", "w": rows}
        self.send(f"{ROOT}/shelf/g1.s1/samples", message, qos=0)

    def _look(self):
        people = []
        for track, (floor, hand) in list(self.people.items()):
            wrists = [] if hand is None else [{"mm": hand, "score": 0.9, "sigma_mm": 30}]
            people.append({"track": track, "score": 0.9, "floor_mm": floor, "wrists": wrists})
        message = {**self.number("camera"), "t_ms": self.t_ms(), "people": people}
        self.send(f"{ROOT}/camera/top/people", message, qos=0)
        with self.news:
            self._frames += 1
            self.news.notify_all()

    def frames(self, count):
        """Wait until the camera has looked so many times more."""
        wanted = self._frames + count
        self.wait(lambda: self._frames >= wanted, f"{count} frames")

    def scan(self, text):
        with self._scanning:
            message = {**self.number("scanner"), "t_ms": self.t_ms(), "text": text}
            self.send(f"{ROOT}/scanner/entrance/scan", message)

    # What a shopper does.

    def stand(self, track, x_mm, y_mm=0.0, hand=None):
        self.people[track] = ([x_mm, y_mm], hand)
        self.frames(3)

    def reach(self, track, plate, delta_g):
        """Reach to a plate, change its weight, and stay there."""
        x_mm = PLATES[plate]
        self.stand(track, x_mm, 450.0, [x_mm, 1_000.0, 850.0])
        self.frames(5)
        self.load_g[plate] += delta_g
        self.frames(12)

    def leave(self, track):
        self.stand(track, 1_500.0)
        del self.people[track]


@contextmanager
def open_shop(folder, *, store_text=FILE, acknowledge=True, **options):
    """Run the shop with its daemon, an upstream broker and an integrator, settled and ready."""
    file = folder / "store.toml"
    file.write_text(store_text)
    with ExitStack() as stack:
        upstream = stack.enter_context(outside_broker(folder))
        one = stack.enter_context(daemon(folder, file, upstream=upstream.port, **options))
        witness = Witness(upstream.port, STORE, acknowledge=acknowledge)
        stack.enter_context(closed(witness))
        TokenMaker.in_directory(STORE, folder / "keys")
        one.start()
        shop = stack.enter_context(closed(Shop(one.instore, folder / "keys")))
        settled(one)
        yield SimpleNamespace(
            folder=folder, daemon=one, shop=shop, witness=witness, upstream=upstream, file=file
        )


def settled(one, plates=3):
    """Wait until every plate's weight is known, and written down."""
    query = "SELECT key FROM state WHERE kind = 'holding'"
    until(lambda: len(one.rows(query)) >= plates, "every plate's weight")


def visit(at, track, picks, shopper=None):
    """Let one shopper come, take things and leave; return the cart's event."""
    shop, witness = at.shop, at.witness
    carts, sessions = len(witness.named("cart.closed")), len(witness.named("session.started"))
    shop.stand(track, -1_500.0)
    shop.token = shop.tokens.token(shopper or f"shopper-{track}")
    shop.scan(shop.token)
    session = witness.event("session.started", count=sessions + 1)["data"]["session"]
    shop.stand(track, -800.0)
    for plate, delta_g in picks:
        seen = len(witness.named("item.picked")) + len(witness.named("item.put-back"))
        shop.reach(track, plate, delta_g)
        witness.wait(
            lambda seen=seen: (
                len(witness.named("item.picked")) + len(witness.named("item.put-back")) > seen
            ),
            f"an event of {plate}",
        )
    shop.leave(track)
    cart = witness.event("cart.closed", count=carts + 1)
    assert cart["data"]["session"] == session
    return cart


def bought(cart):
    """Return the units of a receipt by GTIN."""
    return {line["gtin"]: int(line["quantity"]) for line in cart["data"]["lines"]}


def complete(at):
    """Wait until the integrator has what the daemon committed; hold all of it to its schemas."""
    rows = at.daemon.rows()
    at.witness.wait(lambda: len(at.witness.events) >= len(rows), "every committed event")
    by_id = {event["id"]: event for event in at.witness.events.values()}
    assert {row[2] for row in rows} == set(by_id)
    for event in by_id.values():
        check_event(event["raw"])
    for epoch in {row[0] for row in rows}:
        numbers = [row[1] for row in rows if row[0] == epoch]
        assert numbers == list(range(len(numbers)))
    return rows
