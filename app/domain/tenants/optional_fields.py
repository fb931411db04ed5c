"""Helpers for dataclasses whose fields are all optional."""

from dataclasses import fields
from typing import Any


def given(value: Any) -> dict[str, Any]:  # noqa: ANN401 - any dataclass
    """The fields of a dataclass that are not None, by name."""
    values = {field.name: getattr(value, field.name) for field in fields(value)}
    return {name: each for name, each in values.items() if each is not None}
