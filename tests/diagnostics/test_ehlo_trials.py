"""The EHLO doctor: which names it tries, how politely, and which it recommends."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

import pytest

from app.diagnostics.ehlo_candidates import Candidate, NameSource
from app.diagnostics.ehlo_trials import Check, EhloTrials
from app.diagnostics.report import Diagnosis
from app.domain.types import TlsMode
from tests.diagnostics.small_internet import (
    CHECK,
    OUR_NAME,
    PASSWORD,
    PTR_NAME,
    USER,
    SmallInternet,
)
from tests.support.servers.smtp_server import DISCONNECT, SmtpServer

SECONDS: Final = 20.0
REFUSED: Final = "504 5.5.2 <x>: Helo command rejected: need fully-qualified hostname"
GOODBYE: Final = "421 4.3.2 Too many errors, closing"
NAMES: Final = tuple(
    Candidate(f"{letter}.example.com", source)
    for letter, source in zip("abcdefghi", NameSource, strict=True)
)


def taking(*names: str, otherwise: str | None = REFUSED) -> Callable[[str], str | None]:
    """A script for EHLO: it takes these names."""
    return lambda argument: None if argument in names else otherwise


async def examine(
    net: SmallInternet,
    server: SmtpServer,
    names: Sequence[Candidate] = NAMES,
    *,
    check: Check | None = None,
    pause_seconds: float = 0,
    seconds: float = SECONDS,
    **fields: Any,
) -> Diagnosis:
    """What the doctor says; nobody is greeted any more when it is done."""
    identity = net.subject(server, **fields).identity
    doctor = EhloTrials(identity, net.network, check=check, pause_seconds=pause_seconds)
    report = await doctor.run(names, seconds=seconds)
    await server.wait_until(lambda server: server.open_connections == 0)
    return report


def table(report: Diagnosis) -> dict[str, bool | None]:
    """Name to whether it is taken; None where it was not tried."""
    return {name.candidate.name: name.is_accepted for name in report.names}


def ehlo_names(server: SmtpServer) -> list[list[str]]:
    """The names that each connection was greeted by."""
    return [session.ehlo for session in server.sessions]


async def test_names_are_tried_on_one_connection_while_the_server_stays(net: SmallInternet) -> None:
    """And on a new one only after a name was taken."""
    async with SmtpServer({"ehlo": taking("c.example.com")}) as server:
        report = await examine(net, server)
    [first, second] = ehlo_names(server)
    assert [trial[0] for trial in first] == ["a", "b", "c"]
    assert [trial[0] for trial in second] == ["d", "e", "f", "g", "h", "i"]
    assert table(report) == {
        candidate.name: candidate.name == "c.example.com" for candidate in NAMES
    }
    assert report.recommendation is not None
    assert report.recommendation.name == "c.example.com"


async def strict(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Says no to all names but one, and hangs up."""
    with suppress(ConnectionError):
        writer.write(b"220 mx.test.invalid ESMTP\r\n")
        while line := (await reader.readline()).decode().split():
            is_taken = line[0] == "QUIT" or line[1] == "d.example.com"
            writer.write(b"250 mx.test.invalid\r\n" if is_taken else REFUSED.encode() + b"\r\n")
            if not is_taken or line[0] == "QUIT":
                break
    writer.close()


