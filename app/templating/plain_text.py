"""HTML as the plain text that stands beside it."""

from typing import Any, Final

from html_to_markdown import ConversionOptions, convert

OPTIONS: Final = ConversionOptions(extract_metadata=False, autolinks=False)
KEPT: Final = "continue"


class _Visitor:
    """What Markdown has marks for and plain text does not; a link shows where it leads."""

    def visit_strong(self, _: Any, text: str) -> Any:  # noqa: ANN401 - the package's own kinds
        return {"custom": text}

    visit_emphasis = visit_strong
    visit_underline = visit_strong

    def visit_heading(self, _: Any, level: int, text: str, __: Any) -> Any:  # noqa: ANN401 - as above
        return {"custom": f"\n{text}\n{('=' if level == 1 else '-') * len(text)}\n\n"}

    def visit_image(self, _: Any, __: str, alt: str | None, ___: Any) -> Any:  # noqa: ANN401 - as above
        return {"custom": alt or ""}

    def visit_link(self, _: Any, href: str, text: str, __: Any) -> Any:  # noqa: ANN401 - as above
        shown = text.strip()
        target = href.removeprefix("mailto:")
        if shown in {"", href, target}:
            return {"custom": target}
        return {"custom": shown if href.startswith("#") else f"{shown} ({href})"}

    def visit_table_row(self, _: Any, cells: list[str], __: bool) -> Any:  # noqa: ANN401, FBT001 - as above
        return {"custom": "  ".join(filter(None, map(str.strip, cells))) + "\n"}


# It has a method for what it is asked about: the package wants to see no others.
_VISITOR: Final[Any] = _Visitor()


def text_of(html: str) -> str:
    """The text that a reader of the HTML sees, in lines; empty where there is none.

    Raises what the package does.
    """
    found = convert(html, OPTIONS, visitor=_VISITOR).content or ""
    lines = [line.rstrip() for line in found.strip().splitlines()]
    return "\n".join(lines) + "\n" if any(lines) else ""
