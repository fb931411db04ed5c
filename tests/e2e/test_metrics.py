"""Metrics and health checks: what an operator's alerts are made of."""

import shutil
import socket
import subprocess
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Start
from tests.support.harness import Process, Tenant, until
from tests.support.processes.ports import unused_port
from tests.support.servers.smtp_server import SmtpServer

TOKEN = "a-token-of-more-than-32-characters-for-prometheus"


def samples(text: str, name: str) -> dict[str, float]:
    """The values of a metric by its labels, as they are written."""
    lines = (line.rpartition(" ") for line in text.splitlines() if line.startswith(name))
    return {
        sample.removeprefix(name): float(value)
        for sample, _, value in lines
        if sample.partition("{")[0] == name
    }


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
        await acme.http.get(f"/messages/{'x' * 40}", headers=acme.headers)
        text = (await heloise.http.get("/metrics")).text
        for line in (
            'heloise_messages{status="queued"} 1.0',
            'heloise_messages{status="held"} 0.0',
            'heloise_profiles{state="failing"} 1.0',
            'heloise_profiles{state="active"} 1.0',
            'heloise_messages_accepted_total{source="api"} 2.0',
            'heloise_recipients_total{status="sent"} 1.0',
            'heloise_recipients_total{status="bounced"} 1.0',
            'heloise_attempts_total{stage="ehlo",verdict="defer"} 1.0',
            'heloise_recipient_outcomes_total{scope="none",verdict="delivered"} 1.0',
            'heloise_recipient_outcomes_total{scope="recipient",verdict="bounce"} 1.0',
            'heloise_attempt_duration_seconds_count{stage="dot"} 1.0',
            "heloise_time_to_sent_seconds_count 1.0",
            'heloise_group_size_messages_count{work="accept"} 2.0',
            'heloise_http_requests_total{method="POST",route="/messages",status="202"} 2.0',
            "heloise_workers 1.0",
            "heloise_database_up 1.0",
        ):
            assert line in text.splitlines()
        unknown = '{method="GET",route="/messages/{message}",status="404"}'
        assert samples(text, "heloise_http_requests_total")[unknown] == 1
        assert samples(text, "heloise_oldest_message_age_seconds")['{status="queued"}'] > 0
        assert "acme" not in text
        assert "example" not in text
        check_with_promtool(text)


def check_with_promtool(text: str) -> None:
    """Prometheus' own check of names and units, where it is installed."""
    if (promtool := shutil.which("promtool")) is None:
        return
    ours = [line for line in text.splitlines() if "process_" not in line]
    checked = subprocess.run(  # noqa: S603 - Debian's
        [promtool, "check", "metrics"],
        input="\n".join(ours) + "\n",
        capture_output=True,
        text=True,
        check=False,
    )
    assert (checked.returncode, checked.stderr) == (0, "")


async def test_messages_count_by_profile_on_request(start: Start, server: SmtpServer) -> None:
    """With the names of today, and all beyond the limit together."""
    heloise = await start(metrics_by="profile", metrics_limit=1)
    acme, beta = await heloise.tenant(), await heloise.tenant("beta")
    for tenant in (acme, beta):
        await tenant.profile("main", server.port)
        await tenant.message(await tenant.send(), status="sent")
    text = (await heloise.http.get("/metrics")).text
    assert samples(text, "heloise_recipients_total") == {
        '{profile="main",status="sent",tenant="acme"}': 1,
        '{profile="other",status="sent",tenant="other"}': 1,
    }
    assert samples(text, "heloise_time_to_sent_seconds_count").keys() == {
        '{profile="main",tenant="acme"}',
        '{profile="other",tenant="other"}',
    }


async def test_a_worker_serves_metrics_and_health(
    start: Start, launch: Any, server: SmtpServer
) -> None:
    """Delivery is in its process, so are delivery's metrics."""
    heloise = await start(delivery=False)
    acme = await heloise.tenant()
    await acme.profile("main", server.port)
    port = unused_port()
    launch("worker", worker_port=port)
    await acme.message(await acme.send(), status="sent")
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
        assert (await http.get("/healthz")).json() == {"status": "ok"}
        assert (await http.get("/readyz")).json() == {"status": "ready"}
        text = (await http.get("/metrics")).text
        assert samples(text, "heloise_recipients_total") == {'{status="sent"}': 1}
        assert samples(text, "heloise_workers") == {"": 1}
        assert (await http.head("/metrics")).content == b""
        assert (await http.get("/")).status_code == 404
        assert (await http.post("/metrics")).status_code == 405


async def test_a_worker_delivers_while_another_process_has_its_port(
    start: Start, launch: Any, server: SmtpServer
) -> None:
    """And takes the port once it is free, as after a restart with an overlap."""
    heloise = await start(delivery=False)
    acme = await heloise.tenant()
    await acme.profile("main", server.port)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        worker: Process = launch("worker", worker_port=port)
        await acme.message(await acme.send(), status="sent")
        assert f"127.0.0.1 port {port}: " in (log := worker.log.read_text())
        assert "set HELOISE_WORKER_PORT to another port, or to 0" in log
    worker.port = port
    await worker.wait_ready()
    assert worker.stop() == 0


@pytest.mark.postgresql
@pytest.mark.slow
@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
async def test_all_processes_of_a_service_answer_with_the_same_counts(
    start: Start, launch: Any, server: SmtpServer
) -> None:
    """`serve --workers 2` has one /metrics: no counter falls, whichever process answers."""
    other = await start(delivery=False)
    acme = await other.tenant()
    await acme.profile("main", server.port)
    process: Process = launch("serve", "--workers", "2", port=unused_port())
    await process.wait_ready()
    connect_anew = httpx.Limits(max_keepalive_connections=0)  # maybe to the other process
    async with httpx.AsyncClient(base_url=process.url, limits=connect_anew) as http:
        tenant = Tenant(http, acme.headers, acme.tenant_id)
        for _ in range(20):
            await tenant.send()

        async def read() -> float:
            text = (await http.get("/metrics")).text
            return samples(text, "heloise_messages_accepted_total").get('{source="api"}', 0)

        async def have_all_counted() -> bool | None:
            return await read() == 20 or None

        await until(have_all_counted)
        assert {await read() for _ in range(10)} == {20}
    assert process.stop() == 0
