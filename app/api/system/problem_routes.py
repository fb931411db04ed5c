"""Serve `/problems`: explanations of all problem types."""

from typing import Annotated

from fastapi import Path
from pydantic import ConfigDict, Field

from app.api.http.fields import ResponseModel
from app.api.http.problem_types import PROBLEMS
from app.api.http.root_path import root_path
from app.api.openapi import problems
from app.api.requests.json_limits import Router
from app.domain.errors import NotFound

router = Router("Problems")


class ProblemTypeRead(ResponseModel):
    """A type of error."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "/problems/profile-not-found",
                    "status": 404,
                    "title": "Profile not found",
                    "remedy": "Check the id or name; GET /profiles lists them.",
                }
            ]
        }
    )

    type: str = Field(description="The path in `type` of an error.")
    status: int = Field(description="The HTTP status.")
    title: str
    remedy: str = Field(description="What to do about it.")


class ProblemTypes(ResponseModel):
    """All types of errors."""

    items: list[ProblemTypeRead]


@router.get("/problems", summary="List problem types")
async def list_problem_types() -> ProblemTypes:
    """List every `type` that an error of this API can have."""
    return ProblemTypes(items=[_build_answer(slug) for slug in PROBLEMS])


@router.get("/problems/{slug}", summary="Get a problem type")
@problems("problem-not-found")
async def get_problem_type(
    slug: Annotated[str, Path(examples=["profile-not-found"])],
) -> ProblemTypeRead:
    """Explain the `type` of an error and what to do about it."""
    if slug not in PROBLEMS:
        raise NotFound("problem", slug)
    return _build_answer(slug)


def _build_answer(slug: str) -> ProblemTypeRead:
    kind = PROBLEMS[slug]
    return ProblemTypeRead(
        type=f"{root_path.get()}/problems/{slug}",
        status=kind.status,
        title=kind.title,
        remedy=kind.remedy,
    )
