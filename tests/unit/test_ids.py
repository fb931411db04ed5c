"""Identifiers: prefixed, unique, and in the order of their making."""

import pytest

from app.domain.ids import is_id, new_id


def test_ids_sort_by_the_time_they_were_made() -> None:
    """UUIDv7 (RFC 9562 section 5.7), however fast they are made."""
    ids = [new_id("msg") for _ in range(5000)]
    assert sorted(ids) == ids
    assert len(set(ids)) == 5000


@pytest.mark.parametrize("prefix", ["msg", "prf", "ten", "key", "att", "wrk", "req"])
def test_an_id_is_known_by_its_prefix(prefix: str) -> None:
    """And by no other."""
    object_id = new_id(prefix)  # type: ignore[arg-type]
    assert is_id(object_id, prefix)  # type: ignore[arg-type]
    assert not is_id(object_id, "cap")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "msg",
        "msg_",
        "msg_0198c5a2d3f07b6e8a4c1d2e3f40516",
        "msg_0198c5a2d3f07b6e8a4c1d2e3f4051622",
        "msg_0198C5A2D3F07B6E8A4C1D2E3F405162",
        "msg_0198c5a2-d3f0-7b6e-8a4c-1d2e3f40",
        "msg_0198c5a2d3f07b6e8a4c1d2e3f405162\n",
        " msg_0198c5a2d3f07b6e8a4c1d2e3f405162",
    ],
)
def test_what_only_looks_like_an_id_is_none(text: str) -> None:
    """To the letter."""
    assert not is_id(text, "msg")
