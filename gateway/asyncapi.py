# SPDX-License-Identifier: Apache-2.0
"""Both contracts as documents: an AsyncAPI 3 description and a JSON Schema for each event.

Everything is generated from the structures that the code itself reads and writes::

    python -m gateway.asyncapi > asyncapi.json   # the document
    python -m gateway.asyncapi --write           # docs/asyncapi.json and gateway/schemas/

Schemas are JSON Schema draft 07, which is what AsyncAPI 3 builds upon.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterable
from importlib import resources
from pathlib import Path
from typing import Any, Final, get_args

import msgspec

from drivers.instore import codec
from drivers.instore.driver import SUBSCRIPTIONS
from gateway import schema_docs, upstream_desk, upstream_status
from gateway.domain import commands, events
from gateway.domain.event_types import type_of
from gateway.upstream_inputs import COMMAND_ID
from gateway.version import VERSION

Json = dict[str, Any]

DRAFT: Final = "http://json-schema.org/draft-07/schema#"
ENVELOPE: Final = "cloudevent"
CLOUDEVENTS_TYPE: Final = "application/cloudevents+json"
BINDING: Final = "0.2.0"

COMMANDS: Final[dict[str, type[msgspec.Struct]]] = {
    "planogram": commands.PlanogramCommand,
    "prices": commands.PricesCommand,
    "review": commands.ReviewCommand,
    "backfill": commands.BackfillCommand,
    "erase": commands.EraseCommand,
    "zero": commands.KeyCommand,
    "tare": commands.KeyCommand,
}

_ID: Final[Json] = {"type": "string", "pattern": "^[0-9a-f]{32}$"}
_SEQUENCE: Final[Json] = {"type": "string", "pattern": "^[0-9]{20}$"}
_TIME: Final[Json] = {"type": "string", "format": "date-time"}

PARAMETERS: Final = {
    "store": "Name of the store, as in its store file.",
    "gateway": "Name of the gateway, as in its settings.",
    "shelf": "Name of the shelf.",
    "camera": "Name of the camera.",
    "scanner": "Name of the scanner.",
    "door": "Name of the door.",
    "kind": "`shelf`, `camera`, `scanner` or `door`.",
    "name": "Name of the device.",
    "command": "The command's id.",
}


def envelope_schema() -> Json:
    """Return the schema of the CloudEvent around every event's data."""
    properties: Json = {
        "specversion": {"const": "1.0"},
        "id": {**_ID, "description": "Stable; with `source` the key that drops repeats."},
        "source": {
            "type": "string",
            "pattern": "^urn:shelfgate:[^:]+:[^:]+$",
            "description": "`urn:shelfgate:<store>:<gateway>`.",
        },
        "type": {"enum": [type_of(event.NAME) for event in events.ALL]},
        "subject": {"type": "string", "minLength": 1},
        "time": {**_TIME, "description": "When it happened."},
        "datacontenttype": {"const": "application/json"},
        "dataschema": {"enum": [schema_id(event.NAME) for event in events.ALL]},
        "sequence": {**_SEQUENCE, "description": "Contiguous from 0 within `epoch`."},
        "epoch": {**_ID, "description": "One start of the daemon: 128 random bits."},
        "recordedtime": {**_TIME, "description": "When it was committed."},
        "delivery": {
            "enum": ["online", "queued"],
            "description": "Whether the link was up when it was committed.",
        },
        "data": {"type": "object"},
    }
    return {
        "$schema": DRAFT,
        "$id": schema_id(ENVELOPE),
        "title": "CloudEvent",
        "description": "CloudEvents 1.0 in JSON, structured mode.",
        "type": "object",
        "properties": properties,
        "required": list(properties),
    }


def schema_id(name: str) -> str:
    """Return the ``dataschema`` of an event."""
    return f"urn:shelfgate:schema:{name}:1"


def build_schemas() -> dict[str, Json]:
    """Return the envelope's schema and that of each event's data, by name."""
    schemas = {ENVELOPE: envelope_schema()}
    for event in events.ALL:
        (top,), parts = _components([event], "#/definitions/{name}")
        own = parts.pop(top["$ref"].rpartition("/")[2])
        schemas[event.NAME] = {
            "$schema": DRAFT,
            "$id": schema_id(event.NAME),
            **own,
            **({"definitions": parts} if parts else {}),
        }
    return schemas


def event_schema(name: str) -> Json:
    """Return the shipped JSON Schema of an event's ``data``, or of ``cloudevent``.

    Args:
        name: For example ``item.picked``.

    Raises:
        KeyError: There is no such event.
    """
    if name != ENVELOPE and all(name != event.NAME for event in events.ALL):
        raise KeyError(name)
    text = resources.files("gateway").joinpath("schemas", f"{name}.json").read_text("utf-8")
    schema: Json = json.loads(text)
    return schema


