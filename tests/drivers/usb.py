# SPDX-License-Identifier: Apache-2.0
"""A made-up sysfs, in which pseudo-terminals are behind USB adapters."""

import os
from pathlib import Path


class Sysfs:
    """What the kernel would tell below ``/sys``."""

    def __init__(self, folder):
        self.root = folder / "sys"
        self._count = 0

    def plug(self, path, vendor, product, serial=None, words="Serial Adapter"):
        """Put a device file behind a USB adapter; what it was behind before is forgotten."""
        self._count += 1
        usb = self.root / "devices" / "usb1" / f"1-{self._count}"
        name = Path(path).name
        about = usb / f"1-{self._count}:1.0" / "tty" / name
        about.mkdir(parents=True)
        for word, text in {"idVendor": vendor, "idProduct": product, "serial": serial}.items():
            if text is not None:
                (usb / word).write_text(f"{text}\n")
        (usb / "manufacturer").write_text("Example\n")
        (usb / "product").write_text(f"{words}\n")
        number = Path(path).stat().st_rdev
        link = self.root / "dev" / "char" / f"{os.major(number)}:{os.minor(number)}"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(about)
        (about / "device").symlink_to(about.parents[1])
        known = self.root / "class" / "tty" / name
        known.parent.mkdir(parents=True, exist_ok=True)
        known.unlink(missing_ok=True)
        known.symlink_to(about)
        return usb
