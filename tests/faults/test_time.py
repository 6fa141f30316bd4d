# SPDX-License-Identifier: Apache-2.0
"""Clocks that step, lie or know nothing: UTC labels, and decides nothing that could be lost."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.domain import sessions
from gateway.domain.engine import Engine
from gateway.domain.inputs import GatewayGap, GatewayStarted
from gateway.domain.output import rfc3339
from gateway.domain.timekeeping import STEADY_NS
from tests.gateway.domain.eventful import eventful
from tests.gateway.domain.scene import EXIT_MM, JAM, TEA, Scene, names

S = 1_000_000_000
YEAR_S = 365 * 86_400
TOLD_NS = S // 2
"""Labels may be off by less than what is told as a step."""
LABEL = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
DOCUMENT = Path(__file__).parents[2] / "docs" / "contract-upstream.md"


class Wrong(Scene):
    """A scene whose UTC may be wrong; knows by how much each event's label was, when made."""

    wrong_ns = 0

    def __init__(self, **wanted):
        self.labelled = []
        super().__init__(**wanted)

    def stamp(self):
        right = super().stamp()
        return msgspec.structs.replace(right, utc_ns=right.utc_ns + self.wrong_ns)

    def give(self, item):
        made = super().give(item)
        self.labelled += [(one, self.wrong_ns) for one in made]
        return made

    def untrusted(self, wrong_s):
        """Somebody sets the clock, or a machine without one begins."""
        self.wrong_ns, self.utc_trusted = int(wrong_s * S), False

    def ntp(self):
        """NTP answers: the clock is right from now on."""
        self.wrong_ns, self.utc_trusted = 0, True


# What a reader can do about labels that were wrong


def redate(scene):
    """Shift the events' times by the recipe of the document."""
    [recipe] = [
        block
        for block in re.findall(r"```python\n(.*?)```", DOCUMENT.read_text("utf-8"), re.DOTALL)
        if "def redate(" in block
    ]
    known = {}
    exec(compile(recipe, str(DOCUMENT), "exec"), known)  # It is our document.
    return known["redate"](
        [
            {"id": made.event.id, "type": made.event.type, "data": made.data}
            for made, _ in scene.labelled
        ]
    )


def check_redated(scene):
    """Every event of a boot in which UTC was trusted once is dated right, to half a second."""
    shifts = redate(scene)
    boots = {}
    for made, _ in scene.labelled:
        clock = made.data["clock"]
        boots[clock["boot"]] = boots.get(clock["boot"], False) or clock["utc_trusted"]
    for made, wrong_ns in scene.labelled:
        shift = shifts[made.event.id]
        if shift is None:
            assert not boots[made.data["clock"]["boot"]]
        else:
            assert abs(shift + wrong_ns) < TOLD_NS, (made.name, shift, wrong_ns)
    return shifts


def test_a_reader_dates_what_happened_before_ntp_answered():
    scene = Wrong(start=False)
    scene.untrusted(-3 * YEAR_S)
    scene.start()
    scene.run(1.0)
    anna = scene.enter("anna")
    scene.act("anna", {"g1.s1.p2": -240.0})
    before = len(scene.labelled)
    scene.ntp()
    scene.leave()
    assert scene.receipt(anna) == {TEA: 1}
    [stepped] = scene.named("clock.stepped")
    assert stepped["step_ms"] == 3 * YEAR_S * 1_000
    assert stepped["utc_minus_mono_ns"] - stepped["before_utc_minus_mono_ns"] == 3 * YEAR_S * S
    assert (stepped["before_utc_trusted"], stepped["clock"]["utc_trusted"]) == (False, True)
    shifts = check_redated(scene)
    assert {shifts[made.event.id] for made, _ in scene.labelled[:before]} == {3 * YEAR_S * S}
    assert {shifts[made.event.id] for made, _ in scene.labelled[before:]} == {0}


