"""What a key does not reach is not there, wherever a request refers to it.

The requests are made from the OpenAPI document: a field, parameter or header that is new has to be
named here before anything passes.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from json import dumps
from typing import Any, Final
from urllib.parse import quote

import httpx
import pytest

from app.api.http.pagination import encode_cursor
from tests.api.auth.test_isolation import STREAM, operations, parameters
from tests.support.api_client import EVERY_SCOPE, MESSAGE, PROFILE, Api, Caller

Place = tuple[str, ...]  # names, `*` for an item and `{}` for a value

# The kind of object that a field, a parameter or a header names, by its last name.
NAMES: Final = {
    "profile": "profile",
    "profiles": "profile",
    "fallback_profile": "profile",
    "template": "template",
    "message": "message",
    "event": "event",
    "events": "event",
    "key": "key",
    "webhook": "webhook",
    "domain": "domain",
    "mailbox": "mailbox",
    "provider_webhook": "provider_webhook",
    "suppression": "suppression",
    "submission": "submission",
    "console_session": "console_session",
}
# What names no object, or none of a tenant's own, or is of the audit log, which no bound key reads.
WORDS: Final = """
    action actor_id actor_name address allowed_from allowed_recipient_domains bcc calendar cc
    client_address client_certificate client_id content content_id content_type cursor default_from
    detail ehlo_name email filename folder from headers Heloise-Tenant host html id Idempotency-Key
    key_id last-event-id locale login mailto message_id match metadata mjml name networks object_id
    public_key recipient recipients redirect_all_to reply_to request_id return_path scope sender
    sent_to slug source source_address subject tag tags tenant text tls_ca tls_pins tls_server_name
    to token token_url topic_arn type url username
"""
PLAIN: Final = set(WORDS.split())
# These are names of other things: of a domain to make, of types of events, of a part of a form.
NO_REFERENCES: Final = {
    ("create_domain", ("body", "domain")),
    ("create_webhook", ("body", "events", "*")),
    ("update_webhook", ("body", "events", "*")),
    ("send_message", ("body", "message")),
    # Looked up by nobody: the profile is not stored.
    ("verify_unsaved_profile", ("body", "fallback_profile")),
}
IS_BOUND: Final = "/problems/key-is-bound"


@dataclass
class Reference:
    """A place of an operation that an object is named at."""

    method: str
    path: str
    operation: dict[str, Any]
    place: Place
    noun: str

    @property
    def id(self) -> str:
        name: str = self.operation["operationId"]
        return name


def strings(
    schema: dict[str, Any], document: dict[str, Any], seen_schemas: Place = ()
) -> Iterator[Place]:
    """Where in a schema any text may stand."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        if name not in seen_schemas:
            yield from strings(
                document["components"]["schemas"][name], document, (*seen_schemas, name)
            )
        return
    for choice in ("anyOf", "oneOf", "allOf"):
        for part in schema.get(choice, ()):
            yield from strings(part, document, seen_schemas)
    if schema.get("type") == "string" and not schema.keys() & {"enum", "const", "format"}:
        yield ()
    inner = [("*", schema.get("items")), ("{}", schema.get("additionalProperties"))]
    for name, part in [*inner, *schema.get("properties", {}).items()]:
        if isinstance(part, dict):
            yield from ((name, *rest) for rest in strings(part, document, seen_schemas))


def places(operation: dict[str, Any], document: dict[str, Any]) -> set[Place]:
    """Where in a request any text may stand."""
    places = set[Place]()
    for media in operation.get("requestBody", {}).get("content", {}).values():
        places |= {("body", *rest) for rest in strings(media["schema"], document)}
    for parameter in operation.get("parameters", ()):
        where = parameter["in"], parameter["name"]
        places |= {(*where, *rest) for rest in strings(parameter["schema"], document)}
    return places - {("body",)}


def last_name(place: Place) -> str:
    """The name of what stands there."""
    return [segment for segment in place if segment not in {"*", "{}"}][-1]


