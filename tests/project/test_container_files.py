"""The container files say what the code does; one needs no container engine to see it."""

import json
import re
import shutil
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml
from sqlalchemy import make_url

from app.cli import COMMANDS, load_command
from app.domain.secret_keys import generate_key
from app.main import create_app
from app.settings.model import PREFIX, Settings, variable_name
from tests.support.processes.served import serve
from tests.support.terminal import ROOT, NearTerminal, Terminal

DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "heloise"}
VARIABLES = {variable_name(field) for field in Settings.model_fields}


class _Loader(yaml.SafeLoader):
    """Reads the tags with which a compose file replaces a value of another one."""


def _read_node(loader: yaml.SafeLoader, node: yaml.Node) -> Any:
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_mapping(node, deep=True)


for _tag in ("!reset", "!override"):
    _Loader.add_constructor(_tag, _read_node)


def instructions() -> Iterator[tuple[str, str]]:
    """The Dockerfile's instructions, each on one line, without comments."""
    lines = [line for line in DOCKERFILE.splitlines() if not line.startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if line:
            verb, _, rest = line.partition(" ")
            yield verb, " ".join(rest.split())


def stages() -> list[list[tuple[str, str]]]:
    """The instructions of each stage, its FROM first."""
    lines_by_stage: list[list[tuple[str, str]]] = []
    for verb, rest in instructions():
        if verb == "FROM":
            lines_by_stage.append([])
        if lines_by_stage:
            lines_by_stage[-1].append((verb, rest))
    return lines_by_stage


def of_final_stage(name: str) -> str:
    """What the image says at an instruction."""
    return next(rest for verb, rest in stages()[-1] if verb == name)


def assert_is_a_command(words: list[str]) -> None:
    """These words, after `heloise`, are a command of ours with options of its own."""
    name, *options = words
    assert name in COMMANDS
    known = {option for parameter in load_command(name).params for option in parameter.opts}
    assert set(options) <= known


@pytest.mark.parametrize("path", ["Dockerfile", "docker-compose.yml"])
def test_every_variable_is_a_setting(path: str) -> None:
    """In comments too."""
    named = set(re.findall(rf"\b{PREFIX}[A-Z_]+\b", (ROOT / path).read_text()))
    assert named
    assert named <= VARIABLES


@pytest.mark.parametrize("service", OURS)
def test_every_value_is_one_that_the_setting_takes(service: str, terminal: NearTerminal) -> None:
    """As the service would start with it, its certificate in its folder."""
    for name in ("tls.crt", "tls.key"):
        (terminal.folder / name).touch()
    folder = str(terminal.folder)
    environment = {
        name.removeprefix(PREFIX): str(value)
        .replace("${HELOISE_EHLO_NAME:-}", "")
        .replace("/run/certificates", folder)
        for name, value in OURS[service]["environment"].items()
    }
    result = terminal.done("settings", "--json", **environment)
    assert "warning" not in result.err


def test_the_cluster_takes_the_place_of_the_server() -> None:
    """By the name and port in the URL of the secret; HAProxy asks the Patroni of each server."""
    folder = ROOT / "deploy/patroni"
    services = yaml.load((folder / "compose.yml").read_text(), _Loader)["services"]  # noqa: S506 - a safe one
    members = {name for name in services if re.fullmatch(r"postgres\d", name)}
    assert services["postgres"]["image"].startswith("haproxy")
    assert set(services["postgres"]["depends_on"]) == members
    proxied = (folder / "haproxy.cfg").read_text()
    assert all(f"    bind *:{port} tcp-ut 13s\n" in proxied for port in (5432, 5433))
    for name in members:
        assert proxied.count(f"    server {name} {name}:5432\n") == 2
        environment = services[name]["environment"]
        assert environment["PATRONI_NAME"] == name
        assert environment["PATRONI_POSTGRESQL_CONNECT_ADDRESS"] == f"{name}:5432"
        assert environment["PATRONI_RESTAPI_CONNECT_ADDRESS"] == f"{name}:8008"
    assert services["api"]["environment"].keys() <= VARIABLES


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    """A terminal without any setting."""
    return NearTerminal(tmp_path)


def test_every_command_exists() -> None:
    """The image's own and those of the services, with their options."""
    assert json.loads(of_final_stage("ENTRYPOINT")) == ["heloise"]
    assert_is_a_command(json.loads(of_final_stage("CMD")))
    for service in OURS.values():
        assert_is_a_command(service["command"])
    commands = {service["command"][0] for service in OURS.values()}
    assert commands == {"migrate", "serve", "submission", "worker"}


def test_the_ports_are_those_that_the_code_listens_on() -> None:
    """The image exposes it, and the API's container publishes it on this machine alone."""
    port = Settings.model_fields["port"].default
    assert of_final_stage("EXPOSE") == str(port)
    assert SERVICES["api"]["ports"] == [f"127.0.0.1:{port}:{port}"]
    ports = SERVICES["api"]["environment"]["HELOISE_ALLOWED_PORTS"]
    caught = int(SERVICES["mailpit"]["expose"][0])
    assert Settings(allowed_ports=ports).build_guard().port_refusal(caught) is None


def test_submission_is_published_on_its_ports() -> None:
    """On 587 and 465, and only for those who ask for the service and bring a certificate."""
    service = SERVICES["submission"]
    environment = service["environment"]
    assert service["ports"] == [
        f"587:{environment['HELOISE_SUBMISSION_PORTS']}",
        f"465:{environment['HELOISE_SUBMISSION_TLS_PORTS']}",
    ]
    assert service["profiles"] == ["submission"]
    [volume] = service["volumes"]
    source, folder, _ = volume.split(":")
    certificate = Path(environment["HELOISE_SUBMISSION_TLS_CERTIFICATE"])
    assert str(certificate.parent) == folder
    assert f"/{Path(source).name}/" in (ROOT / ".gitignore").read_text().splitlines()


def test_the_health_check_asks_what_the_api_answers(tmp_path: Path) -> None:
    """It fails where nothing answers, and passes where the API runs."""
    settings = Settings(database_url=f"sqlite:///{tmp_path}/none.db", secret_keys=generate_key())

    app = create_app(settings, hostname="test.example.com")
    with serve(app) as url:
        port = url.rpartition(":")[2]
        assert is_healthy(tmp_path, port)
    assert not is_healthy(tmp_path, port)


def test_the_health_check_asks_by_tls_where_the_api_does(tmp_path: Path) -> None:
    """Whatever name the certificate is of."""
    path = tmp_path / "mail.pem"
    trustme.CA().issue_cert("mail.example.com").private_key_and_cert_chain_pem.write_to_path(path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(path)

    class Alive(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/healthz" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Write nothing to the terminal."""

    with HTTPServer(("127.0.0.1", 0), Alive) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        port = str(server.server_address[1])
        assert is_healthy(tmp_path, port, HELOISE_TLS_CERTIFICATE=str(path))
        thread.join()


def is_healthy(folder: Path, port: str, **variables: str) -> bool:
    """Whether the image's check passes."""
    words = json.loads(of_final_stage("HEALTHCHECK").partition("CMD ")[2])
    result = subprocess.run(  # noqa: S603 - the words of our own Dockerfile
        [sys.executable, *words[1:]],
        env=Terminal(folder).environment | {"HELOISE_PORT": port} | variables,
        capture_output=True,
        check=False,
    )
    return result.returncode == 0


def test_services_wait_for_what_they_need() -> None:
    """The tables wait for the database to answer, all others for the tables."""
    assert "pg_isready" in SERVICES["postgres"]["healthcheck"]["test"]
    for name, service in OURS.items():
        if name == "migrate":
            assert service["depends_on"] == {"postgres": {"condition": "service_healthy"}}
            assert service["restart"] == "no"
        else:
            waits = service["depends_on"]
            assert waits == {"migrate": {"condition": "service_completed_successfully"}}


@pytest.mark.parametrize(
    ("name", "field"), [("worker", "worker_port"), ("submission", "submission_http_port")]
)
def test_compose_asks_what_has_no_api(name: str, field: str) -> None:
    """On the port that the process opens by itself."""
    url = f"http://127.0.0.1:{Settings.model_fields[field].default}/healthz"
    assert url in SERVICES[name]["healthcheck"]["test"][-1]


def test_there_are_two_workers() -> None:
    """And the API leaves the work to them."""
    assert SERVICES["worker"]["deploy"]["replicas"] == 2
    assert "--no-delivery" in SERVICES["api"]["command"]


def test_a_stop_waits_for_what_is_being_transmitted() -> None:
    """Longer than Heloise itself does."""
    assert of_final_stage("STOPSIGNAL") == "SIGTERM"
    grace_seconds = Settings.model_fields["shutdown_grace_seconds"].default
    for service in OURS.values():
        assert int(service["stop_grace_period"].removesuffix("s")) > grace_seconds


def test_the_secrets_are_settings_in_files(tmp_path: Path) -> None:
    """`make secrets` makes them, the settings read them, and the database's fit its server's."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    make = ["make", "--silent", "secrets"]
    subprocess.run(make, cwd=tmp_path, check=True, capture_output=True)  # noqa: S603 - our own rule
    before = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    subprocess.run(make, cwd=tmp_path, check=True, capture_output=True)  # noqa: S603 - as above
    assert {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()} == before
    assert {secret["file"] for secret in COMPOSE["secrets"].values()} == {
        f"secrets/{name}" for name in before
    }
    terminal = NearTerminal(tmp_path)
    result = terminal.done("settings", "--json", SECRETS_DIR=str(tmp_path / "secrets"))
    assert "warning" not in result.err
    names = {entry["name"] for entry in result.json if entry["source"] == "secrets folder"}
    for service in OURS.values():
        assert {name.upper() for name in service["secrets"]} == names
    url = make_url(before["heloise_database_url"].strip())
    server = SERVICES[str(url.host)]["environment"]
    assert (url.username, url.database) == (server["POSTGRES_USER"], server["POSTGRES_DB"])
    assert url.password == before["postgres_password"].strip()


def test_no_variable_hides_a_secret() -> None:
    """What the environment says is stronger than a file."""
    variables = set(re.findall(rf"\b({PREFIX}[A-Z_]+)=", DOCKERFILE))
    for service in OURS.values():
        assert not {name.upper() for name in service["secrets"]} & (
            variables | {*service["environment"]}
        )


def test_the_image_holds_no_tools_and_runs_as_nobody() -> None:
    """The final stage installs nothing, and its user owns nothing but the data."""
    build, final = stages()
    assert build[0][1].endswith("-slim AS build")
    assert final[0][1].endswith("-slim")
    runs = " ".join(rest for verb, rest in final if verb == "RUN")
    assert not re.search(r"\b(apt|apt-get|pip|gcc|make)\b", runs)
    assert of_final_stage("USER") == "10001"
    assert f"--uid {of_final_stage('USER')}" in runs
    assert of_final_stage("VOLUME") == of_final_stage("WORKDIR") == "/data"
    assert any("--require-hashes" in rest for verb, rest in build if verb == "RUN")


def test_the_image_contains_the_bytecode_of_what_it_starts() -> None:
    """Its user cannot write any, and the image of Python has none of the standard library."""
    verbs = [verb for verb, rest in stages()[-1] if verb == "USER" or "compileall" in rest]
    assert verbs == ["RUN", "USER"]
    assert "PYTHONDONTWRITEBYTECODE" not in DOCKERFILE
    assert "no-compile" not in DOCKERFILE


def test_what_is_copied_is_there_and_nothing_else_is_sent() -> None:
    """What `.dockerignore` lets through is what the image is built from."""
    copied = {word for verb, rest in stages()[0] if verb == "COPY" for word in rest.split()[:-1]}
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    assert copied == {line[1:] for line in ignored if line.startswith("!")}
    assert all((ROOT / name).exists() for name in copied)
