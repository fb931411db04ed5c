"""Explain why a server accepts none of the EHLO names, and what to ask its operator."""

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Final, NamedTuple

from app.diagnostics.report import NameTrial
from app.domain.outcome.replies import Reply


class Meaning(NamedTuple):
    """What replies that match `code` and `text` mean; both are regular expressions."""

    code: str
    text: str
    explanation: str


BAD_FORM: Final = "it does not accept the form of the name"

# The first match counts; the last one matches every reply. tests/e2e/ehlo_replies.txt
# has the replies of Postfix and Exim.
MEANINGS: Final = (
    Meaning(
        "...",
        r"domain names in the helo|\bgsmtp$",
        "Google does not know the name: it wants a domain that is registered in the Google"
        " Workspace account, or a login",
    ),
    Meaning("...", r"fully.?qualified|\bfqdn\b", "it wants a fully qualified domain name"),
    Meaning(
        "...",
        r"(host|name|domain) (was )?not found|not resolv|unresolv|unable to resolve|unknown host",
        "it finds no address of the name in the DNS: add an A or AAAA record",
    ),
    Meaning(
        "...",
        r"not match|mismatch",
        "it wants a name that resolves to the address from which Heloise connects",
    ),
    Meaning("501", "", BAD_FORM),
    Meaning("...", r"\b(invalid|malformed|syntax|bad)\b", BAD_FORM),
    Meaning("421", "", "it closes the connection because of the name, and does not say why"),
    Meaning("4..", "", "it refuses the name for now, and does not say why"),
    Meaning("...", "", "it does not allow the name; it may have a list of allowed names"),
)
HUNG_UP: Final = (
    "it closed the connection without a reply, because of the name or of Heloise's address"
)


def explain_refusals(
    trials: Sequence[NameTrial], *, host: str, outgoing_address: str | None, stop_reason: str
) -> str:
    """Explain the trials if the server accepted no name: what it means and what to ask.

    `stop_reason` says why Heloise did not try all names; empty if it did.
    """
    refused = [trial for trial in trials if trial.is_accepted is False]
    untried = [trial.candidate.name for trial in trials if trial.is_accepted is None]
    if not refused:
        return f"Heloise could not try a name. {stop_reason}".strip()
    by_explanation = defaultdict[str, list[str]](list)
    for trial in refused:
        by_explanation[_explain(trial.reply)].append(trial.candidate.name)
    sentences = [
        f"{host} accepts none of the names that Heloise tried",
        *(f"{', '.join(names)}: {text}" for text, names in by_explanation.items()),
    ]
    if untried:
        sentences.append(f"Not tried: {', '.join(untried)}. {stop_reason}")
    address = outgoing_address or "Heloise's address"
    sentences.append(
        f"Ask the operator of {host} which EHLO name the server accepts from {address}, and set"
        f" `ehlo_name` to it. Or ask for permission to use {refused[0].candidate.name}"
    )
    return ". ".join(sentence.rstrip(".") for sentence in sentences) + "."


def _explain(reply: Reply | None) -> str:
    if reply is None:
        return HUNG_UP
    return next(
        meaning.explanation
        for meaning in MEANINGS
        if re.fullmatch(meaning.code, str(reply.code))
        and re.search(meaning.text, reply.text, re.IGNORECASE)
    )
