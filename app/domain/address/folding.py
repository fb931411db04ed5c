"""Fold addresses for comparison, independent of case and script."""

import unicodedata
from functools import lru_cache
from typing import Final

import idna

CACHED_ADDRESSES: Final = 4096


def fold(address: str) -> str:
    """Return the form in which addresses are compared, independent of case and script.

    RFC 5321 section 2.4 lets a server distinguish `Ann` from `ann`; no known server does. The local
    part gets Unicode's NFC and simple case folding, which equates letters only if they differ in
    case: `ß` is not `ss`. The domain becomes an A-label in lower case (RFC 5890).
    """
    return address.lower() if address.isascii() else _fold_unicode(address)


@lru_cache(maxsize=CACHED_ADDRESSES)
def _fold_unicode(address: str) -> str:
    local, at, domain = unicodedata.normalize("NFC", address).rpartition("@")
    try:
        domain = idna.encode(domain, uts46=True).decode("ascii")
    except (idna.IDNAError, UnicodeError):
        domain = fold_letters(domain)
    return unicodedata.normalize("NFC", fold_letters(local)) + at + domain.lower()


def fold_letters(text: str) -> str:
    """Apply simple case folding (Unicode 3.13): a letter stays one letter."""
    return "".join(map(_fold_letter, text))


def _fold_letter(letter: str) -> str:
    for form in (letter.casefold(), letter.lower()):
        if len(form) == 1:
            return form
    return letter
