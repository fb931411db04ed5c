"""Templates to text and HTML, in processes of their own: whoever writes one is not trusted."""

from typing import Final

# Jobs and results are JSON, after so many octets that tell its length.
LENGTH_BYTES: Final = 4
