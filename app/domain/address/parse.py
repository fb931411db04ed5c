"""Parse addresses (RFC 5322 section 3.4) and match sender patterns.

A domain in another script is kept as its A-label (RFC 5890), so that any server knows it. A local
part in another script has no form in ASCII: it is kept in Unicode's NFC, and needs SMTPUTF8 (RFC
6531).
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

import email_validator
from email_validator import EmailNotValidError, validate_email

from app.domain.types import Mailbox

MAX_NAME_CHARACTERS: Final = 500
MAX_ADDRESS_CHARACTERS: Final = 320  # as written: 254 are left once the domain is an A-label
CACHED_ADDRESSES: Final = 4096
MAX_MAILBOX_CHARACTERS: Final = MAX_ADDRESS_CHARACTERS + 2 * MAX_NAME_CHARACTERS + len('"" <>')
FORMS: Final = "write a@b.example or Name <a@b.example>"
DOMAIN_FORMS: Final = "write example.com or *.example.com"
PATTERN_FORMS: Final = "write user@example.com, *@example.com or *@*.example.com"

# A relay serves names that the internet does not know: `.test`, `.local`, `.invalid`, `localhost`.
email_validator.SPECIAL_USE_DOMAIN_NAMES.clear()

# What most addresses look like; the validator would answer the same (RFC 5321 section 4.1.2).
_DOTTED: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+")
_ATOM: Final = r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL: Final = r"(?!..--)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_PLAIN: Final = re.compile(
    rf"(?=.{{3,254}}\Z)(?=[^@]{{1,64}}@){_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})*"
)

# Line separators too, and what turns the direction of the text around it (Unicode TR 9): a name
# may not show itself as an address that it is not.
_CONTROL: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
# Where a local part begins is not known of every text: rather too much is masked than too little.
_BETWEEN_ADDRESSES: Final = re.compile(r"([\s/<>()\[\],;:\\\"]+)")
_AT: Final = re.compile(r"(@|%40)(?=\w)")
_QUOTED_WITHIN_TEXT: Final = re.compile(r'"(?:[^"\\]|\\.){1,130}"(@|%40)(?=\w)')
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"')
_ESCAPE: Final = re.compile(r"\\(.)")
# A local part in quotes (RFC 5321 section 4.1.2), and what in it some servers and readers take for
# the end of the address, or for another one.
_QUOTED_LOCAL: Final = re.compile(r'("(?:[^"\\]|\\.)*")@[^@"]*')
_MISLEADING: Final = frozenset("<>@")
# A name without quotes may hold what people write, such as `Doe, Jane`, but no second address.
_SEVERAL: Final = re.compile(r"[<>]|@.*[,;]|[,;].*@")
SEVERAL: Final = (
    'write each address as its own item: ["a@b.example", "c@d.example"]; quote a name with an @:'
    ' "@" <a@b>'
)


def make_mailbox(email: str, name: str = "") -> Mailbox:
    """A mailbox from an address and a name in any script; raises ValueError."""
    return Mailbox(_parse_address(email), _check_name(name))


def parse_mailbox(text: str) -> Mailbox:
    """A mailbox from `a@b` or `Name <a@b>`, the name quoted where it holds specials.

    More lenient than RFC 5322 section 3.4 in that a name without quotes may hold any script and
    most punctuation. Raises ValueError that says what to write instead.
    """
    if len(text) > MAX_MAILBOX_CHARACTERS:
        raise ValueError(f"too long; {FORMS}")
    if _CONTROL.search(text):
        raise ValueError(f"contains a line break or another control character; {FORMS}")
    text = text.strip()
    if not text.endswith(">"):
        return Mailbox(_parse_address(text))
    phrase, bracket, address = text[:-1].rpartition("<")
    if not bracket:
        raise ValueError(f"has a > without a <; {FORMS}")
    return Mailbox(_parse_address(address.strip()), _check_name(_unquote(phrase.strip())))


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
    """What to write where only the dots of a local part are wrong: there are such mailboxes."""
    local, _, domain = address.rpartition("@")
    if _DOTTED.fullmatch(local) is None:
        return None
    try:
        quoted_address = _check_address(f'"{local}"@{domain}')
    except EmailNotValidError:
        return None
    return f"if this is the address, quote the local part: {quoted_address}"


def canonical_address(text: str) -> str:
    """The address as it is kept, which may be written otherwise; what is none stays as it is."""
    try:
        return _parse_address(text.strip())
    except ValueError:
        return text


def needs_smtputf8(envelope_from: str, recipients: Iterable[str], mime: bytes) -> bool:
    """Whether a transaction is for servers with SMTPUTF8 alone (RFC 6531 section 3.4).

    It is where an address of the envelope or something in the message's header is not ASCII. Only
    the header is looked at: what is 8-bit in a body is another extension's, 8BITMIME.
    """
    if not envelope_from.isascii() or not all(map(str.isascii, recipients)):
        return True
    return not mime.isascii() and not mime[: mime.find(b"\r\n\r\n")].isascii()


def find_utf8_fields(mime: bytes) -> list[str]:
    """The names of the header fields that are not ASCII."""
    header = mime[: mime.find(b"\r\n\r\n")]
    fields = [field for field in re.split(rb"\r\n(?![ \t])", header) if not field.isascii()]
    return [field.partition(b":")[0].decode("ascii", "replace") for field in fields]


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]


def parse_pattern(text: str) -> str:
    """A pattern of `allowed_from`, its domain as A-label in lower case; raises ValueError."""
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
    """A domain, or `*.` and one, as A-label in lower case; raises ValueError."""
    try:
        return parse_pattern(f"*@{text.strip()}").removeprefix("*@")
    except ValueError:
        raise ValueError(f"{text.strip()!r} is not a domain; {DOMAIN_FORMS}") from None


def mask_addresses(text: str) -> str:
    """The text with all addresses in it as `a***@example.com`, by which who knows them knows them.

    One in a URL may have its `@` as `%40`.
    """
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
    """All but the first character; an `@` in it begins nothing that is an address."""
    before, at, last = local.rpartition("@")
    return f"{before}{at}{last[0]}***" if last else local


def is_allowed(mailbox: Mailbox, patterns: Iterable[str]) -> bool:
    """Whether one of the patterns matches, whatever the letter case; without any, all may send."""
    patterns = tuple(patterns)
    return not patterns or any(_matches(mailbox.address.lower(), pattern) for pattern in patterns)


def covers(pattern: str, other: str) -> bool:
    """Whether whatever `other` matches is matched by `pattern`."""
    return _matches(other.lower(), pattern)


def _matches(address: str, pattern: str) -> bool:
    local, _, domain = address.rpartition("@")
    pattern_local, _, pattern_domain = pattern.lower().rpartition("@")
    if pattern_local not in {"*", local}:
        return False
    if pattern_domain.startswith("*."):
        return domain.endswith(pattern_domain[1:])
    return domain == pattern_domain
