"""API keys: random, recognisable, kept as a hash."""

import pytest

from app.auth import authentication as visitors
from app.domain.api_keys import build_hint, generate_secret, hash_secret


def test_a_key_is_random_and_fit_for_a_header() -> None:
    """At least 192 bits, in characters that no client has to escape."""
    secrets = {generate_secret() for _ in range(100)}
    assert len(secrets) == 100
    for secret in secrets:
        assert secret.startswith("hel_")
        assert len(secret) >= len("hel_") + 192 / 6
        assert set(secret) <= set(
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        )


def test_a_hint_tells_keys_apart_and_opens_nothing() -> None:
    """It fits its column, and holds less than an eighth of the secret."""
    secret = generate_secret()
    assert build_hint(secret) == secret[:8] + "…"
    assert len(build_hint(secret)) <= 16


def test_a_hash_is_the_same_for_the_same_key_alone() -> None:
    """32 bytes, found by equality."""
    first, second = generate_secret(), generate_secret()
    assert hash_secret(first) == hash_secret(first) != hash_secret(second)
    assert len(hash_secret(first)) == 32


@pytest.mark.parametrize("key", ["a" * 40, "b" * 39 + "c", "zz"])
def test_an_admin_key_is_compared_with_all_and_by_all_of_it(
    monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    """Digests of one length, each to its end: no time tells which is right, or how much of it."""
    compared = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return hmac_compare(one, other)

    hmac_compare = visitors.hmac.compare_digest
    monkeypatch.setattr(visitors.hmac, "compare_digest", compare)
    keys = {"ann": "a" * 40, "bob": "b" * 40, "eve": "e" * 40}
    assert visitors.find_secret_name(hash_secret(key), keys) == (
        "ann" if key == keys["ann"] else None
    )
    assert compared == [(32, 32)] * 3
