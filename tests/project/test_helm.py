"""The chart runs what the image holds, with as few rights as it needs, as the settings have it."""

import json
import shlex
import shutil
import subprocess
import tarfile
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml

from app import __version__
from app.cli import load_command
from app.metrics.definitions import DATABASE_GAUGES
from app.settings.checks import parse_ports
from app.settings.model import PREFIX, Settings, get_info, variable_name
from tests.project.shell_blocks import blocks
from tests.support.helm import CHART, FOLDER, Helm, find_helm
from tests.support.terminal import ROOT, NearTerminal

pytestmark = pytest.mark.helm

VALUES = ("default", "full", "ha", "sqlite")
SETTINGS = {variable_name(field): field for field in Settings.model_fields}
SECRETS = {name for name, field in SETTINGS.items() if get_info(field).is_secret}
NOT_KUBERNETES = ("monitoring.coreos.com/", "gateway.networking.k8s.io/")
RUNS_PODS = ("Deployment", "StatefulSet")
RULES = ROOT / "deploy/monitoring/rules.yml"
DASHBOARD = ROOT / "deploy/monitoring/dashboard.json"
METADATA: dict[str, Any] = yaml.safe_load((CHART / "Chart.yaml").read_text())
Objects = list[dict[str, Any]]


@pytest.fixture(scope="module")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """Helm, found or unpacked once."""
    home = tmp_path_factory.mktemp("helm")
    return Helm(find_helm(home), home)


@pytest.fixture(scope="module")
def rendered_objects(helm: Helm) -> dict[str, Objects]:
    """The objects of each file of values."""
    return {values: helm.render(values) for values in VALUES}


def select(objects: Objects, kind: str) -> dict[str, dict[str, Any]]:
    """The objects of a kind, by name."""
    return {
        document["metadata"]["name"]: document for document in objects if document["kind"] == kind
    }


def pods(objects: Objects) -> dict[str, dict[str, Any]]:
    """The templates of pods, by their component."""
    templates = [
        document["spec"]["template"] for document in objects if document["kind"] in RUNS_PODS
    ]
    return {
        template["metadata"]["labels"]["app.kubernetes.io/component"]: template
        for template in templates
    }


def containers(objects: Objects) -> dict[str, dict[str, Any]]:
    """The containers, by the component of their pod; those before them by `component/name`."""
    container_by_component = dict[str, dict[str, Any]]()
    for component, template in pods(objects).items():
        [container_by_component[component]] = template["spec"]["containers"]
        for container in template["spec"].get("initContainers", ()):
            container_by_component[f"{component}/{container['name']}"] = container
    return container_by_component


def variables(container: dict[str, Any]) -> dict[str, str]:
    """The environment; none of it comes from elsewhere."""
    return {entry["name"]: entry["value"] for entry in container["env"]}


def ports(container: dict[str, Any]) -> dict[str, int]:
    """The ports, by name."""
    return {port["name"]: port["containerPort"] for port in container["ports"]}


def select_components(objects: Objects, selector: dict[str, str]) -> set[str]:
    """The components whose pods have these labels."""
    return {
        component
        for component, template in pods(objects).items()
        if selector.items() <= template["metadata"]["labels"].items()
    }


@pytest.mark.parametrize("values", VALUES)
def test_helm_finds_no_fault(helm: Helm, values: str) -> None:
    """In the chart, its schema and these values."""
    result = helm.run("lint", ".", "--strict", "--values", f"ci/{values}-values.yaml")
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("values", VALUES)
def test_kubernetes_knows_each_field(rendered_objects: dict[str, Objects], values: str) -> None:
    """In the oldest version that the chart says, and in the newest."""
    import kubernetes_validate

    oldest = METADATA["kubeVersion"].removeprefix(">=").removesuffix("-0")
    for document in rendered_objects[values]:
        if document["apiVersion"].startswith(NOT_KUBERNETES):
            continue
        for version in (oldest, kubernetes_validate.latest_version()):
            kubernetes_validate.validate(document, version, strict=True)


