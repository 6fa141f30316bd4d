# SPDX-License-Identifier: Apache-2.0
"""The journal: what is written is read back, whatever happens to the daemon or the disk."""

import gzip
import json
import threading
import time
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import journal
from gateway.domain.engine import Engine
from gateway.domain.inputs import AnyInput, Command, Dropped, LinkState, StateRow, Tick
from gateway.envelope import made_line
from gateway.journal import (
    JournalError,
    JournalWriter,
    encode_line,
    read_header,
    read_segment,
    segments,
)
from gateway.replaying import replay
from tests.small_store import samples, small_store, stamp, started

HEADER = b'{"journal":1,"number":1,"snapshot":null}\n'


@pytest.fixture
def make(tmp_path, monkeypatch):
    monkeypatch.setattr(journal, "WAKE_S", 0.005)
    made = []

    def make(**options):
        options = {"bytes_max": 10**7, "hours_max": 1.0} | options
        made.append(JournalWriter(tmp_path / "ring", **options))
        return made[-1]

    yield make
    for writer in made:
        if writer._thread.is_alive():
            writer.close()


def story():
    """Inputs of a short day: some become events, some do not."""
    items = [started(), LinkState(at=stamp(1), online=True)]
    items += [samples(seq, mono_ns=10**9 + seq * 200_000_000) for seq in range(10)]
    items.append(Dropped(at=stamp(4 * 10**9), device="shelf/g1.s1", reason="malformed", count=2))
    items += [Tick(at=stamp(5 * 10**9 + tick * 10**8)) for tick in range(100)]
    return items


def wait_until(condition):
    """Wait for the writer's thread; the test's own timeout is the limit."""
    while not condition():
        time.sleep(0.005)


def record(writer, items, engine=None):
    """Do as the daemon does: begin when asked, append, step. Return what the engine made."""
    engine = engine or Engine()
    made = []
    for item in items:
        number = engine.number + 1
        if writer.needs_snapshot:
            writer.begin(number, engine.snapshot() if engine.number else None)
        writer.append(number, item)
        made += [(number, made_line(event)) for event in engine.step(number, item).events]
    return made


def replayed(paths, **options):
    made = []
    summary = replay(
        paths, lambda number, event: made.append((number, made_line(event))), **options
    )
    return made, summary


def ring(tmp_path):
    return segments(tmp_path / "ring")


def test_what_is_written_is_read_back(make, tmp_path):
    writer = make()
    items = story()
    record(writer, items)
    writer.close()
    [path] = ring(tmp_path)
    assert read_header(path).number == 1
    assert read_header(path).snapshot is None
    assert list(read_segment(path)) == list(enumerate(items, start=1))
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert writer.lost == 0


def test_a_replay_gives_what_the_engine_made(make, tmp_path):
    writer = make()
    made = record(writer, story())
    writer.close()
    again, summary = replayed(ring(tmp_path))
    assert made
    assert again == made
    assert (summary.inputs, summary.events) == (len(story()), len(made))
    assert summary.last_mono_ns - summary.first_mono_ns == 149 * 10**8


def test_a_segment_that_begins_with_a_snapshot_goes_on_where_it_was_taken(make, tmp_path):
    items = story()
    for cut in (1, 2, 7, 12, 13, len(items) - 1):
        writer = make()
        engine = Engine()
        before = record(writer, items[:cut], engine)
        writer.begin(engine.number + 1, engine.snapshot())
        after = record(writer, items[cut:], engine)
        writer.close()
        assert replayed(ring(tmp_path)[-2:])[0] == before + after
        assert replayed(ring(tmp_path)[-1:])[0] == after


def test_segments_that_are_not_one_after_the_other_are_refused(make, tmp_path):
    """Folded twice or backwards they would be scored and told of, as nonsense."""
    writer, engine, items = make(), Engine(), story()
    record(writer, items[:7], engine)
    writer.begin(engine.number + 1, engine.snapshot())
    record(writer, items[7:20], engine)
    writer.begin(engine.number + 1, engine.snapshot())
    record(writer, items[20:], engine)
    writer.close()
    first, second, third = ring(tmp_path)
    for wrong in ([first, first], [first, second, second], [second, first], [third, first, second]):
        with pytest.raises(JournalError, match=r"Name each segment once, the oldest first"):
            replayed(wrong)
    assert replayed([tmp_path / "ring"]) == replayed([first, second, third])


