# SPDX-License-Identifier: Apache-2.0
"""Every decoder as a function of bytes: it returns, whatever they are, or it has a fault.

Each ``fuzz_…`` also checks what is promised of the result. Hypothesis drives them in the suite,
libFuzzer in ``make fuzz``. The first byte of some chooses what the rest is given to.
"""

import asyncio
import atexit
import base64
import os
import random
import shutil
import tempfile
import warnings
from decimal import Decimal
from functools import cache, partial
from pathlib import Path

import msgspec

from drivers.bridge import codec as bridge
from drivers.entry.tokens import EntryConfig, Verified, Verifier, read_jwks
from drivers.instore.codec import DEVICE_NAME_MAX, Known, Rejected, Scanned, decode, heading
from drivers.keyboard import codec as keyboard
from drivers.labels.judging import Judge
from drivers.modbus import maps
from drivers.modbus.codec import Question, Refused, Registers
from drivers.mqtt.config import Message
from drivers.mqtt_shelf.codec import Decoder as ShelfDecoder
from drivers.mqtt_shelf.config import topics_of
from drivers.scale.frames import BUFFER_BYTES
from drivers.scale.patterns import Pattern, PatternError
from drivers.scale.reading import GRAMS_MAX, Reading
from drivers.scanner import codec as scanner
from drivers.ssi import codec as ssi
from gateway.config import ConfigError, check, load_settings, load_store
from gateway.config_csv import csv_rows
from gateway.config_toml import Problems, read_text
from gateway.database import DatabaseError, open_database
from gateway.domain.engine import Engine
from gateway.domain.gtin import valid_gtin
from gateway.domain.inputs import AnyInput, Command, GatewayStarted, ScanRejected, Tick
from gateway.envelope import made_from_payload, with_shopper
from gateway.journal import JournalError, encode_line, read_header, read_segment
from gateway.replaying import replay
from gateway.uplink import Uplink, UplinkSettings
from gateway.upstream_inputs import parse_command
from gateway.watch import shown
from tests.drivers.mqtt_shelf.test_driver import CONFIGS as SHELVES
from tests.drivers.scale.vectors import GOOD
from tests.drivers.scale.vectors import decoder as scale_decoder
from tests.drivers.scanner_line import product_store
from tests.fuzz.seeds import (
    AIMS,
    COMMANDS,
    EPOCH,
    ISSUER,
    KEY,
    KEYS,
    NOW_S,
    SSI_PACKET,
    TOPICS,
    b64,
    jsonb,
    store,
    visit,
)
from tests.made import rows_waiting
from tests.schema_check import check_data
from tests.small_store import UTC_NS, stamp, started

SNAPSHOT_BYTES_MAX = 4 * 2**20
REPLY_CHARS_MAX = 1_000
TOLD_CHARS_MAX = 20_000
INPUT = msgspec.json.Decoder(AnyInput)
REASONS = {"malformed", "too-long", "retained", "unknown-device", "unknown-topic"}


@cache
def known():
    return Known.of(store())


