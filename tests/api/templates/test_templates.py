"""Templates: drafts, versions, languages, and what a message is made from."""

from typing import Any, Final

import pytest

from tests.support.api_client import PROFILE, Api, Caller

RECEIPT: Final = {
    "name": "receipt",
    "subject": "Receipt {{ number }}",
    "html": "<p>Thanks, {{ name }}.</p>",
    "locales": {"de": {"subject": "Quittung {{ number }}"}},
}
VARIABLES: Final = {"name": "Ann & Bob", "number": 42}
MESSAGE: Final = {"to": ["ann@example.org"], "template": "receipt", "variables": VARIABLES}


async def preview(caller: Caller, **fields: Any) -> Any:
    """What the template makes of the usual variables."""
    body = {"variables": VARIABLES} | fields
    answer = await caller("POST", "/templates/receipt/preview", body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def publish(caller: Caller, name: str = "receipt", **fields: Any) -> Any:
    """Publish the draft, or what is said."""
    answer = await caller("POST", f"/templates/{name}/publish", fields)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def raw(caller: Caller, message: Any) -> str:
    """A message as it is sent."""
    return (await caller("GET", f"/messages/{message['id']}/raw")).text


async def test_a_draft_becomes_a_version(acme: Caller) -> None:
    """Which is unchangeable from then on: another change makes another draft."""
    template = await acme.made("/templates", RECEIPT)
    assert template["published"] is None
    assert (await preview(acme))["subject"] == "Receipt 42"
    assert (await publish(acme))["published"] == 1
    await acme("PATCH", "/templates/receipt", {"subject": "New {{ number }}"})
    await acme("PATCH", f"/templates/{template['id']}", {"subject": "Newer {{ number }}"})
    versions = (await acme.read("/templates/receipt/versions"))["items"]
    assert [(v["number"], v["subject"], v["published_at"] is None) for v in versions] == [
        (2, "Newer {{ number }}", True),
        (1, "Receipt {{ number }}", False),
    ]
    assert versions[0]["html"] == RECEIPT["html"]
    latest = await acme.read("/templates/receipt/versions?limit=1")
    assert latest["items"] == versions[:1]
    assert (await preview(acme))["subject"] == "Newer 42"
    assert (await preview(acme, version=1))["subject"] == "Receipt 42"
    assert (await publish(acme))["published"] == 2
    assert (await publish(acme, version=1))["published"] == 1
    assert (await acme("POST", "/templates/receipt/publish", {"version": 9})).status_code == 404


async def test_a_draft_has_other_languages(acme: Caller) -> None:
    """The languages of a change replace those of the draft; none removes them."""
    await acme.made("/templates", RECEIPT)
    french = {"fr": {"subject": "Facture {{ number }}"}}
    changed = await acme("PATCH", "/templates/receipt", {"locales": french})
    assert changed.status_code == 200, changed.text
    assert (await preview(acme, locale="fr"))["subject"] == "Facture 42"
    assert (await preview(acme, locale="de"))["subject"] == "Receipt 42"
    changed = await acme("PATCH", "/templates/receipt", {"locales": {}})
    assert changed.json()["locales"] == {}


async def test_a_message_is_made_from_what_is_published(acme: Caller) -> None:
    """At acceptance: what is published later changes nothing of it."""
    await acme.made("/profiles", PROFILE)
    await acme.made("/templates", RECEIPT)
    refusal = await acme("POST", "/messages", MESSAGE)
    assert refusal.status_code == 422
    assert "'receipt' has no published version" in refusal.json()["detail"]
    await publish(acme)
    message = await acme.made("/messages", MESSAGE)
    assert message["subject"] == "Receipt 42"
    await acme("PATCH", "/templates/receipt", {"subject": "Changed"})
    await publish(acme)
    content = await raw(acme, message)
    assert "Subject: Receipt 42" in content
    assert "<p>Thanks, Ann &amp; Bob.</p>" in content
    assert "Thanks, Ann & Bob." in content
    assert (await acme.made("/messages", MESSAGE))["subject"] == "Changed"


@pytest.mark.one_database
async def test_languages_fall_back(acme: Caller) -> None:
    """To the language without its region, then to the plain parts, each part by itself."""
    await acme.made("/templates", RECEIPT)
    for locale, subject in {
        "de-AT": "Quittung 42",
        "DE": "Quittung 42",
        "fr": "Receipt 42",
        None: "Receipt 42",
    }.items():
        made = await preview(acme, locale=locale)
        assert (made["subject"], made["html"]) == (subject, "<p>Thanks, Ann &amp; Bob.</p>")


async def test_each_of_a_batch_has_its_own_variables(acme: Caller) -> None:
    """And its own fault."""
    await acme.made("/profiles", PROFILE)
    await acme.made("/templates", RECEIPT)
    await publish(acme)
    messages = [MESSAGE | {"variables": {"name": "x", "number": n}} for n in range(3)]
    messages[1] = MESSAGE | {"variables": {"number": 1}}
    answer = await acme("POST", "/messages/batch", {"messages": messages})
    one, two, three = answer.json()["results"]
    assert (one["message"]["subject"], three["message"]["subject"]) == ("Receipt 0", "Receipt 2")
    assert two["problem"]["type"] == "/problems/template-failed"
    assert "'name' is undefined" in two["problem"]["detail"]


@pytest.mark.one_database
async def test_an_error_names_missing_variables(acme: Caller) -> None:
    """Which variable, in which part and line; or what the schema says of it."""
    await acme.made("/profiles", PROFILE)
    await acme.made("/templates", RECEIPT)
    await publish(acme)
    refusal = await acme("POST", "/messages", MESSAGE | {"variables": {"number": 1}})
    assert refusal.status_code == 422
    problem = refusal.json()
    assert problem["type"] == "/problems/template-failed"
    assert problem["detail"] == "'receipt', html: line 1: 'name' is undefined; set it in variables"
    schema = {"type": "object", "properties": {"number": {"type": "integer"}}}
    await acme("PATCH", "/templates/receipt", {"variables_schema": schema})
    await publish(acme)
    invalid = MESSAGE | {"variables": VARIABLES | {"number": "42"}}
    problem = (await acme("POST", "/messages", invalid)).json()
    assert problem["detail"] == 'variables.number: "42" is not of type "integer"'
    assert problem["errors"][0]["loc"] == ["body", "variables"]


async def test_others_are_named_and_taken_as_published(acme: Caller) -> None:
    """One that is not published is told by name."""
    html = "{% extends 'layout' %}{% block c %}{{ name }}{% endblock %}"
    body = {"name": "receipt", "html": html}
    await acme.made("/templates", body)
    missing = await acme("POST", "/templates/receipt/preview", {"variables": VARIABLES})
    assert missing.status_code == 422
    assert "'layout', which has no published version" in missing.json()["detail"]
    layout = {"name": "layout", "html": "<b>{% block c %}{% endblock %}</b>{% include 'foot' %}"}
    await acme.made("/templates", layout)
    await publish(acme, "layout")
    await acme.made("/templates", {"name": "foot", "html": "<i>{{ number }}</i>"})
    await publish(acme, "foot")
    assert (await preview(acme))["html"] == "<b>Ann &amp; Bob</b><i>42</i>"


@pytest.mark.one_database
async def test_wrong_templates_are_refused(acme: Caller) -> None:
    """With the place, and nothing is stored."""
    cases = {
        "html": ({"name": "a", "html": "<p>\n{% if %}"}, "line 2"),
        "variables_schema": ({"name": "a", "text": "x", "variables_schema": {"type": 7}}, "7"),
        "name": ({"name": "a b", "text": "x"}, "letters, digits"),
    }
    for place, (body, detail) in cases.items():
        refusal = await acme("POST", "/templates", body)
        assert refusal.status_code == 422, refusal.text
        [error] = refusal.json()["errors"]
        assert (error["loc"][-1], detail in error["msg"]) == (place, True), error
    both = await acme("POST", "/templates", {"name": "a", "html": "x", "mjml": "<mjml></mjml>"})
    assert both.status_code == 422
    assert (await acme.read("/templates"))["items"] == []
    await acme.made("/templates", RECEIPT)
    assert (await acme("POST", "/templates", RECEIPT)).status_code == 409
    assert (await acme("PATCH", "/templates/receipt", {"mjml": "<mjml></mjml>"})).status_code == 422
    swap = {"mjml": "<mjml><mj-body></mj-body></mjml>", "html": None}
    assert (await acme("PATCH", "/templates/receipt", swap)).status_code == 200


@pytest.mark.one_database
async def test_a_message_has_a_template_or_a_content(acme: Caller) -> None:
    """Not both, and no variables without one."""
    await acme.made("/profiles", PROFILE)
    for body in (
        MESSAGE | {"text": "x"},
        MESSAGE | {"subject": "x"},
        {"to": ["ann@example.org"], "text": "x", "variables": {"a": 1}},
    ):
        assert (await acme("POST", "/messages", body)).status_code == 422
    missing = await acme("POST", "/messages", MESSAGE)
    assert (missing.status_code, missing.json()["type"]) == (404, "/problems/template-not-found")


async def test_a_test_is_sent_from_the_draft(api: Api, acme: Caller) -> None:
    """By a key that may send as well."""
    await acme.made("/profiles", PROFILE)
    await acme.made("/templates", RECEIPT)
    body = {"to": ["me@example.com"], "variables": VARIABLES}
    message = await acme.made("/templates/receipt/test", body)
    assert (message["subject"], message["tags"]) == ("Receipt 42", ["template-test"])
    manager = await api.key(acme.tenant_id, ["templates:manage"])
    refusal = await manager("POST", "/templates/receipt/test", body)
    assert (refusal.status_code, refusal.json()["type"]) == (403, "/problems/scope-missing")


async def test_one_that_is_deleted_or_renamed(acme: Caller) -> None:
    """Is not found by its former name."""
    template = await acme.made("/templates", RECEIPT)
    await acme("PATCH", "/templates/receipt", {"name": "bill"})
    assert (await acme("GET", "/templates/receipt")).status_code == 404
    assert (await acme.read("/templates/bill"))["id"] == template["id"]
    assert (await acme("DELETE", "/templates/bill")).status_code == 204
    assert (await acme.read("/templates"))["items"] == []


@pytest.mark.one_database
async def test_html_alone_gets_a_text(acme: Caller) -> None:
    """Made from it, unless one is given, were it empty."""
    await acme.made("/profiles", PROFILE)
    message = {
        "to": ["ann@example.org"],
        "html": '<p>Go <a href="https://x.example/">there</a></p>',
    }
    content = await raw(acme, await acme.made("/messages", message))
    assert "multipart/alternative" in content
    assert "Go there (https://x.example/)" in content
    content = await raw(acme, await acme.made("/messages", message | {"text": "Mine"}))
    assert "Mine" in content
    assert "(https://x.example/)" not in content
