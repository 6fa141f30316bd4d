# SPDX-License-Identifier: Apache-2.0
"""What is plugged into this machine: serial ports and keyboards, by names that stay the same.

udev makes the names: those below ``by-id`` name a device, those below ``by-path`` the socket that
it is plugged into. An adapter without a serial number, or with the one of another, cannot be told
from that other: there the socket's name is the one to use.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from drivers.identity import SYSFS, read_word, usb_folder, usb_name
from vision.camera_tools.devices import DEV, links_in

PORTS_MAX: Final = 1_000
KEYBOARD: Final = "-event-kbd"


@dataclass(frozen=True, slots=True)
class Port:
    """A device file that a ``[[device]]`` table may name."""

    path: str
    """Such as ``/dev/ttyUSB0``."""
    label: str
    """Maker and product, as the device says; empty: nothing is known."""
    usb: str | None
    """Vendor, product and serial number on USB; None: it is not on USB."""
    by_id: tuple[str, ...]
    by_path: tuple[str, ...]
    alone: bool
    """Whether it has a serial number that no other one here has."""

    @property
    def stable(self) -> str:
        """Return the name to write into settings."""
        named = (*self.by_id, *self.by_path) if self.alone else self.by_path
        return next(iter((*named, self.path)))


def find_ports(dev: Path = DEV, sysfs: Path = SYSFS) -> list[Port]:
    """Return the serial ports.

    Args:
        dev: Where device files are.
        sysfs: Where the kernel tells of its devices.
    """
    known = sorted((sysfs / "class" / "tty").glob("*"))
    there = [dev / about.name for about in known if _is_port(about)]
    return _ports([node for node in there if node.exists()], dev / "serial", sysfs)


def find_keyboards(dev: Path = DEV, sysfs: Path = SYSFS) -> list[Port]:
    """Return the keyboards, of which some may be scanners; for the arguments see ``find_ports``."""
    folder = dev / "input"
    links = [*links_in(folder / "by-id").items(), *links_in(folder / "by-path").items()]
    nodes = {node for node, names in links if any(name.endswith(KEYBOARD) for name in names)}
    return _ports(sorted(nodes), folder, sysfs)


def _is_port(about: Path) -> bool:
    """Tell ports from consoles and terminals, and from sockets of the board that lead nowhere."""
    return (about / "device").exists() and read_word(about / "type") != "0"


def _ports(nodes: list[Path], folder: Path, sysfs: Path) -> list[Port]:
    by_id, by_path = links_in(folder / "by-id"), links_in(folder / "by-path")
    usb = {node: usb_name(node, sysfs) for node in nodes[:PORTS_MAX]}
    twice = Counter(usb.values())
    return [
        Port(
            path=str(node),
            label=_label(node, sysfs),
            usb=name,
            by_id=tuple(by_id.get(node.resolve(), ())),
            by_path=tuple(by_path.get(node.resolve(), ())),
            alone=name is None or (name.count(":") > 1 and twice[name] == 1),
        )
        for node, name in usb.items()
    ]


def _label(node: Path, sysfs: Path) -> str:
    about = usb_folder(node, sysfs)
    if about is None:
        return ""
    return " ".join(filter(None, (read_word(about / name) for name in ("manufacturer", "product"))))
