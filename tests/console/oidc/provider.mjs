// Runs a certified OpenID Connect provider. Its configuration comes by stdin as one line of JSON:
// {port, redirect_uris, post_logout_redirect_uris, claims: {login: claims}}. Any password is right.
import { createInterface } from "node:readline";
import Provider from "oidc-provider";

const [line] = [await createInterface({ input: process.stdin })[Symbol.asyncIterator]().next()];
const given = JSON.parse(line.value);
const issuer = `http://localhost:${given.port}`;
const provider = new Provider(issuer, {
  clients: [
    {
      client_id: "heloise",
      client_secret: "provider-secret-canary-7c41",
      redirect_uris: given.redirect_uris,
      post_logout_redirect_uris: given.post_logout_redirect_uris,
      grant_types: ["authorization_code"],
      response_types: ["code"],
    },
  ],
  claims: { openid: ["sub", "groups"], email: ["email", "email_verified"], profile: ["name"] },
  pkce: { required: () => true },
  cookies: { keys: ["a key of the test"] },
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, ...given.claims[id] }) }),
  // The consent to our own client goes without saying.
  loadExistingGrant: async (ctx) => {
    const grant = new ctx.oidc.provider.Grant({
      clientId: ctx.oidc.client.clientId,
      accountId: ctx.oidc.session.accountId,
    });
    grant.addOIDCScope("openid profile email");
    await grant.save();
    return grant;
  },
});
provider.on("server_error", (_, error) => console.error(error));
const server = provider.listen(given.port, "127.0.0.1", () => console.log("ready"));
process.stdin.on("end", () => server.close(() => process.exit(0)));
