// Sends one message as often through Nodemailer's pool, and prints how many seconds it took.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const [folder, port, messages, connections, sender, recipient, path] = process.argv.slice(2);
const { createTransport } = createRequire(`${folder}/`)("nodemailer");
const raw = readFileSync(path);
const envelope = { from: sender, to: [recipient] };
const transport = createTransport({
  pool: true,
  host: "127.0.0.1",
  port: Number(port),
  name: "mail.example.com",
  ignoreTLS: true,
  maxConnections: Number(connections),
  maxMessages: Infinity,
});
const sendAll = (count) =>
  Promise.all(Array.from({ length: count }, () => transport.sendMail({ envelope, raw })));

await sendAll(Number(connections)); // opens them
const startedAt = process.hrtime.bigint();
await sendAll(Number(messages));
console.log(Number(process.hrtime.bigint() - startedAt) / 1e9);
transport.close();