def test_a_step_while_the_daemon_was_down_is_told_at_the_next_start():
    scene = Wrong(start=False)
    scene.untrusted(-8 * 3_600)  # A clock saved at shutdown, hours ago.
    scene.start()
    scene.run(1.0)
    scene.scan("anna")
    scene.now_ns += 4 * S
    scene.ntp()
    scene.start("e")
    [stepped] = scene.named("clock.stepped")
    assert stepped["step_ms"] == 8 * 3_600_000
    assert (stepped["before_utc_trusted"], stepped["clock"]["utc_trusted"]) == (False, True)
    scene.run(1.0)
    assert len(scene.named("clock.stepped")) == 1
    shifts = check_redated(scene)
    [session] = [made for made, _ in scene.labelled if made.name == "session.started"]
    assert shifts[session.event.id] == 8 * 3_600 * S
    starts = [made for made, _ in scene.labelled if made.name == "gateway.started"]
    assert [shifts[made.event.id] for made in starts] == [8 * 3_600 * S, 0]


def gap(scene, since, **changed):
    fields = {
        "at": scene.stamp(),
        "since_utc_ns": since.utc_ns,
        "since_boot": since.boot,
        "since_mono_ns": since.mono_ns,
    } | changed
    return GatewayGap(**fields)


def test_a_clock_that_begins_to_be_trusted_while_the_daemon_was_down_is_told():
    scene = Wrong(start=False)
    scene.utc_trusted = False
    scene.start()
    scene.utc_trusted = True
    scene.now_ns += S
    assert names(scene.start("e")) == ["gateway.started", "clock.stepped"]
    assert names(scene.start("f")) == ["gateway.started"]
    scene.rows.pop(("clock", "told"))  # Of a version that wrote none: nothing is claimed.
    assert names(scene.start("a")) == ["gateway.started"]


def test_small_steps_at_every_restart_add_up_to_one_that_is_told(scene):
    for _ in range(5):
        scene.utc_shift_ns += S // 5
        scene.restart()
        scene.run(0.2)
    assert [one["step_ms"] for one in scene.named("clock.stepped")] == [600]


def test_a_step_is_dated_by_the_first_input_that_shows_it(scene):
    """What else that input makes has the new offset too, and the event says so."""
    scene.utc_shift_ns -= 3_600 * S
    made = scene.scan("anna")
    assert names(made) == ["session.started", "clock.stepped"]
    assert made[0].data["clock"]["mono_ns"] == made[1].data["clock"]["mono_ns"]
    assert made[0].event.time == made[1].event.time == rfc3339(scene.stamp().utc_ns)


OFFSETS_S = st.sampled_from([0.3, -0.3, 1, -1, 3_600, -3_600, 10 * YEAR_S, -10 * YEAR_S, 40.5])
ACTIONS = st.one_of(
    st.tuples(st.just("set"), OFFSETS_S),
    st.tuples(st.sampled_from(["ntp", "doubt", "scan", "door", "restart", "reboot"]), st.none()),
    st.tuples(st.just("run"), st.sampled_from([0.1, 0.5])),
)


@settings(max_examples=60, deadline=None)
@given(st.booleans(), st.lists(ACTIONS, min_size=3, max_size=25))
@example(False, [("scan", None), ("set", 3_600), ("scan", None), ("restart", None), ("ntp", None)])
@example(True, [("set", 1), ("door", None), ("ntp", None), ("reboot", None), ("scan", None)])
def test_whatever_the_clock_does_a_reader_dates_every_event(trusted, actions):
    scene = Wrong(start=False)
    if not trusted:
        scene.untrusted(-5 * YEAR_S)
    scene.start()
    for number, (action, value) in enumerate([*actions, ("ntp", None), ("scan", None)]):
        scene.now_ns += 1_000_000
        if action == "set":
            scene.untrusted(value)
        elif action == "ntp":
            scene.ntp()
        elif action == "doubt":
            scene.utc_trusted = False
        elif action == "run":
            scene.run(value)
        elif action == "door":
            scene.status("door/front", ("online", "offline")[number % 2])
        elif action == "scan":
            scene.scan(f"anna-{number}")
        else:
            scene.restart(1.0, reboot=action == "reboot")
    check_redated(scene)


# UTC decides nothing

