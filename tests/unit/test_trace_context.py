"""`traceparent` is foreign text: what is not exactly one is none."""

import pytest

from app.domain.trace_context import parse_traceparent, read_trace_id

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize("flags", ["00", "01", "03", "ff"])
def test_a_well_formed_value_stays_as_it_is(flags: str) -> None:
    """With any flags, sampled or not."""
    value = f"00-{TRACE}-{SPAN}-{flags}"
    assert parse_traceparent(value.encode()) == value
    assert read_trace_id(value) == TRACE


@pytest.mark.parametrize("version", ["01", "cc", "fe"])
@pytest.mark.parametrize("rest", ["", "-", "-what-the-future-adds"])
def test_a_later_version_is_read_as_the_first(version: str, rest: str) -> None:
    """It keeps what version 00 knows."""
    assert parse_traceparent(f"{version}-{TRACE}-{SPAN}-01{rest}".encode()) == GOOD


@pytest.mark.parametrize(
    "value",
    [
        "",
        "-" * 55,
        GOOD[:-1],
        f"{GOOD}-",
        f"{GOOD}0",
        f" {GOOD[1:]}",
        f"{GOOD}\r\nX: y",
        f"01-{TRACE}-{SPAN}-010",
        f"ff-{TRACE}-{SPAN}-01",
        GOOD.upper(),
        GOOD.replace("-", "_"),
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}-{SPAN}0-01",
        f"00-{TRACE[:-1]}g-{SPAN}-01",
        f"0_-{TRACE}-{SPAN}-01",
        f"00-+{TRACE[1:]}-{SPAN}-01",
        "é" * 55,
        "0" * 1_000_000,
    ],
)
def test_what_is_malformed_is_none(value: str) -> None:
    """So nothing but lower-case digits and dashes is ever stored, or sent on."""
    assert parse_traceparent(value.encode()) is None
