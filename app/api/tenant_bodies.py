"""What a request says of a tenant, and what is answered of one."""

from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field

from app.api.bodies import Body, EhloName, Line
from app.api.paging import Page
from app.api.rate_limits import RateLimit, RateLimitRead

EXAMPLE: Final[dict[str, Any]] = {
    "id": "ten_0198c5a2d3f07b6e8a4c1d2e3f405162",
    "slug": "acme",
    "name": "Acme Ltd",
    "ehlo_name": "mail.example.com",
    "rate_limit": None,
    "created_at": "2026-01-15T09:30:00Z",
    "updated_at": "2026-01-15T09:30:00Z",
}
Slug = Annotated[
    str,
    Field(
        pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
        description="A short name, unique: 1 to 63 of a-z, 0-9 and inner hyphens.",
        examples=["acme"],
    ),
]
Name = Annotated[Line, Field(min_length=1, max_length=200, description="A name for people.")]
TenantEhlo = Annotated[
    EhloName | None,
    Field(description="The EHLO name of the tenant's profiles that set none themselves."),
]
TenantRate = Annotated[
    RateLimit | None,
    Field(description="What all of the tenant's profiles may send together, beside their own."),
]


class TenantCreate(Body):
    """A new tenant."""

    slug: Slug
    name: Name | None = Field(default=None, description="A name for people; the slug, if left out.")
    ehlo_name: TenantEhlo = None
    rate_limit: TenantRate = None


class TenantUpdate(Body):
    """What to change of a tenant; what is left out stays."""

    slug: Slug | None = None
    name: Name | None = None
    ehlo_name: TenantEhlo = None
    rate_limit: TenantRate = None


class TenantRead(BaseModel):
    """A tenant."""

    model_config = ConfigDict(from_attributes=True, json_schema_extra={"examples": [EXAMPLE]})

    id: str
    slug: str
    name: str
    ehlo_name: str | None
    rate_limit: RateLimitRead | None
    created_at: datetime
    updated_at: datetime


class TenantPage(Page[TenantRead]):
    """A page of tenants, oldest first."""
