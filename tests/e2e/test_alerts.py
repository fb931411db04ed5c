"""Prometheus asks a live service, and raises the alert for its fault."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.e2e.conftest import Start
from tests.support.harness import until
from tests.support.processes.ports import unused_port
from tests.support.servers.smtp_server import SmtpServer
from tests.support.terminal import ROOT

FOLDER = ROOT / "deploy/monitoring"


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


@pytest.mark.prometheus
@pytest.mark.long
@pytest.mark.one_database
async def test_an_alert_names_the_profile_whose_server_is_down(
    start: Start, tmp_path: Path
) -> None:
    """And ends once the server is back; no other alert fires meanwhile."""
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
        async with SmtpServer(port=port):
            # A change makes the profile due for a probe at once.
            await acme("PATCH", "/profiles/main", {"ehlo_name": "mail.example.com"})
            await acme.message(message_id, status="sent")

            async def is_over() -> bool | None:
                return not await firing(http) or None

            await until(is_over)
