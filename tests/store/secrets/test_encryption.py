"""Sealed credentials open where they belong, and nowhere else (invariant 9)."""

import base64
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import SealError
from app.domain.secret_keys import generate_key, parse_key
from app.store.secrets.encryption import SealContext, Vault

KEY, OLD = bytes(range(32)), bytes(range(1, 33))
SECRET = "canary-2c77"
THERE = {"host": "smtp.example.com", "port": 587}
HERE = SealContext("prf_1", "password", THERE)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_what_was_sealed_opens(text: str) -> None:
    """Any text that can be stored, the empty one too."""
    vault = Vault([KEY])
    assert vault.open(vault.seal(text, HERE), HERE) == text


def test_a_sealed_value_tells_nothing() -> None:
    """Not the text, nor that two texts are the same."""
    vault = Vault([KEY])
    sealed = [vault.seal(SECRET, HERE) for _ in range(2)]
    assert sealed[0] != sealed[1]
    assert SECRET.encode() not in sealed[0]


@pytest.mark.parametrize(
    ("row", "field"), [("prf_2", "password"), ("prf_1", "client_key"), ("prf_1\0p", "assword")]
)
def test_a_copy_to_another_row_or_field_does_not_open(row: str, field: str) -> None:
    """Whoever can write the database cannot make one profile use another's password."""
    vault = Vault([KEY])
    sealed = vault.seal(SECRET, HERE)
    with pytest.raises(SealError) as excinfo:
        vault.open(sealed, replace(HERE, row=row, field=field))
    assert SECRET not in str(excinfo.value)
    assert excinfo.value.__cause__ is None


def test_what_is_sent_elsewhere_does_not_open() -> None:
    """Whoever can point a row at a server of their own gets nothing."""
    vault = Vault([KEY])
    sealed = vault.seal(SECRET, HERE)
    for destination in ({**THERE, "host": "evil.example.net"}, {"host": THERE["host"]}, {}, None):
        with pytest.raises(SealError):
            vault.open(sealed, replace(HERE, destination=destination))
    in_another_order = dict(reversed(THERE.items()))
    assert vault.open(sealed, replace(HERE, destination=in_another_order)) == SECRET


def test_a_value_without_a_destination_is_bound_by_resealing() -> None:
    """As those were sealed that are older than destinations."""
    vault = Vault([KEY])
    old = vault.seal(SECRET, replace(HERE, destination=None))
    assert not vault.is_current(old, HERE)
    with pytest.raises(SealError, match="heloise reseal"):
        vault.open(old, HERE)
    bound = vault.reseal(old, HERE)
    assert vault.is_current(bound, HERE)
    assert vault.open(bound, HERE) == SECRET


def test_an_altered_value_does_not_open() -> None:
    """Whichever byte it is, nor with some of them missing."""
    vault = Vault([KEY])
    sealed = vault.seal("p", HERE)
    altered = [
        sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :] for at in range(len(sealed))
    ]
    for damaged in [*altered, *(sealed[:length] for length in range(len(sealed))), sealed + b"x"]:
        with pytest.raises(SealError):
            vault.open(damaged, HERE)


def test_an_old_key_opens_and_the_newest_seals() -> None:
    """Rotation: until all is sealed anew, both are there."""
    sealed = Vault([OLD]).seal(SECRET, HERE)
    rotated = Vault([KEY, OLD])
    assert rotated.open(sealed, HERE) == SECRET
    assert not rotated.is_current(sealed, HERE)
    second = rotated.seal(SECRET, HERE)
    assert rotated.is_current(second, HERE)
    assert Vault([KEY]).open(second, HERE) == SECRET


def test_without_its_key_nothing_opens() -> None:
    """The error names row and field, and no secret."""
    sealed = Vault([OLD]).seal(SECRET, HERE)
    with pytest.raises(SealError, match="password of prf_1"):
        Vault([KEY]).open(sealed, HERE)


def test_a_vault_needs_a_key() -> None:
    """It says so at once, not at the first credential."""
    with pytest.raises(SealError, match="HELOISE_SECRET_KEYS"):
        Vault([])


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_a_key_is_read_in_both_alphabets(encode: object) -> None:
    """0xff makes the two differ."""
    key = b"\xff\xfe" * 16
    assert parse_key(f" {encode(key).decode()}\n") == key  # type: ignore[operator]


def test_a_new_key_can_be_read() -> None:
    """And is never the same twice."""
    assert len(parse_key(generate_key())) == 32
    assert generate_key() != generate_key()


@pytest.mark.parametrize(
    "text", ["", "canary", base64.b64encode(bytes(31)).decode(), "A" * 43 + "!", "é" * 44]
)
def test_what_is_no_key_is_not_quoted(text: str) -> None:
    """It may be a secret that was put in the wrong place."""
    with pytest.raises(ValueError, match=r"^not 32 bytes in base64; print a key with `[a-z -]+`$"):
        parse_key(text)