async def test_a_server_that_refuses_and_hangs_up_is_called_again(net: SmallInternet) -> None:
    """For each name that is left; the one that was not heard is not taken for refused."""
    async with await asyncio.start_server(strict, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with SmtpServer() as other:
            identity = net.subject(other, port=port).identity
        doctor = EhloTrials(identity, net.network, pause_seconds=0)
        report = await doctor.run(NAMES, seconds=SECONDS)
    assert table(report) == {
        candidate.name: candidate.name == "d.example.com" for candidate in NAMES
    }


async def test_a_server_that_hangs_up_on_a_name_did_not_take_it(net: SmallInternet) -> None:
    """Without a word, as strict ones do; others are tried, each on a connection of its own."""
    script = {"ehlo": taking("c.example.com", otherwise=DISCONNECT)}
    async with SmtpServer(script) as server:
        report = await examine(net, server)
    assert len(server.sessions) == len(NAMES)
    assert table(report) == {
        candidate.name: candidate.name == "c.example.com" for candidate in NAMES
    }
    assert report.recommendation is not None


async def test_goodbyes_for_the_name_are_heard_three_times(net: SmallInternet) -> None:
    """Gmail's is one of them; after that nobody is asked any further, and that is told."""
    async with SmtpServer({"ehlo": "421 4.7.0 Try again later, closing. (EHLO)"}) as server:
        report = await examine(net, server)
    assert len(server.sessions) == 3
    assert list(table(report).values()) == [False] * 3 + [None] * 6
    assert "421" in report.detail
    assert report.recommendation is None


async def test_a_goodbye_for_another_reason_ends_it_at_once(net: SmallInternet) -> None:
    """No name is blamed for it."""
    async with SmtpServer({"ehlo": GOODBYE}) as server:
        report = await examine(net, server)
    assert len(server.sessions) == 1
    assert set(table(report).values()) == {None}
    assert "Too many errors" in report.detail


@pytest.mark.parametrize("reply", ["220 mx.example.org", "252 Perhaps", "354 Go ahead"])
async def test_an_answer_that_is_none_blames_no_name(net: SmallInternet, reply: str) -> None:
    """Such a reply refuses no name: the trials end, and the result says why."""
    async with SmtpServer({"ehlo": reply}) as server:
        report = await examine(net, server)
    assert set(table(report).values()) == {None}
    assert f"unexpected reply: {reply}" in report.detail


async def test_a_refused_name_is_not_said_again_by_helo(net: SmallInternet) -> None:
    """RFC 5321 section 4.1.1.1 has HELO for servers without EHLO, not for a second try."""
    async with SmtpServer({"ehlo": REFUSED}) as server:
        await examine(net, server)
    assert [session.helo for session in server.sessions] == [[]] * len(server.sessions)
    greeted = [name for names in ehlo_names(server) for name in names]
    assert sorted(greeted) == sorted(set(greeted))


async def test_nobody_logs_in_without_need(net: SmallInternet) -> None:
    """Nor says more than its name and goodbye."""
    async with SmtpServer({"ehlo": taking("a.example.com")}, users={USER: PASSWORD}) as server:
        login = {"username": USER, "password": PASSWORD, "allow_plaintext_auth": True}
        await examine(net, server, **login)
    verbs = {line.split(" ")[0] for session in server.sessions for line in session.commands}
    assert verbs == {"EHLO", "QUIT"}


@pytest.mark.parametrize("stage", ["mail", "rcpt"])
async def test_a_verdict_that_is_delayed_is_waited_for(net: SmallInternet, stage: str) -> None:
    """Where a recipient is given: the name is refused at MAIL or RCPT, the login was right."""
    greeted: list[str] = []

    def greet(name: str) -> None:
        greeted.append(name)

    def judge(_: str) -> str | None:
        return None if greeted[-1] == "b.example.com" else REFUSED

    script = {"ehlo": greet, stage: judge}
    async with SmtpServer(script, users={USER: PASSWORD}) as server:
        login = {"username": USER, "password": PASSWORD, "allow_plaintext_auth": True}
        report = await examine(net, server, NAMES[:3], check=CHECK, **login)
    assert table(report) == {"a.example.com": False, "b.example.com": True, "c.example.com": False}
    assert [name.at for name in report.names] == [stage, "rcpt", stage]
    commands = [line for session in server.sessions for line in session.commands]
    assert not [line for line in commands if line.startswith(("DATA", "BDAT"))]
    assert len(server.sessions) == 3


async def test_a_name_is_taken_where_the_recipient_alone_is_refused(net: SmallInternet) -> None:
    """That it is for another reason is told."""
    async with SmtpServer({"rcpt": "550 5.1.1 No such user here"}) as server:
        report = await examine(net, server, NAMES[:1], check=CHECK)
    [trial] = report.names
    assert trial.is_accepted
    assert "another reason" in trial.detail
    assert "No such user here" in trial.detail


async def test_it_pauses_between_connections(net: SmallInternet) -> None:
    """Where the time is over before the pause is, those that are left are untried, and why."""
    async with SmtpServer({"ehlo": taking("a.example.com")}) as server:
        report = await examine(net, server, pause_seconds=3600, seconds=2)
    assert ehlo_names(server) == [["a.example.com"]]
    assert table(report) == {
        candidate.name: (True if candidate is NAMES[0] else None) for candidate in NAMES
    }
    assert "time" in report.detail
    assert report.recommendation is not None
    assert report.recommendation.name == "a.example.com"


async def test_a_server_that_cannot_be_reached_any_more_ends_it(net: SmallInternet) -> None:
    """No name is blamed for it."""
    async with SmtpServer() as server:
        pass
    report = await EhloTrials(net.subject(server).identity, net.network).run(NAMES, seconds=SECONDS)
    assert set(table(report).values()) == {None}
    assert "refused" in report.detail


async def test_over_tls_a_name_is_refused_after_it_too(net: SmallInternet) -> None:
    """The second EHLO counts, which says the same name."""
    answers = iter([None, REFUSED])
    script = {"ehlo": lambda name: next(answers, None) if name[0] == "a" else None}
    async with SmtpServer(script, tls=net.server_tls()) as server:
        report = await examine(net, server, NAMES[:2], tls=TlsMode.STARTTLS)
    assert table(report) == {"a.example.com": False, "b.example.com": True}


@pytest.mark.parametrize("source", NameSource)
async def test_the_one_name_that_is_taken_is_recommended(
    net: SmallInternet, source: NameSource
) -> None:
    """Wherever it comes from; why says where."""
    names = [*NAMES[:-1], Candidate("[127.0.0.1]", NameSource.ADDRESS_LITERAL)]
    candidate = next(name for name in names if name.source is source)
    async with SmtpServer({"ehlo": taking(candidate.name)}) as server:
        report = await examine(net, server, names)
    assert report.recommendation is not None
    assert report.recommendation.name == candidate.name
    assert report.recommendation.reason


async def test_a_name_with_an_address_goes_before_one_without(net: SmallInternet) -> None:
    """Though the other one comes first; and says so."""
    known = Candidate(PTR_NAME, NameSource.POINTER)
    async with SmtpServer() as server:
        report = await examine(net, server, [NAMES[0], known])
    assert report.recommendation is not None
    assert report.recommendation.name == PTR_NAME
    assert "address in the DNS" in report.recommendation.reason


@pytest.mark.parametrize(
    ("address", "own", "recommended"),
    [
        ("192.0.2.1", [OUR_NAME, PTR_NAME], OUR_NAME),
        ("127.0.0.1", ["elsewhere.example.com", PTR_NAME], PTR_NAME),
        ("::ffff:127.0.0.1", ["elsewhere.example.com", PTR_NAME], PTR_NAME),
        ("198.51.100.7", [OUR_NAME], "gmail.example"),
        ("192.0.2.1", ["nowhere.example.com"], "nowhere.example.com"),
        (None, [OUR_NAME], OUR_NAME),
        ("192.0.2.1", [], "gmail.example"),
    ],
)
async def test_a_domain_of_senders_is_recommended_if_it_is_ours_or_the_only_one(
    net: SmallInternet, address: str | None, own: list[str], recommended: str
) -> None:
    """It may be a mail provider's, though the server accepts it: one's own name goes before."""
    net.dns.add("gmail.example", "A", "198.51.100.7")
    net.dns.add("elsewhere.example.com", "A", "198.51.100.8")
    names = [
        Candidate("gmail.example", NameSource.SENDER_DOMAIN),
        *(Candidate(name, NameSource.PROFILE) for name in own),
        Candidate("[192.0.2.1]", NameSource.ADDRESS_LITERAL),
    ]
    async with SmtpServer() as server:
        identity = net.subject(server).identity
        trials = EhloTrials(identity, net.network, outgoing_address=address, pause_seconds=0)
        report = await trials.run(names, seconds=SECONDS)
    assert report.recommendation is not None
    assert report.recommendation.name == recommended


async def test_a_name_goes_before_an_address(net: SmallInternet) -> None:
    """Even one that the DNS knows nothing of."""
    literal = Candidate("[127.0.0.1]", NameSource.ADDRESS_LITERAL)
    async with SmtpServer() as server:
        report = await examine(net, server, [literal, NAMES[0]])
    assert report.recommendation is not None
    assert report.recommendation.name == "a.example.com"


async def test_a_private_name_that_is_taken_is_not_the_first_choice(net: SmallInternet) -> None:
    """The next server would refuse it."""
    private = Candidate("mail.corp.internal", NameSource.HOSTNAME)
    own = Candidate(OUR_NAME, NameSource.PROFILE)
    async with SmtpServer() as server:
        report = await examine(net, server, [private, replace(own, source=NameSource.POINTER)])
    assert report.recommendation is not None
    assert report.recommendation.name == OUR_NAME


async def test_what_the_refusals_mean_and_whom_to_ask_is_said(net: SmallInternet) -> None:
    """Each answer once, with the names that got it; the rest was not tried, and why."""
    replies = {
        "a.example.com": "450 4.7.1 <a.example.com>: Helo command rejected: Host not found",
        "b.example.com": REFUSED,
        "c.example.com": "450 4.7.1 <c.example.com>: Helo command rejected: Host not found",
    }
    goodbye = "421 4.7.0 Try again later, closing connection. (EHLO)"
    async with SmtpServer({"ehlo": lambda name: replies.get(name, goodbye)}) as server:
        identity = net.subject(server).identity
        doctor = EhloTrials(identity, net.network, pause_seconds=0, outgoing_address="192.0.2.1")
        report = await doctor.run(NAMES, seconds=SECONDS)
    assert report.recommendation is None
    assert report.detail == (
        "smtp.example.org accepts none of the names that Heloise tried. a.example.com,"
        " c.example.com: it finds no address of the name in the DNS: add an A or AAAA record."
        " b.example.com: it wants a fully qualified domain name. d.example.com, e.example.com,"
        " f.example.com: it closes the connection because of the name, and does not say why."
        " Not tried: g.example.com, h.example.com, i.example.com. Heloise stopped trying:"
        " 421 4.7.0 Try again later, closing connection. (EHLO). Ask the operator of"
        " smtp.example.org which EHLO name the server accepts from 192.0.2.1, and set `ehlo_name`"
        " to it. Or ask for permission to use a.example.com."
    )


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (REFUSED, "wants a fully qualified domain name"),
        ("501 5.5.2 <a>: Helo command rejected: Invalid name", "form of the name"),
        ("501 Syntactically invalid EHLO argument(s)", "form of the name"),
        ("550 Access denied - Invalid HELO name (See RFC2821 4.1.1.1)", "form of the name"),
        ("550 EHLO argument does not match calling host", "resolves to the address"),
        ("554 5.7.1 <a>: Helo command rejected: Access denied", "list of allowed names"),
        ("450 4.7.1 Helo command rejected", "refuses the name for now"),
        ("421 4.7.0 Try again later, closing connection. (EHLO) a1 - gsmtp", "Google Workspace"),
        (DISCONNECT, "closed the connection without a reply"),
    ],
)
async def test_each_kind_of_refusal_is_explained(
    net: SmallInternet, reply: str, words: str
) -> None:
    """In the words of Postfix, Exim and Gmail, or without a word."""
    async with SmtpServer({"ehlo": reply}) as server:
        report = await examine(net, server, NAMES[:1])
    assert words in report.detail
    assert "Ask the operator of smtp.example.org" in report.detail


async def test_where_no_name_is_taken_none_is_recommended(net: SmallInternet) -> None:
    """The table has what was said to each."""
    async with SmtpServer({"ehlo": REFUSED}) as server:
        report = await examine(net, server)
    assert set(table(report).values()) == {False}
    assert report.recommendation is None
    assert {name.reply.code for name in report.names if name.reply} == {504}
