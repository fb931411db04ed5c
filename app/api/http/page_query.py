"""A list's part as a route takes it. Commands use `pagination` without FastAPI."""

from typing import Annotated

from fastapi import Query

from app.api.http.pagination import Paging

ListQuery = Annotated[Paging, Query()]
