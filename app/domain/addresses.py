"""Addresses as people write them (RFC 5322 section 3.4), and who may send as whom.

What is kept is ASCII: a domain in another script becomes its A-label (RFC 5890); a local part in
another script needs SMTPUTF8 and is refused.
"""

import re
from collections.abc import Iterable
from typing import Final

import email_validator
from email_validator import EmailNotValidError, validate_email

from app.domain.types import Mailbox

MAX_NAME_CHARACTERS: Final = 500
MAX_ADDRESS_CHARACTERS: Final = 320  # as written: 254 are left once the domain is an A-label
MAX_MAILBOX_CHARACTERS: Final = MAX_ADDRESS_CHARACTERS + 2 * MAX_NAME_CHARACTERS + len('"" <>')
FORMS: Final = "write a@b.example, or Name <a@b.example>"
PATTERN_FORMS: Final = "write user@example.com, *@example.com or *@*.example.com"

# A relay serves names that the internet does not know: `.test`, `.local`, `.invalid`, `localhost`.
email_validator.SPECIAL_USE_DOMAIN_NAMES.clear()

_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"')
_ESCAPE: Final = re.compile(r"\\(.)")
# A name without quotes may hold what people write, such as `Doe, Jane`, but no second address.
_SEVERAL: Final = re.compile(r"[<>]|@.*[,;]|[,;].*@")
SEVERAL: Final = 'give each address as an item of its own; a name with an @ in quotes: "@" <a@b>'


def make_mailbox(email: str, name: str = "") -> Mailbox:
    """A mailbox from an address and a name in any script; raises ValueError."""
    return Mailbox(_address(email), _name(name))


def parse_mailbox(text: str) -> Mailbox:
    """A mailbox from `a@b` or `Name <a@b>`, the name quoted where it holds specials.

    More lenient than RFC 5322 section 3.4 in that a name without quotes may hold any script and
    most punctuation. Raises ValueError that says what to write instead.
    """
    if len(text) > MAX_MAILBOX_CHARACTERS:
        raise ValueError(f"it is too long; {FORMS}")
    if _CONTROL.search(text):
        raise ValueError(f"it holds a line break or another control character; {FORMS}")
    text = text.strip()
    if not text.endswith(">"):
        return Mailbox(_address(text))
    phrase, found, address = text[:-1].rpartition("<")
    if not found:
        raise ValueError(f"it has a > without a <; {FORMS}")
    return Mailbox(_address(address.strip()), _name(_unquoted(phrase.strip())))


def _unquoted(phrase: str) -> str:
    if quoted := _QUOTED.fullmatch(phrase):
        return _ESCAPE.sub(r"\1", quoted[1])
    if _SEVERAL.search(phrase):
        raise ValueError(SEVERAL)
    if phrase.startswith('"'):
        raise ValueError('the quotes do not stand around the whole name; write "A. B." <a@b>')
    return phrase


def _name(name: str) -> str:
    if _CONTROL.search(name):
        raise ValueError("the name holds a line break or another control character; leave it out")
    if len(name) > MAX_NAME_CHARACTERS:
        raise ValueError(
            f"the name has {len(name)} characters, at most {MAX_NAME_CHARACTERS} may be"
        )
    return name.strip()


def _address(address: str) -> str:
    if "@" not in address:
        raise ValueError(f"there is no @ in it; {FORMS}")
    if len(address) > MAX_ADDRESS_CHARACTERS:
        raise ValueError(f"it is too long; {FORMS}")
    if "," in address or ";" in address:
        raise ValueError(SEVERAL)
    try:
        checked = validate_email(
            address,
            check_deliverability=False,
            allow_smtputf8=False,
            allow_quoted_local=False,
            allow_domain_literal=False,
            globally_deliverable=False,
            strict=True,
        )
    except EmailNotValidError as error:
        raise ValueError(f"{_lower_first(str(error)).rstrip('.')}; {FORMS}") from None
    return checked.ascii_email or checked.normalized


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]


def check_pattern(text: str) -> str:
    """A pattern of `allowed_from`, its domain as A-label in lower case; raises ValueError."""
    local, found, domain = text.strip().rpartition("@")
    if not found or not local or not domain:
        raise ValueError(PATTERN_FORMS)
    stars, _, bare = domain.rpartition("*.")
    if stars or "*" in bare or ("*" in local and local != "*"):
        raise ValueError(f"a * stands for a whole part; {PATTERN_FORMS}")
    try:
        address = _address(f"{'any' if local == '*' else local}@{bare}")
    except ValueError:
        raise ValueError(f"it matches no address; {PATTERN_FORMS}") from None
    known_domain = address.rpartition("@")[2].lower()
    wild = "*." if domain.startswith("*.") else ""
    return f"{local.lower()}@{wild}{known_domain}"


def is_allowed(mailbox: Mailbox, patterns: Iterable[str]) -> bool:
    """Whether one of the patterns matches, whatever the letter case; without any, all may send."""
    patterns = tuple(patterns)
    return not patterns or any(_matches(mailbox.address.lower(), each) for each in patterns)


def _matches(address: str, pattern: str) -> bool:
    local, _, domain = address.rpartition("@")
    wanted_local, _, wanted_domain = pattern.lower().rpartition("@")
    if wanted_local not in {"*", local}:
        return False
    if wanted_domain.startswith("*."):
        return domain.endswith(wanted_domain[1:])
    return domain == wanted_domain
