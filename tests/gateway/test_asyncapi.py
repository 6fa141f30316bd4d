# SPDX-License-Identifier: Apache-2.0
"""The documents of both contracts: up to date, valid, and true of what the code writes."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest
from jsonschema import Draft7Validator

from gateway import asyncapi
from gateway.domain import events
from gateway.envelope import Source, event_payload, with_shopper
from tests.schema_check import check_data, check_event

ROOT = Path(__file__).parents[2]
PARSER = ROOT / ".venv" / "asyncapi"
REMEDY = "run .venv/bin/python -m gateway.asyncapi --write"

CLOCK = events.Clock("boot-1", 12_345, utc_trusted=False, utc_error_ms=None)
BASE = {"store_version": "74e2c83dfc9b9401", "clock": CLOCK}
ACT = events.Act("s-1", "09521321123458", 1, "pick", "g1.s1.p1", 0.97)


def picked():
    return events.ItemPicked(
        **BASE,
        change="c-1",
        revision=0,
        acts=[ACT],
        weights=[events.PlateDelta("g1.s1.p1", -412.3, 1.2, None)],
        started="2026-11-21T16:19:58.412Z",
        ended="2026-11-21T16:19:59.000Z",
    )


def event_of(data, shopper=None):
    return events.Event(
        id=events.event_id("gw-1", "0" * 32, 7, 0),
        type=f"org.shelfgate.{data.NAME}.v1",
        subject="plate/g1.s1.p1",
        time="2026-11-21T16:19:58.412Z",
        data=msgspec.Raw(msgspec.json.encode(data)),
        shopper=shopper,
    )


def payload_of(event):
    return event_payload(
        event,
        Source("demo", "gw-1"),
        epoch="ab" * 16,
        sequence=41,
        utc_ns=1_795_278_000_123_456_789,
        online=True,
    )


def test_the_document_in_docs_is_the_one_that_the_code_makes():
    kept = (ROOT / "docs" / "asyncapi.json").read_text("utf-8")
    assert kept == asyncapi.render(asyncapi.build_document()), REMEDY


def test_the_shipped_schemas_are_those_that_the_code_makes():
    kept = {path.stem: path.read_text("utf-8") for path in (ROOT / "gateway/schemas").glob("*")}
    made = asyncapi.build_schemas()
    assert kept == {name: asyncapi.render(schema) for name, schema in made.items()}, REMEDY


def test_every_event_has_a_schema_and_a_channel():
    document = asyncapi.build_document()
    addresses = {channel["address"] for channel in document["channels"].values()}
    for event in events.ALL:
        Draft7Validator.check_schema(asyncapi.event_schema(event.NAME))
        assert f"shelfgate/v1/{{store}}/{{gateway}}/events/{event.NAME}" in addresses


def test_the_document_tells_what_the_gateway_subscribes_to_and_takes():
    document = asyncapi.build_document()
    qos = {
        name: operation["bindings"]["mqtt"]["qos"]
        for name, operation in document["operations"].items()
    }
    streams = {name for name, level in qos.items() if level == 0}
    assert streams == {"receiveShelfSamples", "receiveCameraPeople"}
    assert set(qos.values()) == {0, 1}
    schemas = document["components"]["schemas"]
    for name in ("PlanogramCommand", "EraseCommand", "ReplyMessage"):
        check = Draft7Validator(schemas[name]["properties"]["id"])
        assert check.is_valid("a.B_c-9")
        for wrong in ("", "a b", "a/b", "a" * 129, 7):
            assert not check.is_valid(wrong)


def test_an_event_that_does_not_exist_has_no_schema():
    with pytest.raises(KeyError):
        asyncapi.event_schema("../cloudevent")


def test_every_reference_in_the_document_leads_somewhere():
    document = asyncapi.build_document()

    def references(node):
        if isinstance(node, dict):
            for key, value in node.items():
                if key == "$ref":
                    yield value
                else:
                    yield from references(value)
        elif isinstance(node, list):
            for item in node:
                yield from references(item)

    found = list(references(document))
    assert found
    for reference in found:
        node = document
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]


def test_a_committed_event_fits_its_schema():
    event = check_event(payload_of(event_of(picked())))
    assert event["data"]["acts"][0]["gtin"] == "09521321123458"


@pytest.mark.parametrize(
    ("key", "value"),
    [("sequence", "41"), ("delivery", "late"), ("epoch", "xyz"), ("surplus", 1)],
)
def test_an_envelope_that_is_wrong_is_told(key, value):
    event = json.loads(payload_of(event_of(picked())))
    event[key] = value
    with pytest.raises(AssertionError, match="cloudevent"):
        check_event(json.dumps(event))


def test_data_that_is_wrong_is_told():
    data = json.loads(msgspec.json.encode(picked()))
    data["acts"][0]["quantity"] = "1"
    with pytest.raises(AssertionError, match=r"acts\.0\.quantity"):
        check_data("item.picked", json.dumps(data))


def test_a_key_that_comes_twice_is_told():
    payload = payload_of(event_of(picked())).replace(b'"change":', b'"revision":1,"change":', 1)
    with pytest.raises(AssertionError, match="a key twice"):
        check_event(payload)


def test_the_shopper_that_is_put_in_at_publication_fits_the_schema():
    data = events.SessionStarted(**BASE, session="s-1", scanner="entry", person=None)
    stored = payload_of(event_of(data))
    assert "shopper" not in check_event(stored)["data"]
    assert check_event(with_shopper(stored, "anna"))["data"]["shopper"] == "anna"


def test_the_document_is_valid_for_the_asyncapi_projects_own_parser():
    node = shutil.which("node")
    if node is None or not (PARSER / "node_modules").is_dir():
        reason = "AsyncAPI parser: not installed. Install npm, then run make asyncapi"
        assert "CI" not in os.environ, reason
        pytest.skip(reason)
    script = ROOT / ".ci" / "asyncapi" / "validate.cjs"
    done = subprocess.run(
        [node, script, PARSER, ROOT / "docs" / "asyncapi.json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "valid: AsyncAPI 3" in done.stdout


def test_an_invalid_document_is_refused_by_the_parser(tmp_path):
    node = shutil.which("node")
    if node is None or not (PARSER / "node_modules").is_dir():
        pytest.skip("AsyncAPI parser: not installed. Install npm, then run make asyncapi")
    document = asyncapi.build_document()
    document["operations"]["sendItemPicked"]["action"] = "shout"
    path = tmp_path / "asyncapi.json"
    path.write_text(json.dumps(document))
    script = ROOT / ".ci" / "asyncapi" / "validate.cjs"
    done = subprocess.run(
        [node, script, PARSER, path], capture_output=True, check=False, timeout=50
    )
    assert done.returncode == 1