def test_operators_know_their_resources(rendered_objects: dict[str, Objects]) -> None:
    """The Prometheus Operator's and the Gateway API's, by their own schemas."""
    documents = [
        document
        for document in rendered_objects["full"]
        if document["apiVersion"].startswith(NOT_KUBERNETES)
    ]
    kinds = {document["kind"] for document in documents}
    assert kinds == {"HTTPRoute", "PrometheusRule", "ServiceMonitor"}
    if (node := shutil.which("node")) is None or not (FOLDER / "node_modules").exists():
        pytest.skip("needs Node.js, and the packages of tests/project/helm")
    result = subprocess.run(  # noqa: S603 - our own script
        [node, FOLDER / "validate.mjs"],
        input=json.dumps(documents),
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("values", VALUES)
def test_a_pod_may_do_as_little_as_it_can(
    rendered_objects: dict[str, Objects], values: str
) -> None:
    """As nobody, with no capability and no token, on a file system that it cannot write."""
    for template in pods(rendered_objects[values]).values():
        assert template["spec"]["automountServiceAccountToken"] is False
        context = template["spec"]["securityContext"]
        assert context["runAsNonRoot"] is True
        assert {context["runAsUser"], context["runAsGroup"], context["fsGroup"]} == {10001}
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in containers(rendered_objects[values]).values():
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"requests", "limits"} <= container["resources"].keys()


@pytest.mark.parametrize("values", VALUES)
def test_each_container_runs_a_command_that_there_is(
    rendered_objects: dict[str, Objects], values: str
) -> None:
    """After `heloise`, with options of its own. What delivers migrates before, and nothing else."""
    commands = dict[str, list[str]]()
    for name, container in containers(rendered_objects[values]).items():
        command, *options = commands[name] = container["args"]
        known = {option for parameter in load_command(command).params for option in parameter.opts}
        assert set(options) <= known
    expected = {"heloise": ["serve"]}
    if values != "sqlite":
        expected = {"api": ["serve", "--no-delivery"], "worker": ["worker"]}
    if values == "full":
        expected["submission"] = ["submission"]
    delivering = "heloise" if values == "sqlite" else "worker"
    assert commands == expected | {f"{delivering}/migrate": ["migrate"]}


