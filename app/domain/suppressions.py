"""Decide which addresses a suppression covers.

A suppression names an address (`ann@example.com`) or is a pattern: `*@example.com` covers all
addresses of a domain, `*.example.com` those of its subdomains, but not of the domain itself, as in
certificates (RFC 9525 section 6.3). A `*` in the local part of an address is in quotes, as in
`"*"@example.com`, so that no address is taken for a pattern.
"""

from functools import lru_cache
from typing import Final

from app.domain.address.folding import fold
from app.domain.address.parse import make_named_address, parse_domain

CACHED_DOMAINS: Final = 4096
# Bounds how many suppressions can cover an address: a domain name has up to 127 labels.
MAX_PATTERN_LABELS: Final = 8
FORMS: Final = (
    "write ann@example.com, *@example.com for all of a domain, or *.example.com for its subdomains"
)


def parse_suppressed(text: str) -> str:
    """Normalize an address or a pattern; raise ValueError with a correction."""
    text = text.strip()
    local, at, domain = text.rpartition("@")
    if "*" in domain or (at and "*" in local and not local.startswith('"')):
        return _parse_pattern(text)
    if not local:
        raise ValueError(f"{text!r} is not an address; {FORMS}")
    return build_key(make_named_address(text).address)


def _parse_pattern(text: str) -> str:
    local, _, domain = text.rpartition("@")
    if local.strip("*") and domain and "*" not in domain:
        raise ValueError(
            f"a * in an address replaces its whole local part; write *@{domain} for all of the"
            f' domain, or "{local}"@{domain} for the mailbox with this name'
        )
    start, base = ("*@", domain) if local == "*" else ("*.", domain.removeprefix("*."))
    if (local and local != "*") or "*" in base or not base:
        raise ValueError(f"{text!r} is not a pattern; {FORMS}")
    try:
        base = parse_domain(base)
    except ValueError:
        raise ValueError(f"{base!r} is not a domain; {FORMS}") from None
    if start == "*." and base.count(".") >= MAX_PATTERN_LABELS:
        raise ValueError(f"has more than {MAX_PATTERN_LABELS} labels after *.; write fewer")
    return start + base


def build_key(address: str) -> str:
    """Return the form in which a suppression stores an address; it is never a pattern."""
    folded = fold(address)
    if "*" not in folded:
        return folded
    local, _, domain = folded.rpartition("@")
    return folded if local.startswith('"') else f'"{local}"@{domain}'


def list_keys(address: str) -> tuple[str, ...]:
    """List the addresses and patterns whose suppression covers an address."""
    key = build_key(address)
    return (key, *_list_patterns(key.rpartition("@")[2]))


@lru_cache(maxsize=CACHED_DOMAINS)
def _list_patterns(domain: str) -> tuple[str, ...]:
    labels = domain.split(".")
    first = max(1, len(labels) - MAX_PATTERN_LABELS)
    parents = (".".join(labels[start:]) for start in range(first, len(labels)))
    return (f"*@{domain}", *(f"*.{parent}" for parent in parents))
