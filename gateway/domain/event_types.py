# SPDX-License-Identifier: Apache-2.0
"""An event's name and its type: ``item.picked`` and ``org.shelfgate.item.picked.v1``."""


def type_of(name: str) -> str:
    """Return the type of events of a name."""
    return f"org.shelfgate.{name}.v1"


def name_of(event_type: str) -> str:
    """Return the name of events of a type."""
    return event_type.removeprefix("org.shelfgate.").removesuffix(".v1")
