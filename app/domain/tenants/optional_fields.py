"""Helpers for dataclasses whose fields are all optional."""

from dataclasses import fields
from typing import Any


def non_null_fields(value: Any) -> dict[str, Any]:  # noqa: ANN401 - any dataclass
    """Return the fields of a dataclass that are not None, by name."""
    values = {field.name: getattr(value, field.name) for field in fields(value)}
    return {name: item for name, item in values.items() if item is not None}
