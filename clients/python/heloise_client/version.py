"""The version of the client, which is that of the service it was made from."""

from typing import Final

__version__: Final = "0.1.0"
