"""GET /metrics: what an operator's alerts are made of."""

import re

from tests.e2e.conftest import Start
from tests.support.servers.smtp_server import SmtpServer


async def test_metrics_tell_what_waits_and_what_became_of_it(start: Start) -> None:
    """By status, verdict, scope and stage, and with nobody's name in a label."""
    answers = {"gone@example.org": "550 5.1.1 No such user"}
    async with SmtpServer({"rcpt": answers.get}) as server, SmtpServer({"ehlo": "550"}) as broken:
        heloise = await start()
        acme = await heloise.tenant()
        await acme.profile("main", server.port)
        await acme.profile("broken", broken.port)
        await acme.message(
            await acme.send(["ann@example.org", "gone@example.org"]), status="partially_sent"
        )
        await acme.send(profile="broken")
        await acme.state("broken", "failing")
        text = (await heloise.http.get("/metrics")).text
        for line in (
            'heloise_messages{status="queued"} 1.0',
            'heloise_messages{status="held"} 0.0',
            'heloise_profiles{state="failing"} 1.0',
            'heloise_profiles{state="active"} 1.0',
            'heloise_recipient_outcomes_total{scope="none",verdict="delivered"} 1.0',
            'heloise_recipient_outcomes_total{scope="recipient",verdict="bounce"} 1.0',
            'heloise_attempt_seconds_count{stage="dot"} 1.0',
            'heloise_group_size_count{work="accept"} 2.0',
            "heloise_lease_takeovers_total 0.0",
        ):
            assert line in text.splitlines()
        assert float(re.findall(r'heloise_oldest_message_seconds{status="queued"} (.*)', text)[0])
        assert "acme" not in text
        assert "example" not in text
