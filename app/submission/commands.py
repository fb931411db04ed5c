"""Parse SMTP commands and their parameters.

RFC 5321 section 4.1, with SIZE (RFC 1870), 8BITMIME (RFC 6152), SMTPUTF8 (RFC 6531), DSN (RFC 3461,
RFC 6533), AUTH (RFC 4954) and CHUNKING (RFC 3030).
"""

import re
from collections.abc import Mapping
from typing import Final

from app.domain.address.parse import parse_named_address
from app.domain.dsn_request import RETURN_KEYWORDS, DsnNotify, DsnReturn, decode_xtext
from app.domain.frozen_dataclass import frozen_dataclass
from app.domain.outcome.replies import Reply

MAX_COMMAND_BYTES: Final = 2048  # 512, and what the extensions add (RFC 5321 section 4.5.3.1.4)
MAX_ENVELOPE_ID_CHARACTERS: Final = 100  # RFC 3461 section 4.4
MAX_ORIGINAL_CHARACTERS: Final = 500  # RFC 3461 section 4.2
MAX_SIZE_DIGITS: Final = 20
MAX_SHOWN_CHARACTERS: Final = 100

_PATH: Final = re.compile(r'<(?:@[^:<>]*:)?((?:"(?:[^"\\]|\\.)*"|[^<>"])*)>(?: +(.*))?')
_PARAMETER: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([^\x00-\x20=\x7f]+))?")
_XTEXT: Final = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})+")
_ADDRESS_TYPE: Final = re.compile(r"[A-Za-z0-9-]+")
_UTF8_ADDRESS: Final = re.compile(r"(?:[^\\]|\\x\{[0-9A-F]{1,6}\})+")
_UTF8_CHARACTER: Final = re.compile(r"\\x\{([0-9A-F]+)\}")
_NAME: Final = re.compile(r"[^\x00-\x20\x7f]{1,255}")
RETURNS: Final = {keyword: returns for returns, keyword in RETURN_KEYWORDS.items()}
BODIES: Final = frozenset({"7BIT", "8BITMIME"})


class CommandError(Exception):
    """A command is not acceptable; `reply` says why."""

    def __init__(self, code: int, enhanced_code: str, text: str) -> None:
        super().__init__(text)
        self.reply = Reply(code, text, enhanced_code)


@frozen_dataclass
class Mail:
    """`MAIL FROM:<address>` with its parameters; an empty address is the null reverse-path."""

    address: str
    size_bytes: int | None = None
    is_smtputf8: bool = False
    returns: DsnReturn | None = None
    envelope_id: str | None = None


@frozen_dataclass
class Rcpt:
    """`RCPT TO:<address>` with its parameters. `original` is ORCPT as given, decoded."""

    address: str
    notify: tuple[DsnNotify, ...] = ()
    original: str | None = None


def split_command(line: bytes) -> tuple[str, str]:
    """Return a line's verb in upper case, and its argument; raises CommandError."""
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise CommandError(500, "5.5.2", "The command is not UTF-8") from None
    verb, _, argument = text.partition(" ")
    return verb.upper(), argument.strip(" ")


def parse_hello(argument: str) -> str:
    """Return the client's name; raises CommandError. Any name will do, `localhost` too."""
    if _NAME.fullmatch(argument) is None:
        raise CommandError(501, "5.5.4", "Write EHLO and the name of your host")
    return argument


def parse_mail(argument: str) -> Mail:
    """Parse the argument of MAIL; raises CommandError."""
    path, parameters = _split_path(argument, "FROM", "MAIL FROM:<address>")
    envelope_id = _parse_envelope_id(parameters.pop("ENVID", None))
    size_bytes = _parse_size(parameters.pop("SIZE", None))
    is_smtputf8 = _parse_flag(parameters, "SMTPUTF8")
    returns = _parse_returns(parameters.pop("RET", None))
    if (body := parameters.pop("BODY", None)) is not None and body.upper() not in BODIES:
        raise CommandError(501, "5.5.4", "BODY is 7BIT or 8BITMIME")
    # RFC 4954 section 5: another server's word for who submitted it; nothing depends on it.
    parameters.pop("AUTH", None)
    _refuse_others(parameters)
    address = _parse_address(path, is_smtputf8=is_smtputf8) if path else ""
    return Mail(address, size_bytes, is_smtputf8, returns, envelope_id)


def parse_rcpt(argument: str, *, is_smtputf8: bool) -> Rcpt:
    """Parse the argument of RCPT; raises CommandError."""
    path, parameters = _split_path(argument, "TO", "RCPT TO:<address>")
    notify = _parse_notify(parameters.pop("NOTIFY", None))
    original = _parse_original(parameters.pop("ORCPT", None))
    _refuse_others(parameters)
    return Rcpt(_parse_address(path, is_smtputf8=is_smtputf8), notify, original)


