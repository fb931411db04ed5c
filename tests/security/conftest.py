"""The API as tests/api has it."""

from tests.api.conftest import acme, api, dns

__all__ = ["acme", "api", "dns"]
