"""Parse From and Sender strictly: one address that all programs read alike.

RFC 5322 section 3.6.2. Programs disagree about malformed and obsolete forms: routes, misplaced
comments, several addresses. A program might show another sender than the checked one, so only plain
forms are accepted.
"""

import re
from typing import Final

import idna

from app.domain.address.parse import make_named_address
from app.domain.mime.header_reader import decode_words
from app.domain.types import NamedAddress

FORMS: Final = "write Name <a@b.example>, and quote a name with any of ()<>@,;:\\"

_ATOM: Final = r'[^\s"(),:;<>@\[\]\\]+'
_QUOTED: Final = r'"(?:[^"\\]|\\.)*"'
_ADDRESS: Final = re.compile(rf"(?:{_ATOM}|{_QUOTED})@{_ATOM}")
_WORD: Final = re.compile(rf"[ \t]*(?:({_ATOM})|({_QUOTED}))")
_COMMENTED: Final = re.compile(r'([^\s()]+)[ \t]+\(([^()<>@,;:"\\]*)\)')  # a@b.example (Name)
_ESCAPE: Final = re.compile(r"\\(.)")
_MISLEADING: Final = frozenset("<>@\N{REPLACEMENT CHARACTER}")


def read_originator(value: str) -> NamedAddress:
    """Parse the address of a From or Sender field; raise ValueError with a correction."""
    value = value.strip()
    if match := _COMMENTED.fullmatch(value):
        address, name = match[1], _decode(match[2])
    elif value.endswith(">"):
        phrase, _, address = value[:-1].rpartition("<")
        address, name = address.strip(), _read_phrase(phrase)
    else:
        address, name = value, ""
    if _ADDRESS.fullmatch(address) is None:
        raise ValueError(f"not one plain address; {FORMS}")
    named_address = make_named_address(address, name)
    if not _is_same(address, named_address.address):
        raise ValueError(f"{address} is another spelling of {named_address.address}; write that")
    return named_address


def _read_phrase(phrase: str) -> str:
    """Parse a display name: words, quoted strings and encoded words."""
    words, atoms, position = list[str](), list[str](), 0
    phrase = phrase.strip()
    while position < len(phrase):
        word = _WORD.match(phrase, position)
        if word is None:
            raise ValueError(f"not one plain address; {FORMS}")
        position = word.end()
        if word[1] is not None:
            atoms.append(word[1])
            continue
        _decode(word[2])
        words += [_decode(" ".join(atoms)), _ESCAPE.sub(r"\1", word[2][1:-1])]
        atoms = []
    return " ".join(filter(None, [*words, _decode(" ".join(atoms))]))


def _decode(words: str) -> str:
    """Decode encoded words, which some programs do before they look for the address."""
    name = decode_words(words)
    if name != words and not _MISLEADING.isdisjoint(name):
        raise ValueError(f"an encoded word is malformed or contains <, > or @; {FORMS}")
    return name


def _is_same(address: str, canonical_address: str) -> bool:
    """Whether an address is canonical, with its domain as A-label or U-label."""
    local, _, domain = address.rpartition("@")
    canonical_local, _, canonical_domain = canonical_address.rpartition("@")
    names = {canonical_domain.lower()}
    if "xn--" in canonical_domain.lower():
        names.add(idna.decode(canonical_domain))
    return local == canonical_local and domain.lower() in names
