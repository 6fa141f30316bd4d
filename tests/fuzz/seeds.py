# SPDX-License-Identifier: Apache-2.0
"""Good bytes for every target, to begin from."""

import base64
import gzip
import json
import struct
from pathlib import Path

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from drivers.modbus.maps import shipped
from gateway.domain.engine import Engine
from tests.drivers.modbus.vectors import ANSWERS, REFUSAL
from tests.drivers.scale.vectors import CASES, VECTORS
from tests.gateway.config.files import STORE
from tests.small_store import samples, small_store, started

ROOT = Path(__file__).parents[2]
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
NOW_S = 1_795_000_000
ISSUER = "https://id.example"
EPOCH = "e" * 32
PLATE = "g1.s1.p0"
GTIN = "09506000130057"


def store():
    """Return a small store whose product has a true GTIN."""
    made = small_store()
    [product] = made.products.values()
    product = msgspec.structs.replace(product, gtin=GTIN)
    [facing] = made.facings
    facing = msgspec.structs.replace(facing, gtin=GTIN)
    return msgspec.structs.replace(made, products={GTIN: product}, facings=(facing,))


def jsonb(value):
    return json.dumps(value, separators=(",", ":")).encode()


def lines(values):
    return b"\n".join(map(jsonb, values))


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


KEYS = {
    "keys": [
        {"kty": "OKP", "crv": "Ed25519", "kid": "k1", "alg": "EdDSA", "use": "sig",
         "x": b64(KEY.public_key().public_bytes_raw())}
    ]
}  # fmt: skip
CLAIMS = {
    "iss": ISSUER, "aud": ["corner"], "sub": "shopper-1", "jti": "AAECAwQFBgcICQoL",
    "iat": NOW_S, "exp": NOW_S + 30,
}  # fmt: skip
TOKEN = jwt.encode(CLAIMS, KEY, algorithm="EdDSA", headers={"kid": "k1"}).encode()

SAMPLES = {
    "v": 1, "boot": "9f3a", "seq": 7, "t_ms": 1_583_245, "host_boot": None, "host_mono_ms": None,
    "period_us": 16_667, "unit": "g", "w": [[812.4, None, -3.0], [812.5, 1.0, -3.1]],
}  # fmt: skip
PEOPLE = {
    "v": 1, "boot": "9f3a", "seq": 7, "t_ms": 1_583_245, "host_boot": "boot",
    "host_mono_ms": 12.5,
    "people": [
        {"track": "17", "score": 0.93, "floor_mm": [1240, -2310], "floor_sigma_mm": 80,
         "wrists": [{"mm": [1190, 80, 1420], "score": 0.81, "sigma_mm": 40,
                     "ray_mm": [[0, 0, 2700], [1190, 80, 1420]]}],
         "appearance": [0.1, 0.2]},
        {"track": "18"},
    ],
}  # fmt: skip
LOOKED = {
    "v": 1, "boot": "9f3a", "seq": 7, "t_ms": 1_583_245, "look": "l1",
    "frames": [{"after_ms": 0, "people": PEOPLE["people"]}, {"after_ms": 33, "people": []}],
}  # fmt: skip
SCAN = {"v": 1, "boot": "9f3a", "seq": 7, "t_ms": 5, "text": TOKEN.decode(), "aim": "]Q3"}
DOOR = {"v": 1, "boot": "9f3a", "seq": 7, "t_ms": 5, "open": True}
STATUS = {"v": 1, "state": "online", "fw": "1.4", "boot": "9f3a"}
TOPICS = {
    "shelf/g1.s1/samples": SAMPLES,
    "camera/over/people": PEOPLE,
    "camera/over/looked": LOOKED,
    "scanner/gate/scan": SCAN,
    "door/front/state": DOOR,
    "shelf/g2.s1/status": STATUS,
}