def test_a_segment_that_lacks_is_told(make, tmp_path, caplog):
    writer, engine, items = make(), Engine(), story()
    record(writer, items[:7], engine)
    for item in items[7:20]:
        engine.step(engine.number + 1, item)
    writer.begin(engine.number + 1, engine.snapshot())
    record(writer, items[20:], engine)
    writer.close()
    replayed(ring(tmp_path))
    assert "13 inputs before it are missing" in caplog.text


def test_segments_of_two_stores_are_refused(make, tmp_path):
    for name in ("one", "two"):
        writer = make()
        store = msgspec.structs.replace(small_store(), name=name)
        record(writer, [msgspec.structs.replace(started(store), epoch=f"{name:0>32}")])
        writer.close()
    with pytest.raises(JournalError, match=r"is of store two, those before it of one"):
        replayed(ring(tmp_path))


def test_segments_rotate_by_size_and_the_ring_keeps_within_its_bytes(make, tmp_path):
    writer = make(bytes_max=300_000, segment_bytes=40_000)
    engine, random, seq = Engine(), Random(1), 0
    record(writer, story(), engine)
    while len(ring(tmp_path)) == 0 or ring(tmp_path)[0].name < "0000000004":
        seq += 1
        noise = [[random.random() for _ in range(3)] for _ in range(50)]
        item = msgspec.structs.replace(samples(seq, mono_ns=10**11 + seq), w=noise)
        record(writer, [item], engine)
        wait_until(lambda: len(writer._waiting) < 20)
    writer.close()
    kept = ring(tmp_path)
    assert len(kept) > 1
    assert sum(path.stat().st_size for path in kept) <= 300_000
    numbers = [number for path in kept for number, _ in read_segment(path)]
    assert numbers == list(range(numbers[0], engine.number + 1))
    replayed(kept)


def test_segments_too_old_are_deleted_by_measured_time(make, tmp_path):
    now_s = [1000.0]
    writer = make(hours_max=1.0, monotonic_s=lambda: now_s[0])
    engine = Engine()
    record(writer, story(), engine)
    writer.begin(engine.number + 1, engine.snapshot())
    wait_until(lambda: len(ring(tmp_path)) == 2)
    now_s[0] += 3_599
    writer.begin(engine.number + 1, engine.snapshot())
    wait_until(lambda: len(ring(tmp_path)) == 3)
    now_s[0] += 2
    wait_until(lambda: len(ring(tmp_path)) == 1)


def test_time_ends_a_segment_too(make):
    now_s = [1000.0]
    writer = make(monotonic_s=lambda: now_s[0])
    record(writer, story())
    wait_until(lambda: writer._segment is not None and not writer._waiting)
    assert not writer.needs_snapshot
    now_s[0] += journal.SEGMENT_S_MAX
    wait_until(lambda: writer.needs_snapshot)


def test_a_new_start_goes_on_in_the_same_ring(make, tmp_path):
    for number in range(2):
        writer = make()
        items = [
            msgspec.structs.replace(
                item, at=msgspec.structs.replace(item.at, mono_ns=item.at.mono_ns + number * 10**12)
            )
            for item in story()
        ]
        items[0] = msgspec.structs.replace(items[0], epoch=f"{number:032}")
        record(writer, items)
        writer.close()
    assert [path.name for path in ring(tmp_path)] == ["0000000000.jsonl.gz", "0000000001.jsonl.gz"]
    first, second = ([line for _, line in replayed([path])[0]] for path in ring(tmp_path))
    assert [line for _, line in replayed(ring(tmp_path))[0]] == first + second
    assert len(first) == len(second)


