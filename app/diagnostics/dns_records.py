"""Look up TXT records of signing domains."""

from typing import Final

from app.domain.outcome.outcome import Failure
from app.smtp.dns import Resolver
from app.smtp.faults import StageFailedError

SECONDS: Final = 5.0


async def look_up_txt(resolver: Resolver, name: str) -> list[str] | Failure:
    """Return the TXT records of a name, or the failure of the lookup."""
    try:
        return await resolver.texts(name, SECONDS)
    except StageFailedError as error:
        return error.failure
