"""Define the JSON of rate limits."""

from typing import Self

from pydantic import Field, model_validator

from app.api.http.fields import Patch, RequestModel, ResponseModel
from app.api.profiles import fields
from app.domain import types


class RateLimit(RequestModel):
    """The average number of messages or recipients per `per_seconds`; others wait.

    After a pause, up to `burst` may go at once and more follow at the normal rate, so a single
    period can exceed the limit by up to `burst`.
    """

    messages: fields.RateAmount | None = None
    recipients: fields.RateAmount | None = Field(
        default=None, description="Instead of `messages`: counts each recipient."
    )
    per_seconds: fields.RateSeconds
    burst: fields.RateAmount | None = Field(
        default=None, description="How many may go at once. Default: those of one period."
    )

    @model_validator(mode="after")
    def _check_one(self) -> Self:
        if (self.messages is None) is (self.recipients is None):
            raise ValueError("set either messages or recipients")
        return self

    def to_rate_limit(self) -> types.RateLimit:
        return types.RateLimit(**self.model_dump())


class RateLimitUpdate(Patch, of=RateLimit):
    """Changes to the rate limit."""


class RateLimitRead(ResponseModel):
    """The average number of messages or recipients per `per_seconds`."""

    messages: int | None
    recipients: int | None
    per_seconds: int
    burst: int | None
