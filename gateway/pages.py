# SPDX-License-Identifier: Apache-2.0
"""What a database's pages take, and which of them it gives back.

Programs as in ``gateway.outbox``. What is deleted leaves free pages in the file, which new rows
take; they are given back to the file system when the file is larger than it may be.
"""

from typing import Final

import msgspec

from gateway.outbox import Program, Statement

GIVE_BACK: Final = 128
"""Pages given back in one transaction."""
SPARE_SHARE: Final = 4
"""A file of which more than one in so many pages is free gives them back."""
SPARE_PAGES: Final = 4_096
"""Free pages that a file may keep in any case."""


class Size(msgspec.Struct, frozen=True):
    """Of a database."""

    pages: int
    free_pages: int
    page_bytes: int

    @property
    def file_bytes(self) -> int:
        """Return what the file takes, its write-ahead log left out."""
        return self.pages * self.page_bytes

    @property
    def used_bytes(self) -> int:
        """Return what of it holds something."""
        return (self.pages - self.free_pages) * self.page_bytes


def measure() -> Program[Size]:
    """Return how large the database is."""
    rows = yield Statement(
        "SELECT (SELECT * FROM pragma_page_count), (SELECT * FROM pragma_freelist_count),"
        " (SELECT * FROM pragma_page_size)"
    )
    return Size(*rows[0])


def to_give_back(size: Size, limit_bytes: int | None) -> int:
    """Return how many free pages are worth giving back now, at most a bite of them."""
    spare = size.free_pages - max(SPARE_PAGES, size.pages // SPARE_SHARE)
    over = 0 if limit_bytes is None else -(-(size.file_bytes - limit_bytes) // size.page_bytes)
    return min(GIVE_BACK, size.free_pages, max(spare, over, 0))


def give_back(pages: int) -> Program[None]:
    """Give free pages back to the file system."""
    for _ in range(pages):  # It frees one a step, and Python takes one step.
        yield Statement("PRAGMA incremental_vacuum(1)")
