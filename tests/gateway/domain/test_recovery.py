# SPDX-License-Identifier: Apache-2.0
"""A start on a database that was mended, restored or copied, or with rows that nobody can read."""

import msgspec
import pytest

from gateway.domain.inputs import Recovery, StateRow
from tests.gateway.domain.scene import CRISPS, JAM, TEA, names

COPIES = ["restored", "copied"]


def recovery(reason="restored", **changed):
    return Recovery(reason=reason, **changed)


@pytest.fixture
def doubt(shopping):
    """Return a scene with an open visit, a receipt under review, and an open review."""
    shopping.weights_g["g1.s1.p3"] -= 390.0
    shopping.restart(1.0)
    shopping.run(3.0)
    shopping.bodies["anna"].floor_mm = (1_500.0, -900.0)
    bert = shopping.enter("bert")
    shopping.act("bert", {"g1.s1.p2": -240.0})
    shopping.leave("anna")
    assert names(shopping.events).count("cart.closed") == 1
    shopping.bert = bert
    [shopping.review] = shopping.named("review.requested")
    shopping.before = len(shopping.events)
    return shopping


def since(scene, name):
    return [made.data for made in scene.events[scene.before :] if made.name == name]


@pytest.mark.parametrize("reason", COPIES)
def test_what_was_open_in_another_copy_ends_without_a_receipt(doubt, reason):
    doubt.restart(600.0, recovery=recovery(reason))
    [told] = since(doubt, "database.recovered")
    assert (told["reason"], told["complete"]) == (reason, True)
    assert told["sessions"] == [doubt.bert]
    assert told["reviews"] == [doubt.review["review"]]
    [ended] = since(doubt, "session.ended")
    assert (ended["session"], ended["reason"]) == (doubt.bert, "restored")
    assert names(doubt.events[doubt.before :])[:3] == [
        "gateway.started",
        "database.recovered",
        "session.ended",
    ]
    doubt.run(10.0)
    assert since(doubt, "cart.closed") == since(doubt, "cart.adjusted") == []
    [answer], made = doubt.command("review", {"review": told["reviews"][0], "acts": [], "by": "x"})
    assert (answer.status, made) == ("error", [])
    # Nor does any of it come back with the next start.
    assert not [kind for kind, _ in doubt.rows if kind in {"session", "closed", "review"}]


@pytest.mark.parametrize("reason", COPIES)
def test_weights_of_another_copy_compare_with_nothing(doubt, reason):
    doubt.weights_g["g1.s1.p0"] -= 150.0  # Somebody else has told it by now.
    doubt.restart(600.0, recovery=recovery(reason))
    doubt.run(4.0)
    assert since(doubt, "shelf.changed-unattended") == since(doubt, "review.requested") == []
    # What happens from now on is seen.
    del doubt.bodies["bert"]
    doubt.run(25.0)
    carl = doubt.enter("carl")
    doubt.act("carl", {"g1.s1.p0": -150.0})
    doubt.leave("carl")
    assert doubt.receipt(carl) == {CRISPS: 1}


@pytest.mark.parametrize("reason", COPIES)
def test_a_token_seen_in_the_other_copy_opens_nothing(doubt, reason):
    doubt.restart(1.0, recovery=recovery(reason))
    assert doubt.scan("anna") == []


def test_after_a_mended_database_everything_goes_on(doubt):
    told = recovery(
        "corrupt", set_aside="gateway.db.corrupt-1", events_kept=7, rows_kept=9, complete=False
    )
    doubt.weights_g["g1.s1.p0"] -= 150.0
    doubt.restart(1.0, recovery=told)
    [data] = since(doubt, "database.recovered")
    assert data.items() >= msgspec.to_builtins(told).items()
    assert (data["sessions"], data["reviews"]) == ([], [])
    doubt.run(3.0)
    [unattended] = since(doubt, "shelf.changed-unattended")
    assert unattended["reason"] == "gateway-down"
    doubt.leave("bert")
    assert doubt.receipt(doubt.bert) == {TEA: 1}
    act = {"session": doubt.anna, "gtin": JAM, "quantity": 1, "direction": "pick"}
    act |= {"plate": "g1.s1.p3", "probability": 1.0}
    doubt.command("review", {"review": doubt.review["review"], "acts": [act], "by": "x"})
    assert doubt.receipt(doubt.anna) == {TEA: 1, JAM: 1}


