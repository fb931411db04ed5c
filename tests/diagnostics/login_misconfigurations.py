"""Profiles that a server does not know, or does not let in."""

from datetime import UTC, datetime
from typing import Final

from app.diagnostics.ehlo_trials import Check
from app.diagnostics.report import Report
from app.diagnostics.verify import Token
from app.domain.ehlo import EhloNames
from app.domain.outcome.outcome import Failure
from app.domain.types import AuthMechanism, OAuth, OAuthGrant, TlsMode
from app.oauth.token_request import request_token
from app.oauth.token_types import GrantedToken, TokenRequest
from tests.diagnostics.misconfigurations import Attempts, misconfiguration
from tests.diagnostics.small_internet import (
    CHECK,
    IN_CLEAR,
    PASSWORD,
    PTR_NAME,
    USER,
    SmallInternet,
)
from tests.support.servers.smtp_server import SmtpServer
from tests.support.servers.token_server import CLIENT, CLIENT_SECRET, SCOPE, TokenServer
from tests.support.smtp_identities import ANN

USERS: Final = {USER: PASSWORD}
LOGIN: Final = {"username": USER, "password": PASSWORD, **IN_CLEAR}
# As recorded in tests/unit/outcome/real_replies.txt.
GMAIL: Final = (
    "535-5.7.8 Username and Password not accepted. For more information, go to\n"
    "535 5.7.8  https://support.google.com/mail/?p=BadCredentials a1 - gsmtp"
)
MICROSOFT: Final = (
    "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant."
    " Visit https://aka.ms/smtp_auth_disabled for more information."
)


def recommended_name(report: Report) -> str:
    """The name that the doctor says to set."""
    assert report.diagnosis is not None
    assert report.diagnosis.recommendation is not None
    return report.diagnosis.recommendation.name


@misconfiguration("The server refuses the EHLO name at EHLO")
async def name_refused(net: SmallInternet) -> Attempts:
    def only_ours(name: str) -> str | None:
        refusal = f"504 5.5.2 <{name}>: Helo command rejected: need fully-qualified hostname"
        return None if name == PTR_NAME else refusal

    async with SmtpServer({"ehlo": only_ours}) as server:
        report = yield net.subject(server, ehlo_names=EhloNames())
        yield net.subject(server, ehlo_names=EhloNames(recommended_name(report)))


@misconfiguration("The server refuses the EHLO name at RCPT")
async def name_refused_late(net: SmallInternet) -> Attempts:
    async with SmtpServer() as server:
        refusal = "450 4.7.1 <10.0.0.7>: Helo command rejected: Host not found"
        server.script = {
            "rcpt": lambda _: None if server.sessions[-1].name == PTR_NAME else refusal
        }
        report = yield net.subject(server, ehlo_names=EhloNames("pod-7.example.net"), check=CHECK)
        yield net.subject(server, ehlo_names=EhloNames(recommended_name(report)), check=CHECK)


@misconfiguration("The server does not relay for unknown clients")
async def relay_denied(net: SmallInternet) -> Attempts:
    async with SmtpServer(users=USERS) as server:
        denied = "554 5.7.1 <ann@example.org>: Relay access denied"
        server.script = {
            "mail": lambda _: None if server.sessions[-1].user else "250 2.1.0 Ok",
            "rcpt": lambda _: None if server.sessions[-1].user else denied,
        }
        yield net.subject(server, check=CHECK)
        yield net.subject(server, check=CHECK, **LOGIN)


@misconfiguration("The server requires a login, and the profile has none")
async def login_wanted(net: SmallInternet) -> Attempts:
    async with SmtpServer(users=USERS) as server:
        yield net.subject(server, check=CHECK)
        yield net.subject(server, check=CHECK, **LOGIN)


@misconfiguration("The password is wrong")
async def wrong_password(net: SmallInternet) -> Attempts:
    async with SmtpServer(users=USERS) as server:
        yield net.subject(server, **LOGIN | {"password": "hunter3"})
        yield net.subject(server, **LOGIN)


@misconfiguration("Gmail gets the account's own password")
async def app_password(net: SmallInternet) -> Attempts:
    async with SmtpServer({"auth": [GMAIL]}, users=USERS) as server:
        yield net.subject(server, **LOGIN | {"password": "the account's own"})
        yield net.subject(server, **LOGIN)


@misconfiguration("Authenticated SMTP is off in Microsoft 365")
async def basic_auth_off(net: SmallInternet) -> Attempts:
    async with SmtpServer({"auth": [MICROSOFT]}, users=USERS) as server:
        yield net.subject(server, **LOGIN)
        yield net.subject(server, **LOGIN)  # turned on at the mailbox meanwhile


@misconfiguration("The server does not offer `auth.mechanism`")
async def mechanism_not_offered(net: SmallInternet) -> Attempts:
    async with SmtpServer(users=USERS, mechanisms=["LOGIN"]) as server:
        yield net.subject(server, mechanism=AuthMechanism.PLAIN, **LOGIN)
        yield net.subject(server, **LOGIN)


@misconfiguration("The connection would expose the password")
async def password_in_clear(net: SmallInternet) -> Attempts:
    login = LOGIN | {"allow_plaintext_auth": False}
    tls = net.server_tls()
    async with SmtpServer(users=USERS, mechanisms=["PLAIN", "LOGIN"], tls=tls) as server:
        yield net.subject(server, **login)
        yield net.subject(server, **login | {"tls": TlsMode.STARTTLS})


@misconfiguration("The account may not send as the sender")
async def foreign_sender(net: SmallInternet) -> Attempts:
    def own(path: str) -> str | None:
        refusal = "553 5.7.1 Sender address rejected: not owned by user"
        return None if USER in path else refusal

    async with SmtpServer({"mail": own}, users=USERS) as server:
        yield net.subject(server, check=Check("ceo@example.net", ANN), **LOGIN)
        yield net.subject(server, check=Check(USER, ANN), **LOGIN)


def _token(net: SmallInternet, tokens: TokenServer, secret: str) -> Token:
    oauth = OAuth(
        grant=OAuthGrant.CLIENT_CREDENTIALS, token_url=tokens.url, client_id=CLIENT, scope=SCOPE
    )
    request = TokenRequest(oauth=oauth, username=USER, client_secret=secret)

    async def token() -> str | Failure:
        outcome = await request_token(request, net.network, now=datetime.now(UTC))
        return outcome.access_token if isinstance(outcome, GrantedToken) else outcome

    return token


BY_TOKEN: Final = {"username": USER, "mechanism": AuthMechanism.OAUTH2, **IN_CLEAR}


@misconfiguration("The OAuth client's secret has expired")
async def client_secret(net: SmallInternet) -> Attempts:
    with TokenServer() as tokens:
        async with SmtpServer(tokens=tokens.valid, mechanisms=["XOAUTH2"]) as server:
            yield net.subject(server, token=_token(net, tokens, "last year's"), **BY_TOKEN)
            yield net.subject(server, token=_token(net, tokens, CLIENT_SECRET), **BY_TOKEN)