def build_document() -> Json:
    """Return the AsyncAPI document of the in-store and the upstream contract."""
    document = _Document()
    _in_store(document)
    _upstream(document)
    return {
        "asyncapi": "3.1.0",
        "info": {
            "title": "shelfgate",
            "version": VERSION,
            "description": (
                "What a store's devices send to the gateway (in-store), and what the gateway "
                "exchanges with an integrator's service (upstream). Operations are the gateway's: "
                "`receive` is what it subscribes to. Unknown extra fields are to be ignored."
            ),
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "inStore": _server("in-store.example:1883", "The broker that the devices share."),
            "upstream": _server("upstream.example:8883", "The integrator's broker.", secure=True),
        },
        "channels": document.channels,
        "operations": document.operations,
        "components": {"messages": document.messages, "schemas": _schemas()},
    }


def _server(host: str, description: str, *, secure: bool = False) -> Json:
    return {
        "host": host,
        "protocol": "secure-mqtt" if secure else "mqtt",
        "protocolVersion": "5.0",
        "description": f"{description} MQTT 5 or 3.1.1.",
    }


class _Document:
    """Channels, operations and messages as they come together."""

    def __init__(self) -> None:
        self.channels: Json = {}
        self.operations: Json = {}
        self.messages: Json = {}

    def add(
        self,
        name: str,
        address: str,
        *,
        action: str,
        server: str,
        payload: Json,
        summary: str,
        qos: int = 1,
        description: str | None = None,
        retain: bool = False,
        content_type: str = "application/json",
        reply: str | None = None,
    ) -> None:
        """Add one channel with its message and its operation."""
        self.messages[name] = {
            "name": name,
            "summary": summary,
            "contentType": content_type,
            "payload": payload,
        }
        keys = [part[1:-1] for part in address.split("/") if part.startswith("{")]
        self.channels[name] = {
            "address": address,
            "servers": [{"$ref": f"#/servers/{server}"}],
            "messages": {name: {"$ref": f"#/components/messages/{name}"}},
            "parameters": {key: {"description": PARAMETERS[key]} for key in keys},
        }
        operation: Json = {
            "action": action,
            "channel": {"$ref": f"#/channels/{name}"},
            "summary": summary,
            "messages": [{"$ref": f"#/channels/{name}/messages/{name}"}],
            "bindings": {"mqtt": {"qos": qos, "retain": retain, "bindingVersion": BINDING}},
        }
        if description is not None:
            operation["description"] = description
        if reply is not None:
            operation["reply"] = {
                "channel": {"$ref": f"#/channels/{reply}"},
                "messages": [{"$ref": f"#/channels/{reply}/messages/{reply}"}],
            }
        self.operations[f"{action}{name[0].upper()}{name[1:]}"] = operation


def _in_store(document: _Document) -> None:
    root = "shelfgate/v1/{store}"
    qos = dict(SUBSCRIPTIONS)
    receive: list[tuple[str, str, type[msgspec.Struct], str]] = [
        ("shelfSamples", "shelf/{shelf}/samples", codec.SamplesPayload, "Weights of a shelf."),
        ("cameraPeople", "camera/{camera}/people", codec.PeoplePayload, "People in one frame."),
        ("scannerScan", "scanner/{scanner}/scan", codec.ScanPayload, "What a scanner read."),
        ("doorState", "door/{door}/state", codec.DoorPayload, "Whether a door is open."),
    ]
    for name, address, payload, summary in receive:
        subscribed = qos[re.sub(r"{\w+}", "+", address)]
        document.add(
            name,
            f"{root}/{address}",
            action="receive",
            server="inStore",
            payload=_ref(payload.__name__),
            summary=summary,
            qos=subscribed,
            description=None if subscribed else "Devices publish at QoS 0 or 1.",
        )
    document.add(
        "deviceStatus",
        f"{root}/{{kind}}/{{name}}/status",
        action="receive",
        server="inStore",
        payload=_ref(codec.StatusPayload.__name__),
        summary="Birth and will of a device.",
        qos=qos["+/+/status"],
        retain=True,
    )
    document.add(
        "doorOpen",
        f"{root}/door/{{door}}/open",
        action="send",
        server="inStore",
        payload={
            "type": "object",
            "properties": {
                "v": {"const": 1},
                "effect": {"type": "string", "description": "Id of the effect."},
            },
            "required": ["v", "effect"],
        },
        summary="Asks a door to open, at most once for each effect.",
    )


def _upstream(document: _Document) -> None:
    root = "shelfgate/v1/{store}/{gateway}"
    for event in events.ALL:
        document.add(
            _camel(event.NAME),
            f"{root}/events/{event.NAME}",
            action="send",
            server="upstream",
            payload={
                "allOf": [
                    _ref("CloudEvent"),
                    {
                        "properties": {
                            "type": {"const": type_of(event.NAME)},
                            "dataschema": {"const": schema_id(event.NAME)},
                            "data": _ref(event.__name__),
                        }
                    },
                ]
            },
            summary=_first_line(event),
            content_type=CLOUDEVENTS_TYPE,
        )
    document.add(
        "gatewayStatus",
        f"{root}/status",
        action="send",
        server="upstream",
        payload=_ref(upstream_status.Status.__name__),
        summary="Birth and will of the gateway.",
        retain=True,
    )
    document.add(
        "acknowledged",
        f"{root}/ack",
        action="receive",
        server="upstream",
        payload=_ref("Acknowledged"),
        summary="What the integrator has stored; cumulative and contiguous within each epoch.",
        retain=True,
    )
    document.add(
        "reply",
        f"{root}/replies/{{command}}",
        action="send",
        server="upstream",
        payload=_ref(upstream_desk.ReplyMessage.__name__),
        summary="Answer to a command.",
    )
    for name, command in COMMANDS.items():
        document.add(
            f"{name}Command",
            f"{root}/commands/{name}",
            action="receive",
            server="upstream",
            payload=_ref(command.__name__),
            summary=_first_line(command),
            reply="reply",
        )


