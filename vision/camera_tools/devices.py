# SPDX-License-Identifier: Apache-2.0
"""The USB cameras of this machine, by names that stay the same over restarts.

``/dev/video0`` is whichever camera answered first. The links that udev makes in
``/dev/v4l/by-id`` name a camera itself, those in ``by-path`` the socket that it is plugged into.
"""

from dataclasses import dataclass
from pathlib import Path

DEVICES_MAX = 256
DEV = Path("/dev")
SYSFS = Path("/sys/class/video4linux")
NAME_MAX = 80


@dataclass(frozen=True, slots=True)
class Device:
    """One V4L2 device.

    Attributes:
        path: Such as ``/dev/video0``.
        label: What it calls itself.
        by_id: Links that name the camera.
        by_path: Links that name its socket.
    """

    path: str
    label: str
    by_id: tuple[str, ...]
    by_path: tuple[str, ...]

    @property
    def stable(self) -> str:
        """Return the name to write into settings."""
        return next(iter((*self.by_id, *self.by_path, self.path)))


def find_devices(dev: Path = DEV, sysfs: Path = SYSFS) -> list[Device]:
    """Return the V4L2 devices that give pictures: of each camera the first of its nodes.

    Args:
        dev: Where device files are.
        sysfs: Where the kernel tells of them.
    """
    by_id, by_path = links_in(dev / "v4l" / "by-id"), links_in(dev / "v4l" / "by-path")
    found = []
    for node in sorted(dev.glob("video*"), key=_number)[:DEVICES_MAX]:
        about = sysfs / node.name
        # A camera's other nodes carry its metadata, not pictures.
        if _read(about / "index") not in {"", "0"}:
            continue
        real = node.resolve()
        found.append(
            Device(
                path=str(node),
                label=_read(about / "name") or "unnamed",
                by_id=tuple(by_id.get(real, [])),
                by_path=tuple(by_path.get(real, [])),
            )
        )
    return found


def links_in(folder: Path) -> dict[Path, list[str]]:
    """Return the links in a folder by what they lead to; none where there is no such folder."""
    links: dict[Path, list[str]] = {}
    if folder.is_dir():
        for link in sorted(folder.iterdir())[:DEVICES_MAX]:
            links.setdefault(link.resolve(), []).append(str(link))
    return links


def _number(node: Path) -> tuple[int, str]:
    digits = node.name.removeprefix("video")
    return (int(digits), "") if digits.isdigit() else (10**9, node.name)


def _read(path: Path) -> str:
    try:
        words = path.read_text("utf-8", errors="replace").strip()
    except OSError:
        return ""
    return "".join(letter for letter in words if letter.isprintable())[:NAME_MAX]
