# SPDX-License-Identifier: Apache-2.0
"""Hold an event against its schema, more strictly than a consumer has to."""

import json
from functools import cache

from jsonschema import Draft7Validator, FormatChecker

from gateway.asyncapi import event_schema
from gateway.domain.event_types import name_of


def check_event(payload):
    """Return the CloudEvent in ``payload``; raise ``AssertionError`` where it breaks its schema.

    Beyond the schema, no field may be there that the schema does not name, and no key twice.
    """
    event = json.loads(payload, object_pairs_hook=_object_without_repeats)
    _check("cloudevent", event)
    name = name_of(event["type"])
    assert event["dataschema"] == f"urn:shelfgate:schema:{name}:1"
    _check(name, event["data"])
    return event


def check_data(name, data):
    """Raise ``AssertionError`` where an event's data breaks its schema."""
    _check(name, json.loads(data, object_pairs_hook=_object_without_repeats))


def _check(name, value):
    problems = [
        f"{name} {'.'.join(map(str, error.path))}: {error.message}"
        for error in _validator(name).iter_errors(value)
    ]
    assert not problems, problems


@cache
def _validator(name):
    schema = _closed(event_schema(name))
    Draft7Validator.check_schema(schema)
    return Draft7Validator(schema, format_checker=FormatChecker())


def _closed(node):
    """Refuse unknown fields; a consumer ignores them, our own tests do not."""
    if isinstance(node, list):
        return [_closed(item) for item in node]
    if not isinstance(node, dict):
        return node
    node = {key: _closed(value) for key, value in node.items()}
    if node.get("type") == "object" and node.get("properties"):
        node.setdefault("additionalProperties", False)
    return node


def _object_without_repeats(pairs):
    keys = [key for key, _ in pairs]
    assert len(keys) == len(set(keys)), f"a key twice: {sorted(keys)}"
    return dict(pairs)
