# SPDX-License-Identifier: Apache-2.0
"""Rows of a planogram: CSV with columns ``plate`` and ``gtin``, and any others."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from gateway.config_toml import Document, Problems, Where

CSV_ROWS_MAX: Final = 100_000


def csv_rows(path: Path, text: str, problems: Problems) -> Iterator[tuple[int, str, str]]:
    """Yield line, plate and GTIN of each row; what is wrong with the file is noted."""
    here = Where(Document(path=path, data={}, lines={("header",): 1}))
    try:
        rows = csv.reader(io.StringIO(text, newline=""), strict=True)
        header = [name.strip().lower() for name in next(rows, [])]
        if "plate" not in header or "gtin" not in header:
            remedy = "Begin with a line plate,gtin; columns are split by commas"
            problems.add(here.at("header"), "lacks plate or gtin", remedy)
            return
        plate_at, gtin_at = header.index("plate"), header.index("gtin")
        for count, row in enumerate(rows):
            if not any(cell.strip() for cell in row):
                continue
            if len(row) <= max(plate_at, gtin_at) or count >= CSV_ROWS_MAX:
                problem = "too few columns" if count < CSV_ROWS_MAX else "too many rows"
                place = Where(Document(path=path, data={}, lines={("row",): rows.line_num}))
                problems.add(place.at("row"), problem, "Check the file")
                return
            yield rows.line_num, row[plate_at].strip(), row[gtin_at].strip()
    except csv.Error as error:
        problems.add(here.at("header"), f"not CSV: {error}", "Save it as CSV again")
