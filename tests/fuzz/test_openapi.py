"""The API against its own document, by schemathesis: nothing fails here, and no answer lies.

Each operation gets what its schema allows and what it does not, with keys that may do much, little
or nothing. `make test` tries the same few on every run: of each limit of each value one case. `make
fuzz` tries every case and `FUZZ_EXAMPLES` of each operation, others every time unless `FUZZ_SEED`
says which.
"""

import os
import random
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import httpx
import pytest
from schemathesis import Case, HookContext, openapi
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import StopReason, events, from_schema
from schemathesis.generation.meta import CoveragePhaseData
from schemathesis.schemas import BaseSchema

from app.main import create_app
from app.settings.model import Settings
from tests.cli.conftest import operator
from tests.fuzz import hooks
from tests.support.processes.served import serve
from tests.support.terminal import Terminal

__all__ = ["hooks", "operator"]

FEW: Final = 3
EXAMPLES: Final = int(os.environ.get("FUZZ_EXAMPLES", FEW))
IS_MANY: Final = EXAMPLES > FEW
SEED: Final = int(os.environ.get("FUZZ_SEED", random.getrandbits(32) if IS_MANY else 1))
ADMIN_KEY: Final = "an-admin-key-of-more-than-32-characters"
SETTINGS: Final[dict[str, Any]] = {
    "admin_key": ADMIN_KEY,
    "auth_failures_per_minute": 10_000,
    "verify_per_minute": 1000,
    "denied_networks": "0.0.0.0/0,::/0",  # what is made up may be somebody's
    "dns_servers": "127.0.0.1:1",  # nobody answers there
    "shutdown_grace_seconds": 0,  # what is in delivery waits for those
    "log_level": "error",
}
# Its own key is among what a caller may revoke, after which nothing is accepted any more; and
# verify connects to whatever host is made up for it.
# A stream of events does not end by itself.
NOT_ASKED: Final = "^(delete_tenant|revoke.*|rotate_(own_)?key|verify.*|stream_events)$"
# What is too large is refused before anybody looks whether it is wrong otherwise.
REFUSALS: Final = [400, 401, 403, 404, 405, 406, 409, 413, 415, 422, 428, 429]
# Tags of the document, so that no test takes long; OTHERS are the rest.
OTHERS: Final = ()
GROUPS: Final = {
    "messages": ("Messages",),
    "profiles": ("Profiles", "Domains"),
    "templates": ("Templates", "Webhooks"),
    "others": OTHERS,
}
NAMED: Final = [tag for tags in GROUPS.values() for tag in tags]
EXHAUSTIVE: Final = ("coverage",)
CHOSEN: Final = ("examples", "fuzzing")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    # The service, which runs in this process, draws numbers while hypothesis makes up requests.
    pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies"),
]


def phases_on(database_url: str) -> tuple[str, ...]:
    """What is tried where: by `make fuzz` all of it.

    What every value's limits are is asked of PostgreSQL alone otherwise, which takes fewer values.
    """
    if IS_MANY:
        return CHOSEN + EXHAUSTIVE
    return CHOSEN if database_url.startswith("sqlite") else EXHAUSTIVE


@contextmanager
def serving(operator: Terminal) -> Iterator[str]:
    """A served API with a tenant, a profile and a message."""
    operator.done("tenant", "create", "acme")
    words = ("--host", "smtp.example.com", "--default-from", "a@example.com")
    operator.done("profile", "create", "-t", "acme", "--name", "transactional", *words)
    options = {
        "database_url": operator.environment["HELOISE_DATABASE_URL"],
        "secret_keys": operator.environment["HELOISE_SECRET_KEYS"],
    }
    with serve(create_app(Settings(**options, **SETTINGS), hostname="test.example.com")) as url:
        yield url


@pytest.fixture
def url(operator: Terminal) -> Iterator[str]:
    """Where it is served."""
    with serving(operator) as url:
        yield url


@pytest.fixture(scope="session")
def documents() -> dict[str, Any]:
    """What `document` keeps: the document is the same on every database, and takes seconds."""
    return {}


