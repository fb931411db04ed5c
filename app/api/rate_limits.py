"""Rate limits as requests and answers have them, for profiles and for tenants."""

from typing import Self

from pydantic import ConfigDict, Field, model_validator

from app.api import profile_fields as fields
from app.api.bodies import Answer, Body
from app.domain import types


class RateLimit(Body):
    """So many messages, or recipients, per `per_seconds` in the long run; more than that waits.

    After a pause `burst` may go at once, and go on evenly: a single period sees up to that many
    more.
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

    def limit(self) -> types.RateLimit:
        """The limit as the rest of the service has it."""
        return types.RateLimit(**self.model_dump())


class RateLimitUpdate(Body):
    """What to change of the rate limit."""

    messages: fields.RateAmount | None = None
    recipients: fields.RateAmount | None = None
    per_seconds: fields.RateSeconds | None = None
    burst: fields.RateAmount | None = None


class RateLimitRead(Answer):
    """So many messages, or recipients, per `per_seconds`."""

    model_config = ConfigDict(from_attributes=True)

    messages: int | None
    recipients: int | None
    per_seconds: int
    burst: int | None