def visit(gone_g=150.0, leave=True):
    """Return messages of one visit: ``[topic, milliseconds since the one before, payload]``.

    A text that begins with ``ok`` stands for a good token.
    """
    left_g = 1_500.0 - gone_g
    told = [["camera/over/status", 0, STATUS]]
    numbers = dict.fromkeys(TOPICS, 0)

    def tell(topic, after_ms, **changes):
        numbers[topic] += 1
        message = {**TOPICS[topic], "seq": numbers[topic], **changes}
        for name in ("t_ms", "host_boot", "host_mono_ms"):
            message.pop(name, None)
        told.append([topic, after_ms, message])

    def block(grams, after_ms=200):
        rows = [[grams, 0.0, 500.0]] * 2
        tell("shelf/g1.s1/samples", after_ms, period_us=100_000, w=rows)

    def stand(x_mm, hand=None):
        wrists = [] if hand is None else [{"mm": hand}]
        person = {"track": "1", "floor_mm": [x_mm, -300.0], "wrists": wrists}
        tell("camera/over/people", 0, people=[person])

    for _ in range(15):
        block(1_500.0)
        stand(-1_700.0)
    tell("scanner/gate/scan", 10, text="ok carla")
    for count in range(20):
        block(1_500.0 if count < 10 else left_g)
        stand(-375.0, [-375.0, -950.0, 850.0] if 6 < count < 14 else None)
    if not leave:
        return told
    for _ in range(15):
        block(left_g)
        stand(1_700.0)
    for _ in range(30):
        block(left_g, 500)
        tell("camera/over/people", 0, people=[])
    return told


def snapshot():
    """Return an engine's snapshot, shortly after a start."""
    items = [started(store()), samples(0), samples(1, mono_ns=10**8)]
    engine = Engine()
    for number, item in enumerate(items, 1):
        engine.step(number, item)
    return engine.snapshot()


COMMANDS = {
    "planogram": {
        "id": "c-1",
        "facings": [{"gtin": GTIN, "plates": [PLATE]}],
        "products": [{"gtin": "4006381333931", "name": "Pen", "unit_g": 8.0, "tolerance_g": 0.4,
                      "sku": "p-1"}],
    },
    "prices": {"id": "c-2", "version": "p7",
               "prices": [{"gtin": GTIN, "unit_price_minor": 249, "currency": "EUR"}]},
    "review": {"id": "c-3", "review": "REVIEW", "by": "till-3",
               "acts": [{"session": None, "gtin": GTIN, "quantity": 1, "direction": "pick",
                         "plate": PLATE, "probability": 1.0, "misplaced": False}]},
    "backfill": {"id": "c-4", "epoch": EPOCH, "from": "7", "to": "9"},
    "erase": {"id": "c-5", "shopper": "carla"},
    "zero": {"id": "c-6", "shelf": "g1.s1"},
}  # fmt: skip
EVENT = {
    "specversion": "1.0", "id": "6b1f", "source": "urn:shelfgate:corner:gw-1",
    "type": "org.shelfgate.item.picked.v1", "subject": "shelf/g1.s1",
    "time": "2026-11-21T16:19:58.412Z", "datacontenttype": "application/json",
    "dataschema": "urn:shelfgate:schema:item.picked:1", "sequence": "00000000000000000041",
    "epoch": EPOCH, "recordedtime": "2026-11-21T16:19:58.640Z", "delivery": "queued",
    "data": {"acts": [{"session": "s1", "gtin": GTIN, "quantity": 1, "direction": "pick",
                       "plate": PLATE, "probability": 0.9, "misplaced": False}]},
}  # fmt: skip
CART = {
    **EVENT, "type": "org.shelfgate.cart.closed.v1",
    "data": {"session": "s1", "open": [], "lines": [{"quantity": "1", "name": "x", "gtin": GTIN}]},
}  # fmt: skip
FELT = {
    **EVENT,
    "type": "org.shelfgate.shelf.changed-unattended.v1",
    "data": {"weights": [{"plate": PLATE, "delta_g": -3.0}], "reason": "nobody-near"},
}
BRIDGE_LINE = (
    b'{"v":1,"boot":"9f3a","seq":1234,"t":1583245,"sps":10,"ch":[[0,123456],[1,null]]'
    b',"crc":"53F7"}\r\n{"v":1,"boot":"9f3a","seq":1235,"t":1583345,"ch":[[0,5],[1,6]]}\n'
)


