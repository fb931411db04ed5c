"""Refuse repeated query parameters that take one value."""

from typing import get_origin

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from app.domain.errors import FieldError, InvalidRequest


def check_repeated_params(request: Request) -> None:
    """Raise InvalidRequest if a single-valued parameter is repeated.

    FastAPI would silently use the last value.
    """
    names = [name for name, _ in request.query_params.multi_items()]
    if len(names) == len(set(names)):
        return
    for name in sorted(_list_single_params(request.scope["route"])):
        if names.count(name) > 1:
            msg = "this parameter is in the URL more than once; write it once"
            raise InvalidRequest(f"query.{name}: {msg}", [FieldError(("query", name), msg)])


def _list_single_params(route: APIRoute) -> frozenset[str]:
    """List the query parameters of a route that take one value."""
    return frozenset(
        name
        for name, field in _map_fields(route.dependant).items()
        if get_origin(field.annotation) is not list
    )


def _map_fields(dependant: Dependant) -> dict[str, FieldInfo]:
    fields = dict[str, FieldInfo]()
    for param in dependant.query_params:
        kind = param.field_info.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            fields |= kind.model_fields
        else:
            fields[param.alias] = param.field_info
    for dependency in dependant.dependencies:
        fields |= _map_fields(dependency)
    return fields
