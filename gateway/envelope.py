# SPDX-License-Identifier: Apache-2.0
"""The CloudEvent around an event: what is added at commit, and how to take it off again."""

from typing import Final

import msgspec

from gateway.domain.events import Event
from gateway.domain.output import rfc3339

SEQUENCE_DIGITS: Final = 20


class Source(msgspec.Struct, frozen=True):
    """Whose events these are."""

    store: str
    gateway: str

    @property
    def urn(self) -> str:
        """Return the CloudEvents ``source``."""
        return f"urn:shelfgate:{self.store}:{self.gateway}"


class _Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """A CloudEvent; ``data`` stays last, so that the shopper can be put into it."""

    specversion: str = "1.0"
    id: str
    source: str
    type: str
    subject: str
    time: str
    datacontenttype: str = "application/json"
    dataschema: str
    sequence: str
    epoch: str
    recordedtime: str
    delivery: str
    data: msgspec.Raw


def sequence_text(sequence: int) -> str:
    """Return a sequence as 20 digits, so that text sorts as numbers do."""
    return f"{sequence:0{SEQUENCE_DIGITS}d}"


def made_line(event: Event) -> bytes:
    """Return the engine's part of an event as canonical JSON: what a replay must reproduce."""
    return msgspec.json.encode(
        {
            "id": event.id,
            "type": event.type,
            "subject": event.subject,
            "time": event.time,
            "data": event.data,
        }
    )


def event_payload(
    event: Event,
    source: Source,
    *,
    epoch: str,
    sequence: int,
    utc_ns: int,
    online: bool,
) -> bytes:
    """Return the CloudEvent's JSON without ``data.shopper``.

    ``id``, ``type``, ``subject``, ``time`` and ``data`` are the engine's, byte for byte; the rest
    is added at commit and never changes after.
    """
    return msgspec.json.encode(
        _Envelope(
            id=event.id,
            source=source.urn,
            type=event.type,
            subject=event.subject,
            time=event.time,
            dataschema=f"urn:shelfgate:schema:{event.name}:1",
            sequence=sequence_text(sequence),
            epoch=epoch,
            recordedtime=rfc3339(utc_ns),
            delivery="online" if online else "queued",
            data=event.data,
        )
    )


def made_from_payload(payload: bytes) -> bytes:
    """Return the engine's part of a stored event: equal to ``made_line`` of the event."""
    envelope = msgspec.json.decode(payload, type=_Envelope)
    return made_line(
        Event(
            id=envelope.id,
            type=envelope.type,
            subject=envelope.subject,
            time=envelope.time,
            data=envelope.data,
        )
    )


def with_shopper(payload: bytes, shopper: str) -> bytes:
    """Return a stored CloudEvent with ``data.shopper`` put in."""
    assert payload.endswith(b"}}"), "data is an object and the last member"
    separator = b"" if payload.endswith(b"{}}") else b","
    return payload[:-2] + separator + b'"shopper":' + msgspec.json.encode(shopper) + b"}}"


def without_shopper(payload: bytes, shopper: str) -> bytes:
    """Return what ``with_shopper`` was given, if it put this shopper in; else the same."""
    named = b'"shopper":' + msgspec.json.encode(shopper) + b"}}"
    if not payload.endswith(named):
        return payload
    return payload.removesuffix(named).removesuffix(b",") + b"}}"
