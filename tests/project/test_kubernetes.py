"""The manifests for Kubernetes run what the image holds, with as few rights as it needs."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from app.cli import COMMANDS
from app.settings import Settings, variable_name
from tests.support.terminal import ROOT

DOCUMENTS: list[dict[str, Any]] = list(
    yaml.safe_load_all((ROOT / "docs/operations/kubernetes/heloise.yaml").read_text())
)
PODS = {
    document["metadata"]["name"]: document["spec"]["template"]["spec"]
    for document in DOCUMENTS
    if document["kind"] in {"Job", "Deployment"}
}
VARIABLES = {variable_name(field) for field in Settings.model_fields}


def container(pod: dict[str, Any]) -> dict[str, Any]:
    """The one container of a pod."""
    [only] = pod["containers"]
    found: dict[str, Any] = only
    return found


@pytest.mark.parametrize("name", PODS)
def test_a_pod_may_do_as_little_as_it_can(name: str) -> None:
    """As nobody, with no capability, on a file system that it cannot write."""
    pod = PODS[name]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 10001
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container(pod)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


@pytest.mark.parametrize("name", PODS)
def test_a_pod_runs_a_command_with_settings_that_there_are(name: str) -> None:
    """As the image has it; secrets come from the folder that is read by itself."""
    args = container(PODS[name])["args"]
    assert args[0] in COMMANDS
    if args[1:]:
        module, _ = COMMANDS[args[0]]
        options = {
            option
            for parameter in get_command(__import__(module, fromlist=["app"]).app).params
            for option in parameter.opts
        }
        assert set(args[1:]) <= options
    assert {variable["name"] for variable in container(PODS[name]).get("env", [])} <= VARIABLES
    mounted = {
        volumeMount["mountPath"]: volumeMount
        for volumeMount in container(PODS[name])["volumeMounts"]
    }
    assert mounted["/run/secrets"]["readOnly"] is True


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("heloise-api", "port"),
        ("heloise-submission", "submission_http_port"),
        ("heloise-worker", "worker_port"),
    ],
)
def test_the_probes_ask_the_port_of_the_setting(name: str, field: str) -> None:
    """Alive is not the same as ready."""
    process = container(PODS[name])
    probes = [process[probe]["httpGet"] for probe in ("livenessProbe", "readinessProbe")]
    # The API accepts messages while no worker delivers.
    readiness = "/readyz?delivery=false" if name == "heloise-api" else "/readyz"
    assert [probe["path"] for probe in probes] == ["/healthz", readiness]
    ports = {port["name"]: port["containerPort"] for port in process["ports"]}
    default = Settings.model_fields[field].default
    assert [ports[probe["port"]] for probe in probes] == [default, default]
    assert PODS[name]["terminationGracePeriodSeconds"] > 30


def test_submission_is_published_on_its_ports() -> None:
    """The Service leads to the ports that the settings open, by the names of the two services."""
    submission = container(PODS["heloise-submission"])
    env = {variable["name"]: variable["value"] for variable in submission["env"]}
    listening = {port["name"]: str(port["containerPort"]) for port in submission["ports"]}
    del listening["monitor"]
    assert listening == {
        "submission": env["HELOISE_SUBMISSION_PORTS"],
        "submissions": env["HELOISE_SUBMISSION_TLS_PORTS"],
    }
    [service] = [
        document["spec"]
        for document in DOCUMENTS
        if document["kind"] == "Service" and document["metadata"]["name"] == "heloise-submission"
    ]
    published = {port["port"]: port["targetPort"] for port in service["ports"]}
    assert published == {587: "submission", 465: "submissions"}
    mounts = {mount["name"]: mount["mountPath"] for mount in submission["volumeMounts"]}
    certificates = Path(mounts["certificates"])
    assert env["HELOISE_SUBMISSION_TLS_CERTIFICATE"] == str(certificates / "tls.crt")
    assert env["HELOISE_SUBMISSION_TLS_KEY"] == str(certificates / "tls.key")
    assert PODS["heloise-submission"]["terminationGracePeriodSeconds"] > 30
