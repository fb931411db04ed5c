"""Convert HTML to plain text as a reader sees it.

The lines are those of `innerText` (HTML Living Standard, "The innerText getter"): each element asks
for line ends before and after it, of which the larger number counts, and white space collapses.
Lists have their markers, images their alternative texts, and links show where they lead.
"""

import re
from dataclasses import dataclass, field
from typing import Final

from turbohtml import Element, Text, parse

# The minimum number of line ends around an element; 0 for other elements.
BREAKS: Final = {
    **dict.fromkeys(
        (
            *("address", "article", "aside", "caption", "center", "dd", "details", "dialog", "div"),
            *("dt", "fieldset", "figcaption", "footer", "form", "header", "hgroup", "legend", "li"),
            *("main", "nav", "option", "search", "section", "summary", "table", "tr"),
        ),
        1,
    ),
    **dict.fromkeys(
        (
            *("blockquote", "dl", "figure", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "menu", "ol"),
            *("p", "pre", "ul"),
        ),
        2,
    ),
}
LIST_TAGS: Final = frozenset({"menu", "ol", "ul"})
INDENTED_TAGS: Final = frozenset({"blockquote", "dd"})
MAX_INDENTS: Final = 16  # deeper nesting is hostile, and would make every line long
HIDDEN_TAGS: Final = frozenset(
    {
        *("base", "datalist", "desc", "defs", "head", "iframe", "input", "link", "meta"),
        *("metadata", "noframes", "rp", "script", "select", "style", "template", "textarea"),
        "title",
    }
)
_HIDING: Final = re.compile(r"(?:display\s*:\s*none|visibility\s*:\s*hidden)", re.IGNORECASE)
_SPACES: Final = re.compile(r"[ \t\n\f\r]+")
# Targets to print: addresses, but no scripts and no places on the page.
_TARGET: Final = re.compile(
    r"(?:mailto|tel|sms):([^?]+).*|((?!javascript:|data:|#).+)", re.IGNORECASE | re.DOTALL
)
# No-break spaces become spaces; soft hyphens and zero-width characters disappear.
_INVISIBLE: Final = {0xA0: " ", 0xAD: None, 0x200B: None, 0x2060: None, 0xFEFF: None}
_EMPTY_LINES: Final = re.compile(r"\n{3,}")


def extract_text(html: str) -> str:
    """Extract the text of an HTML page, in lines; empty if there is none."""
    reader = _Reader()
    # Elements are pushed twice: to begin them, and to end them after their children.
    stack: list[tuple[Element | Text, bool]] = [(parse(html).root or Text(""), False)]
    while stack:
        node, is_done = stack.pop()
        if isinstance(node, Text):
            reader.read(node.data)
        elif is_done:
            reader.end(node)
        elif not _is_hidden(node):
            reader.begin(node)
            stack.append((node, True))
            children = [child for child in node.children if isinstance(child, Element | Text)]
            stack.extend((child, False) for child in reversed(children))
    return reader.text()


def _is_hidden(element: Element) -> bool:
    if element.tag in HIDDEN_TAGS or "hidden" in element.attrs:
        return True
    style = element.attr("style")
    return style is not None and _HIDING.search(style) is not None