def parse_chunk(argument: str) -> tuple[int, bool]:
    """Return the size of BDAT's chunk in bytes, and whether it is the last; raises CommandError."""
    size, _, end = argument.partition(" ")
    end = end.strip(" ").upper()
    if not _is_number(size) or end not in {"", "LAST"}:
        # The chunk follows, and its end is unknown, so the connection cannot go on.
        raise CommandError(521, "5.5.4", "Write BDAT size or BDAT size LAST")
    return int(size), end == "LAST"


def _split_path(argument: str, keyword: str, form: str) -> tuple[str, dict[str, str | None]]:
    """Return the address without brackets, and the parameters by upper-case keyword."""
    head, colon, rest = argument.partition(":")
    match = _PATH.fullmatch(rest.strip(" ")) if head.rstrip(" ").upper() == keyword else None
    if not colon or match is None:
        raise CommandError(501, "5.5.4", f"Write {form}")
    parameters = dict[str, str | None]()
    for word in filter(None, (match[2] or "").split(" ")):
        parameter = _PARAMETER.fullmatch(word)
        if parameter is None:
            raise CommandError(501, "5.5.4", f"{_shown(word)} is not a parameter")
        name = parameter[1].upper()
        if name in parameters:
            raise CommandError(501, "5.5.4", f"{name} stands twice")
        parameters[name] = parameter[2]
    return match[1], parameters


def _refuse_others(parameters: Mapping[str, str | None]) -> None:
    for name in parameters:
        raise CommandError(555, "5.5.4", f"The parameter {_shown(name)} is not supported")


def _parse_address(text: str, *, is_smtputf8: bool) -> str:
    if not text.isascii() and not is_smtputf8:
        raise CommandError(553, "5.6.7", "The address is not ASCII: add SMTPUTF8 to MAIL")
    try:
        return parse_named_address(text).address
    except ValueError as error:
        raise CommandError(501, "5.1.3", f"{_shown(text)}: {error}") from None


def _parse_flag(parameters: dict[str, str | None], name: str) -> bool:
    if name not in parameters:
        return False
    if parameters.pop(name) is not None:
        raise CommandError(501, "5.5.4", f"{name} has no value")
    return True


def _parse_size(text: str | None) -> int | None:
    if text is None:
        return None
    if not _is_number(text):
        raise CommandError(501, "5.5.4", "SIZE is a number of bytes")
    return int(text)


def _parse_returns(text: str | None) -> DsnReturn | None:
    if text is None:
        return None
    if (returns := RETURNS.get(text.upper())) is None:
        raise CommandError(501, "5.5.4", "RET is FULL or HDRS")
    return returns


def _parse_envelope_id(text: str | None) -> str | None:
    if text is None:
        return None
    envelope_id = _decode_xtext(text) if len(text) <= MAX_ENVELOPE_ID_CHARACTERS else None
    if envelope_id is None or not envelope_id.isascii():
        raise CommandError(
            501, "5.5.4", "ENVID is printable ASCII as xtext, of at most 100 characters"
        )
    return envelope_id


def _parse_notify(text: str | None) -> tuple[DsnNotify, ...]:
    if text is None:
        return ()
    try:
        notify = tuple(DsnNotify(word.lower()) for word in text.split(","))
    except ValueError:
        notify = ()
    if not notify or (DsnNotify.NEVER in notify and len(notify) > 1):
        raise CommandError(501, "5.5.4", "NOTIFY is NEVER, or a list of SUCCESS, FAILURE, DELAY")
    return notify


def _parse_original(text: str | None) -> str | None:
    """Return ORCPT's `type;address` with the address decoded (RFC 3461 section 4.2, RFC 6533)."""
    if text is None:
        return None
    kind, _, encoded = text.partition(";")
    decode = _decode_utf8_address if kind.lower() == "utf-8" else _decode_xtext
    address = decode(encoded) if len(text) <= MAX_ORIGINAL_CHARACTERS else None
    if _ADDRESS_TYPE.fullmatch(kind) is None or address is None:
        raise CommandError(
            501, "5.5.4", "ORCPT is rfc822; and an ASCII address as xtext, or utf-8;address"
        )
    # Postfix writes an address of RFC 6531 as rfc822, its UTF-8 as xtext.
    return f"{kind.lower() if address.isascii() else 'utf-8'};{address}"


def _decode_xtext(text: str) -> str | None:
    """Decode xtext (RFC 3461 section 4); None unless it stands for printable characters."""
    if _XTEXT.fullmatch(text) is None:
        return None
    try:
        decoded = decode_xtext(text).encode("latin-1").decode()
    except UnicodeDecodeError:
        return None
    return decoded if decoded.isprintable() else None


def _decode_utf8_address(text: str) -> str | None:
    """Decode an address of RFC 6533 section 3; None unless it stands for printable characters."""
    if _UTF8_ADDRESS.fullmatch(text) is None:
        return None
    try:
        decoded = _UTF8_CHARACTER.sub(lambda match: chr(int(match[1], 16)), text)
    except ValueError:  # beyond Unicode
        return None
    return decoded if decoded.isprintable() else None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= MAX_SIZE_DIGITS


def _shown(text: str) -> str:
    return ascii(text[:MAX_SHOWN_CHARACTERS])[1:-1]
