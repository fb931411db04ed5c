"""Define retention periods."""

from dataclasses import dataclass
from typing import Final

from app.domain.tenants.optional_fields import OptionalFields


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention(OptionalFields):
    """Days until Heloise deletes something; None keeps it with the message.

    `content_days`: bytes and subject. `recipient_days`: everything that names a recipient, and the
    content. `attempt_days`: attempts. `message_days`: the message and all of these. They count from
    acceptance; for an unfinished message, deletion waits until it is finished. `event_days`:
    events, and the responses of webhooks, from the event on.
    """

    content_days: int | None = None
    recipient_days: int | None = None
    attempt_days: int | None = None
    message_days: int | None = None
    event_days: int | None = None

    @property
    def address_days(self) -> int | None:
        """The days for everything outside messages that names recipients."""
        periods = [self.recipient_days, self.message_days]
        return min((days for days in periods if days is not None), default=None)

    def with_defaults(self, default: "Retention") -> "Retention":
        """Fill unset periods from `default`."""
        return Retention(**(default.as_dict() | self.as_dict()))


KEEP_FOREVER: Final = Retention()
