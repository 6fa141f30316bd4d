# SPDX-License-Identifier: Apache-2.0
"""The software's version; the package's metadata is made from it."""

from typing import Final

VERSION: Final = "0.1.0"
"""Named by ``gateway.started``, by the status message and by ``shelfgate --version``."""