def references(document: dict[str, Any]) -> list[Reference]:
    """Every place of a tenant's operations that an object is named at."""
    return [
        Reference(method, path, operation, place, NAMES[last_name(place)])
        for method, path, operation in operations(document)
        if not path.startswith("/tenants") and path != STREAM
        for place in sorted(places(operation, document))
        if last_name(place) in NAMES and (operation["operationId"], place) not in NO_REFERENCES
    ]


async def make_everything(
    api: Api, caller: Caller, profile: str, other: str
) -> dict[str, list[str]]:
    """Make an object of each kind; answers by which names it can be called, `other` a profile's."""
    created_profile = await caller.made("/profiles", PROFILE | {"name": profile})
    await caller.made("/profiles", PROFILE | {"name": other})
    message = await caller.made("/messages", MESSAGE | {"profile": profile})
    page = await caller.read(f"/events?message={message['id']}")
    name = f"of-{profile}"
    parts = {"subject": "Hi", "text": "Hi"}
    template = await caller.made("/templates", {"name": name, **parts})
    await caller("POST", f"/templates/{name}/publish", {})
    url = "https://log.example.com/"
    webhook = await caller.made("/webhooks", {"name": name, "url": url})
    inbox = {"name": name, "host": "imap.example.com", "username": "u", "password": "p"}
    hook = await caller.made("/provider-webhooks", {"name": name, "provider": "brevo"})
    domain = await caller.made("/domains", {"domain": f"{profile[::-1]}.example"})
    gone = {"address": f"{profile}@example.net"}
    session = await api.session(caller.tenant_id, profile_id=created_profile["id"])
    key = await caller.made("/keys", {"name": name, "scopes": ["messages:send"]})
    return {
        "profile": [created_profile["id"], profile],
        "other": [other],
        "message": [message["id"]],
        "event": [page["items"][0]["id"]],
        "template": [template["id"], template["name"]],
        "webhook": [webhook["id"]],
        "mailbox": [(await caller.made("/mailboxes", inbox))["id"]],
        "provider_webhook": [hook["id"]],
        "domain": [domain["id"], domain["domain"]],
        "suppression": [(await caller.made("/suppressions", gone))["id"]],
        "submission": [session.id],
        "console_session": [(await api.console_session(caller.tenant_id)).id],
        "key": [key["id"]],
    }


@dataclass
class Scene:
    """Somebody who asks, what is his, and what is hidden from him."""

    caller: Caller
    own: dict[str, list[str]]
    hidden: dict[str, list[str]]
    owner: Caller


@pytest.fixture(params=["another tenant", "a bound key"])
async def scene(request: pytest.FixtureRequest, api: Api, acme: Caller) -> Scene:
    """Somebody who has objects of every kind, of which none is hidden."""
    hidden = await make_everything(api, acme, "covert", "spare")
    if request.param == "another tenant":
        caller = await api.tenant("other")
        return Scene(caller, await make_everything(api, caller, "news", "offers"), hidden, acme)
    own = await make_everything(api, acme, "news", "offers")
    bound = await api.key(acme.tenant_id, EVERY_SCOPE, profiles=["news", "offers"])
    # The whole tenant's.
    open_nouns = {"template", "webhook", "mailbox", "domain", "suppression", "provider_webhook"}
    open_nouns |= {"console_session"}
    hidden = {noun: names for noun, names in hidden.items() if noun not in open_nouns}
    return Scene(bound, own | {"key": [bound.key_id]}, hidden, acme)


# Where the document's example refers to something, or asks for more than a profile has.
BODIES: Final[dict[str, Any]] = {
    "send_message": {"to": ["ann@example.org"]},
    "send_batch": {"messages": [{"to": ["ann@example.org"]}]},
    "create_own_key": {"name": "k", "scopes": ["messages:send"], "profiles": ["news"]},
    "create_profile": PROFILE | {"name": "third"},
    "update_profile": {},
    "act_on_messages": {"action": "cancel", "filter": {}, "dry_run": False},
    "replay_webhook": {},
    "create_webhook": {"name": "w", "url": "https://log.example.com/"},
    "update_webhook": {},
    "test_template": {"to": ["ann@example.org"]},
}