UTC_NS = st.one_of(
    st.sampled_from([0, -1, -S, 2**32 * S, 2**31 * S, 2**62, -(2**62), 2**63, -(2**63), 10**21]),
    st.integers(-(10**21), 10**21),
)
JUMPS = st.lists(
    st.tuples(st.floats(0.0, 1.0), st.one_of(OFFSETS_S.map(lambda s: ("by", int(s * S))),
                                             UTC_NS.map(lambda ns: ("to", ns))), st.booleans()),
    min_size=1,
    max_size=6,
)  # fmt: skip


@pytest.fixture(scope="module")
def lived():
    """Return the inputs of an eventful scene, with a restart, a reboot and two quiet hours."""
    scene = eventful()
    scene.enter("carl")
    scene.act("carl", {"g2.s1.p0": -900.0})
    scene.weights_g["g1.s1.p3"] -= 390.0
    scene.restart(30.0)
    scene.run(3.0)
    scene.weights_g["g1.s1.p3"] += 390.0
    scene.restart(30.0, reboot=True)
    scene.run(3.0)
    scene.now_ns += 2 * STEADY_NS
    scene.run(11.0)
    [anna] = [one for _, one in scene.inputs if getattr(one, "shopper", None) == "anna"]
    scene.scan("anna", expires_utc_ns=anna.expires_utc_ns)  # Her token of hours ago.
    scene.run(11.0)
    made = {one.name for one in scene.events}
    assert {"shelf.changed-unattended", "cart.closed", "clock.stepped", "review.requested"} <= made
    return [item for _, item in scene.inputs]


def folded(items):
    """Return what an engine makes of inputs, and what is left of it when UTC is taken out."""
    number, told, rows = 0, [], {}
    for item in items:
        if isinstance(item, GatewayStarted):
            engine, number = Engine(), 0
            item = msgspec.structs.replace(item, state=list(rows.values()))  # noqa: PLW2901
        number += 1
        for event in engine.step(number, item).events:
            if event.name == "clock.stepped":
                continue
            assert LABEL.fullmatch(event.time), event.time
            data = msgspec.json.decode(event.data)
            data["clock"] = {key: data["clock"][key] for key in ("boot", "mono_ns")}
            for label in {"started", "ended"} & data.keys():
                assert LABEL.fullmatch(data.pop(label))
            told.append((event.id, event.type, event.subject, event.shopper, data))
        for row in engine.changed_rows():
            rows.pop((row.kind, row.key), None)
            if not row.deletes:
                rows[row.kind, row.key] = row
    Engine.restore(engine.snapshot())
    return told


def shifted(items, jumps):
    """Return the inputs under another UTC, which jumps at these places."""
    jumps = sorted(((int(place * len(items)), how, trust) for place, how, trust in jumps))
    shift_ns, trusted, result = 0, True, []
    for number, item in enumerate(items):
        while jumps and jumps[0][0] <= number:
            _, (how, ns), trusted = jumps.pop(0)
            shift_ns = shift_ns + ns if how == "by" else ns - item.at.utc_ns
        at = msgspec.structs.replace(item.at, utc_ns=item.at.utc_ns + shift_ns, utc_trusted=trusted)
        item = msgspec.structs.replace(item, at=at)  # noqa: PLW2901
        if isinstance(item, GatewayGap):
            since_ns = result[-2].at.utc_ns
            item = msgspec.structs.replace(item, since_utc_ns=since_ns)  # noqa: PLW2901
        result.append(item)
    return result


@settings(max_examples=12, deadline=None)
@given(JUMPS)
@example([(0.2, ("by", 3_600 * S), True), (0.6, ("by", -3_600 * S), True)])
@example([(0.0, ("to", 10**21), True), (0.3, ("to", -(10**21)), False), (0.8, ("to", 0), True)])
@example([(0.5, ("by", 10 * YEAR_S * S), True)])
def test_under_another_utc_the_same_happens_under_the_same_names(lived, jumps):
    """Ids, subjects and data are the same, whatever UTC does, at whatever input."""
    assert folded(shifted(lived, jumps)) == folded(lived)