def test_a_killed_daemon_leaves_what_was_flushed(make, tmp_path):
    """Every cut of the file reads as a prefix of the inputs, and replays."""
    writer = make()
    items = story()
    record(writer, items)
    writer.close()
    [path] = ring(tmp_path)
    content, whole = path.read_bytes(), list(enumerate(items, start=1))
    torn = tmp_path / "torn.jsonl.gz"
    lengths = set()
    for length in range(200, len(content), 41):
        torn.write_bytes(content[:length])
        read = list(read_segment(torn))
        assert read == whole[: len(read)]
        lengths.add(len(read))
        if read:
            replayed([torn])
    assert len(lengths) > 5


def test_a_running_segment_is_readable_up_to_the_last_flush(make, tmp_path, monkeypatch):
    monkeypatch.setattr(journal, "FLUSH_S", 0.0)
    writer = make()
    items = story()
    record(writer, items)
    wait_until(lambda: ring(tmp_path) and len(list(read_whole(ring(tmp_path)[0]))) == len(items))


def read_whole(path):
    try:
        return list(read_segment(path))
    except JournalError:
        return []


def test_more_than_can_wait_is_lost_and_ends_the_segment(make, tmp_path, monkeypatch):
    monkeypatch.setattr(journal, "WAITING_MAX", 20)
    monkeypatch.setattr(journal, "WAKE_S", 30.0)
    writer = make()
    items = story()
    engine = Engine()
    record(writer, items[:50], engine)
    assert writer.lost == 30
    assert not writer.needs_snapshot
    writer._wake.set()
    wait_until(lambda: writer.needs_snapshot)
    record(writer, items[50:60], engine)
    writer.close()
    first, second = ring(tmp_path)
    assert [number for number, _ in read_segment(first)] == list(range(1, 21))
    assert gzip.decompress(first.read_bytes()).splitlines()[-1].startswith(b'{"lost":')
    assert [number for number, _ in read_segment(second)] == list(range(51, 61))
    assert replayed([second])[1].inputs == 10