def put(body: Any, place: Place, value: str) -> Any:
    """The body with this value at a place."""
    if not place:
        return value
    name, *rest = place
    if name == "*":
        return [put((body or [None])[0], tuple(rest), value)]
    return (body or {}) | {name: put((body or {}).get(name), tuple(rest), value)}


def complete(message: dict[str, Any]) -> dict[str, Any]:
    """A message with what it lacks."""
    return {"profile": "news"} | ({} if "template" in message else {"text": "x"}) | message


async def ask(scene: Scene, reference: Reference, called: str) -> httpx.Response:
    """The answer to a request that calls an object so, and is right otherwise."""
    where, *place = reference.place
    names = {name: scene.own[name][0] for name in parameters(reference.path)}
    if where == "path":
        names[place[0]] = called
    path, more = reference.path.format(**names), dict[str, Any]()
    if where == "query":
        path += f"?{place[0]}={quote(called)}"
    if reference.id == "send_raw_message":
        path += "&to=ann@example.org"
        more = {"content": "From: a@example.com\r\n\r\nHi", "headers": {"Content-Type": RFC822}}
    elif "requestBody" in reference.operation:
        body = BODIES.get(reference.id, {})
        if where == "body":
            body = put(body, tuple(place), called)
        if reference.id == "send_message":
            body = complete(body)
        if reference.id == "send_batch":
            body = {"messages": [complete(body["messages"][0])]}
        more = {"json": body}
    return await scene.caller(reference.method, path, **more)


RFC822: Final = "message/rfc822"
VARIES: Final = re.compile(r"(req|msg|key|aud|evt)_[0-9a-f]{32}|\d{4}-\d\d-\d\dT[\d:.]+Z")


def normalize(answer: httpx.Response, called: str) -> tuple[int, str]:
    """What is answered, the name that was called and what differs each time left out."""
    return answer.status_code, VARIES.sub("…", answer.text.replace(called, "CALLED"))


def absent(called: str) -> str:
    """A name of the same form, of nothing."""
    if re.fullmatch(r"[a-z]{3}_[0-9a-f]{32}", called):
        return called[:-8] + "00000000"
    return called.replace("covert", "absent")


@pytest.mark.one_database
async def test_every_field_that_is_text_is_known(document: dict[str, Any]) -> None:
    """Whether it names an object is decided here, before it can be left out below."""
    known = {
        last_name(place)
        for _, _, operation in operations(document)
        for place in places(operation, document)
    }
    assert known == NAMES.keys() | PLAIN


@pytest.mark.one_database
async def test_a_reference_to_what_is_hidden_is_one_to_nothing(
    scene: Scene, document: dict[str, Any]
) -> None:
    """In a path, a body, a filter: the answer is that for a name which nothing has.

    The same request takes what is the caller's own: it is the reference alone that is refused.
    """
    before = await show_all(scene, document)
    tried = set[tuple[str, Place]]()
    for reference in references(document):
        for called in scene.hidden.get(reference.noun, ()):
            nothing = absent(called)
            hidden = normalize(await ask(scene, reference, called), called)
            assert hidden == normalize(await ask(scene, reference, nothing), nothing), (
                reference.id,
                reference.place,
            )
            tried.add((reference.id, reference.place))
        if reference.place[0] != "path":
            own = (
                scene.own["other"] if reference.noun == "profile" else scene.own[reference.noun][:1]
            )
            answer = await ask(scene, reference, own[0])
            is_taken = answer.is_success and '"status":4' not in answer.text
            assert is_taken or IS_BOUND in answer.text, (reference.id, reference.place, answer.text)
    assert ("update_profile", ("body", "fallback_profile")) in tried
    assert ("create_own_key", ("body", "profiles", "*")) in tried
    assert ("send_batch", ("body", "messages", "*", "profile")) in tried
    assert await show_all(scene, document) == before


