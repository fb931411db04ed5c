"""Render untrusted templates to text and HTML in separate processes."""

from typing import Final

# Jobs and results are JSON, after so many octets that tell its length.
LENGTH_BYTES: Final = 4
