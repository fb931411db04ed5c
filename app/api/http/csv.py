"""Write CSV (RFC 4180) without formula injection."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Final

MEDIA_TYPE: Final = "text/csv"
# What a spreadsheet would take for a formula (CWE-1236).
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def format_rows(rows: Iterable[Sequence[str]]) -> str:
    """The rows as lines."""
    lines = io.StringIO()
    csv.writer(lines).writerows([[_defuse_formula(cell) for cell in row] for row in rows])
    return lines.getvalue()


def _defuse_formula(cell: str) -> str:
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def restore_cell(cell: str) -> str:
    """What was written, of a cell that `written` has made harmless."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_FORMULA) else cell
