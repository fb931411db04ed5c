"""Look up TXT records of signing domains."""

from typing import Final

from app.domain.outcome.outcome import Failure
from app.smtp.dns import Resolver
from app.smtp.faults import StageFailedError

SECONDS: Final = 5.0


async def txt_records(resolver: Resolver, name: str) -> list[str] | Failure:
    """The TXT records of a name, or why they are not known."""
    try:
        return await resolver.texts(name, SECONDS)
    except StageFailedError as error:
        return error.failure
