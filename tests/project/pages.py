"""Pages of docs/ whose tables name tests."""

import ast
from collections.abc import Iterator, Mapping
from enum import StrEnum

from tests.support.terminal import ROOT


def tables(page: str) -> list[list[list[str]]]:
    """Each table of a page, as rows of cells; the first row is its heading."""
    row_groups = list[list[list[str]]]()
    lines = page.splitlines()
    for before, line in zip(["", *lines], lines, strict=False):
        if not line.startswith("|") or line.startswith("|---"):
            continue
        if not before.startswith("|"):
            row_groups.append([])
        row_groups[-1].append([cell.strip() for cell in line.strip("|").split("|")])
    return row_groups


def rows(page: str, heading: str) -> list[list[str]]:
    """The cells of every row in a page's tables, but for those under which they stand."""
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in page.splitlines()
        if line.startswith("|") and not line.startswith(("|---", f"| {heading} |"))
    ]


def is_a_test(cell: str) -> bool:
    """Whether there is a test of this name in this file: `path::name`."""
    path, _, name = cell.strip("`").partition("::")
    tree = ast.parse((ROOT / path).read_text())
    functions = ast.FunctionDef | ast.AsyncFunctionDef
    return name in {node.name for node in tree.body if isinstance(node, functions)}


def state_diagram(
    start: StrEnum, transitions: Mapping[StrEnum, Mapping[StrEnum, StrEnum]]
) -> Iterator[str]:
    """A state table as a Mermaid diagram, the steps between two states on one arrow."""
    yield "stateDiagram-v2"
    yield f"    [*] --> {start}"
    for state, steps in transitions.items():
        for after in dict.fromkeys(steps.values()):
            events = [event.value for event, then in steps.items() if then is after]
            yield f"    {state} --> {after}: {', '.join(events)}"
