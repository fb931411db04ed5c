"""docs/guide/compare.md promises nothing that no test shows."""

import re

import pytest

from tests.project.pages import is_a_test, tables
from tests.support.terminal import ROOT

GUIDE = ROOT / "docs" / "guide"
PAGE = (GUIDE / "compare.md").read_text()
MIGRATING = (GUIDE / "migrating.md").read_text()
SERVICES, PEER_CLAIMS, PEERS = tables(PAGE)
CLAIMS = SERVICES[1:] + PEER_CLAIMS[1:]
PEER_NAMES = [peer for peer, *_ in PEERS[1:]]


def test_nothing_is_yet_to_come() -> None:
    """A row is there once it is done."""
    assert len(SERVICES) > 30
    assert len(PEER_CLAIMS) > 20
    assert SERVICES[0][-1] == PEER_CLAIMS[0][-1] == "test"
    for word in ("planned", "soon", "roadmap", "later version"):
        assert word not in PAGE.lower()


@pytest.mark.parametrize("row", CLAIMS, ids=[row[0][:40] for row in CLAIMS])
def test_each_row_names_a_test_that_there_is(row: list[str]) -> None:
    """By its file and name."""
    what, elsewhere, here, test = row
    assert all((what, elsewhere, here))
    assert is_a_test(test)


@pytest.mark.parametrize("peer", PEERS[1:], ids=PEER_NAMES)
def test_facts_about_a_peer_have_a_source_and_a_date(peer: list[str]) -> None:
    """A commit of its repository; and the page says in what the peer is better."""
    name, made_for, better_at, source = peer
    assert made_for
    assert len(better_at.split(";")) > 1
    assert re.fullmatch(
        r"\[[^]]+\]\(https://github\.com/[^)]+/tree/[0-9a-f]{7,40}\), \d{4}-\d\d-\d\d", source
    )
    assert any(name in row[1] for row in PEER_CLAIMS[1:])


@pytest.mark.parametrize("name", [*PEER_NAMES, "Resend"])
def test_the_way_from_a_peer_is_described(name: str) -> None:
    """Each has a section of its own, which says what to change."""
    [section] = re.findall(
        rf"^## From {name}\n(.*?)(?=^## |\Z)", MIGRATING, re.MULTILINE | re.DOTALL
    )
    assert re.search(r"`[^`]+`|\]\(", section)
