"""Render an attachment and its names (RFC 2045 section 5, RFC 2183, RFC 2231)."""

import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote

MAX_FILENAME_CHARACTERS: Final = 255
MAX_TYPE_CHARACTERS: Final = 127  # RFC 6838 section 4.2, for type and for subtype
MAX_PARAMETERS_CHARACTERS: Final = 500
MAX_CONTENT_ID_CHARACTERS: Final = 200
MAX_PLAIN_CHARACTERS: Final = 50  # so that `attachment; filename="…"` fits on a line
SECTION_CHARACTERS: Final = 56

_TOKEN: Final = r"[A-Za-z0-9!#$%&'*+.^_`{|}~-]"  # noqa: S105 - RFC 2045 section 5.1 calls it so
_TYPE: Final = re.compile(
    rf"{_TOKEN}{{1,{MAX_TYPE_CHARACTERS}}}/{_TOKEN}{{1,{MAX_TYPE_CHARACTERS}}}"
)
_PARAMETER: Final = re.compile(
    rf'[ \t]*;[ \t]*({_TOKEN}{{1,60}}=(?:{_TOKEN}{{1,200}}|"[ !#-\[\]-~]{{0,200}}"))[ \t]*'
)
_CONTENT_ID: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/^_`{|}~.@-]+")
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
# All readers agree on these; other names use RFC 2231.
_PLAIN_FILENAME: Final = re.compile(rf"(?! )[A-Za-z0-9_.()+,@ -]{{1,{MAX_PLAIN_CHARACTERS}}}(?<! )")
# A drive, a share or a relative path; elsewhere a backslash may be part of the name.
_WINDOWS_PATH: Final = re.compile(r"[A-Za-z]:|\\|\.{1,2}\\")


def strip_directories(path: str) -> str:
    """Return the last part of a Unix or Windows path, to hide directories."""
    if _WINDOWS_PATH.match(path):
        path = path.replace("\\", "/")
    return path.rpartition("/")[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A file to send unchanged, under a name in any script or without name.

    With a `content_id` it is part of the HTML, which shows it as `cid:…`; it is then `inline` by
    default. `content_type` may have parameters. Raises ValueError for invalid values.
    """

    filename: str
    content_type: str
    content: bytes = field(repr=False)
    content_id: str | None = None
    is_inline: bool | None = None

    def __post_init__(self) -> None:
        if _CONTROL.search(self.filename):
            raise ValueError(
                "the filename contains a line break or another control character; leave it out"
            )
        if len(self.filename) > MAX_FILENAME_CHARACTERS:
            raise ValueError(
                f"the filename has more than {MAX_FILENAME_CHARACTERS} characters; shorten it"
            )
        if parse_content_type(self.content_type) is None:
            raise ValueError(
                "not a content type; write one such as application/pdf, or"
                " application/octet-stream if unknown"
            )
        if self.content_id is not None and not _is_content_id(self.content_id):
            raise ValueError(
                "write a content id of 1 to 200 ASCII characters, such as logo@example.com,"
                " without <, > and spaces"
            )


def _is_content_id(text: str) -> bool:
    return len(text) <= MAX_CONTENT_ID_CHARACTERS and _CONTENT_ID.fullmatch(text) is not None


def parse_content_type(text: str) -> tuple[str, list[str]] | None:
    """Parse `type/subtype` and its parameters (RFC 2045 section 5.1); return None if invalid."""
    kind = _TYPE.match(text)
    if kind is None or len(text) - kind.end() > MAX_PARAMETERS_CHARACTERS:
        return None
    parameters, end = list[str](), kind.end()
    while match := _PARAMETER.match(text, end):
        parameters.append(match[1])
        end = match.end()
    return (kind[0], parameters) if end == len(text) else None


def disposition_field(attachment: Attachment) -> str:
    """Write `Content-Disposition`, with the filename on lines of its own."""
    is_inline = attachment.is_inline
    if is_inline is None:
        is_inline = attachment.content_id is not None
    kind = "inline" if is_inline else "attachment"
    parameters = _format_filename(attachment.filename)
    return ";\r\n ".join([f"Content-Disposition: {kind}", *parameters]) + "\r\n"


def _format_filename(filename: str) -> list[str]:
    if not filename:
        return []
    if _PLAIN_FILENAME.fullmatch(filename):
        return [f'filename="{filename}"']
    sections = _split_sections(filename)
    if len(sections) == 1:
        return [f"filename*=utf-8''{sections[0]}"]
    sections[0] = f"utf-8''{sections[0]}"
    return [f"filename*{number}*={section}" for number, section in enumerate(sections)]


def _split_sections(filename: str) -> list[str]:
    """Percent-encode a name (RFC 2231 section 4) and split it between characters."""
    sections = [""]
    for character in filename:
        encoded = quote(character, safe="")
        if len(sections[-1]) + len(encoded) > SECTION_CHARACTERS:
            sections.append("")
        sections[-1] += encoded
    return sections
