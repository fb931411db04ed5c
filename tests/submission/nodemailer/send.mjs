// Sends a mail with Nodemailer, and writes the bytes that it built to a file.
import { readFileSync, writeFileSync } from "node:fs";
import { PassThrough } from "node:stream";
import nodemailer from "nodemailer";

const { transport, mail, sent } = JSON.parse(readFileSync(0, "utf8"));
const chunks = [];
const transporter = nodemailer.createTransport(transport);
transporter.use("stream", (data, done) => {
  data.message.transform(() => {
    const copy = new PassThrough();
    copy.on("data", (chunk) => chunks.push(chunk));
    return copy;
  });
  done();
});
const { rejected } = await transporter.sendMail(mail);
if (rejected.length > 0) throw new Error(`rejected: ${rejected}`);
writeFileSync(sent, Buffer.concat(chunks));
