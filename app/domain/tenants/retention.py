"""Define retention periods."""

from dataclasses import dataclass
from typing import Final

from app.domain.tenants.optional_fields import non_null_fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """Days after which something is taken away; None keeps it with the message.

    `content_days`: the bytes and the subject. `recipient_days`: whatever names a recipient, and the
    content with it. `attempt_days`: the attempts. `message_days`: the message with all of these.
    These are from acceptance, and nothing is taken from a message that is not finished; it is taken
    once it is. `event_days`: what happened, from then on, with what webhooks said to it.
    """

    content_days: int | None = None
    recipient_days: int | None = None
    attempt_days: int | None = None
    message_days: int | None = None
    event_days: int | None = None

    def with_defaults(self, default: "Retention") -> "Retention":
        """The same, with what it does not say as `default` has it."""
        return Retention(**(default.as_dict() | self.as_dict()))

    def as_dict(self) -> dict[str, int]:
        """The days that are given, by name."""
        return non_null_fields(self)


KEEP_FOREVER: Final = Retention()
