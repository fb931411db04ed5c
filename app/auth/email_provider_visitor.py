"""Authenticate email providers by the token in the URL that they post to."""

from app.auth.authentication import Authenticator, parse_networks
from app.domain.api_keys import hash_secret
from app.domain.audit import Actor, ActorKind
from app.domain.errors import Forbidden, Problem, Unauthenticated
from app.domain.inbound.provider import Provider
from app.domain.networks import contains
from app.store.inbound import provider_webhooks
from app.store.inbound.provider_webhooks import AddressedWebhook


class ProviderVisitor:
    """A provider that posts to a provider webhook; authenticated at most once.

    The signature of the post is checked later, since it needs the body.
    """

    def __init__(
        self, auth: Authenticator, provider: Provider, token: str, source: str | None
    ) -> None:
        self._auth = auth
        self._provider = provider
        self._token = token
        self._addressed: AddressedWebhook | None = None
        self.source = source

    async def identify(self) -> AddressedWebhook:
        """Return the provider webhook of the token.

        Raises Unauthenticated, TooManyRequests after too many invalid tokens, Forbidden from
        another network than the webhook's, or Unavailable.
        """
        if self._addressed is None:
            self._addressed = await self._find()
        networks = self._addressed.webhook.networks
        if networks and not contains(parse_networks(networks), self.source or ""):
            raise Forbidden(
                "network-not-allowed",
                f"This provider webhook takes posts only from {', '.join(networks)}, and the post"
                f" came from {self.source}. Behind a proxy, add the proxy to"
                " HELOISE_TRUSTED_PROXIES.",
            )
        return self._addressed

    async def _find(self) -> AddressedWebhook:
        self._auth.require_schema()
        async with self._auth.token_slots, self._auth.database.reading() as connection:
            addressed = await provider_webhooks.find_by_token(
                connection,
                token_hash=hash_secret(self._token),
                provider=self._provider,
                now=self._auth.now(),
            )
        if addressed is None:
            self._auth.auth_throttle.record_failure(self.source)
            raise Unauthenticated(
                f"No provider webhook for {self._provider} has the token in this URL. Copy the URL"
                " from the answer that created or rotated it, or rotate it again."
            )
        return addressed

    async def audit_refusal(self, problem: Problem, *, action: str, object_id: str) -> None:
        """Write to the audit log that a post was refused; `object_id` is the path.

        Writes nothing for an unknown token: it belongs to no tenant.
        """
        if isinstance(problem, Forbidden) and self._addressed is not None:
            webhook = self._addressed.webhook
            await self._auth.audit_refusal(
                problem,
                actor=Actor(ActorKind.UNKNOWN, webhook.id, webhook.name, self.source),
                tenant_id=webhook.tenant_id,
                action=action,
                object_id=object_id,
            )
