"""Any response is credentials or an error that the module declares."""

from base64 import b64encode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.submission.sasl import Credentials, SaslCancelledError, SaslError, begin

TEXT = st.text("az:\x01é😀", max_size=20)
RESPONSES = st.one_of(
    st.binary(max_size=20).map(lambda data: b64encode(data).decode()),
    st.text("Az9+/=*-_ \né\0", max_size=9),
    st.sampled_from(["*", "=", "", "====", "AAA", "AA==\n", " AA=="]),
)


def run(mechanism: str, initial: str | None, responses: list[str]) -> Credentials:
    """The credentials of an exchange."""
    exchange = begin(mechanism, initial)
    try:
        next(exchange)
        for response in responses:
            exchange.send(response)
    except StopIteration as end:
        credentials: Credentials = end.value
        return credentials
    raise AssertionError


def encode(text: str) -> str:
    """The text in base64."""
    return b64encode(text.encode()).decode()


@given(TEXT, TEXT.filter(bool))
def test_credentials_are_read_as_written(username: str, password: str) -> None:
    """In both mechanisms, with an initial response and without."""
    plain = encode(f"\0{username}\0{password}")
    expected = Credentials(username, password)
    assert run("PLAIN", plain, []) == run("PLAIN", None, [plain]) == expected
    name, secret = encode(username) or "=", encode(password)
    assert run("LOGIN", name, [secret]) == run("LOGIN", None, [name, secret]) == expected


@given(
    st.sampled_from(["PLAIN", "LOGIN"]),
    st.none() | RESPONSES,
    st.lists(RESPONSES, min_size=2, max_size=2),
)
@example("LOGIN", None, [encode("a\0b"), encode("c")])
@example("LOGIN", None, [encode("a"), encode("b\0c")])
def test_any_response_is_answered(
    mechanism: str, initial: str | None, responses: list[str]
) -> None:
    """And nothing in credentials is what a database cannot store."""
    try:
        credentials = run(mechanism, initial, responses)
    except (SaslError, SaslCancelledError):
        return
    assert "\0" not in credentials.username + credentials.password
    assert credentials.password
    (credentials.username + credentials.password).encode()


@pytest.mark.parametrize("response", ["AAA", "AA=\n=", "AA==AA==", " ", "AA==x", "-_8=", "é"])
def test_base64_is_strict(response: str) -> None:
    """Two servers that read one response differently would log in two users."""
    with pytest.raises(SaslError):
        run("LOGIN", response, [encode("x")])


def test_a_response_is_bounded() -> None:
    """A name that is longer than any is refused before it is looked up."""
    with pytest.raises(SaslError):
        run("PLAIN", encode(f"\0{'a' * 1001}\0b"), [])
