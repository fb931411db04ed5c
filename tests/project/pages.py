"""Pages of docs/ whose tables name tests."""

import ast

from tests.support.terminal import ROOT


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
