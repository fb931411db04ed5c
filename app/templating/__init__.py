"""Render untrusted templates to text and HTML in separate processes."""

from typing import Final

# Jobs and results are JSON; this many bytes before it contain its length.
LENGTH_BYTES: Final = 4
