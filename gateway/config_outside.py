# SPDX-License-Identifier: Apache-2.0
"""Settings of devices whose drivers come from other packages: what ``driver`` may say besides."""

from typing import Any

from drivers import outside, registry
from gateway.config_read import nearest
from gateway.config_toml import Document, Problems, Where


def outside_drivers(document: Document, problems: Problems) -> dict[str, type[Any] | None]:
    """Import the drivers of other packages that ``[[device]]`` tables name, and no others.

    Args:
        document: The settings file.
        problems: Takes what is wrong with them, each at the first table that names it.

    Returns:
        The class of their tables' settings by the driver's name; None: it cannot be used.
    """
    found: dict[str, type[Any] | None] = {}
    tables = document.data.get("device")
    for index, table in enumerate(tables if isinstance(tables, list) else []):
        name = table.get("driver") if isinstance(table, dict) else None
        if not isinstance(name, str) or name in found or name in registry.NAMES:
            continue
        try:
            found[name] = outside.find(name).config
        except outside.OutsideError as error:
            found[name] = None
            slip = isinstance(error, outside.NoDriverError)
            remedy = nearest(name, registry.NAMES) if slip else error.remedy
            problems.add(Where(document).at("device", index, "driver"), error.problem, remedy)
    return found
