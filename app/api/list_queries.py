"""A list's part as a route takes it: apart from `paging`, which commands use without FastAPI."""

from typing import Annotated

from fastapi import Query

from app.api.paging import Paging

ListQuery = Annotated[Paging, Query()]