async def show_all(scene: Scene, document: dict[str, Any]) -> Any:
    """All that is hidden, as its owner reads it."""
    bodies = {}
    for method, path, _ in operations(document):
        names = parameters(path)
        if method == "GET" and names and names <= scene.hidden.keys():
            address = path.format(**{name: scene.hidden[name][0] for name in names})
            bodies[address] = await scene.owner.read(address) if "/raw" not in address else None
    return bodies


@pytest.mark.one_database
async def test_no_list_shows_what_is_hidden_whatever_its_cursor(
    scene: Scene, document: dict[str, Any]
) -> None:
    """A cursor is a place in an order, and opens nothing."""
    prefixes = {names[0].split("_")[0]: names[0] for names in scene.hidden.values()}
    secret = [name for names in scene.hidden.values() for name in names]
    for method, path, operation in operations(document):
        has = {parameter["name"] for parameter in operation.get("parameters", ())}
        if method != "GET" or "cursor" not in has or path == STREAM or path.startswith("/tenants"):
            continue
        address = path.format(**{name: scene.own[name][0] for name in parameters(path)})
        first = (await scene.caller("GET", address)).text
        assert not any(name in first for name in secret), path
        for last in prefixes.values():
            later = last[:4] + "f" * 32
            for cursor in map(encode_cursor, (last, later, last[:4] + "0" * 32)):
                answer = await scene.caller("GET", f"{address}?cursor={cursor}")
                assert answer.status_code in {200, 403, 422}
                assert not any(name in answer.text for name in secret), (path, answer.text)


LINE: Final = MESSAGE | {"profile": "covert"}
# A request of each operation that is done once, as somebody made it who reaches more.
REPLAYS: Final[dict[str, dict[str, Any]]] = {
    "send_message": {"json": LINE},
    "send_batch": {"json": {"messages": [LINE]}},
    "retry_message": {"json": {}},
    "upload_messages": {
        "content": dumps(LINE),
        "headers": {"Content-Type": "application/jsonl"},
    },
    "send_raw_message": {
        "content": "From: a@example.com\r\nSubject: Your receipt\r\n\r\nHi",
        "headers": {"Content-Type": RFC822},
    },
}


@pytest.mark.one_database
async def test_nobody_is_answered_what_another_key_was(
    api: Api, acme: Caller, document: dict[str, Any]
) -> None:
    """A replay is for keys that reach its message; to others its key was used, and no more."""
    hidden = await make_everything(api, acme, "covert", "news")
    message = hidden["message"][0]
    await acme("POST", f"/messages/{message}/cancel")
    bound = await api.key(acme.tenant_id, EVERY_SCOPE, profiles=["news"])
    alike = await api.key(acme.tenant_id, EVERY_SCOPE, profiles=["covert"])
    keyed = set[str]()
    for method, path, operation in operations(document):
        if "Idempotency-Key" not in {
            parameter["name"] for parameter in operation.get("parameters", ())
        }:
            continue
        keyed.add(operation["operationId"])
        request, address = REPLAYS[operation["operationId"]], path.format(message=message)
        if operation["operationId"] == "send_raw_message":
            address += "?to=ann@example.org&profile=covert"
        headers = request.get("headers", {}) | {"Idempotency-Key": operation["operationId"]}
        first = await acme(method, address, **request | {"headers": headers})
        assert first.status_code == 202, first.text
        second = await bound(method, address, **request | {"headers": headers})
        assert "idempotency-key-reused" in second.text, operation["operationId"]
        other_text = second.text.replace(message, "")
        assert not any(word in other_text for word in ("msg_", "ann@", "receipt", "covert")), (
            other_text
        )
        same = await alike(method, address, **request | {"headers": headers})
        assert same.content == first.content, operation["operationId"]
    assert keyed == REPLAYS.keys()