@pytest.fixture
def document(url: str, documents: dict[str, Any]) -> Callable[..., BaseSchema]:
    """The API's document, and how to try it."""
    if not documents:
        documents.update(httpx.get(f"{url}/openapi.json", timeout=600).raise_for_status().json())

    def document(phases: Iterable[str], *, examples: int = EXAMPLES, **headers: str) -> BaseSchema:
        config = {
            "base-url": url,
            "seed": SEED,
            "headers": headers,
            "request-timeout": 600,
            # How long it takes to make up a request is the machine's affair.
            "suppress-health-check": ["all"],
            # What fits the schema may be refused all the same: a host that sandboxes do without.
            "checks": {
                "positive_data_acceptance": {"enabled": False},
                "negative_data_rejection": {"expected-statuses": REFUSALS},
            },
            "generation": {"max-examples": examples, "no-shrink": True, "database": "none"},
            "phases": {
                phase: {"enabled": phase in phases}
                for phase in ("examples", "coverage", "fuzzing", "stateful")
            },
        }
        schema = openapi.from_dict(documents, config=SchemathesisConfig.from_dict(config))
        if not IS_MANY:
            schema.hook("filter_case")(one_of_each())
        return schema.exclude(operation_id_regex=NOT_ASKED)

    return document


def one_of_each() -> Callable[[HookContext, Case], bool]:
    """Chooses, of the values that try the same limit of the same field, the first."""
    tried: set[tuple[Any, ...]] = set()

    def choose(_: HookContext, case: Case) -> bool:
        assert case.meta is not None
        limit = case.meta.phase.data
        if not isinstance(limit, CoveragePhaseData):
            return True
        what = (case.operation.label, limit.scenario, limit.description, limit.parameter)
        is_new = what not in tried
        tried.add(what)
        return is_new

    return choose


def failures(schema: BaseSchema, tried: list[int]) -> Iterator[str]:
    """What was wrong with any answer; `tried` is told how many requests there were."""
    for event in from_schema(schema).execute():
        match event:
            case events.ScenarioFinished():
                tried.append(len(event.recorder.cases))
                for checks in event.recorder.checks.values():
                    for info in (check.failure_info for check in checks if check.failure_info):
                        details = (event.recorder.label, info.failure.message, info.code_sample)
                        yield "\n".join((info.failure.title, *details))
            case events.NonFatalError():
                yield f"{event.label}: {event.info}"
            case events.FatalError():
                raise event.exception
            case events.EngineFinished():
                assert event.stop_reason is StopReason.COMPLETED


def try_all(schema: BaseSchema, test: str) -> None:
    """Ask all that there is in the document, and find nothing wrong with the answers."""
    second = f"FUZZ_SEED={SEED} FUZZ_EXAMPLES={EXAMPLES} .venv/bin/pytest '{test}'"
    tried: list[int] = []
    problems = [text[:2000] for text in failures(schema, tried)]
    sys.stdout.write(f"{sum(tried)} requests to {len(tried)} operations; again by: {second}\n")
    assert not problems, "\n\n".join(
        [*problems[:20], f"{len(problems)} in all; again by: {second}"]
    )
    assert tried


@pytest.mark.parametrize("group", GROUPS)
def test_no_answer_is_a_fault_or_a_lie(
    operator: Terminal,
    document: Callable[..., BaseSchema],
    group: str,
    request: pytest.FixtureRequest,
) -> None:
    """Statuses, types, headers and bodies are those of the document, for a key of every scope."""
    key = operator.done("key", "create", "-t", "acme", "--json").json
    phases = phases_on(operator.environment["HELOISE_DATABASE_URL"])
    schema = document(phases, Authorization=f"Bearer {key['key']}")
    tags = GROUPS[group]
    schema = schema.exclude(tag=NAMED) if tags is OTHERS else schema.include(tag=list(tags))
    try_all(schema, request.node.nodeid)


def test_nor_is_an_admins(
    operator: Terminal, document: Callable[..., BaseSchema], request: pytest.FixtureRequest
) -> None:
    """What is a tenant's is tried with a tenant's key, in all of its forms."""
    phases = phases_on(operator.environment["HELOISE_DATABASE_URL"])
    headers = {"Authorization": f"Bearer {ADMIN_KEY}", "Heloise-Tenant": "acme"}
    schema = document(phases, **headers).include(path_regex="^/tenants")
    try_all(schema, request.node.nodeid)


@pytest.mark.one_database
@pytest.mark.parametrize("scope", ["messages:read", "none"])
def test_nor_is_one_to_who_may_do_little(
    operator: Terminal,
    document: Callable[..., BaseSchema],
    scope: str,
    request: pytest.FixtureRequest,
) -> None:
    """A key is always asked for, and it has to be one that may."""
    headers = {}
    if scope != "none":
        words = ("key", "create", "-t", "acme", "--scope", scope, "--json")
        headers["Authorization"] = f"Bearer {operator.done(*words).json['key']}"
    # A key is looked at before what comes with it, so one request of each kind shows it.
    examples = EXAMPLES if IS_MANY else 1
    try_all(document(CHOSEN, examples=examples, **headers), request.node.nodeid)
