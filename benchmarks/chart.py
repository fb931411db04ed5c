"""Results as SVG: a bar for each contestant, Heloise's in another colour."""

from collections.abc import Iterator, Sequence
from typing import Final
from xml.sax.saxutils import escape

from benchmarks.markdown import format_number
from benchmarks.results import Row

WIDTH: Final = 760
LABEL: Final = 270
BAR: Final = 20
STEP: Final = 28
TOP: Final = 44
ROOM: Final = 100  # for the figure behind the longest bar
OURS: Final = "#2563eb"
OTHERS: Final = "#94a3b8"
# Legible on a light page and on a dark one.
STYLE: Final = (
    "text{font:13px system-ui,sans-serif;fill:#334155}"
    ".title{font-weight:600;font-size:15px}"
    "@media(prefers-color-scheme:dark){text{fill:#cbd5e1}}"
)


def chart(title: str, rows: Sequence[Row]) -> str:
    """An SVG document: the medians of the rows, in their order."""
    height = TOP + STEP * len(rows) + 8
    most = max(row.median for row in rows)
    body = "\n".join(line for at, row in enumerate(rows) for line in _bar(at, row, most))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img"'
        f' aria-label="{escape(title)}">\n<style>{STYLE}</style>\n'
        f'<text class="title" x="8" y="24">{escape(title)}</text>\n{body}\n</svg>\n'
    )


def _bar(at: int, row: Row, most: float) -> Iterator[str]:
    top = TOP + STEP * at
    width = (WIDTH - LABEL - ROOM) * row.median / most
    colour = OURS if row.contestant.startswith("Heloise") else OTHERS
    unit = row.unit if row.unit.startswith("/") else f" {row.unit}"
    yield (
        f'<text x="{LABEL - 10}" y="{top + 15}" text-anchor="end">{escape(row.contestant)}</text>'
    )
    yield f'<rect x="{LABEL}" y="{top}" width="{width:.1f}" height="{BAR}" rx="3" fill="{colour}"/>'
    number = format_number(row.median)
    yield f'<text x="{LABEL + width + 8:.1f}" y="{top + 15}">{number}{unit}</text>'