def test_a_disk_that_fails_costs_the_journal_and_is_told_once(make, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(journal, "RETRY_S", 0.0)
    caplog.set_level("INFO")
    working = journal._Segment._put
    full = threading.Event()

    def put(segment, data):
        if full.is_set():
            raise OSError(28, "No space left on device")
        working(segment, data)

    monkeypatch.setattr(journal._Segment, "_put", put)
    writer = make()
    engine = Engine()
    record(writer, story(), engine)
    wait_until(lambda: ring(tmp_path) and not writer._waiting)
    full.set()
    for seq in range(100, 103):
        record(writer, [samples(seq)], engine)
        wait_until(lambda: not writer._waiting)
        wait_until(lambda: writer.needs_snapshot)
    full.clear()
    record(writer, [samples(200)], engine)
    writer.close()
    assert [record.getMessage() for record in caplog.records] == [
        (
            "journal: [Errno 28] No space left on device. "
            "Inputs are not kept until it can be written again"
        ),
        "journal: is written again",
    ]
    assert writer.lost >= 3
    assert replayed(ring(tmp_path)[-1:])[1].inputs == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_bug_in_the_thread_reaches_the_caller(make, monkeypatch):
    monkeypatch.setattr(journal, "encode_line", lambda *_: 1 / 0)
    writer = make()
    record(writer, story()[:2])
    wait_until(lambda: not writer._thread.is_alive())
    with pytest.raises(ZeroDivisionError):
        writer.append(3, Tick(at=stamp()))


def test_a_journal_may_be_written_by_hand(tmp_path):
    path = tmp_path / "by-hand.jsonl"
    lines = [encode_line(number, item) for number, item in enumerate(story(), start=1)]
    path.write_bytes(HEADER + b"\n" + b"".join(lines).rstrip(b"\n"))
    assert replayed([path])[1].inputs == len(lines)


def test_nothing_is_read_after_a_loss(tmp_path):
    path = tmp_path / "lossy.jsonl"
    tick = Tick(at=stamp())
    path.write_bytes(HEADER + encode_line(1, tick) + b'{"lost":3}\n' + encode_line(5, tick))
    assert list(read_segment(path)) == [(1, tick)]


def test_another_store_may_take_the_place_of_the_recorded_one(tmp_path):
    path = tmp_path / "by-hand.jsonl"
    path.write_bytes(HEADER + encode_line(1, started()))
    other = msgspec.structs.replace(small_store(), doors=("front", "back"))
    [(_, line)], _ = replayed([path], store=other)
    assert json.loads(line)["data"]["store_version"] == other.version
    engine = Engine()
    engine.step(1, started())
    header = journal.Header(number=2, snapshot=engine.snapshot())
    path.write_bytes(msgspec.json.encode(header) + b"\n" + encode_line(2, Tick(at=stamp())))
    assert replayed([path])[1].inputs == 1
    with pytest.raises(JournalError, match="begins with a snapshot"):
        replayed([path], store=other)


BAD = {
    "empty": (b"", ":? empty|empty"),
    "no journal": (b"hello\n", "1: JSON is malformed"),
    "another version": (HEADER.replace(b'"journal":1', b'"journal":2'), "Invalid enum value 2"),
    "damaged": (
        HEADER + b'{"n":1,"i":{"input":"ti\n' + encode_line(2, Tick(at=stamp())),
        ":2: .*The file is damaged",
    ),
    "unknown input": (
        HEADER + b'{"n":1,"i":{"input":"rain"}}\n',
        ":2: Invalid value 'rain'",
    ),
    "neither": (HEADER + b'{"n":1}\n', ":2: neither an input nor a loss"),
    "no start": (HEADER + encode_line(1, Tick(at=stamp())), "no snapshot and a first input Tick"),
    "no snapshot": (
        HEADER.replace(b"null", b'"e30="') + encode_line(1, Tick(at=stamp())),
        "the snapshot cannot be read",
    ),
    "binary": (b"\x1f\x8b\xff\xff\xff", "damaged"),
    "deep": (HEADER + b'{"n":1,"i":' + b"[" * 100_000 + b"\n", ":2: .*The file is damaged"),
    "deep header": (b'{"x":' + b"[" * 100_000 + b"\n", "1: .*Give a segment"),
    "UTF-16": ("hello\n".encode("utf-16"), "1: JSON is malformed"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_journal_is_told_with_its_line(tmp_path, name):
    content, message = BAD[name]
    path = tmp_path / "bad.jsonl"
    path.write_bytes(content)
    with pytest.raises(JournalError, match=message):
        replayed([path])


def test_a_command_laid_out_over_lines_stays_one_line():
    command = Command(
        at=stamp(), id="c1", name="prices", data=msgspec.Raw(b'{\n "a":\r\n "x\\ny"}')
    )
    line = encode_line(7, command)
    assert line.count(b"\n") == 1
    [back] = [msgspec.json.decode(line[len(b'{"n":7,"i":') : -2], type=AnyInput)]
    assert msgspec.json.decode(back.data) == {"a": "x\ny"}


def test_the_durable_state_of_a_start_is_read_back(tmp_path):
    values = {"cart": b'{"lines":[]}', "n": b"7"}
    rows = [StateRow(kind, kind, msgspec.Raw(value)) for kind, value in values.items()]
    start = msgspec.structs.replace(started(), state=rows)
    path = tmp_path / "restart.jsonl"
    path.write_bytes(HEADER + encode_line(1, start))
    [(number, back)] = read_segment(path)
    assert number == 1
    assert [(row.kind, row.key, bytes(row.value), row.deletes) for row in back.state] == [
        ("cart", "cart", b'{"lines":[]}', False),
        ("n", "n", b"7", False),
    ]


@given(
    st.lists(
        st.lists(
            st.none() | st.floats(allow_nan=False, allow_infinity=False), min_size=3, max_size=3
        ),
        min_size=1,
        max_size=5,
    ),
    st.integers(0, 2**53),
    st.none() | st.floats(0, 2**53),
)
def test_samples_survive_exactly(weights, seq, host_mono_ms):
    item = msgspec.structs.replace(
        samples(seq), w=weights, host_boot="h", host_mono_ms=host_mono_ms
    )
    line = journal._LINE.decode(encode_line(5, item))
    assert line.n == 5
    assert repr(line.i) == repr(item)