@cache
def folder():
    """Return where targets put files that can only be read from a path."""
    made = Path(tempfile.mkdtemp(prefix="shelfgate-fuzz-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


def written(data, name="file"):
    path = folder() / name
    path.write_bytes(data)
    return path


class Shop:
    """A small store's engine, which is told what a broker would hand on."""

    def __init__(self):
        self.engine = Engine()
        self.now_ns = 0
        self.rows = {}
        self.judge = Judge(store(), pretend)
        self.step(started(store()))

    def step(self, item):
        stepped = self.engine.step(self.engine.number + 1, item)
        for event in stepped.events:
            check_data(event.name, bytes(event.data))
        for row in self.engine.changed_rows():
            self.rows[row.kind, row.key] = row
        return stepped

    def tell(self, topic, payload, *, retained=False):
        """Hand a message on as the in-store driver does; return what became of it."""
        at = stamp(self.now_ns)
        got = decode(known(), f"{known().root}{topic}", payload, retained=retained, stamp=at)
        if isinstance(got, Rejected):
            assert got.reason in REASONS
            assert len(got.device) <= DEVICE_NAME_MAX
            return got
        if isinstance(got, Scanned):
            got = self.judge.judge(heading(got.message, got.device, at), got.message.text, None)
        assert INPUT.decode(encode_input(got)) == got, "the journal gives back what was put in"
        self.step(got)
        return got

    def tick(self, after_ms):
        self.now_ns += after_ms * 1_000_000
        self.step(Tick(at=stamp(self.now_ns)))

    def begin_again(self):
        """Start another engine from the durable rows and from a snapshot: both have to go."""
        rows = [row for row in self.rows.values() if not row.deletes]
        again = msgspec.structs.replace(started(store()), at=stamp(self.now_ns), state=rows)
        Engine().step(1, again)
        snapshot = self.engine.snapshot()
        assert len(snapshot) < SNAPSHOT_BYTES_MAX
        assert Engine.restore(snapshot).snapshot() == snapshot


def encode_input(item):
    line = encode_line(1, item)
    return line[line.index(b',"i":') + 5 : -2]


def pretend(text, _stamp):
    """Judge a scan: no key is needed to say what a good token is here."""
    if not text.startswith("ok"):
        return Verified("malformed")
    return Verified("valid", text[2:10] or "x", token_hash=f"{hash(text):x}", expires_utc_ns=UTC_NS)


def pieces(data):
    """Return bytes in pieces whose lengths follow from the bytes alone."""
    cut = random.Random(data)
    while data:
        size = cut.choice((1, 2, 3, 7, 64, 1_024))
        yield data[:size]
        data = data[size:]


# In the store.


def fuzz_instore(data):
    """One message of each topic, and its step."""
    choice, payload = data[0] if data else 0, data[1:]
    topics = list(TOPICS)
    shop = Shop()
    shop.tell(topics[choice % len(topics)], payload, retained=bool(choice & 128))
    shop.tick(100)
    shop.begin_again()


def fuzz_visit(data):
    """Many messages of one store, and what the engine makes of them."""
    shop = Shop()
    for line in data.split(b"\n")[:400]:
        try:
            topic, after_ms, payload = msgspec.json.decode(line, type=tuple[str, int, msgspec.Raw])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            topic, after_ms, payload = "shelf/g1.s1/samples", 100, line
        shop.tick(min(max(after_ms, 0), 60_000))
        shop.tell(topic, bytes(payload))
    for _ in range(20):
        shop.tick(2_000)
    shop.begin_again()


def fuzz_bridge(data):
    """Lines of a bridge, whole and in pieces."""
    choice, stream = data[0] if data else 0, data[1:]
    options = {
        "form": "csv" if choice & 1 else "json",
        "encoding": "offset-binary" if choice & 2 else "signed",
        "crc_required": bool(choice & 4),
    }
    at_once = bridge.Decoder(**options).feed(stream)
    slowly = bridge.Decoder(**options)
    assert [one for piece in pieces(stream) for one in slowly.feed(piece)] == at_once
    assert len(slowly._line) <= bridge.LINE_BYTES_MAX
    for one in at_once:
        counts = one.raw.values() if isinstance(one, bridge.Reading) else ()
        assert all(n is None or bridge.RAW_MIN < n < bridge.RAW_MAX for n in counts)


def fuzz_scale(data):
    """What scales send, whole and in pieces; never a weight beyond all scales."""
    protocol, stream = list(GOOD)[(data[0] if data else 0) % len(GOOD)], data[1:]
    line = ("8N1", "7E1", "7O1", "7N2")[(data[0] if data else 0) // 16 % 4]
    one, slowly = (scale_decoder(protocol, line=line, **GOOD[protocol][0]) for _ in range(2))
    at_once = one.feed(stream)
    assert [result for piece in pieces(stream) for result in slowly.feed(piece)] == at_once
    assert len(slowly._buffer) <= BUFFER_BYTES
    for result in at_once:
        if isinstance(result, Reading) and result.grams is not None:
            assert abs(result.grams) <= GRAMS_MAX


def fuzz_modbus(data):
    """What may be the answer to a question, whole and in pieces."""
    choice, stream = data[0] if data else 0, data[1:]
    options = {
        "read": maps.Read(7, 1 + choice // 4 % 4),
        "framing": "tcp" if choice & 1 else "rtu",
        "transaction": 258,
    }
    one, slowly = (Question(1, 4 if choice & 2 else 3, **options) for _ in range(2))
    answer = one.feed(stream)
    assert next(filter(None, map(slowly.feed, pieces(stream))), None) == answer
    assert answer is not None or len(one._buffer) <= 17
    if isinstance(answer, Registers):
        assert len(answer.values) == options["read"].count
        assert all(0 <= value <= 0xFFFF for value in answer.values)
    assert not isinstance(answer, Refused) or ", " in answer.words


def fuzz_register_map(data):
    """A register map, and registers for it: no weight beyond all scales, whatever they hold."""
    text, _, held = data.partition(b"\0")
    try:
        made = maps.load_file(str(written(text, "map.toml")))
    except maps.MapError as error:
        assert_remedied(str(error))
        return
    channels = range(1, made.channels * len(made.blocks) + 1)
    plan = maps.Plan(made, channels, decimals=3, unit="kg")
    assert all(0 < read.count <= maps.REGISTERS_MAX for read in plan.reads)
    places = [at for read in plan.reads for at in range(read.address, read.address + read.count)]
    assert 0 <= min(places) <= max(places) < maps.ADDRESSES
    words = random.Random(held)
    readings = plan.readings(
        {at: words.choice((0, 1, 0x7FC0, words.getrandbits(16))) for at in places}
    )
    assert [one.channel for one in readings] == list(channels)
    assert all(one.grams is None or abs(one.grams) <= GRAMS_MAX for one in readings)


def assert_remedied(text):
    assert ". " in text


def fuzz_pattern(data):
    """An expression from settings and a line: an answer, and soon."""
    text, _, line = data.partition(b"\0")
    try:
        pattern = Pattern(text.decode("latin-1"))
    except PatternError as error:
        assert_remedied(str(error))
        return
    found = pattern.match(line[:BUFFER_BYTES])
    assert found is None or found.keys() <= set(pattern.names)


def same_in_pieces(make, stream):
    """Return what a scanner's decoder finds in a stream, which cutting may not change."""
    whole, slowly = make(), make()
    found = [one for piece in pieces(stream) for one in slowly.feed(piece)]
    assert whole.feed(stream) == found
    ended = whole.end()
    assert slowly.end() == ended
    assert not slowly.pending
    return found + ended


def fuzz_scanner(data):
    """Scans of a serial scanner, whole and in pieces, with a prefix and without."""
    for prefix in (b"", b"]Q"):
        for one in same_in_pieces(partial(scanner.Decoder, prefix), data):
            if isinstance(one, scanner.Scan):
                assert 0 < len(one.data) <= scanner.SCAN_BYTES_MAX
                scanner.split_aim(one.data)


def fuzz_ssi(data):
    """Packets of a scanner that speaks SSI; each scan is answered."""
    found = same_in_pieces(ssi.Decoder, data)
    answers = [one for one in found if isinstance(one, scanner.Answer)]
    scans = [one for one in found if isinstance(one, scanner.Scan)]
    assert len(scans) <= len(answers) <= len(data)
    assert all(0 < len(one.data) <= ssi.PACKET_BYTES_MAX for one in scans)
    more = ssi.Decoder()
    again = more.feed(data + SSI_PACKET) + more.end()
    # After a packet that says "more follows" it is the end of that scan.
    assert again[-1] in (scanner.Scan(b"4006381333931", "]E0"), scanner.TooLong(), ssi._ACK)


def fuzz_shelf(data):
    """Messages of shelves of other firmware; the first byte says whose, and on which topic."""
    first = data[0] if data else 0
    config = list(SHELVES.values())[first % len(SHELVES)]
    topics = topics_of(config)
    topic = topics[first // len(SHELVES) % len(topics)]
    decoder = ShelfDecoder(config)
    for now_ns in (0, 10**12):
        for one in decoder.take(Message(topic, data[1:], first > 127, 0, 0), now_ns):
            if isinstance(one, Reading):
                assert 0 <= one.channel < config.plates
                assert one.grams is None or abs(one.grams) <= GRAMS_MAX


def fuzz_keyboard(data):
    """Input events of a scanner that types."""
    decoder, slowly = keyboard.Decoder(), keyboard.Decoder()
    found = decoder.feed(data)
    assert [one for piece in pieces(data) for one in slowly.feed(piece)] == found
    assert len(decoder._line) <= scanner.SCAN_BYTES_MAX
    assert all(one.data.isascii() for one in found if isinstance(one, scanner.Scan))


shop_store = cache(product_store)


def fuzz_label(data):
    """What was read of a product, with every AIM identifier: an input, or why it is none."""
    choice, text = data[0] if data else 0, data[1:].decode("latin-1")
    aim = AIMS[choice % len(AIMS)]
    heading = {"at": stamp(), "device": "scanner/shop", "boot": "b", "seq": 0}
    item = Judge(shop_store(), pretend).judge(heading, text, aim)
    assert INPUT.decode(encode_input(item)) == item
    if isinstance(item, ScanRejected):
        assert item.code is None or (item.code.isdigit() and 8 <= len(item.code) <= 14)
        return
    assert (item.gtin is None) == (item.item is not None)
    assert item.gtin is None or valid_gtin(item.gtin)
    for amount in (item.weight_g, item.price):
        assert amount is None or (Decimal(amount) >= 0 and "E" not in amount)


@cache
def verifier():
    path = written(jsonb(KEYS), "keys.json")
    os.utime(path, (NOW_S, NOW_S))
    return Verifier(EntryConfig(jwks=path, issuer=ISSUER, store="corner"))


def judge(text):
    return verifier().verify(text, stamp())


def fuzz_token(data):
    """What a scanner read: nothing that the key did not sign is valid."""
    text = data.decode("latin-1")
    verdict = judge(text)
    if verdict.verdict == "valid":
        assert text.split(".")[:2] == signed(text).split(".")[:2]


def signed(text):
    """Return a token's text signed anew."""
    head, body, _ = text.split(".")
    return f"{head}.{body}.{b64(KEY.sign(f'{head}.{body}'.encode()))}"


def fuzz_claims(data):
    """Claims that are signed: whatever they say has a verdict."""
    head = b64(jsonb({"alg": "EdDSA", "kid": "k1"}))
    verdict = judge(signed(f"{head}.{b64(data)}."))
    if verdict.verdict == "valid":
        assert verdict.shopper.isprintable()
        assert verdict.expires_utc_ns > NOW_S * 10**9
        assert len(verdict.token_hash) == 32


def fuzz_keys(data):
    """A key file."""
    try:
        keys = read_jwks(written(data))
    except ValueError:
        return
    assert all(isinstance(name, str) for name in keys)


# Upstream.


def fuzz_acknowledgement(data):
    """What an integrator says it has: nothing is believed that was not sent."""
    uplink = Uplink(UplinkSettings(), lambda: 0.5)
    uplink.connected(0)
    tails = {EPOCH: 9, "f" * 32: 3}
    for retained in (True, False):
        news = uplink.acknowledgement(data, tails, EPOCH, ends={}, retained=retained, now_ns=1)
        for one in news:
            assert one.epoch == "f" * 32, "nothing of this epoch was sent"
            assert 0 <= one.sequence <= 3


def fuzz_command(data):
    """A command: parsed, carried out, answered once, and the same when it is repeated."""
    choice, payload = data[0] if data else 0, data[1:]
    names = [*COMMANDS, "unknown/#"]
    command, problem, compact = parse_command(payload)
    if problem is not None:
        assert len(problem) <= REPLY_CHARS_MAX
        return
    shop = doubtful()
    [review] = shop.engine.state.reviews
    compact = compact.replace(b"REVIEW", review.encode())
    item = Command(
        at=stamp(shop.now_ns),
        id=command,
        name=names[choice % len(names)],
        data=msgspec.Raw(compact),
    )
    assert INPUT.decode(encode_input(item)).data == item.data
    first, again = (shop.step(item).effects for _ in range(2))
    assert len(first) == 1
    assert first == again
    assert len(getattr(first[0], "message", "")) <= REPLY_CHARS_MAX
    shop.tell("shelf/g1.s1/samples", jsonb(TOPICS["shelf/g1.s1/samples"]))
    shop.tick(100)
    shop.begin_again()


def doubtful():
    """Return a shop with a shopper in it and a question to a person."""
    shop = Shop()
    shop.engine = Engine.restore(doubt())
    shop.now_ns = 10**11
    return shop


@cache
def doubt():
    shop = Shop()
    for topic, after_ms, payload in visit(gone_g=113.0, leave=False):
        shop.tick(after_ms)
        shop.tell(topic, jsonb(payload))
    shop.tick(15_000)
    assert shop.engine.state.reviews, "nobody can take 113 g of these"
    return shop.engine.snapshot()


def fuzz_envelope(data):
    """A stored event: read, or refused as malformed; the shopper goes into what is whole."""
    try:
        made_from_payload(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return
    if data.endswith(b"}}"):
        with_shopper(data, "carla")


def fuzz_tail(data):
    """An event that comes by from anybody: one line that commands no terminal."""
    for as_json in (True, False):
        line = shown("topic", data, {}, as_json=as_json, colour=False)
        assert "\n" not in line
        assert "\x1b" not in line


# Files.


def told(*problems):
    """Check that each problem names a thing, what is wrong with it and a remedy, not too long."""
    assert problems
    for problem in problems:
        text = str(problem)
        assert ": " in text
        assert ". " in text
        assert len(text) < TOLD_CHARS_MAX


def fuzz_settings(data):
    """A settings file."""
    path = written(data, "settings.toml")
    try:
        load_settings(path)
    except ConfigError as error:
        told(*error.problems)


def fuzz_store(data):
    """A store file, alone and beside settings."""
    path = written(data, "store.toml")
    check(written(b'gateway = "gw-1"\ndatabase = "x.db"\n', "beside.toml"), path)
    try:
        made = load_store(path)
    except ConfigError as error:
        told(*error.problems)
        return
    Engine().step(1, msgspec.structs.replace(started(store()), store=made))


def fuzz_planogram(data):
    """A planogram in CSV."""
    path = written(data, "planogram.csv")
    problems = Problems()
    try:
        text = read_text(path)
    except ConfigError:
        return
    for line, plate, gtin in csv_rows(path, text, problems):
        assert line >= 1
        assert isinstance(plate + gtin, str)


def fuzz_journal(data):
    """A segment of a journal, as far as it can be read."""
    path = written(data, "segment")
    try:
        read_header(path)
        for number, item in read_segment(path):
            assert isinstance(number, int)
            assert not isinstance(item, GatewayStarted) or item.store is not None
    except JournalError as error:
        told(error)


def fuzz_snapshot(data):
    """A segment that begins with a snapshot, which may be anything."""
    head = b'{"journal":1,"number":4,"snapshot":"%b"}\n' % base64.b64encode(data)
    with warnings.catch_warnings():
        # A store that no store file may describe: numbers come out of it as they may.
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            replay([written(head, "begun")], lambda _number, _event: None)
        except JournalError as error:
            told(error)


def fuzz_database(data):
    """A database file that may be anything: mended or refused, and never lost."""
    path = folder() / "begin" / "gateway.db"
    shutil.rmtree(path.parent, ignore_errors=True)
    path.parent.mkdir()
    path.write_bytes(data)
    try:
        rows = asyncio.run(begin(path))
    except DatabaseError as error:
        told(error)
        assert path.exists()
        return
    aside = list(path.parent.glob("gateway.db.corrupt-*Z"))
    assert all(one.read_bytes() == data for one in aside)
    Engine().step(1, msgspec.structs.replace(started(store()), state=rows))


async def begin(path):
    """Do with a database what a start of the daemon does; return its durable rows."""
    database = await open_database(path, store="corner", gateway="gw")
    async with database:
        rows = await database.load_state()
        await database.begin_epoch(UTC_NS)
        await rows_waiting(database, 0, 100)
        assert await database.backlog()
    return rows


TARGETS = {
    name.removeprefix("fuzz_"): value for name, value in globals().items() if name[:5] == "fuzz_"
}
