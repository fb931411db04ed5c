"""Convert HTML to plain text as a reader sees it.

The lines are those of `innerText` (HTML Living Standard, "The innerText getter"): each element asks
for line ends before and after it, of which the larger number counts, and white space collapses.
Lists have their markers, images their alternative texts, and links show where they lead.
"""

import re
from dataclasses import dataclass, field
from typing import Final

from turbohtml import Element, Text, parse

# How many line ends there are around an element at the least; elements not named have none.
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
LISTS: Final = frozenset({"menu", "ol", "ul"})
INDENTED: Final = frozenset({"blockquote", "dd"})
MAX_INDENTS: Final = 16  # what is nested deeper is hostile, and each of its lines would be long
UNSEEN: Final = frozenset(
    {
        *("base", "datalist", "desc", "defs", "head", "iframe", "input", "link", "meta"),
        *("metadata", "noframes", "rp", "script", "select", "style", "template", "textarea"),
        "title",
    }
)
_HIDING: Final = re.compile(r"(?:display\s*:\s*none|visibility\s*:\s*hidden)", re.IGNORECASE)
_SPACES: Final = re.compile(r"[ \t\n\f\r]+")
# A target to show is an address, not a place on the page or a script.
_TARGET: Final = re.compile(
    r"(?:mailto|tel|sms):([^?]+).*|((?!javascript:|data:|#).+)", re.IGNORECASE | re.DOTALL
)
# Spaces that do not break are spaces; what only says where a word may be broken is nothing.
_INVISIBLE: Final = {0xA0: " ", 0xAD: None, 0x200B: None, 0x2060: None, 0xFEFF: None}
_EMPTY_LINES: Final = re.compile(r"\n{3,}")


def extract_text(html: str) -> str:
    """Extract the text of an HTML page, in lines; empty if there is none."""
    reader = _Reader()
    # An element stands here twice: to begin it, and to end it when all in it is read.
    stack: list[tuple[Element | Text, bool]] = [(parse(html).root or Text(""), False)]
    while stack:
        node, is_read = stack.pop()
        if isinstance(node, Text):
            reader.read(node.data)
        elif is_read:
            reader.end(node)
        elif not _is_unseen(node):
            reader.begin(node)
            stack.append((node, True))
            children = [child for child in node.children if isinstance(child, Element | Text)]
            stack.extend((child, False) for child in reversed(children))
    return reader.text()


def _is_unseen(element: Element) -> bool:
    if element.tag in UNSEEN or "hidden" in element.attrs:
        return True
    style = element.attr("style")
    return style is not None and _HIDING.search(style) is not None


@dataclass(slots=True)
class _Reader:
    """What was read so far, and where the next text goes."""

    pieces: list[str] = field(default_factory=list)
    line_ends: int = 2  # at the end of what was read
    breaks: int = 0  # line ends that the next text needs before it
    gap: str = ""  # what stands between the last text of the line and the next one
    indents: list[str] = field(default_factory=list)
    marker: str = ""  # of the list item that is about to begin
    numbers: list[int | None] = field(default_factory=list)  # the next of each list; None: bullets
    links: list[int] = field(default_factory=list)  # where each began, in pieces
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
        elif tag in LISTS:
            self.numbers.append(_read_number(element, "start", 1) if tag == "ol" else None)
        elif tag == "li":
            self._begin_item(element)
        elif tag in INDENTED:
            self.indents.append("  ")

    def end(self, element: Element) -> None:
        tag = element.tag
        if tag == "a":
            self._end_link(element.attr("href") or "")
        elif tag == "pre":
            self.preformatted -= 1
        elif tag in LISTS:
            self.numbers.pop()
        elif tag == "li":
            self.marker = ""
            self.indents.pop()
        elif tag in INDENTED:
            self.indents.pop()
        self._add_break(tag)

    def read(self, text: str) -> None:
        """Take the text of a node."""
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
        """All that was read."""
        text = "".join(self.pieces).translate(_INVISIBLE)
        lines = "\n".join(line.rstrip() for line in text.split("\n"))
        result = _EMPTY_LINES.sub("\n\n", lines).strip("\n")
        return f"{result}\n" if result else ""

    def _add_break(self, tag: str) -> None:
        is_within = tag in LISTS and len(self.numbers) > 0
        self.breaks = max(self.breaks, 1 if is_within else BREAKS.get(tag, 0))

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
        """Have a link followed by its target in brackets, where it does not say it itself."""
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
