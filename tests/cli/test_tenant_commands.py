"""`heloise tenant`: what the API does with tenants, from a terminal."""

import pytest

from tests.support.terminal import Terminal


def test_a_tenant_is_created_and_shown(operator: Terminal) -> None:
    """By slug and by id, as text and as JSON."""
    tenant = operator.done(
        "tenant",
        "create",
        "acme",
        "--name",
        "Acme Ltd",
        "--ehlo-name",
        "Mail.Example.com",
        "--json",
    ).json
    assert tenant["id"].startswith("ten_")
    assert (tenant["slug"], tenant["name"], tenant["ehlo_name"]) == (
        "acme",
        "Acme Ltd",
        "mail.example.com",
    )
    assert operator.done("tenant", "show", "acme", "--json").json == tenant
    assert operator.done("tenant", "show", tenant["id"], "--json").json == tenant
    assert "mail.example.com" in operator.done("tenant", "show", "acme").out


@pytest.mark.one_database
def test_tenants_are_listed(operator: Terminal) -> None:
    """Oldest first."""
    for slug in ("beta", "acme"):
        operator.done("tenant", "create", slug)
    rows = operator.done("tenant", "list", "--json").json
    assert [row["slug"] for row in rows] == ["beta", "acme"]
    table = operator.done("tenant", "list").out
    assert table.index("beta") < table.index("acme")


@pytest.mark.one_database
def test_a_tenant_is_changed_where_it_is_asked_for(operator: Terminal) -> None:
    """What is left out stays; the EHLO name can be taken away."""
    operator.done("tenant", "create", "acme", "--ehlo-name", "mail.example.com")
    changed = operator.done("tenant", "update", "acme", "--slug", "acme-ltd", "--json").json
    assert (changed["slug"], changed["name"]) == ("acme-ltd", "acme")
    assert changed["ehlo_name"] == "mail.example.com"
    bare = operator.done("tenant", "update", "acme-ltd", "--no-ehlo-name", "--json").json
    assert bare["ehlo_name"] is None


@pytest.mark.one_database
def test_what_the_api_refuses_is_refused(operator: Terminal) -> None:
    """Exit 1, with the field and what is wrong with it."""
    operator.done("tenant", "create", "acme")
    second = operator.run("tenant", "create", "acme")
    assert (second.code, second.out) == (1, "")
    assert "acme" in second.err
    result = operator.run("tenant", "create", "Acme!", "--ehlo-name", "localhost")
    assert result.code == 1
    assert "slug: " in result.err
    assert "ehlo_name: strict servers refuse localhost" in result.err
    empty = operator.run("tenant", "create", "beta", "--ehlo-name", "")
    assert (empty.code, "ehlo_name: " in empty.err) == (1, True)
    assert operator.run("tenant", "show", "nobody").code == 1


def test_a_tenant_is_deleted_once_it_has_no_profiles(operator: Terminal) -> None:
    """While it has some it is refused."""
    operator.done("tenant", "create", "acme")
    operator.done("profile", "create", "-t", "acme", "--name", "a", "--host", "smtp.example.com")
    assert operator.run("tenant", "delete", "acme", "--yes").code == 1
    operator.done("profile", "delete", "a", "--yes", "-t", "acme")
    assert operator.done("tenant", "delete", "acme", "--yes").out == "Deleted acme.\n"
    assert operator.done("tenant", "list", "--json").json == []


@pytest.mark.one_database
def test_a_quota_is_set_shown_and_taken_away(operator: Terminal) -> None:
    """Limits are put in place together; one that is none is told by its name."""
    words = ("--quota", "messages_per_day=1000", "--quota", "profiles=3")
    tenant = operator.done("tenant", "create", "acme", *words, "--allowed-from", "*@example.com")
    assert "messages_per_day" in tenant.out
    body = operator.done("tenant", "show", "acme", "--json").json
    assert (body["quota"]["messages_per_day"], body["quota"]["profiles"]) == (1000, 3)
    assert body["allowed_from"] == ["*@example.com"]
    operator.done("tenant", "update", "acme", "--quota", "profiles=4")
    body = operator.done("tenant", "show", "acme", "--json").json
    assert (body["quota"]["messages_per_day"], body["quota"]["profiles"]) == (None, 4)
    operator.done("tenant", "update", "acme", "--no-quota", "--no-allowed-from")
    body = operator.done("tenant", "show", "acme", "--json").json
    assert not any(body["quota"].values())
    assert body["allowed_from"] == []
    for quota in ("messages_per_week=3", "profiles=many", "profiles"):
        result = operator.run("tenant", "update", "acme", "--quota", quota)
        assert result.code == 1
        assert "quota." in result.err


@pytest.mark.one_database
def test_days_and_recipients_are_set_and_taken_away(operator: Terminal) -> None:
    """How long what is kept, and whom it sends to."""
    tenant = operator.done(
        "tenant",
        "create",
        "acme",
        "--retention",
        "content_days=7",
        "--redirect-all-to",
        "staging@example.com",
        "--allowed-recipient-domain",
        "*.Example.org",
        "--json",
    ).json
    assert tenant["retention"]["content_days"] == 7
    assert tenant["redirect_all_to"] == "staging@example.com"
    assert tenant["allowed_recipient_domains"] == ["*.example.org"]
    bare = operator.done(
        "tenant",
        "update",
        "acme",
        "--no-retention",
        "--no-redirect",
        "--no-allowed-recipient-domains",
        "--json",
    ).json
    assert bare["retention"]["content_days"] is None
    assert (bare["redirect_all_to"], bare["allowed_recipient_domains"]) == (None, [])
    result = operator.run("tenant", "update", "acme", "--retention", "content_days=soon")
    assert result.code == 1
    assert "retention.content_days: " in result.err


@pytest.mark.one_database
def test_notices_are_set_and_taken_away(operator: Terminal) -> None:
    """Both the profile and the addresses are needed, and the profile has to be there."""
    operator.done("tenant", "create", "acme")
    for name in ("main", "alerts"):
        fields = ("--host", "smtp.example.com", "--default-from", f"{name}@example.com")
        operator.done("profile", "create", "-t", "acme", "--name", name, *fields)
    words = ("--notify-to", "ops@example.com", "--notify-to", "ann@example.com")
    body = operator.done(
        "tenant", "update", "acme", "--notify-profile", "alerts", *words, "--json"
    ).json
    assert body["notify"]["to"] == ["ops@example.com", "ann@example.com"]
    for options in (words, ("--notify-profile", "alert", *words)):
        result = operator.run("tenant", "update", "acme", *options)
        assert result.code == 1
        assert "notify.profile" in result.err
    bare = operator.done("tenant", "update", "acme", "--no-notify", "--json").json
    assert bare["notify"] is None