SSI_PACKET = bytes.fromhex("12F300000B34303036333831333333393331FC54")
SSI_AGAIN = bytes.fromhex("12F300010B34303036333831333333393331FC53")
KEYS_TYPED = b"".join(
    struct.pack("@llHHi", 1_795_000_000, 7, kind, code, value)
    for code in (42, 2, 30, 29, 27, 28)
    for kind, code, value in ((1, code, 1), (0, 0, 0), (1, code, 0), (0, 0, 0))
)
AIMS = [None, "]E0", "]E3", "]E4", "]I1", "]C1", "]e0", "]d2", "]Q3", "]Q1", "]J1", "]X0"]
LABELS = [
    (None, b"4006381333931"), ("]E0", b"01234505"), ("]E4", b"96385074"), ("]E0", b"2812345004128"),
    ("]C1", b"0109521321123458310300041210LOT42\x1d21SN-0007"), (None, TOKEN),
    ("]Q3", b"010952132112345810LOT\x1d3922123"), ("]e0", b"0109521321123458393297812345"),
    ("]Q1", b"https://id.gs1.org/01/09521321123458/10/LOT42?3103=000412&17=261231"),
]  # fmt: skip


def databases():
    return [path.name for path in (ROOT / "fixtures" / "databases").glob("*.db")]


def maps():
    return [f"drivers/modbus/maps/{name}.toml" for name in shipped()]


def files(*names):
    return [(ROOT / name).read_bytes() for name in names]


def seeds():
    """Return each target's seeds, by its name."""
    head = b'{"journal":1,"number":1,"snapshot":null}\n'
    body = (ROOT / "fixtures" / "journals" / "one-shelf.jsonl").read_bytes()[:6_000]
    state = snapshot()
    whole = b'{"journal":1,"number":4,"snapshot":%b}\n' % jsonb(base64.b64encode(state).decode())
    return {
        "instore": [
            bytes([place]) + jsonb(message) for place, message in enumerate(TOPICS.values())
        ],
        "visit": [lines(visit()), lines(visit()[:40])],
        "bridge": [b"\x00" + BRIDGE_LINE, b"\x01" + b"1234,1583245,123456,-8821,\n", b"\x02"],
        "scale": [
            bytes([list(VECTORS).index(protocol)]) + b"\r\n" + 2 * data
            for protocol, _, data, _ in CASES
        ],
        "modbus": [
            *(bytes([4 * (read.count - 1)]) + bytes.fromhex(text) for read, text, _ in ANSWERS),
            b"\x00" + bytes.fromhex(REFUSAL),
            b"\x05" + bytes.fromhex("0102000000070103040000019C"),
        ],
        "register_map": [text + b"\0" for text in files(*sorted(maps()))],
        "pattern": [
            b"(?P<state>ST|US),\\s*(?P<weight>-?[\\d.]{1,9})(?:k?g)?\0ST,  0.412kg",
            b"(?:(?:a*)*|b{2,3}?)+[^x-z]\\x41$\0aaabbA",
        ],
        "scanner": [TOKEN + b"\r\n" + TOKEN + b"\t", b"]Q1" + TOKEN + b"\n"],
        "ssi": [SSI_PACKET, SSI_PACKET * 2 + b"\x00\xff\xf3", SSI_PACKET[:-1] + SSI_AGAIN],
        "shelf": [
            b"\x00412.5",
            b"\x04online",
            b'\x01{"Time":"2026-11-21T16:00:00","HX711":{"Weight":0.412,"WeightRaw":48211}}',
            b"\x02412.0,nan",
            b'\x03{"n":1,"ms":9,"unit":"kg","state":"ok","plates":[{"w":0.4},{"w":null}]}',
        ],
        "keyboard": [KEYS_TYPED, KEYS_TYPED * 2],
        "label": [bytes([AIMS.index(aim)]) + text for aim, text in LABELS],
        "token": [TOKEN],
        "claims": [jsonb(CLAIMS)],
        "keys": [jsonb(KEYS)],
        "acknowledgement": [
            jsonb({"acknowledged": {EPOCH: "00000000000000000007", "f" * 32: "3"}})
        ],
        "command": [
            bytes([place]) + jsonb(command) for place, command in enumerate(COMMANDS.values())
        ],
        "envelope": [jsonb(EVENT)],
        "tail": [jsonb(event) for event in (EVENT, CART, FELT)],
        "settings": files("docs/samples/settings.toml"),
        "store": [file[:5_000] for file in files("fixtures/stores/demo.toml")] + [STORE.encode()],
        "planogram": [b"plate,gtin\ng1.s1.p1,4006381333931\ng1.s1.p2,96385074\n"],
        "journal": [body, gzip.compress(head + body.partition(b"\n")[2]), whole],
        "snapshot": [state],
        "database": files(*sorted(f"fixtures/databases/{name}" for name in databases())),
    }