@given(st.integers(-(10**22), 10**22))
@example(-62_135_596_800 * S)
@example(-62_135_596_800 * S - 1)
@example(253_402_300_800 * S - 1)
@example(253_402_300_800 * S)
def test_every_moment_has_a_label(utc_ns):
    label = rfc3339(utc_ns)
    assert LABEL.fullmatch(label)
    clamped_us = min(max(utc_ns // 1_000_000, -62_135_596_800_000), 253_402_300_799_999) * 1_000
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=clamped_us)
    assert datetime.fromisoformat(label) == moment


def test_without_ntp_for_days_everything_works_and_says_so():
    scene = Wrong(start=False)
    scene.untrusted(-YEAR_S)
    scene.start()
    for day in range(4):
        scene.run(2.0)
        session = scene.enter(f"anna-{day}")
        scene.act(f"anna-{day}", {"g1.s1.p2": -240.0})
        scene.leave(f"anna-{day}")
        assert scene.receipt(session) == {TEA: 1}
        scene.weights_g["g1.s1.p2"] += 240.0
        scene.silent = {*scene.layout.devices}
        scene.now_ns += 86_400 * S
        scene.run(1.0)
        scene.silent = set()
    assert not any(made.data["clock"]["utc_trusted"] for made in scene.events)
    assert scene.named("clock.stepped") == []
    assert len(scene.state.tokens) == 4  # None is forgotten while nobody knows the time.


# A reboot: the monotonic clock begins again, and UTC is all that is left


def test_downtime_over_a_reboot_is_told_by_utc(shopping):
    shopping.weights_g["g1.s1.p3"] -= 390.0
    died = shopping.stamp()
    shopping.restart(7_200.0, reboot=True)
    assert shopping.now_ns < died.mono_ns
    shopping.run(3.0)
    [unattended] = [made for made in shopping.events if made.name == "shelf.changed-unattended"]
    assert unattended.data["reason"] == "gateway-down"
    [review] = shopping.named("review.requested")
    assert review["started"] == rfc3339(died.utc_ns)
    assert review["ended"] > review["started"]
    assert shopping.named("clock.stepped") == []  # Offsets of two boots compare with nothing.


@pytest.mark.parametrize("back_s", [60.0, 3_600.0, 50 * YEAR_S, 1e12])
def test_a_clock_set_back_over_a_reboot_gives_no_downtime_and_loses_nothing(shopping, back_s):
    shopping.weights_g["g1.s1.p3"] -= 390.0
    since = shopping.stamp()
    shopping.restart(reboot=True, started=False)
    shopping.utc_shift_ns -= int(back_s * S)
    shopping.start("e")
    began = shopping.stamp()
    shopping.give(gap(shopping, since))
    shopping.run(3.0)
    [review] = shopping.named("review.requested")
    assert (review["reason"], review["started"]) == ("gateway-down", rfc3339(began.utc_ns))
    [unattended] = shopping.named("shelf.changed-unattended")
    assert unattended["weights"][0]["delta_g"] == pytest.approx(-390.0, abs=3.0)


@pytest.mark.parametrize("since_utc_ns", [-(10**21), 0, 10**21])
def test_a_downtime_of_many_centuries_overflows_nothing(shopping, since_utc_ns):
    shopping.weights_g["g1.s1.p3"] -= 390.0
    since = shopping.stamp()
    shopping.restart(reboot=True, started=False)
    shopping.start("e")
    shopping.give(gap(shopping, since, since_utc_ns=since_utc_ns))
    shopping.run(3.0)
    [unattended] = shopping.named("shelf.changed-unattended")
    assert unattended["reason"] == "gateway-down"


def test_a_cart_waits_for_what_settles_after_a_reboot(shopping):
    """Then the plates have been moving since before the clock began."""
    shopping.run(1.0)
    shopping.restart(600.0, reboot=True)
    shopping.silent = {"shelf/g2.s1"}
    for n in range(4):  # Something rolls to and fro while the person goes.
        shopping.weights_g["g1.s1.p3"] = 3_000.0 + (60.0 if n % 2 else -60.0)
        shopping.run(0.2)
    shopping.bodies["anna"].floor_mm = EXIT_MM
    shopping.run(0.2)
    del shopping.bodies["anna"]
    for n in range(20):
        shopping.weights_g["g1.s1.p3"] = 3_000.0 + (60.0 if n % 2 else -60.0)
        shopping.run(0.2)
    assert shopping.named("cart.closed") == []
    shopping.weights_g["g1.s1.p3"] = 3_000.0 - 390.0
    shopping.run(6.0)
    [review] = shopping.named("review.requested")
    assert review["sessions"] == [shopping.anna]
    [cart] = shopping.named("cart.closed")
    assert cart["open"] == [review["review"]]
    assert review["candidates"][0]["acts"][0]["gtin"] == JAM


# Replayed tokens

TOKEN_LIFE_S = 420
"""The longest life of a token with the widest skew: what the verifier at the edge allows."""
MOVES = st.one_of(
    st.tuples(st.just("issue"), st.none()),
    st.tuples(st.just("show"), st.integers(0, 9)),
    st.tuples(st.just("wait"), st.sampled_from([20, 400, 1_800, 3_700, 90_000])),
    st.tuples(st.just("jump"), OFFSETS_S),
    st.tuples(st.just("trust"), st.booleans()),
    st.tuples(st.just("restart"), st.just(1.0)),
)


class Gate(Wrong):
    """Tokens are issued at the right time, and scanned at whatever time the gateway has."""

    def __init__(self):
        super().__init__()
        self.silent = set(self.layout.devices)
        self.tokens = []

    def issue(self, _=None):
        right_ns = self.stamp().utc_ns - self.wrong_ns
        self.tokens.append(right_ns + TOKEN_LIFE_S * S)

    def show(self, number):
        """Hold a token before the scanner; the edge refuses it once it has expired."""
        if number >= len(self.tokens) or self.stamp().utc_ns > self.tokens[number]:
            return []
        shopper, expires_utc_ns = f"s{number}", self.tokens[number]
        return self.scan(shopper, token=f"t{number}", expires_utc_ns=expires_utc_ns)

    def wait(self, seconds):
        self.now_ns += seconds * S
        self.run(0.2)

    def jump(self, seconds):
        self.wrong_ns += int(seconds * S)
        self.run(0.1)

    def trust(self, whether):
        self.utc_trusted = whether  # Also while it is wrong.


@settings(max_examples=80, deadline=None)
@given(st.lists(MOVES, min_size=4, max_size=25))
@example(
    [
        ("issue", None),
        ("show", 0),
        ("jump", 10 * YEAR_S),
        ("wait", 3_700),
        ("jump", -10 * YEAR_S),
        ("jump", -3_600),
        ("show", 0),
    ]
)
@example([("issue", None), ("show", 0), ("wait", 3_700), ("restart", 1.0), ("jump", -3_600)] * 2)
def test_no_clock_lets_a_token_open_twice(moves):
    gate = Gate()
    for move, value in moves:
        getattr(gate, move)(value)
    for number in range(len(gate.tokens)):
        gate.show(number)
    opened = [made.event.shopper for made in gate.events if made.name == "session.started"]
    assert len(set(opened)) == len(opened)
    # And a token that was issued just now opens, once the time is right.
    gate.ntp()
    gate.now_ns += 1_800 * S
    gate.issue()
    assert "session.started" in names(gate.show(len(gate.tokens) - 1))


def test_a_mark_that_had_to_make_room_opens_no_door_again(monkeypatch, scene):
    monkeypatch.setattr(sessions, "TOKENS_MAX", 3)
    for number in range(6):
        scene.now_ns += 600 * S
        scene.scan(f"s{number}", token=f"t{number}", expires_s=420.0)
    assert len(scene.state.tokens) == 3
    [shown] = [one for _, one in scene.inputs if getattr(one, "shopper", None) == "s2"]
    expires_utc_ns = shown.expires_utc_ns
    assert scene.scan("s2", token="t2", expires_utc_ns=expires_utc_ns) == []
    scene.restart()
    assert scene.scan("s2", token="t2", expires_utc_ns=expires_utc_ns) == []
    assert "session.started" in names(scene.scan("s7", token="t7", expires_s=420.0))
