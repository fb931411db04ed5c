"""Parse addresses (RFC 5322 section 3.4) and match sender patterns.

A domain in another script becomes its A-label (RFC 5890), which every server knows. A local part in
another script has no ASCII form: it is kept in Unicode's NFC, and needs SMTPUTF8 (RFC 6531).
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

import email_validator
from email_validator import EmailNotValidError, validate_email

from app.domain.types import NamedAddress

MAX_NAME_CHARACTERS: Final = 500
MAX_ADDRESS_CHARACTERS: Final = 320  # as written; the A-label form has at most 254
CACHED_ADDRESSES: Final = 4096
MAX_MAILBOX_CHARACTERS: Final = MAX_ADDRESS_CHARACTERS + 2 * MAX_NAME_CHARACTERS + len('"" <>')
FORMS: Final = "write a@b.example or Name <a@b.example>"
DOMAIN_FORMS: Final = "write example.com or *.example.com"
PATTERN_FORMS: Final = "write user@example.com, *@example.com or *@*.example.com"

# A relay may serve names outside the public DNS: `.test`, `.local`, `.invalid`, `localhost`.
email_validator.SPECIAL_USE_DOMAIN_NAMES.clear()

# A fast path for most addresses, with the validator's result (RFC 5321 section 4.1.2).
_DOTTED: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+")
_ATOM: Final = r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL: Final = r"(?!..--)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_PLAIN: Final = re.compile(
    rf"(?=.{{3,254}}\Z)(?=[^@]{{1,64}}@){_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})*"
)

# Includes line separators and bidirectional controls (Unicode TR 9): a name must not look like
# another address.
_CONTROL: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
# Where a local part begins is ambiguous in text: rather mask too much than too little.
_BETWEEN_ADDRESSES: Final = re.compile(r"([\s/<>()\[\],;:\\\"]+)")
_AT: Final = re.compile(r"(@|%40)(?=\w)")
_QUOTED_WITHIN_TEXT: Final = re.compile(r'"(?:[^"\\]|\\.){1,130}"(@|%40)(?=\w)')
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"')
_ESCAPE: Final = re.compile(r"\\(.)")
# A quoted local part (RFC 5321 section 4.1.2), and characters in it that some servers and readers
# take for the end of the address, or for another address.
_QUOTED_LOCAL: Final = re.compile(r'("(?:[^"\\]|\\.)*")@[^@"]*')
_MISLEADING: Final = frozenset("<>@")
_NEEDS_QUOTES: Final = re.compile(r'[()<>\[\]:;@\\,."]')
# An unquoted name may contain punctuation, as in `Doe, Jane`, but no second address.
_SEVERAL: Final = re.compile(r"[<>]|@.*[,;]|[,;].*@")
SEVERAL: Final = (
    'write each address as its own item: ["a@b.example", "c@d.example"]; quote a name with an @:'
    ' "@" <a@b>'
)


def make_named_address(email: str, name: str = "") -> NamedAddress:
    """Build a named address, with a name in any script; raise ValueError."""
    return NamedAddress(_parse_address(email), _check_name(name))


def parse_named_address(text: str) -> NamedAddress:
    """Parse `a@b` or `Name <a@b>`, with the name quoted if it has specials.

    More lenient than RFC 5322 section 3.4: an unquoted name may use any script and most
    punctuation. Raises ValueError with a correction.
    """
    if len(text) > MAX_MAILBOX_CHARACTERS:
        raise ValueError(f"too long; {FORMS}")
    if _CONTROL.search(text):
        raise ValueError(f"contains a line break or another control character; {FORMS}")
    text = text.strip()
    if not text.endswith(">"):
        return NamedAddress(_parse_address(text))
    phrase, bracket, address = text[:-1].rpartition("<")
    if not bracket:
        raise ValueError(f"has a > without a <; {FORMS}")
    return NamedAddress(_parse_address(address.strip()), _check_name(_unquote(phrase.strip())))


def format_named_address(named_address: NamedAddress) -> str:
    """Format as `a@b` or `Name <a@b>`, quoting the name if needed (RFC 5322 section 3.4)."""
    if not named_address.name:
        return named_address.address
    name = named_address.name
    if _NEEDS_QUOTES.search(name):
        name = '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return f"{name} <{named_address.address}>"


def _unquote(phrase: str) -> str:
    if match := _QUOTED.fullmatch(phrase):
        return _ESCAPE.sub(r"\1", match[1])
    if _SEVERAL.search(phrase):
        raise ValueError(SEVERAL)
    if phrase.startswith('"'):
        raise ValueError('the quotes must enclose the whole name; write "A. B." <a@b>')
    return phrase


def _check_name(name: str) -> str:
    if _CONTROL.search(name):
        raise ValueError(
            "the name contains a line break or another control character; leave it out"
        )
    if len(name) > MAX_NAME_CHARACTERS:
        raise ValueError(
            f"the name has {len(name)} characters; write at most {MAX_NAME_CHARACTERS}"
        )
    return name.strip()


def _parse_address(address: str) -> str:
    return address if _PLAIN.fullmatch(address) else _validate(address)


@lru_cache(maxsize=CACHED_ADDRESSES)
def _validate(address: str) -> str:
    if "@" not in address:
        raise ValueError(f"has no @; {FORMS}")
    if len(address) > MAX_ADDRESS_CHARACTERS:
        raise ValueError(f"too long; {FORMS}")
    quoted_local = _QUOTED_LOCAL.fullmatch(address)
    if quoted_local is not None and _MISLEADING & set(quoted_local[1]):
        raise ValueError(f"the quoted part contains < > or @, which some servers misread; {FORMS}")
    if quoted_local is None and ("," in address or ";" in address):
        raise ValueError(SEVERAL)
    try:
        return _check_address(address)
    except EmailNotValidError as error:
        forms = _suggest_quotes(address) or FORMS
        raise ValueError(f"{_lower_first(str(error)).rstrip('.')}; {forms}") from None


def _check_address(address: str) -> str:
    result = validate_email(
        address,
        check_deliverability=False,
        allow_smtputf8=True,
        allow_quoted_local=True,
        allow_domain_literal=False,
        globally_deliverable=False,
        strict=True,
    )
    return f"{result.local_part}@{result.ascii_domain}"


def _suggest_quotes(address: str) -> str | None:
    """Suggest a quoted local part if only its dots are wrong: such mailboxes exist."""
    local, _, domain = address.rpartition("@")
    if _DOTTED.fullmatch(local) is None:
        return None
    try:
        quoted_address = _check_address(f'"{local}"@{domain}')
    except EmailNotValidError:
        return None
    return f"if this is the address, quote the local part: {quoted_address}"


def canonical_address(text: str) -> str:
    """Return the stored form of an address, or the text if it is no address."""
    try:
        return _parse_address(text.strip())
    except ValueError:
        return text


def needs_smtputf8(envelope_from: str, recipients: Iterable[str], mime: bytes) -> bool:
    """Whether a transaction needs a server with SMTPUTF8 (RFC 6531 section 3.4).

    It does if the envelope or the message's header is not ASCII. An 8-bit body needs another
    extension, 8BITMIME.
    """
    if not envelope_from.isascii() or not all(map(str.isascii, recipients)):
        return True
    return not mime.isascii() and not mime[: mime.find(b"\r\n\r\n")].isascii()


def find_utf8_fields(mime: bytes) -> list[str]:
    """Return the names of header fields that are not ASCII."""
    header = mime[: mime.find(b"\r\n\r\n")]
    fields = [field for field in re.split(rb"\r\n(?![ \t])", header) if not field.isascii()]
    return [field.partition(b":")[0].decode("ascii", "replace") for field in fields]


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]


def parse_pattern(text: str) -> str:
    """Normalize a pattern of `allowed_from`: an A-label in lower case; raise ValueError."""
    local, at, domain = text.strip().rpartition("@")
    if not at or not local or not domain:
        raise ValueError(PATTERN_FORMS)
    stars, _, bare_domain = domain.rpartition("*.")
    if stars or "*" in bare_domain or ("*" in local and local != "*"):
        raise ValueError(f"a * replaces a whole part; {PATTERN_FORMS}")
    try:
        address = _parse_address(f"{'any' if local == '*' else local}@{bare_domain}")
    except ValueError:
        raise ValueError(f"matches no address; {PATTERN_FORMS}") from None
    canonical_local, _, canonical_domain = address.lower().rpartition("@")
    wild = "*." if domain.startswith("*.") else ""
    return f"{'*' if local == '*' else canonical_local}@{wild}{canonical_domain}"


def parse_domain(text: str) -> str:
    """Normalize a domain or `*.` and a domain to an A-label; raise ValueError."""
    try:
        return parse_pattern(f"*@{text.strip()}").removeprefix("*@")
    except ValueError:
        raise ValueError(f"{text.strip()!r} is not a domain; {DOMAIN_FORMS}") from None


def mask_addresses(text: str) -> str:
    """Mask all addresses in a text as `a***@example.com`; also with `%40` in URLs."""
    if "@" not in text and "%40" not in text:
        return text
    if '"' in text:
        text = _QUOTED_WITHIN_TEXT.sub(r'"***"\1', text)
    return "".join(map(_mask_word, _BETWEEN_ADDRESSES.split(text)))


def _mask_word(word: str) -> str:
    *locals_and_ats, rest = _AT.split(word)
    locals_and_ats[::2] = map(_mask_local, locals_and_ats[::2])
    return "".join([*locals_and_ats, rest])


def _mask_local(local: str) -> str:
    """Mask all but the first character; an `@` in it begins no address."""
    before, at, last = local.rpartition("@")
    return f"{before}{at}{last[0]}***" if last else local


def is_allowed(named_address: NamedAddress, patterns: Iterable[str]) -> bool:
    """Whether a pattern matches, ignoring case; without patterns all may send."""
    patterns = tuple(patterns)
    return not patterns or any(
        _matches(named_address.address.lower(), pattern) for pattern in patterns
    )


def covers(pattern: str, other: str) -> bool:
    """Whether `pattern` matches everything that `other` matches."""
    return _matches(other.lower(), pattern)


def _matches(address: str, pattern: str) -> bool:
    local, _, domain = address.rpartition("@")
    pattern_local, _, pattern_domain = pattern.lower().rpartition("@")
    if pattern_local not in {"*", local}:
        return False
    if pattern_domain.startswith("*."):
        return domain.endswith(pattern_domain[1:])
    return domain == pattern_domain
