# SPDX-License-Identifier: Apache-2.0
"""Descriptions that come with the product: TOML files in a folder of a driver's package."""

from importlib.resources import files


def names(package: str, folder: str) -> list[str]:
    """Return the names of what is in a folder, without ``.toml``."""
    found = (item.name for item in files(package).joinpath(folder).iterdir())
    return sorted(name.removesuffix(".toml") for name in found if name.endswith(".toml"))


def text_of(package: str, folder: str, name: str) -> str:
    """Return one of them; its name is among ``names``."""
    return files(package).joinpath(folder, f"{name}.toml").read_text("utf-8")
