"""Decide what verify sends, and store what it finds."""

from datetime import datetime

from app.api.profiles.verify_schemas import ProfileVerify, UnsavedVerify
from app.diagnostics.ehlo_trials import Check
from app.diagnostics.report import Report
from app.domain.errors import InvalidRequest
from app.domain.types import EhloRecommendation, Profile
from app.store.db.database import Database
from app.store.profiles import queries as profiles


def build_check(profile: Profile, body: ProfileVerify | UnsavedVerify) -> Check | None:
    """Build the MAIL and RCPT check, or None; raises InvalidRequest without a sender."""
    if body.recipient is None:
        return None
    sender = body.sender or profile.default_from
    if sender is None:
        raise InvalidRequest.at("sender", msg="set a sender: the profile has no default_from")
    return Check(sender.address, body.recipient.address)


async def save_recommendation(
    database: Database, profile: Profile, report: Report, now: datetime
) -> None:
    """Store the EHLO name that verify recommends, or clear it."""
    recommendation = report.diagnosis.recommendation if report.diagnosis else None
    if recommendation is None and not report.is_ok:
        return
    ehlo_recommendation = None
    if recommendation is not None:
        ehlo_recommendation = EhloRecommendation(
            name=recommendation.name, reason=recommendation.reason, found_at=now
        )
    async with database.transaction() as connection:
        await profiles.save_recommendation(
            connection,
            tenant_id=profile.tenant_id,
            profile_id=profile.id,
            revision=profile.revision,
            recommendation=ehlo_recommendation,
        )
