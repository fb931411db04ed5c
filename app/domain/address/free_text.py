"""Find and mask mentions of an address in free text."""

import re
import unicodedata
from typing import Final
from urllib.parse import unquote

import idna

from app.domain.address.folding import fold, fold_letters
from app.domain.address.parse import mask_addresses

# A letter or digit before it makes another address, and so does a longer domain. Other characters
# of a local part usually separate: `receipt-ann@example.org` mentions `ann@example.org`.
_BEFORE: Final = r"(?<![^\W_])"
_AFTER: Final = r"(?![^\W_]|[-.]+[^\W_])"


class Mention:
    """Finds one address: in any letter case, URL-encoded, its domain in any form."""

    def __init__(self, address: str) -> None:
        local, _, domain = fold(address).rpartition("@")
        domains = {domain, _decode_domain(domain)}
        forms = [re.escape(f"{local}@{spelling}") for spelling in sorted(domains)]
        self._pattern = re.compile(f"{_BEFORE}(?:{'|'.join(forms)}){_AFTER}")

    def is_in(self, text: str) -> bool:
        """Whether a text mentions the address."""
        if "@" not in text and "%40" not in text:
            return False
        return self._is_plainly_in(text) or ("%" in text and self._is_plainly_in(unquote(text)))

    def _is_plainly_in(self, text: str) -> bool:
        letters = fold_letters(unicodedata.normalize("NFC", text))
        return self._pattern.search(letters) is not None

    def mask(self, value: object) -> object:
        """Mask all addresses as `a***@example.org`, in texts that mention this one.

        Accepts any JSON value, and masks member names too.
        """
        match value:
            case str():
                if not self.is_in(value):
                    return value
                return mask_addresses(unquote(value) if "%" in value else value)
            case list() | tuple():
                return [self.mask(item) for item in value]
            case dict():
                return {str(self.mask(name)): self.mask(item) for name, item in value.items()}
            case _:
                return value


def _decode_domain(domain: str) -> str:
    try:
        return fold_letters(unicodedata.normalize("NFC", idna.decode(domain)))
    except (idna.IDNAError, UnicodeError):
        return domain
