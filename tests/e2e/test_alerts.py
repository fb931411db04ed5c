"""Prometheus asks a live service, and raises the alert for its fault."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.e2e.conftest import Start
from tests.support.console import sign_in, text_of
from tests.support.harness import Watched
from tests.support.processes.ports import unused_port
from tests.support.servers.smtp_server import SmtpServer
from tests.support.terminal import ROOT, Terminal
from tests.support.waiting import until

FOLDER = ROOT / "deploy/monitoring"
CODE = "connect_refused"
REASON = "Connection refused. Check `host` and `port`."


@asynccontextmanager
async def prometheus(folder: Path, target: str) -> AsyncIterator[httpx.AsyncClient]:
    """Run Prometheus with our rules; it asks the target every second, all on loopback."""
    if (path := shutil.which("prometheus")) is None:
        pytest.skip("Prometheus is not installed")
    configuration = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    configuration["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    configuration["rule_files"] = [str(FOLDER / "rules.yml")]
    configuration["scrape_configs"][0]["static_configs"] = [{"targets": [target]}]
    file = folder / "prometheus.yml"
    await asyncio.to_thread(file.write_text, yaml.safe_dump(configuration))
    port = unused_port()
    process = await asyncio.create_subprocess_exec(
        path,
        f"--config.file={file}",
        f"--storage.tsdb.path={folder / 'prometheus'}",
        f"--web.listen-address=127.0.0.1:{port}",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
            yield http
    finally:
        process.terminate()
        await process.wait()


async def firing(http: httpx.AsyncClient) -> dict[str, dict[str, Any]]:
    """The alerts that fire, by name; none while Prometheus starts."""
    try:
        answer = await http.get("/api/v1/alerts")
    except httpx.TransportError:
        return {}
    if answer.status_code != httpx.codes.OK:
        return {}
    return {
        alert["labels"]["alertname"]: alert
        for alert in answer.json()["data"]["alerts"]
        if alert["state"] == "firing"
    }


async def draw(http: httpx.AsyncClient, title: str) -> list[dict[str, str]]:
    """The labels of the series that a panel of the dashboard draws now."""
    dashboard = json.loads((FOLDER / "dashboard.json").read_text())
    [panel] = [panel for panel in dashboard["panels"] if panel["title"] == title]
    query = panel["targets"][0]["expr"].replace("$job", "heloise")
    answer = await http.get("/api/v1/query", params={"query": query + " > 0"})
    return [series["metric"] for series in answer.json()["data"]["result"]]


@pytest.mark.prometheus
@pytest.mark.long
@pytest.mark.one_database
async def test_a_dead_server_is_named_by_everything_an_operator_looks_at(
    start: Start, watched: Watched, migrated_url: str, tmp_path: Path
) -> None:
    """Alert, dashboard, log, command line, message and console name profile, reason and remedy.

    The alert ends once the server is back; no other alert fires meanwhile.
    """
    heloise = await start(metrics_by="profile")
    acme = await heloise.tenant()
    port = unused_port()
    await acme.profile("main", port)
    message_id = await acme.send()
    target = str(heloise.http.base_url).removeprefix("http://").rstrip("/")
    async with prometheus(tmp_path, target) as http:

        async def fires() -> dict[str, Any] | None:
            return (await firing(http)).get("HeloiseProfileFailing")

        alert = await until(fires)
        assert alert["labels"]["profile"] == "main"
        assert alert["annotations"]["summary"] == "Profile main of tenant acme is failing"
        assert (await firing(http)).keys() == {"HeloiseProfileFailing"}
        assert "failing_reason" in alert["annotations"]["description"]
        panel = await draw(http, "Profiles, by state")
        assert [(series["profile"], series["state"]) for series in panel] == [("main", "failing")]

        [line, *_] = [
            entry
            for entry in map(json.loads, watched.log.getvalue().splitlines())
            if entry["event"].startswith("profile failing")
        ]
        assert (line["profile"], line["code"]) == ("main", CODE)

        terminal = Terminal(tmp_path)
        terminal.environment["HELOISE_DATABASE_URL"] = migrated_url
        queue = await asyncio.to_thread(terminal.done, "queue")
        assert "main" in queue.out
        assert REASON in " ".join(queue.out.split())

        waiting = (await acme.read(f"/messages/{message_id}"))["waiting"]
        assert (waiting["reason"], waiting["code"]) == ("profile_failing", CODE)
        assert REASON in waiting["detail"]

        session = await sign_in(acme)
        for path in ("/profiles", "/profiles/main", f"/messages/{message_id}", "/queue"):
            assert REASON in text_of(await session.get(path)), path
        async with SmtpServer(port=port):
            # A change makes the profile due for a probe at once.
            await acme("PATCH", "/profiles/main", {"ehlo_name": "mail.example.com"})
            await acme.message(message_id, status="sent")

            async def is_over() -> bool | None:
                return not await firing(http) or None

            await until(is_over)