BAD = [
    ("session", "s", b'{"session":'),
    ("session", "s", b"\xff\xfe"),
    ("session", "s", b"7"),
    ("closed", "s", b"[]"),
    ("review", "r", b'{"id":"another"}'),
    ("holding", "g1.s1.p0", b'{"weighed_g":"heavy"}'),
    ("holding", "g1.s1.p0", b'{"weighed_g":1e308}'),
    ("holding", "g1.s1.p0", b'{"weighed_g":0.0,"empty_g":-1.7e308}'),
    ("holding", "g1.s1.p0", b'{"weighed_g":0.0,"stock":{"shares":[1.0],"carried_g":1.7e308}}'),
    ("token", "t", b"1.5"),
    ("command", "c", b"{}"),
    ("marks", "scanner/gate", b'{"marks":[' + b"[" * 2_000),
    ("store", "overrides", b"[1]"),
    ("clock", "told", b'"noon"'),
    ("horizon", "tokens", b'"x"'),
    ("product", TEA, b"0"),
    ("learned", TEA, b'{"catalogue_g":240.0,"mean_g":-1.0,"spread_g":3.0}'),
]


@pytest.mark.parametrize(("kind", "key", "value"), BAD)
def test_a_row_that_nobody_can_read_is_told_and_harms_nothing(shopping, kind, key, value):
    shopping.rows[kind, key] = StateRow(kind=kind, key=key, value=msgspec.Raw(value))
    before = len(shopping.events)
    shopping.restart()
    [dropped] = [made for made in shopping.events[before:] if made.name == "inputs.dropped"]
    told = {key: dropped.data[key] for key in ("device", "reason", "count")}
    assert told == {"device": "gateway/state", "reason": "undecodable", "count": 1}
    shopping.run(2.0)
    shopping.act("anna", {"g1.s1.p3": -390.0})
    shopping.leave()
    assert shopping.receipt(shopping.anna) == {TEA: 1, JAM: 1}


def test_rows_of_a_later_version_are_told_and_left_alone(shopping):
    for key in "ab":
        row = StateRow(kind="loyalty", key=key, value=msgspec.Raw(b"1"))
        shopping.rows["loyalty", key] = row
    shopping.restart()
    [dropped] = shopping.named("inputs.dropped")
    assert (dropped["reason"], dropped["count"]) == ("unknown-kind", 2)
    assert ("loyalty", "a") in shopping.rows


def test_a_row_under_another_name_is_not_taken(shopping):
    """Nothing would ever delete it: the visit would come back with each start."""
    row = shopping.rows["session", shopping.anna]
    shopping.rows["session", "x"] = StateRow(kind="session", key="x", value=row.value)
    shopping.restart()
    assert list(shopping.state.sessions) == [shopping.anna]
    assert [one["reason"] for one in shopping.named("inputs.dropped")] == ["undecodable"]


def test_a_planogram_that_does_not_fit_the_store_is_not_taken(scene):
    facings = [{"gtin": JAM, "plates": ["g1.s1.p3"]}]
    scene.command("planogram", {"facings": facings})
    row = scene.rows["store", "overrides"]
    broken = bytes(row.value).replace(b"g1.s1.p3", b"g9.s9.p9")
    scene.rows["store", "overrides"] = msgspec.structs.replace(row, value=msgspec.Raw(broken))
    scene.restart()
    assert scene.state.store.facings == scene.store.facings
    assert [one["reason"] for one in scene.named("inputs.dropped")] == ["undecodable"]
