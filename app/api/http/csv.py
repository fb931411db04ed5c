"""Write CSV (RFC 4180) without formula injection."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Final

MEDIA_TYPE: Final = "text/csv"
# Spreadsheets evaluate cells that start with these as formulas (CWE-1236).
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def format_rows(rows: Iterable[Sequence[str]]) -> str:
    """Format rows as CSV lines without formulas."""
    lines = io.StringIO()
    csv.writer(lines).writerows([[_defuse_formula(cell) for cell in row] for row in rows])
    return lines.getvalue()


def _defuse_formula(cell: str) -> str:
    return f"'{cell}" if cell.lstrip("'").startswith(_FORMULA) else cell


def restore_cell(cell: str) -> str:
    """Undo the escape that `format_rows` adds to a cell."""
    return cell[1:] if cell.startswith("'") and cell.lstrip("'").startswith(_FORMULA) else cell
