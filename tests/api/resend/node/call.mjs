// Calls Resend's SDK as stdin says, and prints what each call returns. `{"$file": base64}` is a Buffer.
import { readFileSync } from "node:fs";
import { Resend } from "resend";

const revive = (_, value) => (value?.$file === undefined ? value : Buffer.from(value.$file, "base64"));
const calls = JSON.parse(readFileSync(0, "utf8"), revive);
const answers = [];
for (const { key, method, args } of calls) {
  const names = method.split(".");
  const resend = new Resend(key);
  const object = names.slice(0, -1).reduce((outer, name) => outer[name], resend);
  // An argument may refer to what an earlier call returned: `$0.id`.
  const refer = (text) => text.replace(/^\$(\d+)\.(\w+)$/, (_, n, name) => answers[n].data[name]);
  const given = args.map((arg) => (typeof arg === "string" ? refer(arg) : arg));
  for (const arg of given) {
    if (typeof arg?.id === "string") arg.id = refer(arg.id);
  }
  try {
    answers.push(await object[names.at(-1)](...given));
  } catch (error) {
    answers.push({ thrown: `${error}` });
  }
}
console.log(JSON.stringify(answers));
