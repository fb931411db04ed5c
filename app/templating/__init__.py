"""Render untrusted templates to text and HTML in separate processes."""

from typing import Final

from app.domain.errors import HeloiseError

# Jobs and results are JSON; this many bytes before it contain its length.
LENGTH_BYTES: Final = 4


class TemplateError(HeloiseError):
    """An error in a template or its input; `part` names it, or `variables`."""

    def __init__(self, message: str, part: str = "template", line: int | None = None) -> None:
        super().__init__(message)
        self.part, self.line = part, line
