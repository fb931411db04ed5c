"""Define the JSON of limits by destination, and of ramps."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Final, Self

from pydantic import AfterValidator, Field, model_validator

from app.api.http.fields import Line, Patch, RequestModel, ResponseModel
from app.api.profiles import fields
from app.api.profiles.rate_limit_schemas import RateLimit, RateLimitRead
from app.domain import types
from app.domain.address.parse import parse_domain
from app.domain.delivery.destination_limit import DestinationLimit
from app.domain.delivery.destinations import MX
from app.domain.delivery.ramp import PERIODS, compute_allowance
from app.domain.delivery.token_bucket import count_permits
from app.domain.types import MAX_RECIPIENTS, RampPeriod

MAX_DESTINATIONS: Final = 50
PATTERN_FORMS: Final = (
    "write a domain (gmail.com), its subdomains (*.outlook.com), the MX hosts of a domain"
    " (mx:*.google.com), or * for all others"
)


def _parse_destination_pattern(text: str) -> str:
    kind, name = (MX, text.removeprefix(MX)) if text.startswith(MX) else ("", text)
    if name == "*" and not kind:
        return name
    if "@" in name:
        raise ValueError(PATTERN_FORMS)
    try:
        return kind + parse_domain(name)
    except ValueError:
        raise ValueError(PATTERN_FORMS) from None


DestinationPattern = Annotated[
    Line, Field(max_length=320), AfterValidator(_parse_destination_pattern)
]
DestinationPatterns = Annotated[
    list[DestinationPattern],
    Field(
        min_length=1,
        max_length=fields.MAX_PATTERNS,
        description="The domains of the recipients: `gmail.com`, `*.outlook.com` (subdomains only),"
        " `mx:*.google.com` (every domain with such an MX host), `*` (all).",
        examples=[["gmail.com", "mx:*.google.com"]],
    ),
    AfterValidator(lambda patterns: list(dict.fromkeys(patterns))),
]


class Ramp(RequestModel):
    """A limit on recipients that grows, for a new identity whose reputation must grow first.

    The first period allows `start` recipients, every later one `factor` times as many, at most
    `until`; that limit stays until you remove the ramp. Other recipients wait for the next period.
    """

    start: fields.RateAmount = Field(description="The recipients of the first period.")
    factor: fields.RetryFactor = Field(description="How much each period allows more.")
    every: RampPeriod = Field(RampPeriod.DAY, description="The length of a period.")
    until: fields.RateAmount = Field(description="The most that a period allows.")

    @model_validator(mode="after")
    def _check_until(self) -> Self:
        if self.until < self.start:
            raise ValueError("until is less than start; write the higher number in until")
        return self


class RampUpdate(Patch, of=Ramp):
    """Changes to the ramp."""


def build_ramp(body: Ramp | None, before: types.Ramp | None, now: datetime) -> types.Ramp | None:
    """Build a ramp: it begins now, or goes on as before if at most `until` changes."""
    if body is None:
        return None
    is_same = before is not None and (before.start, before.factor, before.every) == (
        body.start,
        body.factor,
        body.every,
    )
    started_at = before.started_at if before is not None and is_same else now
    return types.Ramp(**body.model_dump(), started_at=started_at)


class Destination(RequestModel):
    """Limits for the recipients of some domains."""

    match: DestinationPatterns
    rate_limit: RateLimit | None = None
    max_connections: fields.Connections | None = Field(
        default=None,
        description="The maximum number of connections that carry mail to these recipients at the"
        " same time, over all workers. The other connections stay free for other recipients.",
    )
    max_recipients_per_message: (
        Annotated[int, Field(strict=True, ge=1, le=MAX_RECIPIENTS)] | None
    ) = Field(
        default=None,
        description="How many of these recipients share one SMTP transaction.",
    )
    ramp: Ramp | None = None

    @model_validator(mode="after")
    def _check_any(self) -> Self:
        limits = Destination.model_fields.keys() - {"match"}
        if all(getattr(self, name) is None for name in limits):
            raise ValueError(
                "set a limit: rate_limit, max_connections, max_recipients_per_message or ramp"
            )
        return self


def _check_repeats(destinations: list[Destination]) -> list[Destination]:
    places: dict[str, int] = {}
    for place, destination in enumerate(destinations):
        for pattern in destination.match:
            if pattern in places:
                raise ValueError(
                    f"{pattern} is in destination {places[pattern]} and again in {place}; the first"
                    " one counts, so remove it from the other"
                )
            places[pattern] = place
    return destinations


Destinations = Annotated[
    list[Destination],
    Field(
        max_length=MAX_DESTINATIONS,
        description="Limits by the domains of recipients; the first that matches counts. Messages"
        " above a limit wait, and mail to other destinations overtakes them. The limits of the"
        " profile hold too. A change replaces the whole list.",
    ),
    AfterValidator(_check_repeats),
]


def build_destinations(
    bodies: Sequence[Destination], before: Sequence[types.Destination], now: datetime
) -> tuple[types.Destination, ...]:
    """Build destinations: those with the same `match` as before keep their number and ramp."""
    known = {destination.match: destination for destination in before}
    number = max((destination.number for destination in before), default=0)
    built: list[types.Destination] = []
    for body in bodies:
        former = known.get(tuple(body.match))
        number += former is None
        built.append(
            types.Destination(
                number=number if former is None else former.number,
                match=tuple(body.match),
                rate_limit=body.rate_limit.to_rate_limit() if body.rate_limit else None,
                max_connections=body.max_connections,
                max_recipients_per_message=body.max_recipients_per_message,
                ramp=build_ramp(body.ramp, former.ramp if former else None, now),
            )
        )
    return tuple(built)


class RampRead(ResponseModel):
    """A limit on recipients that grows."""

    start: int
    factor: float
    every: RampPeriod
    until: int
    started_at: datetime = Field(description="When the first period began: when you set the ramp.")
    allowance: int = Field(description="The recipients that the current period allows.")
    used: int = Field(description="The recipients that count in the current period.")
    next_period_at: datetime

    @classmethod
    def of(cls, limit: DestinationLimit, now: datetime) -> Self | None:
        """Build from a limit as of now."""
        ramp, bucket = limit.ramp, limit.ramp_bucket
        if ramp is None or bucket is None:
            return None
        allowance = compute_allowance(ramp, now)
        period = PERIODS[ramp.every]
        ended = max(timedelta(), now - ramp.started_at) // period
        return cls.build(
            ramp,
            allowance=allowance,
            used=max(0, allowance - count_permits(bucket)),
            next_period_at=ramp.started_at + (ended + 1) * period,
        )


class DestinationRead(ResponseModel):
    """Limits for the recipients of some domains, and what is left of them."""

    match: list[str]
    rate_limit: RateLimitRead | None
    max_connections: int | None
    max_recipients_per_message: int | None
    ramp: RampRead | None
    available: int | None = Field(
        description="How many messages or recipients `rate_limit` allows at once now."
    )
    waits_until: datetime | None = Field(
        description="When `rate_limit` and `ramp` allow the next recipient. Null: now."
    )

    @classmethod
    def of(cls, destination: types.Destination, limit: DestinationLimit, now: datetime) -> Self:
        """Build from a destination, and its limit as of now."""
        next_permit_at = limit.next_permit_at(now)
        return cls.build(
            destination,
            match=list(destination.match),
            ramp=RampRead.of(limit, now),
            available=limit.rate_bucket and count_permits(limit.rate_bucket),
            waits_until=next_permit_at if next_permit_at > now else None,
        )
