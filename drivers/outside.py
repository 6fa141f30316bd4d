# SPDX-License-Identifier: Apache-2.0
"""Drivers that other packages bring, found by the entry points that they declare.

A package names its ``Family`` in the group ``shelfgate.drivers`` under the word that ``[[device]]``
tables give as ``driver``. Nothing of a package is imported until such a table names it, and a
driver of this repository always goes before one of the same name.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from drivers.labels.judging import Judge
from drivers.ports import Clock, Driver, OpenStream
from gateway.domain.store import Store

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP: Final = "shelfgate.drivers"


class Build(Protocol):
    """Makes a driver of its settings."""

    def __call__(
        self,
        config: Any,  # noqa: ANN401  The package's own class.
        *,
        clock: Clock,
        open_stream: OpenStream,
        judge: Judge,
    ) -> Driver:
        """Return the driver; opens nothing yet."""
        ...


def no_problems(_config: object, _store: Store) -> list[str]:
    """Find nothing wrong."""
    return []


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """What a package offers."""

    config: type[msgspec.Struct]
    """A frozen struct with the driver's name as ``tag`` and ``tag_field="driver"``, a field
    ``name``, a property ``device`` (``shelf/<name>``, ``scanner/<name>``) and, where it has a port
    of its own, a field ``url``."""
    build: Build
    problems: Callable[[Any, Store], list[str]] = no_problems
    """Says what in a device's settings does not fit the store: *problem. Remedy*."""


class OutsideError(ValueError):
    """There is no usable driver of a name; says the problem and the remedy."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem}. {remedy}")
        self.problem = problem
        self.remedy = remedy


class NoDriverError(OutsideError):
    """No package brings a driver of this name."""


@cache
def find(name: str) -> Family:
    """Import the package that brings a driver, and return what it offers.

    Args:
        name: What a ``[[device]]`` table gives as ``driver``.

    Raises:
        NoDriverError: No package brings it.
        OutsideError: Two packages bring it, or it is not usable.
    """
    from importlib.metadata import entry_points  # noqa: PLC0415  Few stores look for packages.

    points = tuple(entry_points(group=GROUP, name=name))
    if not points:
        raise NoDriverError(
            "unknown driver, and no installed package brings it", "Install the package"
        )
    packages = sorted({_package(point) for point in points})
    if len(points) > 1:
        problem = f"driver {name} comes from {' and '.join(packages)}"
        raise OutsideError(problem, "Uninstall all but one")
    [point], [package] = points, packages
    try:
        family = point.load()
    except Exception as error:
        problem = f"driver {name} of {package} fails to load: {type(error).__name__}: {error}"
        raise OutsideError(problem, f"Install {package} again, or ask its maker") from error
    fault = _fault(name, family)
    if fault is not None:
        remedy = f"Install a version of {package} that fits this shelfgate"
        raise OutsideError(f"driver {name} of {package}: {point.value} {fault}", remedy)
    assert isinstance(family, Family)
    return family


def _package(point: "EntryPoint") -> str:
    return point.dist.name if point.dist is not None else point.module


def _fault(name: str, family: object) -> str | None:
    """Say what is wrong with what an entry point leads to; None: nothing."""
    if not isinstance(family, Family):
        return "is no drivers.outside.Family"
    if not (callable(family.build) and callable(family.problems)):
        return "has a build or problems that cannot be called"
    config = family.config
    if not (isinstance(config, type) and issubclass(config, msgspec.Struct)):
        return "has a config that is no msgspec.Struct"
    lacks = [] if "name" in config.__struct_fields__ else ["field name"]
    if not isinstance(getattr(config, "device", None), property):
        lacks.append("property device")
    said = config.__struct_config__
    if (said.tag_field, said.tag) != ("driver", name):
        lacks.append(f'tag_field="driver", tag="{name}"')
    if not said.frozen:
        lacks.append("frozen=True")
    return f"has a config without {' and '.join(lacks)}" if lacks else None
