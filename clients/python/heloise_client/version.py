"""The version of the client, which is that of the service it was made from."""

__version__ = "0.1.0"
