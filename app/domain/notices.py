"""Decide when a tenant hears of a profile that fails or recovers, and what the mail says.

A notice follows the state of the profile, not each change of it: whatever happens between two looks
is one change or none. So a profile that flaps causes few mails, and the last mail is true.
"""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from app.domain.address.parse import mask_addresses
from app.domain.frozen_dataclass import frozen_dataclass

# At most one failure of a profile is told in this time, and its recovery.
INTERVAL: Final = timedelta(hours=1)
# How long a notice waits after an error.
RETRY_DELAY: Final = timedelta(minutes=1)


@frozen_dataclass(kw_only=True)
class Notice:
    """The last failure of a profile, and what the tenant has heard of it.

    `version` counts the changes. `is_told`: the tenant knows of the failure and not yet of the
    recovery. `told_at` is when it last heard of a failure.
    """

    profile_id: str
    tenant_id: str
    version: int
    failed_at: datetime
    recovered_at: datetime | None
    code: str
    reason: str
    is_told: bool
    told_at: datetime | None


class NoticeStep(StrEnum):
    """What to do about a notice. `wait`: too soon after the last one."""

    TELL_FAILURE = "tell_failure"
    TELL_RECOVERY = "tell_recovery"
    WAIT = "wait"
    SKIP = "skip"


def choose_step(notice: Notice, now: datetime) -> NoticeStep:
    """Choose what to do: tell each failure and each recovery once."""
    if notice.recovered_at is not None:
        return NoticeStep.TELL_RECOVERY if notice.is_told else NoticeStep.SKIP
    if notice.is_told:
        return NoticeStep.SKIP
    # A time in the future comes from a clock that was ahead.
    if notice.told_at is not None and timedelta(0) <= now - notice.told_at < INTERVAL:
        return NoticeStep.WAIT
    return NoticeStep.TELL_FAILURE


def write_subject(step: NoticeStep, notice: Notice, profile_name: str) -> str:
    """Write the subject of the mail."""
    if step is NoticeStep.TELL_RECOVERY:
        return f"Heloise: the profile {profile_name} works again"
    return f"Heloise: the profile {profile_name} fails ({notice.code})"


def write_text(
    step: NoticeStep, notice: Notice, *, profile_name: str, tenant_slug: str, server: str
) -> str:
    """Write the mail: since when, the server's words, and what to do."""
    facts = [
        f"Profile: {profile_name} of the tenant {tenant_slug}",
        f"Server: {server}",
        f"Code: {notice.code}",
        f"Failing since: {_format(notice.failed_at)}",
    ]
    if step is NoticeStep.TELL_RECOVERY:
        first = f"The profile {profile_name} works again. Heloise sends the messages that waited."
        facts.append(f"Works since: {_format(notice.recovered_at or notice.failed_at)}")
        last = ""
    else:
        first = (
            f"The profile {profile_name} does not work. Its messages wait in the queue, and no"
            " attempt counts."
        )
        last = (
            "\nHeloise tries the server again and again, and writes to you once it works. To test"
            f" it now, run:\n\n    heloise profile verify {profile_name} --tenant {tenant_slug}\n"
        )
    return "\n".join((first, "", mask_addresses(notice.reason), "", *facts, last))


def _format(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"