@dataclass(slots=True)
class _Reader:
    """Collects text, and tracks the position of the next text."""

    pieces: list[str] = field(default_factory=list)
    line_ends: int = 2  # at the end of the text
    breaks: int = 0  # line ends that the next text needs before it
    gap: str = ""  # between the last text of the line and the next
    indents: list[str] = field(default_factory=list)
    marker: str = ""  # of the list item that begins
    numbers: list[int | None] = field(default_factory=list)  # the next of each list; None: bullets
    links: list[int] = field(default_factory=list)  # index of the first piece of each open link
    preformatted: int = 0

    def begin(self, element: Element) -> None:
        tag = element.tag
        self._add_break(tag)
        if tag == "br":
            self._write_line_end()
        elif tag == "img":
            self.read(element.attr("alt") or "")
        elif tag == "a":
            self.links.append(len(self.pieces))
        elif tag in {"td", "th"} and not self.breaks and not self.line_ends:
            self.gap = "  "
        elif tag == "pre":
            self.preformatted += 1
        elif tag in LIST_TAGS:
            self.numbers.append(_read_number(element, "start", 1) if tag == "ol" else None)
        elif tag == "li":
            self._begin_item(element)
        elif tag in INDENTED_TAGS:
            self.indents.append("  ")

    def end(self, element: Element) -> None:
        tag = element.tag
        if tag == "a":
            self._end_link(element.attr("href") or "")
        elif tag == "pre":
            self.preformatted -= 1
        elif tag in LIST_TAGS:
            self.numbers.pop()
        elif tag == "li":
            self.marker = ""
            self.indents.pop()
        elif tag in INDENTED_TAGS:
            self.indents.pop()
        self._add_break(tag)

    def read(self, text: str) -> None:
        """Add the text of a node."""
        if self.preformatted:
            for number, line in enumerate(text.split("\n")):
                if number:
                    self._write_line_end()
                self._write(line)
            return
        collapsed = _SPACES.sub(" ", text)
        words = collapsed.strip(" ")
        if collapsed.startswith(" "):
            self.gap = self.gap or " "
        if words:
            self._write(words)
            self.gap = " " if collapsed.endswith(" ") else ""

    def text(self) -> str:
        text = "".join(self.pieces).translate(_INVISIBLE)
        lines = "\n".join(line.rstrip() for line in text.split("\n"))
        result = _EMPTY_LINES.sub("\n\n", lines).strip("\n")
        return f"{result}\n" if result else ""

    def _add_break(self, tag: str) -> None:
        is_nested_list = tag in LIST_TAGS and len(self.numbers) > 0
        self.breaks = max(self.breaks, 1 if is_nested_list else BREAKS.get(tag, 0))

    def _write(self, text: str) -> None:
        if not text:
            return
        missing_line_ends = self.breaks - self.line_ends
        if missing_line_ends > 0:
            self.pieces.append("\n" * missing_line_ends)
            self.line_ends = self.breaks
        if self.line_ends:
            depth = len(self.indents) - (1 if self.marker else 0)
            self.pieces += [*self.indents[: min(depth, MAX_INDENTS)], self.marker]
            self.marker = ""
        else:
            self.pieces.append(self.gap)
        self.pieces.append(text)
        self.breaks, self.line_ends, self.gap = 0, 0, ""

    def _write_line_end(self) -> None:
        missing_line_ends = max(self.breaks - self.line_ends, 0)
        self.pieces.append("\n" * (missing_line_ends + 1))
        self.line_ends += missing_line_ends + 1
        self.breaks, self.gap = 0, ""

    def _begin_item(self, element: Element) -> None:
        number = self.numbers[-1] if self.numbers else None
        self.marker = "- "
        if number is not None:
            number = _read_number(element, "value", number)
            self.marker = f"{number}. "
            self.numbers[-1] = number + 1
        self.indents.append(" " * len(self.marker))

    def _end_link(self, href: str) -> None:
        """Append the target in parentheses, unless the text of the link is the target."""
        link_text = "".join(self.pieces[self.links.pop() :]).strip()
        target = _TARGET.fullmatch(href.strip())
        address = (target[1] or target[2]) if target is not None else ""
        if not address or link_text.rstrip("/") == address.rstrip("/"):
            return
        if not link_text:
            self._write(address)
            return
        breaks, self.breaks, self.gap = self.breaks, 0, " "  # on the line of the text
        self._write(f"({address})")
        self.breaks = breaks


def _read_number(element: Element, attribute: str, default: int) -> int:
    try:
        return int(element.attr(attribute) or "")
    except ValueError:
        return default
