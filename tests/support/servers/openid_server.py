"""A small OpenID Connect provider that answers as the test wants, right or wrong."""

import base64
import json
import threading
import time
from collections.abc import Callable
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Self
from urllib.parse import parse_qs, parse_qsl, urlsplit

from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

CLIENT_ID: Final = "heloise"
CLIENT_SECRET: Final = "provider-secret-canary-7c41"

Change = Callable[[dict[str, Any]], object]


def keep(_: dict[str, Any]) -> None:
    """Change nothing."""


class OpenIdServer:
    """Serves on a port of 127.0.0.1 from threads of its own.

    `people` holds the claims of a person by code. The other fields change what it says: its
    discovery document, the claims and the header of an ID token, the answer with the token. A `raw`
    answer replaces the one at its path.
    """

    def __init__(self) -> None:
        self.people: dict[str, dict[str, Any]] = {}
        self.key = self.signing_key = _make_key()
        self.change_metadata: Change = keep
        self.change_claims: Change = keep
        self.change_header: Change = keep
        self.change_answer: Change = keep
        self.userinfo: dict[str, dict[str, Any]] = {}
        self.raw: dict[str, tuple[int, bytes]] = {}
        self.seconds: dict[str, float] = {}
        self.nonces: dict[str, str] = {}
        self.forms: list[dict[str, str]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _make_handler(self))
        self._server.daemon_threads = True
        self.issuer = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of a service whose people sign in here."""
        return {
            "oidc_issuer": self.issuer,
            "oidc_client_id": CLIENT_ID,
            "oidc_client_secret": CLIENT_SECRET,
        }

    def sign_in(self, url: str, code: str, **claims: Any) -> dict[str, str]:
        """Let a person sign in at a URL of this provider; return the answer's parameters."""
        params = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        assert params["code_challenge_method"] == "S256", params
        self.people[code] = {"sub": code, **claims}
        self.nonces[code] = params["nonce"]
        return {"code": code, "state": params["state"]}

    def answer(self, path: str, form: dict[str, str], token: str) -> tuple[int, bytes]:
        """What it says to a request."""
        time.sleep(self.seconds.get(path, 0))
        if path in self.raw:
            return self.raw[path]
        body: dict[str, Any]
        if path == "/.well-known/openid-configuration":
            body = {
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "jwks_uri": f"{self.issuer}/jwks",
                "userinfo_endpoint": f"{self.issuer}/userinfo",
            }
            self.change_metadata(body)
        elif path == "/jwks":
            body = dict(KeySet([self.key]).as_dict())
        elif path == "/token":
            self.forms.append(form)
            body = {"access_token": form["code"], "token_type": "Bearer", "expires_in": 300}
            body["id_token"] = self._make_id_token(form["code"])
            self.change_answer(body)
        else:
            body = {"sub": self.people[token]["sub"], **self.userinfo.get(token, {})}
        return 200, json.dumps(body).encode()

    def _make_id_token(self, code: str) -> str:
        now = int(time.time())
        claims = {
            **self.people[code],
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "iat": now,
            "exp": now + 300,
            "nonce": self.nonces[code],
        }
        header: dict[str, Any] = {"alg": "RS256", "kid": self.signing_key.kid}
        self.change_claims(claims)
        self.change_header(header)
        if header["alg"] == "none":
            parts = [json.dumps(part).encode() for part in (header, claims)]
            return (
                ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)
                + "."
            )
        if header["alg"] == "HS256":
            from joserfc.jwk import OctKey

            return jwt.encode(header, claims, OctKey.import_key(CLIENT_SECRET), ["HS256"])
        return jwt.encode(header, claims, self.signing_key)


@cache
def _make_key() -> RSAKey:
    """The first key of every server: making one takes longer than most tests."""
    return RSAKey.generate_key(2048, {"kid": "key-1"})


def _make_handler(server: OpenIdServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer({})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            self._answer(dict(parse_qsl(body)))

        def _answer(self, form: dict[str, str]) -> None:
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            status, content = server.answer(urlsplit(self.path).path, form, token)
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            try:
                self.wfile.write(content)
            except OSError:  # the client has heard enough
                return

        def log_message(self, *_: Any) -> None:
            return

    return Handler