def test_old_workers_end_before_new_ones_migrate(
    helm: Helm, rendered_objects: dict[str, Objects]
) -> None:
    """They do not know the new schema. The API waits for it, and its old pods for the new ones."""
    deployments = select(rendered_objects["full"], "Deployment")
    assert deployments["heloise-worker"]["spec"]["strategy"] == {"type": "Recreate"}
    for name in ("heloise-api", "heloise-submission"):
        strategy = deployments[name]["spec"]["strategy"]
        assert strategy == {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    by_hand = helm.render("full", "--set", "migrate=false")
    assert not [name for name in containers(by_hand) if "/" in name]


@pytest.mark.parametrize("values", VALUES)
def test_heloise_takes_each_variable(
    rendered_objects: dict[str, Objects], values: str, tmp_path: Path
) -> None:
    """It is a setting, with a value that the setting takes; none of them is a secret."""
    for name in ("tls.crt", "tls.key"):
        (tmp_path / name).touch()
    terminal = NearTerminal(tmp_path)
    for container in containers(rendered_objects[values]).values():
        environment = variables(container)
        assert environment.keys() <= SETTINGS.keys()
        assert environment.keys() & SECRETS <= {"HELOISE_DATABASE_URL"}
        assert environment.get("HELOISE_DATABASE_URL", "sqlite:").startswith("sqlite:")
        mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
        assert mounts[environment["HELOISE_SECRETS_DIR"]]["readOnly"] is True
        assert "/tmp" in mounts  # noqa: S108 - the pod's own
        settings_environment = {
            name.removeprefix(PREFIX): value.replace("/run/certificates", str(tmp_path)).replace(
                "/etc/heloise", str(tmp_path)
            )
            for name, value in environment.items()
        }
        assert "warning" not in terminal.done("settings", "--json", **settings_environment).err


def test_every_process_gets_the_endpoint_of_traces(helm: Helm) -> None:
    """OpenTelemetry's variables are settings too."""
    name, endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318"
    objects = helm.render(VALUES[0], "--set", f"settings.{name}={endpoint}")
    environments = [variables(container) for container in containers(objects).values()]
    assert {environment[name] for environment in environments} == {endpoint}


@pytest.mark.parametrize("values", VALUES)
def test_probes_ask_what_the_process_answers(
    rendered_objects: dict[str, Objects], values: str
) -> None:
    """On the port of its setting. The API accepts messages while nobody delivers."""
    port_fields = {"api": "port", "heloise": "port", "worker": "worker_port"}
    port_fields["submission"] = "submission_http_port"
    for component, template in pods(rendered_objects[values]).items():
        container = containers(rendered_objects[values])[component]
        probes = [container[probe]["httpGet"] for probe in ("livenessProbe", "readinessProbe")]
        is_api = component in {"api", "heloise"}
        readiness = "/readyz?delivery=false" if is_api else "/readyz"
        assert [probe["path"] for probe in probes] == ["/healthz", readiness]
        port = Settings.model_fields[port_fields[component]].default
        assert {ports(container)[probe["port"]] for probe in probes} == {port}
        sleep = container.get("lifecycle", {"preStop": {"sleep": {"seconds": 0}}})
        grace = int(variables(container)["HELOISE_SHUTDOWN_GRACE_SECONDS"])
        needed = grace + sleep["preStop"]["sleep"]["seconds"]
        assert template["spec"]["terminationGracePeriodSeconds"] > needed


@pytest.mark.parametrize("values", ["full", "sqlite"])
def test_submission_is_published_on_its_ports(
    rendered_objects: dict[str, Objects], values: str
) -> None:
    """The Service leads to the ports that the settings open, and the certificate is there."""
    component = "heloise" if values == "sqlite" else "submission"
    container = containers(rendered_objects[values])[component]
    environment = variables(container)
    listening = ports(container)
    assert str(listening["submission"]) == environment["HELOISE_SUBMISSION_PORTS"]
    assert str(listening["submissions"]) == environment["HELOISE_SUBMISSION_TLS_PORTS"]
    service = select(rendered_objects[values], "Service")["heloise-submission"]["spec"]
    published = {port["port"]: port["targetPort"] for port in service["ports"]}
    assert published == {587: "submission", 2525: "submission", 465: "submissions"}
    assert select_components(rendered_objects[values], service["selector"]) == {component}
    certificate = Path(environment["HELOISE_SUBMISSION_TLS_CERTIFICATE"])
    assert {mount["mountPath"] for mount in container["volumeMounts"]} >= {str(certificate.parent)}
    volumes = {
        volume["name"]: volume
        for volume in pods(rendered_objects[values])[component]["spec"]["volumes"]
    }
    assert volumes["certificates"]["secret"]["secretName"] == "heloise-submission"
    if values == "sqlite":
        assert environment["HELOISE_SUBMISSION"] == "true"
    else:
        assert environment["HELOISE_SUBMISSION_TRUSTED_PROXIES"] == "10.0.0.0/8,2001:db8::/32"


def test_secrets_are_in_secrets_alone(helm: Helm, rendered_objects: dict[str, Objects]) -> None:
    """As files with the names of settings; a changed one starts the pods again."""
    secret = select(rendered_objects["full"], "Secret")["heloise"]["stringData"]
    assert {name.upper() for name in secret} <= SECRETS
    others = [document for document in rendered_objects["full"] if document["kind"] != "Secret"]
    assert not [value for value in secret.values() if value in json.dumps(others)]
    volume = pods(rendered_objects["full"])["api"]["spec"]["volumes"][0]["projected"]["sources"]
    assert volume == [
        {"secret": {"name": "heloise"}},
        {
            "secret": {
                "name": "heloise-pg-app",
                "items": [{"key": "uri", "path": "heloise_database_url"}],
            }
        },
    ]
    assert not select(rendered_objects["default"], "Secret")
    changed = helm.render("full", "--set", f"secrets.adminKey={'x' * 32}")
    checksums = [
        pods(objects)["api"]["metadata"]["annotations"]["checksum/secrets"]
        for objects in (rendered_objects["full"], changed)
    ]
    assert checksums[0] != checksums[1]


@pytest.mark.parametrize("values", VALUES)
def test_each_selector_selects_its_own_pods(
    rendered_objects: dict[str, Objects], values: str
) -> None:
    """Of Services, controllers and budgets; each drain leaves a pod of a kind."""
    objects = rendered_objects[values]
    for document in objects:
        labels = document.get("spec", {}).get("selector")
        if document["kind"] in {*RUNS_PODS, "PodDisruptionBudget"}:
            own = document["metadata"]["labels"]["app.kubernetes.io/component"]
            assert select_components(objects, labels["matchLabels"]) == {own}
        elif document["kind"] == "Service" and "metrics" not in document["metadata"]["name"]:
            assert len(select_components(objects, labels)) == 1
    budgets = select(objects, "PodDisruptionBudget")
    assert len(budgets) == (0 if values == "sqlite" else len(pods(objects)))
    api = select(objects, "Service")["heloise"]["spec"]
    assert [port["targetPort"] for port in api["ports"]] == ["http"]


def test_sqlite_is_one_process_with_a_volume(rendered_objects: dict[str, Objects]) -> None:
    """Two would refuse to deliver from one file; the volume outlives the release."""
    [controller] = [doc for doc in rendered_objects["sqlite"] if doc["kind"] in RUNS_PODS]
    assert (controller["kind"], controller["spec"]["replicas"]) == ("StatefulSet", 1)
    retention = controller["spec"]["persistentVolumeClaimRetentionPolicy"]
    assert set(retention.values()) == {"Retain"}
    [claim] = controller["spec"]["volumeClaimTemplates"]
    for container in containers(rendered_objects["sqlite"]).values():
        [mount] = [m for m in container["volumeMounts"] if m["name"] == claim["metadata"]["name"]]
        url = variables(container)["HELOISE_DATABASE_URL"]
        assert url == f"sqlite:///{mount['mountPath']}/heloise.db"


def test_workers_scale_by_the_age_of_the_queue(rendered_objects: dict[str, Objects]) -> None:
    """By a gauge that there is; the Deployment leaves the number of pods to it."""
    scaler = select(rendered_objects["full"], "HorizontalPodAutoscaler")["heloise-worker"]["spec"]
    [metric] = scaler["metrics"]
    gauges = {gauge.name: gauge.labels for gauge in DATABASE_GAUGES}
    named = metric["external"]["metric"]
    assert set(named["selector"]["matchLabels"]) <= set(gauges[named["name"]])
    workers = select(rendered_objects["full"], "Deployment")[scaler["scaleTargetRef"]["name"]]
    assert "replicas" not in workers["spec"]
    adapter = (CHART / "README.md").read_text().partition("externalRules:")[2]
    assert f'"{named["name"]}"' in adapter.partition("```")[0]


@pytest.mark.parametrize("values", ["full", "sqlite"])
def test_prometheus_scrapes_each_pod_once(
    rendered_objects: dict[str, Objects], values: str
) -> None:
    """By the ports of one Service, ready or not, as the job that the rules name."""
    monitor = select(rendered_objects[values], "ServiceMonitor")["heloise"]["spec"]
    [service] = [
        document
        for document in rendered_objects[values]
        if document["kind"] == "Service"
        and monitor["selector"]["matchLabels"].items() <= document["metadata"]["labels"].items()
    ]
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert service["metadata"]["labels"][monitor["jobLabel"]] == "heloise"
    assert 'job="heloise"' in RULES.read_text()
    assert select_components(rendered_objects[values], service["spec"]["selector"]) == set(
        pods(rendered_objects[values])
    )
    targets = {port["name"]: port["targetPort"] for port in service["spec"]["ports"]}
    scraped = {targets[endpoint["port"]] for endpoint in monitor["endpoints"]}
    for component in pods(rendered_objects[values]):
        assert len(scraped & ports(containers(rendered_objects[values])[component]).keys()) == 1
    if values == "full":
        credentials = monitor["endpoints"][0]["authorization"]["credentials"]
        secret = select(rendered_objects["full"], "Secret")[credentials["name"]]["stringData"]
        assert credentials["key"] in secret


def test_rules_and_dashboard_are_those_of_the_project(
    helm: Helm, rendered_objects: dict[str, Objects], tmp_path: Path
) -> None:
    """Also in a package of the chart, which has no folder beside it."""
    [rule] = select(rendered_objects["full"], "PrometheusRule").values()
    url = "https://docs.example.com/operations/runbook/"
    text = RULES.read_text().replace("docs/operations/runbook.md", url)
    assert rule["spec"] == yaml.safe_load(text)
    dashboard = select(rendered_objects["full"], "ConfigMap")["heloise-dashboard"]["data"][
        "heloise.json"
    ]
    assert dashboard == DASHBOARD.read_text()
    assert helm.run("package", ".", "--destination", str(tmp_path)).returncode == 0
    with tarfile.open(tmp_path / f"heloise-{__version__}.tgz") as package:
        names = package.getnames()
        packed = package.extractfile("heloise/files/rules.yml")
        assert packed is not None
        assert packed.read().decode() == RULES.read_text()
    assert not [name for name in names if name.startswith("heloise/ci/")]


@pytest.mark.parametrize("values", ["full", "sqlite"])
def test_the_network_policy_lets_heloise_work(
    rendered_objects: dict[str, Objects], values: str
) -> None:
    """To mail servers on each port of profiles, to webhooks and the database, in pods too."""
    [policy] = select(rendered_objects[values], "NetworkPolicy").values()
    dns, rest = policy["spec"]["egress"]
    assert {port["port"] for port in dns["ports"]} == {53}
    allowed = {port["port"] for port in rest["ports"]}
    smtp = parse_ports(Settings.model_fields["allowed_ports"].default)
    assert {port for ports in smtp for port in ports} | {443, 993, 5432} <= allowed
    assert {"namespaceSelector": {}} in rest["to"]
    blocks = [ip_network(one["ipBlock"]["cidr"]) for one in rest["to"] if "ipBlock" in one]
    assert set(blocks) == {ip_network("0.0.0.0/0"), ip_network("::/0")}
    for block, one in zip(blocks, rest["to"], strict=False):
        excepted = [ip_network(text) for text in one["ipBlock"]["except"]]
        assert excepted
        assert all(network.version == block.version for network in excepted)
    allowed_ports = {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]}
    for component in pods(rendered_objects[values]):
        assert ports(containers(rendered_objects[values])[component]).keys() <= allowed_ports


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({}, "no database: set database.url"),
        ({"database.kind": "sqlite"}, "set secrets.existing, secrets.secretKeys"),
        ({"database.url": "postgresql://h/d"}, "no key to encrypt passwords with"),
        ({"database.existingSecret.name": "x"}, "database.existingSecret.key is empty"),
        ({"database.url": "mysql://h/d"}, "at '/database/url'"),
        ({"secrets.secretKeys": "short"}, "at '/secrets/secretKeys'"),
        ({"secrets.existing": "x", "ehloName": "localhost"}, "at '/ehloName'"),
        ({"secrets.existing": "x", "api.replica": "2"}, "'replica' not allowed"),
        ({"secrets.existing": "x", "api.replicas": "none"}, "want integer"),
        ({"secrets.existing": "x", "submission.enabled": "true"}, "submission.tlsSecret is empty"),
        ({"secrets.existing": "x", "ingress.enabled": "true"}, "ingress.host is empty"),
        ({"secrets.existing": "x", "httpRoute.enabled": "true"}, "httpRoute.parentRefs is empty"),
        ({"secrets.existing": "x", "settings.HELOISE_ADMIN_KEY": "x"}, "set secrets.adminKey"),
        ({"secrets.existing": "x", "settings.HELOISE_WORKER_PORT": "1"}, "leave it out"),
        ({"secrets.existing": "x", "settings.HELOISE_TLS_CERTIFICATE": "x"}, "plain HTTP"),
        ({"secrets.existing": "x", "settings.HELOISE_RESEND_PORT": "1"}, "HELOISE_RESEND_HOST"),
        ({"secrets.existing": "x", "settings.OTEL_EXPORTER_OTLP_HEADERS": "x"}, "extraEnvFrom"),
        ({"secrets.existing": "x", "extraEnvFrom[0].secret": "x"}, "'secret' not allowed"),
        ({"secrets.existing": "x", "settings.LOG_LEVEL": "debug"}, "'LOG_LEVEL'"),
        ({"secrets.existing": "x", "worker.autoscaling.minReplicas": "99"}, "above maxReplicas"),
    ],
)
def test_what_cannot_work_is_refused(helm: Helm, values: dict[str, str], error: str) -> None:
    """Before anything is installed, with the value to change."""
    assert error in helm.refuse(values)


