"""The API against its own document, by schemathesis: nothing fails here, and no answer lies.

Each operation gets what its schema allows and what it does not, with keys that may do much, little
or nothing. `FUZZ_EXAMPLES` is how many of each; `make fuzz` tries many.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.cli.conftest import operator
from tests.cli.terminal import Terminal
from tests.cli.test_serve_commands import unused_port

__all__ = ["operator"]

ROOT: Final = Path(__file__).parents[2]
CONFIG: Final = Path(__file__).with_name("schemathesis.toml")
EXAMPLES: Final = os.environ.get("FUZZ_EXAMPLES", "3")
ADMIN_KEY: Final = "an-admin-key-of-more-than-32-characters"
SETTINGS: Final = {
    "ADMIN_KEY": ADMIN_KEY,
    "FAILED_KEYS_PER_MINUTE": "10000",
    "VERIFY_PER_MINUTE": "1000",
    "DENIED_NETWORKS": "0.0.0.0/0,::/0",  # what is made up may be somebody's
    "DNS_SERVERS": "127.0.0.1:1",  # nobody answers there, and at once
    "LOG_LEVEL": "error",
}
# What fits the schema may be refused all the same: a host that sandboxes do without, an address.
NOT_SAID_BY_SCHEMA: Final = "positive_data_acceptance"
# Its own key is among what a caller may revoke, after which nothing is accepted any more; and
# verify connects to whatever host is made up for it.
# A stream of events does not end by itself.
NOT_ASKED: Final = "^(delete_tenant|revoke.*|rotate_(own_)?key|verify.*|stream_events)$"


@pytest.fixture
def url(operator: Terminal) -> Iterator[str]:
    """A served API with a tenant, a profile and a message."""
    operator.done("tenant", "create", "acme")
    words = ("--host", "smtp.example.com", "--default-from", "a@example.com")
    operator.done("profile", "create", "-t", "acme", "--name", "transactional", *words)
    environment = {f"HELOISE_{name}": value for name, value in SETTINGS.items()}
    port = unused_port()
    with (operator.folder / "served.log").open("w") as log:  # a pipe that nobody reads fills up
        served = subprocess.Popen(  # noqa: S603 - our own words
            [sys.executable, "-m", "app.cli", "serve", "--port", str(port)],
            cwd=operator.folder,
            env=operator.environment | environment,
            stdout=log,
            stderr=log,
        )
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            served.terminate()
            served.wait()


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("scopes", ["all", "messages:read", "none", "admin"])
def test_no_answer_is_a_fault_or_a_lie(operator: Terminal, url: str, scopes: str) -> None:
    """Statuses, types, headers and bodies are those of the document; a key is always asked for."""
    headers = []
    if scopes == "admin":
        headers = [f"Authorization: Bearer {ADMIN_KEY}", "Heloise-Tenant: acme"]
    elif scopes != "none":
        chosen = () if scopes == "all" else ("--scope", scopes)
        made = operator.done("key", "create", "-t", "acme", *chosen, "--json").json
        headers = [f"Authorization: Bearer {made['key']}"]
    phases = "examples,coverage,fuzzing" if scopes in {"all", "admin"} else "examples,fuzzing"
    # What is a tenant's is tried with a tenant's key, in all of its forms.
    only = ("--include-path-regex", "^/tenants") if scopes == "admin" else ()
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG)),
        *("run", f"{url}/openapi.json"),
        *("--phases", phases, "--max-examples", EXAMPLES, "--no-color", "--no-shrink"),
        *("--exclude-checks", NOT_SAID_BY_SCHEMA, "--wait-for-schema", "60"),
        *only,
        *("--exclude-operation-id-regex", NOT_ASKED),
        *(word for header in headers for word in ("-H", header)),
    ]
    hooks = {"SCHEMATHESIS_HOOKS": "tests.fuzz.hooks", "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(  # noqa: S603 - our own words
        command,
        cwd=operator.folder,
        env=operator.environment | hooks,
        capture_output=True,
        text=True,
        check=False,
    )
    told = "\n".join(line[:500] for line in ended.stdout.splitlines()[-300:])
    assert ended.returncode == 0, told + ended.stderr[-2000:]
    sys.stdout.write(ended.stdout[ended.stdout.rindex("Test cases:") :])  # for `make fuzz`
