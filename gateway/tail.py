# SPDX-License-Identifier: Apache-2.0
"""Events as a person reads them: one line each."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from gateway.domain.event_types import name_of

SHORT: Final = 6
RANGES_SHOWN: Final = 8
COLOURS: Final = {
    "session": "36",
    "item": "32",
    "cart": "1;32",
    "review": "33",
    "shelf": "33",
    "scan": "33",
    "device": "35",
    "gateway": "34",
    "planogram": "33",
    "product": "33",
    "attribution": "33",
}


def readable(payload: bytes, names: Mapping[str, str] = {}, *, colour: bool = False) -> str:
    """Return an event as one line: time, name, what happened.

    Args:
        payload: The CloudEvent, JSON.
        names: Product names by GTIN.
        colour: Whether to mark the name with terminal colours.
    """
    event = msgspec.json.decode(payload)
    name = name_of(event["type"])
    shown = f"{_printable(name):24}"
    if colour:
        code = COLOURS.get(name.partition(".")[0], "0")
        shown = f"\x1b[{code}m{shown}\x1b[0m"
    clock = _printable(event["time"][11:23])
    late = "  (queued)" if event.get("delivery") == "queued" else ""
    return f"{clock}  {shown} {_printable(_what(name, event['data'], names))}{late}"


def _printable(text: str) -> str:
    """Return a text that cannot command a terminal, whatever names came over a wire."""
    return "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text
    )


def _what(name: str, data: dict[str, Any], names: Mapping[str, str]) -> str:
    match name:
        case "session.started":
            who = data.get("shopper") or "unknown shopper"
            text = f"{_session(data['session'])} {who} came in at {data['scanner']}"
        case "item.picked" | "item.put-back" | "attribution.revised" | "review.resolved":
            text = f"{data['by']} decided: " if "by" in data else ""
            text += "; ".join(_act(act, names) for act in data["acts"]) or "nobody took anything"
        case "cart.closed" | "cart.adjusted":
            lines = ", ".join(
                f"{line['quantity']} x {line['name'] or line['gtin']}" for line in data["lines"]
            )
            note = f", {len(data['open'])} open" if data["open"] else ""
            text = f"{_session(data['session'])} {lines or 'nothing'}{note}"
        case "session.ended":
            text = f"{_session(data['session'])} {data['reason']}"
        case "review.requested" | "shelf.changed-unattended":
            felt = ", ".join(f"{one['plate']} {one['delta_g']:+.0f} g" for one in data["weights"])
            text = f"{felt}: {data['reason']}"
        case "planogram.ambiguous":
            pairs = [_alike(pair, names) for pair in data["pairs"]]
            text = "; ".join([*pairs, *([f"{data['more']} more pairs"] if data["more"] else [])])
        case "product.weight-drifted":
            text = (
                f"{data['name']} ({data['gtin']}): catalogue {data['catalogue_g']:g} g,"
                f" seen {data['learned_g']:g} g ± {data['error_g']:g} in {data['picks']} picks"
            )
            text += "" if data["drifted"] else ": no drift any more"
        case "product.scanned" | "scan.rejected":
            text = f"{data['scanner']}: {_scanned(data, names)}"
        case "events.dropped" | "plate.noise-changed" | "plate.unweighed":
            text = _BY_NAME[name](data)
        case _:
            hidden = {"store_version", "clock"}
            text = " ".join(f"{key}={value}" for key, value in data.items() if key not in hidden)
    return text


def _alike(pair: dict[str, Any], names: Mapping[str, str]) -> str:
    one, other = (
        f"{units['quantity']} x {names.get(units['gtin'], units['gtin'])}"
        for units in (pair["one"], pair["other"])
    )
    return f"{one} weighs like {other} at {', '.join(pair['plates'])}"


def _scanned(data: dict[str, Any], names: Mapping[str, str]) -> str:
    """Return what a code said, or why it is none."""
    if "reason" in data:
        return f"{data['code'] or 'a scan'}: {data['reason']}, {data['detail']}"
    units = {"quantity": "x", "weight_g": "g", "price": data["currency"] or "(price)"}
    beside = [f"{data[key]} {unit}" for key, unit in units.items() if data[key] is not None]
    beside += [f"{key} {data[key]}" for key in ("lot", "expiry") if data[key] is not None]
    return ", ".join([names.get(data["gtin"], data["code"]), *beside])


def _gone(data: dict[str, Any]) -> str:
    """Return which events are gone, and why."""
    ends = [(int(one["first"]), int(one["last"])) for one in data["ranges"]]
    parts = [str(first) if first == last else f"{first}-{last}" for first, last in ends]
    if len(parts) > RANGES_SHOWN:
        parts[RANGES_SHOWN:] = [f"and {len(parts) - RANGES_SHOWN} more ranges"]
    plural = "" if data["count"] == 1 else "s"
    epoch = f"{data['epoch'][:SHORT]}\N{HORIZONTAL ELLIPSIS}"
    return f"{data['count']} event{plural} of epoch {epoch}: {', '.join(parts)}; {data['reason']}"


def _trembling(data: dict[str, Any]) -> str:
    more = "more than usual" if data["restless"] else "as usual again"
    felt = f"{data['noise_g']:g} g, usually {data['usual_g']:g} g"
    return f"{data['plate']} trembles {more}: {felt}"


def _unweighed(data: dict[str, Any]) -> str:
    what = "no stable weight for minutes" if data["unweighed"] else "weighs again"
    return f"{data['plate']}: {what}"


_BY_NAME: Final = {
    "events.dropped": _gone,
    "plate.noise-changed": _trembling,
    "plate.unweighed": _unweighed,
}


def _session(name: str) -> str:
    return f"[{name[:SHORT]}]"


def _act(act: dict[str, Any], names: Mapping[str, str]) -> str:
    who = _session(act["session"]) if act["session"] else "somebody"
    product = names.get(act["gtin"], act["gtin"])
    where = f"{act['plate']}, where it does not belong" if act["misplaced"] else act["plate"]
    verb = "took" if act["direction"] == "pick" else "put back"
    return f"{who} {verb} {act['quantity']} x {product} at {where} ({act['probability']:.0%})"