def test_the_commands_of_the_readme_install_something(helm: Helm) -> None:
    """Rendered here instead, for there is no cluster."""
    commands = [
        shlex.split(line)
        for block in blocks((CHART / "README.md").read_text())
        if block.language == "sh"
        for line in block.commands()
    ]
    installing = [words for words in commands if words[0] == "helm"]
    assert len(installing) == 2
    for words in installing:
        assert words[1:5] == ["upgrade", "--install", "heloise", "deploy/helm"]
        result = helm.run("template", "heloise", ".", *words[5:])
        assert result.returncode == 0, result.stderr
        names = {doc["kind"] for doc in yaml.safe_load_all(result.stdout)}
        assert names & set(RUNS_PODS)


def test_the_chart_is_of_this_version() -> None:
    """Chart, image and package are released together."""
    assert METADATA["version"] == METADATA["appVersion"] == __version__


@pytest.mark.parametrize("name", sorted(SECRETS))
def test_no_secret_is_a_setting_of_the_chart(helm: Helm, name: str) -> None:
    """Each has a value of its own, which becomes a file."""
    assert f"settings.{name}: set " in helm.refuse(
        {"secrets.existing": "x", f"settings.{name}": "x", "database.kind": "sqlite"}
    )


@pytest.mark.parametrize("values", VALUES)
def test_every_process_gets_the_variables_of_other_secrets(helm: Helm, values: str) -> None:
    """Such as the key of a collector, that only the environment can give."""
    objects = helm.render(values, "--set", "extraEnvFrom[0].secretRef.name=elsewhere")
    for container in containers(objects).values():
        assert container["envFrom"][0] == {"secretRef": {"name": "elsewhere"}}


def test_the_readme_explains_each_value() -> None:
    """By its path, or that of the object that it is part of."""
    readme = (CHART / "README.md").read_text()
    values = yaml.safe_load((CHART / "values.yaml").read_text())

    def paths(value: Any, path: str) -> list[str]:
        if not isinstance(value, dict) or not value or f"| `{path}` |" in readme:
            return [path]
        return [leaf for name in value for leaf in paths(value[name], f"{path}.{name}".lstrip("."))]

    assert [path for path in paths(values, "") if f"| `{path}` |" not in readme] == []