def _schemas() -> Json:
    payloads: list[type[msgspec.Struct]] = [
        codec.SamplesPayload,
        codec.PeoplePayload,
        codec.ScanPayload,
        codec.DoorPayload,
        codec.StatusPayload,
        upstream_status.Status,
        upstream_desk.ReplyMessage,
    ]
    _, parts = _components([*payloads, *COMMANDS.values(), *events.ALL], _REF)
    command_id = {"type": "string", "pattern": f"^{COMMAND_ID}$"}
    parts[upstream_desk.ReplyMessage.__name__]["properties"]["id"] = command_id
    for command in {command.__name__ for command in COMMANDS.values()}:  # Two may be made alike.
        schema = parts[command]
        schema["properties"]["id"] = {
            **command_id,
            "description": "Names the command; a repeat is answered and not done again.",
        }
        schema["required"] = [*schema["required"], "id"]
    parts[upstream_status.Status.__name__]["properties"]["v"] = {"const": 1}
    envelope = envelope_schema()
    del envelope["$schema"], envelope["$id"]
    return {**parts, "CloudEvent": envelope, **_LINK_SCHEMAS}


_REF: Final = "#/components/schemas/{name}"

_LINK_SCHEMAS: Final[Json] = {
    "Acknowledged": {
        "title": "Acknowledged",
        "type": "object",
        "properties": {
            "acknowledged": {
                "type": "object",
                "description": "Last sequence stored, by epoch; everything up to it is stored.",
                "propertyNames": {"pattern": "^[0-9a-f]{32}$"},
                "additionalProperties": _SEQUENCE,
            }
        },
        "required": ["acknowledged"],
    },
}


def _components(
    types: Iterable[type[msgspec.Struct]], template: str
) -> tuple[tuple[Json, ...], Json]:
    classes = list(types)
    tops, parts = msgspec.json.schema_components(classes, ref_template=template)
    described: Json = {name: _draft_07(part) for name, part in parts.items()}
    for cls in classes:  # msgspec calls a field required that may be left unset.
        unset = {
            field.encode_name
            for field in msgspec.structs.fields(cls)
            if msgspec.UnsetType in get_args(field.type)
        }
        required = described[cls.__name__].get("required", [])
        required[:] = [name for name in required if name not in unset]
    for name, texts in schema_docs.field_texts().items():
        for key, text in texts.items():
            field = described.get(name, {}).get("properties", {}).get(key)
            if field is not None and "$ref" not in field:
                field["description"] = text
    return tops, described


def _draft_07(node: Any) -> Any:  # noqa: ANN401 - any JSON.
    """Rewrite what msgspec writes in draft 2020-12 (tuples) and as docstrings."""
    if isinstance(node, list):
        return [_draft_07(item) for item in node]
    if not isinstance(node, dict):
        return node
    node = {key: _draft_07(value) for key, value in node.items()}
    if isinstance(node.get("description"), str):
        node["description"] = schema_docs.for_json(node["description"])
    if "prefixItems" in node:
        node["items"] = node.pop("prefixItems")
        node["additionalItems"] = False
    return node


def _ref(name: str) -> Json:
    return {"$ref": _REF.format(name=name)}


def _camel(name: str) -> str:
    first, *rest = name.replace("-", ".").split(".")
    return first + "".join(word.capitalize() for word in rest)


def _first_line(thing: Callable[..., object]) -> str:
    return (thing.__doc__ or "").strip().partition("\n")[0]


def render(document: Json) -> str:
    """Return a document as it is kept in a file."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def write(root: Path) -> None:
    """Write the document and the schemas into a checkout."""
    (root / "docs" / "asyncapi.json").write_text(render(build_document()), "utf-8")
    folder = root / "gateway" / "schemas"
    folder.mkdir(exist_ok=True)
    schemas = build_schemas()
    for stale in folder.glob("*.json"):
        if stale.stem not in schemas:
            stale.unlink()
    for name, schema in schemas.items():
        (folder / f"{name}.json").write_text(render(schema), "utf-8")


def main() -> None:
    """Print the document, or write it and the schemas into the checkout."""
    parser = argparse.ArgumentParser(
        prog="python -m gateway.asyncapi", description="Describe both contracts in AsyncAPI 3."
    )
    parser.add_argument("--write", action="store_true", help="write into this checkout instead")
    if parser.parse_args().write:
        write(Path(__file__).parent.parent)
    else:
        sys.stdout.write(render(build_document()))


if __name__ == "__main__":
    main()
